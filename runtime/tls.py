"""The certificate authorities that the service trusts."""

import ssl

import certifi

from runtime.settings import Settings


def client_context(settings: Settings | None = None) -> ssl.SSLContext:
    """Create a TLS context that verifies certificates and host names.

    It trusts the authorities of the system (which ``SSL_CERT_FILE`` replaces), those of certifi, because slim images
    have none, and those of ``CA_FILE``.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    if settings is not None and settings.ca_file is not None:
        context.load_verify_locations(settings.ca_file)
    return context
