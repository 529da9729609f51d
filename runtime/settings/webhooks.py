"""The settings of webhooks."""

import base64
import binascii

from pydantic import Field, SecretStr, field_validator

from runtime.settings.fields import Secret, SettingsGroup


class WebhookSettings(SettingsGroup):
    """The secret and the times of webhooks."""

    webhook_secret: Secret
    """``whsec_`` and the padded base64 of 24 to 64 bytes. The secret of each tenant, which signs its
    webhooks, is derived from it; ``thinkqueue keys webhook-secret`` prints one."""
    webhook_timeout_s: float = Field(default=15, gt=0, le=45)
    """Time limit of one attempt; shorter than a keeper's claim on a delivery, which is one minute."""
    webhook_schedule_scale: float = Field(default=1.0, ge=0)
    """Factor for the waits between attempts; tests use a small one."""

    @field_validator("webhook_secret")
    @classmethod
    def _check_webhook_secret(cls, value: SecretStr) -> SecretStr:
        # standardwebhooks accepts a secret without padding, but the verifier of the openai package does not.
        prefix, encoded = value.get_secret_value()[:6], value.get_secret_value()[6:]
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise ValueError("must be whsec_ and padded base64") from error
        if prefix != "whsec_" or not 24 <= len(key) <= 64:
            raise ValueError("must be whsec_ and the padded base64 of 24 to 64 random bytes")
        return value
