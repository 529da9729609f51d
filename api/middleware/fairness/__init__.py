"""How calls are spread and limited by tenant."""
