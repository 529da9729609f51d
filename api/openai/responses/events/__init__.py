"""The numbered events of a response, while its job runs and afterwards."""
