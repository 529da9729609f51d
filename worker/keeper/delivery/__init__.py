"""Delivers webhooks and result copies: builds, signs, sends and retries them."""
