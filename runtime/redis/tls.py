"""TLS to Redis: the authorities that are trusted, and the client's own certificate."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi


@dataclass(frozen=True)
class RedisTls:
    """The files of a TLS connection to Redis, and what is verified."""

    ca_file: Path | None = None
    """Authorities that are trusted in addition to the others."""
    cert_file: Path | None = None
    """The client's certificate, for a server that demands one."""
    key_file: Path | None = None
    """Its private key; None: it is in ``cert_file``."""
    base_file: Path | None = None
    """Authorities that are trusted instead of certifi's."""
    verifies_certificate: bool = True
    verifies_host: bool = True

    def options(self) -> dict[str, Any]:
        """Return the arguments of redis-py's TLS connections, the synchronous and the asynchronous ones."""
        options: dict[str, Any] = {
            "ssl_ca_certs": str(self.base_file or certifi.where()),
            "ssl_cert_reqs": "required" if self.verifies_certificate else "none",
            "ssl_check_hostname": self.verifies_host,
        }
        if self.ca_file is not None:
            options["ssl_ca_data"] = self.ca_file.read_text("utf-8")
        if self.cert_file is not None:
            options["ssl_certfile"] = str(self.cert_file)
            options["ssl_keyfile"] = str(self.key_file or self.cert_file)
        return options


def check_authorities(path: Path) -> None:
    """Check that a PEM file with certificate authorities can be read. Raises ValueError."""
    try:
        ssl.create_default_context(cafile=str(path))
    except OSError as error:  # an SSLError is one
        raise ValueError(f"cannot be read as a PEM file of certificates: {error}") from error


def check_client_certificate(cert_file: Path | None, key_file: Path | None) -> None:
    """Check that a certificate and its key can be read and belong together.

    Raises:
        ValueError: what is wrong with ``REDIS_CERT_FILE`` or ``REDIS_KEY_FILE``.
    """
    if cert_file is None:
        if key_file is not None:
            raise ValueError("REDIS_KEY_FILE needs REDIS_CERT_FILE, the certificate of this key")
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_cert_chain(cert_file, key_file, password=_refuse_password)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise ValueError(
            f"REDIS_CERT_FILE and REDIS_KEY_FILE are no PEM certificate and its key without a password: {error}"
        ) from error


def _refuse_password() -> str:
    # Without this, OpenSSL asks for it on the terminal.
    raise ValueError("the key is encrypted")
