"""The OpenAPI document and the pages that are generated from the schemas."""
