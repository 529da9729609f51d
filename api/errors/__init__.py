"""Every error response of the API: the catalog, the handlers and the translation of validation errors."""
