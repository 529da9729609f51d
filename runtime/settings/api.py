"""The settings of the API: who may call it, and its limits."""

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from runtime.settings.fields import Names, Secret, SettingsGroup

AUTOSCALE_KEY = re.compile(r"[\x21-\x7e]{24,200}")


class ApiSettings(SettingsGroup):
    """Who may call the API, and its limits."""

    auth: Literal["none", "keys"] = "none"
    """``keys``: every request needs an API key. ``none``: anyone who can connect may use the service, so ``API_HOST``
    must be a loopback address."""
    api_keys_file: Path | None = None
    """JSON list of API keys to create at start unless they exist or existed: a key that was revoked, or was rotated and
    has expired, does not return. The fields are described in docs/api.md."""
    autoscale_key: Secret | None = None
    """With ``AUTH=keys``: a token of an autoscaler, 24 to 200 visible ASCII characters, such as the output of ``openssl
    rand -hex 32``. It permits ``GET /v1/autoscale`` and nothing else, and is checked without Redis or the object store.
    An API key of any tenant permits that route too."""
    requests_per_minute: int = Field(default=1_200, ge=1)
    """Limit of an API key without a limit of its own; further requests get a 429. Limits of 60 and more are counted in
    windows of ten seconds: 1200 permit 200 requests in any ten seconds."""
    prompt_refusals: int = Field(default=20, ge=1)
    """With ``AUTH=keys``: refusals of one tenant, or of one address without a valid key, within ten seconds that are
    sent at once. Further ones are sent a second late."""
    max_open_jobs: int = Field(default=20_000, ge=1)
    """Jobs of one tenant that have not ended, for API keys without a limit of their own. The next job gets a 429."""
    max_ended_jobs: int = Field(default=20_000, ge=1)
    """Ended jobs of one tenant that Redis keeps. The oldest ones above it leave the lists; they can be read by their id
    until their retention ends. One takes about 1 KiB of Redis; a pair of metadata 80 bytes, or 400 if no other job has
    it."""
    api_host: str = "127.0.0.1"
    """Address on which the API listens. Must be loopback unless ``AUTH=keys``."""
    api_port: int = Field(default=8800, ge=1, le=65_535)
    """Port on which the API listens."""
    max_body_bytes: int = Field(default=32 * 2**20, ge=1_024)
    """The largest request body. Images in ``data:`` URLs count with a third more than the size of their files."""
    body_timeout_s: float = Field(default=60, gt=0)
    """Time in which a complete request body must arrive. A slower request gets a 408."""
    max_upload_bytes: int = Field(default=2 * 2**30, ge=1)
    """The largest upload."""
    max_file_bytes: int = Field(default=200 * 2**20, ge=1)
    """The largest file of ``POST /v1/files``."""
    max_open_uploads: int = Field(default=1_000, ge=1)
    """Files of one tenant, and uploads that no job uses yet. The next file or upload gets a 429."""
    max_open_upload_bytes: int = Field(default=20 * 2**30, ge=1)
    """Sizes of these files and uploads together; at least ``MAX_UPLOAD_BYTES``."""
    max_open_batches: int = Field(default=100, ge=1)
    """Batches of one tenant that have not ended. The next one gets a 429."""
    batch_window: int = Field(default=200, ge=1, le=2_000)
    """Jobs that a batch has at the same time."""
    batch_lease_s: float = Field(default=30, ge=1)
    """A batch is taken over by another API process when its runner has not renewed its lease for this long."""
    max_streams: int = Field(default=2_000, ge=1)
    """Event streams open at the same time on one API process, and calls that wait for a job. Fewer if the limit
    of open files (``ulimit -n``) permits fewer connections."""
    max_streams_per_tenant: int = Field(default=500, ge=1)
    """Event streams of one tenant open at the same time on one API process. The next one gets a 429."""
    max_waits_per_tenant: int = Field(default=200, ge=1)
    """Calls of one tenant that wait for a job at the same time on one API process, with ``Prefer: wait`` or through the
    OpenAI surface. The next one gets a 429."""
    foreground_wait_s: float = Field(default=600, ge=1, le=3_600)
    """The longest that a call of the OpenAI surface waits for its answer. A client that announces a shorter time
    (``x-stainless-read-timeout``, which OpenAI's SDKs send) is answered before that."""
    reasoning_summary: bool = True
    """Responses send the thinking as a summary too: many of OpenAI's clients show only summaries. It is decided when a
    response is created."""
    disconnect_grace_s: float = Field(default=30, ge=0)
    """The job of such a call is cancelled when its client has been gone for this long and has not sent the request
    again."""
    allowed_hosts: Names = ()
    """Comma-separated host names of the API, such as ``queue.example.com``; another ``Host`` header gets a 421.
    Default: with ``AUTH=none`` the loopback addresses and ``localhost``, which stops web pages that point their own
    name to this machine (DNS rebinding); with ``AUTH=keys`` every name."""
    cors_origins: Names = ()
    """Comma-separated origins, such as ``https://app.example.com``, whose web pages may call the API (CORS), or ``*``
    for all, which requires ``AUTH=keys``. Default: none."""
    max_waiting_jobs: int = Field(default=100_000, ge=1)
    """Waiting jobs of all tenants in all stages. The next job gets a 429."""

    @field_validator("autoscale_key")
    @classmethod
    def _check_autoscale_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not AUTOSCALE_KEY.fullmatch(value.get_secret_value()):
            raise ValueError("must have 24 to 200 visible ASCII characters and no spaces")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            parts = urlsplit(origin)
            if origin != "*" and (not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}"):
                raise ValueError(f"{origin!r} is not an origin such as https://app.example.com, without a path")
        return tuple(origin.lower() for origin in value)

    @model_validator(mode="after")
    def _check_open_uploads(self) -> Self:
        if self.max_open_upload_bytes < self.max_upload_bytes:
            raise ValueError(
                f"MAX_OPEN_UPLOAD_BYTES={self.max_open_upload_bytes} must be at least "
                f"MAX_UPLOAD_BYTES={self.max_upload_bytes}: raise it, or lower MAX_UPLOAD_BYTES"
            )
        return self

    @model_validator(mode="after")
    def _check_cors_needs_keys(self) -> Self:
        if "*" in self.cors_origins and self.auth != "keys":
            raise ValueError("CORS_ORIGINS=* requires AUTH=keys: without keys any web page could use the service")
        return self

    @model_validator(mode="after")
    def _check_api_host(self) -> Self:
        if self.auth == "keys":
            return self
        try:
            loopback = self.api_host == "localhost" or ip_address(self.api_host).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise ValueError(
                f"API_HOST={self.api_host!r} is not a loopback address: without API keys anyone who can connect may "
                "use the service. Set AUTH=keys and create a key with `thinkqueue keys create`"
            )
        return self
