"""Limits and checks of bodies and parameters, before a route reads them."""
