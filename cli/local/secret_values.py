"""Random secrets for a new installation."""

import base64
import secrets

JWT_NAMES = ("S3_JWT_KEY_1", "S3_JWT_KEY_2", "S3_JWT_KEY_3", "S3_JWT_KEY_4")


def generate_secrets() -> dict[str, str]:
    """Return every secret that an installation with its own servers needs, by setting."""
    return {
        "REDIS_PASSWORD": secrets.token_urlsafe(24),
        "S3_ACCESS_KEY": secrets.token_hex(10),
        "S3_SECRET_KEY": secrets.token_urlsafe(30),
        "WEBHOOK_SECRET": "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode(),
        **{name: secrets.token_urlsafe(24) for name in JWT_NAMES},
    }
