"""Every setting of every process: read once at start from the environment; a wrong value refuses to start."""

import base64
import binascii
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from families import FAMILIES, Family

Network = IPv4Network | IPv6Network
SAMPLE = "change-me"


class Settings(BaseSettings):
    """The names of the fields, in capitals, are the names of the environment variables.

    docs/configuration.md is made of what stands here (runtime/settings_doc.py).
    """

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True, use_attribute_docstrings=True)

    # ── servers ──
    redis_url: SecretStr
    """``redis://[:password@]host:port/db``; Valkey uses the same scheme. Redis 7.0 or newer, policy ``noeviction``."""
    s3_endpoint: str
    """``http(s)://host:port`` of the object store, as the processes reach it."""
    s3_public_endpoint: str | None = None
    """The same store as clients reach it; presigned links carry this host. Default: ``S3_ENDPOINT``."""
    s3_access_key: SecretStr
    """Of the object store; may read, write, list and remove in the bucket, and set its lifecycle."""
    s3_secret_key: SecretStr
    """The secret that belongs to it."""
    s3_bucket: str = Field(default="thinkqueue", min_length=3, max_length=63)
    """Made by ``thinkqueue init``."""
    s3_region: str = "us-east-1"
    """A part of the signature of every link; what the store says of itself."""

    # ── api ──
    auth: Literal["none", "keys"] = "none"
    """``keys``: every call needs an API key. ``none``: whoever reaches the service may use it, so ``API_HOST`` must be
    loopback."""
    api_keys_file: Path | None = None
    """JSON list of keys to create at the start, unless they are there; its fields stand in docs/api.md."""
    requests_per_minute: int = Field(default=1_200, ge=1)
    """Of one API key that has no limit of its own; more get a 429."""
    max_open_jobs: int = Field(default=20_000, ge=1)
    """Of one tenant, not ended yet; for keys that have no limit of their own. The next one gets a 429."""
    api_host: str = "127.0.0.1"
    """Loopback only, unless ``AUTH=keys``."""
    api_port: int = Field(default=8800, ge=1, le=65_535)
    """Where the api listens."""
    max_body_bytes: int = Field(default=32 * 2**20, ge=1_024)
    """The largest request body. Pictures in ``data:`` URLs count, a third larger than their files."""
    body_timeout_s: float = Field(default=60, gt=0)
    """For a whole request body to come in; a slower one gets a 408."""
    max_upload_bytes: int = Field(default=2 * 2**30, ge=1)
    """One upload."""
    max_streams: int = Field(default=2_000, ge=1)
    """Event streams open at once on one api process."""
    max_waiting_jobs: int = Field(default=100_000, ge=1)
    """Jobs that wait in all stages together; the next one gets a 429."""

    # ── jobs ──
    job_expires_s: int = Field(default=24 * 3600, ge=1)
    """A job that no worker has started by then ends as ``expired``."""
    retention_days: int = Field(default=7, ge=1)
    """How long an ended job can be read; its objects are deleted 2 days later."""
    lease_s: float = Field(default=15, gt=0)
    """How long a worker keeps a claimed job without a heartbeat; then the keeper returns the job to its queue."""
    heartbeat_s: float = Field(default=3, gt=0)
    """Interval at which a worker renews the leases of its jobs; at most a third of ``LEASE_S``."""

    # ── inputs ──
    max_image_bytes: int = Field(default=20 * 2**20, ge=1_024)
    """One picture, as sent or fetched."""
    max_image_pixels: int = Field(default=100_000_000, ge=1)
    """A picture that claims more pixels is refused before it is decoded."""
    max_document_bytes: int = Field(default=50 * 2**20, ge=1_024)
    """One document."""
    max_video_bytes: int = Field(default=2**30, ge=1_024)
    """One video."""
    fetch_timeout_s: float = Field(default=30, gt=0)
    """For one try at one medium, redirects included; a video has ten times as long."""
    prepare_timeout_s: float = Field(default=600, gt=0)
    """For all that fetching and converting one job's media takes; then the job fails with ``prepare_timeout``."""
    decode_memory_bytes: int = Field(default=4 * 2**30, ge=2**29)
    """Address space of a process that opens a client's file; the largest picture takes about 1.5 GiB."""
    egress_allow: Annotated[tuple[Network, ...], NoDecode] = ()
    """Networks, comma-separated, that media URLs and webhooks may reach although they are not public; under
    ``thinkqueue up`` loopback."""

    # ── model ──
    model: str = "pocket"
    """``pocket`` (embedded), a folder, or a hub id such as ``zai-org/GLM-4.1V-9B-Thinking``."""
    model_family: str | None = None
    """``pocket``, ``glm-4.1v-thinking`` or ``glm-4.6v-flash``. Default: ``pocket`` for the pocket model,
    ``glm-4.6v-flash`` where ``MODEL`` has "4.6V-Flash" in it, else ``glm-4.1v-thinking``."""
    model_revision: str = "main"
    """Of a hub id: a branch, tag or commit."""
    model_device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto``: the GPU, if there is one."""
    model_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto``: bfloat16 on a GPU, float32 on a CPU."""
    engine_slots: int | None = Field(default=None, ge=1, le=248)
    """Jobs that a generate worker runs at once. Default: 64 on a GPU, 16 on a CPU."""
    engine_kv_gib: float | None = Field(default=None, gt=0)
    """Memory for keys and values. Default: what the model leaves of a GPU, at most 1 GiB on a CPU."""

    # ── webhooks ──
    webhook_secret: SecretStr
    """``whsec_`` and the padded base64 of 24 to 64 bytes; signs every webhook (HMAC-SHA256)."""
    webhook_timeout_s: float = Field(default=15, gt=0, le=45)
    """One attempt; shorter than a keeper's claim on a delivery, a minute."""
    webhook_schedule_scale: float = Field(default=1.0, ge=0)
    """Multiplies the waits between attempts, so that tests need not wait a day."""

    # ── shutdown and stalls ──
    prepare_drain_grace_s: float = Field(default=5, ge=0)
    """How long a prepare worker lets its jobs run after SIGTERM; then it releases them to the queue."""
    generate_drain_grace_s: float = Field(default=15, ge=0)
    """How long a generate worker lets its jobs run after SIGTERM; then it releases them, and another worker resumes
    each from its journal. ``terminationGracePeriodSeconds`` must be at least 30 s longer."""
    engine_stall_timeout_s: float = Field(default=60, gt=0)
    """An engine that finishes no step for this long is stalled: its jobs lose their leases, and ``/livez`` fails."""
    consumer_stall_timeout_s: float = Field(default=45, gt=0)
    """A worker restarts when its Celery consumer receives no wake-up for this long although some are waiting."""
    consumer_check_interval_s: float = Field(default=5, gt=0)
    """How often a worker checks its Celery consumer."""
    consumer_stop_timeout_s: float = Field(default=90, gt=0)
    """How long a worker with a stalled consumer may take to shut down; then it exits at once, and its leases expire."""

    # ── operation ──
    monitor_port: int = Field(default=0, ge=0, le=65_535)
    """Where a process answers ``/livez``, ``/readyz`` and ``/metrics``; 0: nowhere. Each process of a machine needs one
    of its own; ``thinkqueue up`` takes four in a row, for api, cpu, gpu and keeper."""
    monitor_host: str = "127.0.0.1"
    """For the operator and nobody else: stats of the whole service are told there."""
    autoscale_wait_s: float = Field(default=60, gt=0)
    """How long jobs should wait at the most; more workers are wanted when they would wait longer."""
    autoscale_startup_s: float = Field(default=180, ge=0)
    """From the wish for a generate worker to one that is ready: node, image, model."""
    autoscale_idle_s: float = Field(default=300, ge=0)
    """One generate worker is kept while the next job is expected within this time; 0: none is."""

    # ── logs ──
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is less is left out."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """``auto``: pretty on a terminal, JSON elsewhere."""

    @field_validator("egress_allow", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("redis_url", "s3_access_key", "s3_secret_key", "webhook_secret")
    @classmethod
    def _refuse_the_sample(cls, value: SecretStr) -> SecretStr:
        if SAMPLE in value.get_secret_value():
            raise ValueError("is the value of .env.example; make secrets of your own with `thinkqueue secrets`")
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _check_webhook_secret(cls, value: SecretStr) -> SecretStr:
        # An unpadded secret passes standardwebhooks but breaks the openai package's verifier.
        prefix, encoded = value.get_secret_value()[:6], value.get_secret_value()[6:]
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise ValueError("must be whsec_ and padded base64") from error
        if prefix != "whsec_" or not 24 <= len(key) <= 64:
            raise ValueError("must be whsec_ and the padded base64 of 24 to 64 random bytes")
        return value

    @model_validator(mode="after")
    def _check_heartbeat(self) -> Self:
        if self.heartbeat_s > self.lease_s / 3:
            raise ValueError(
                f"HEARTBEAT_S={self.heartbeat_s:g} must be at most a third of LEASE_S={self.lease_s:g}: a slow server "
                "must not cost a worker its jobs; lower HEARTBEAT_S or raise LEASE_S"
            )
        return self

    @model_validator(mode="after")
    def _check_family(self) -> Self:
        if self.family_name not in FAMILIES:
            raise ValueError(f"MODEL_FAMILY={self.model_family!r} is unknown; known: {', '.join(FAMILIES)}")
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
                f"API_HOST={self.api_host!r} is not a loopback address, and without API keys whoever reaches it may "
                "use the service: set AUTH=keys and make one with `thinkqueue keys create`"
            )
        return self

    @property
    def family_name(self) -> str:
        if self.model_family or self.model == "pocket":
            return self.model_family or "pocket"
        return "glm-4.6v-flash" if "4.6v-flash" in self.model.lower() else "glm-4.1v-thinking"

    @cached_property
    def family(self) -> Family:
        return FAMILIES[self.family_name]
