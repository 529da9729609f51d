"""All settings, read once from the environment when a process starts. An invalid value prevents the start."""

import base64
import binascii
import re
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from families import FAMILIES, Family
from runtime.networks.loopback import without_loopback
from runtime.redis.location import parse_redis_url
from runtime.redis.server import RedisServer
from runtime.redis.tls import RedisTls, check_authorities, check_client_certificate
from runtime.settings.server_urls import check_bucket, check_endpoint, check_region

Network = IPv4Network | IPv6Network
SAMPLE = "change-me"
AUTOSCALE_KEY = re.compile(r"[\x21-\x7e]{24,200}")


class Settings(BaseSettings):
    """The settings of all processes. The names of the environment variables are those of the fields, in capitals.

    docs/configuration.md is generated from the fields and their docstrings (runtime/settings/page.py).
    """

    # An error must not show the value: it may contain a password.
    model_config = SettingsConfigDict(
        extra="ignore", frozen=True, env_ignore_empty=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )

    # ── servers ──
    redis_url: SecretStr
    """``redis://[[user]:password@]host:port/db``, ``rediss://`` for TLS, or Sentinels with
    ``redis+sentinel://[[user]:password@]host:port,host:port,host:port/db?master=NAME`` (``rediss+sentinel://`` for
    TLS; ``sentinel_username`` and ``sentinel_password`` are parameters). Valkey uses the same schemes. Redis 7.0 or
    newer, policy ``noeviction``; see docs/deploy.md."""
    redis_cert_file: Path | None = None
    """PEM file with the client's certificate, for a Redis with TLS that demands one. ``CA_FILE`` has Redis' authority,
    if it is your own."""
    redis_key_file: Path | None = None
    """PEM file with the private key of ``REDIS_CERT_FILE``, without a password. Default: it is in the same file."""
    s3_endpoint: str
    """URL of the object store for the service's processes, ``http(s)://host:port``, without a path."""
    s3_public_endpoint: str | None = None
    """URL of the object store for clients; presigned URLs have this host. Default: ``S3_ENDPOINT``."""
    s3_credentials: Literal["static", "environment"] = "static"
    """``static``: ``S3_ACCESS_KEY`` and ``S3_SECRET_KEY``. ``environment``: keys as AWS' own clients find them, in this
    order: ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY`` and ``AWS_SESSION_TOKEN``; a web identity
    (``AWS_WEB_IDENTITY_TOKEN_FILE``, ``AWS_ROLE_ARN``: IAM roles for service accounts); a container (EKS Pod Identity,
    ECS); the instance. Those of a session are renewed at half of its time. Links to objects end with the session whose
    keys signed them, at the latest after 24 hours: read the job again for new ones."""
    s3_sts_endpoint: str | None = None
    """With ``S3_CREDENTIALS=environment``, URL of the server that issues the keys of a session, such as the STS of
    another vendor's store. Default: AWS'."""
    s3_access_key: SecretStr = SecretStr("")
    """Access key of the object store, with ``S3_CREDENTIALS=static``. It must allow to read, write, list and delete
    objects and to set the bucket's lifecycle."""
    s3_secret_key: SecretStr = SecretStr("")
    """Secret key that belongs to ``S3_ACCESS_KEY``."""
    s3_bucket: str = "thinkqueue"
    """``thinkqueue init`` creates it, unless it is called with ``--no-bucket``."""
    s3_lifecycle: Literal["managed", "external"] = "managed"
    """``managed``: ``thinkqueue init`` and each keeper that starts set the bucket's lifecycle rules, and keep those of
    others. ``external``: you set them, as ``thinkqueue init --no-lifecycle`` prints them; the keys need no permission
    for them then."""
    s3_region: str = "us-east-1"
    """Region of the object store; part of the signature of every presigned URL."""

    # ── api ──
    auth: Literal["none", "keys"] = "none"
    """``keys``: every request needs an API key. ``none``: anyone who can connect may use the service, so ``API_HOST``
    must be a loopback address."""
    api_keys_file: Path | None = None
    """JSON list of API keys to create at start unless they exist or existed: a key that was revoked, or was rotated and
    has expired, does not return. The fields are described in docs/api.md."""
    autoscale_key: SecretStr | None = None
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
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated host names of the API, such as ``queue.example.com``; another ``Host`` header gets a 421.
    Default: with ``AUTH=none`` the loopback addresses and ``localhost``, which stops web pages that point their own
    name to this machine (DNS rebinding); with ``AUTH=keys`` every name."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated origins, such as ``https://app.example.com``, whose web pages may call the API (CORS), or ``*``
    for all, which requires ``AUTH=keys``. Default: none."""
    max_waiting_jobs: int = Field(default=100_000, ge=1)
    """Waiting jobs of all tenants in all stages. The next job gets a 429."""

    # ── jobs ──
    job_expires_s: int = Field(default=24 * 3600, ge=1)
    """Default deadline: a job that no generate worker has started by then ends as ``expired``."""
    retention_days: int = Field(default=7, ge=1)
    """How long an ended job can be read. Lifecycle rules delete each object after this, the longest wait of a job
    (7 days, or ``JOB_EXPIRES_S`` if that is longer) and 2 days, counted from its creation."""
    lease_s: float = Field(default=15, gt=0)
    """How long a worker keeps a claimed job without a heartbeat; then the keeper returns the job to its queue."""
    heartbeat_s: float = Field(default=3, gt=0)
    """Interval at which a worker renews the leases of its jobs; at most a third of ``LEASE_S``."""

    # ── inputs ──
    max_image_bytes: int = Field(default=20 * 2**20, ge=1_024)
    """The largest image file."""
    max_image_pixels: int = Field(default=100_000_000, ge=1)
    """The largest number of pixels. A larger image is refused before it is decoded."""
    max_document_bytes: int = Field(default=50 * 2**20, ge=1_024)
    """The largest document file."""
    max_video_bytes: int = Field(default=2**30, ge=1_024)
    """The largest video file."""
    fetch_timeout_s: float = Field(default=30, gt=0)
    """Time limit of one attempt to fetch a media file, including redirects. A video has ten times as long."""
    prepare_timeout_s: float = Field(default=600, gt=0)
    """Time limit to fetch and convert all media of a job. Then the job fails with ``prepare_timeout``."""
    prepare_slots: int = Field(default=32, ge=2, le=512)
    """Jobs that a prepare worker has at the same time. Most of them wait for media; one tenant has at most half."""
    decoders: int | None = Field(default=None, ge=1, le=256)
    """Files that a prepare worker opens at the same time. Default: the CPUs that it may use (affinity and the CPU limit
    of its control group), at least 2, and no more than its memory holds. Half as many more are kept for tenants that
    have none open."""
    sandbox: Literal["required", "off"] = "required"
    """``required``: a prepare worker does not start where it cannot confine what opens clients' files (Landlock and
    seccomp). ``off``: only time and memory are limited, and slides are refused; see docs/security.md."""
    decode_memory_bytes: int = Field(default=4 * 2**30, ge=2**29)
    """Address space of a process that opens a client's file. The largest image needs about 1.5 GiB. A file that needs
    more than 512 MiB waits until the worker has memory for it, so that all files together stay below its memory
    limit; see docs/capacity.md."""
    prepare_memory_bytes: int | None = Field(default=None, ge=2**30)
    """Memory of a prepare worker and all that it starts. Default: the memory limit of its control group, or half of the
    machine's memory, whichever is smaller."""
    scratch_bytes: int | None = Field(default=None, ge=2**30)
    """Space that the files of all jobs of a prepare worker take in its temporary folder; further jobs wait. Default:
    half of what is free there at its start. In Kubernetes, less than the ``sizeLimit`` of ``/tmp``."""
    egress_allow: Annotated[tuple[Network, ...], NoDecode] = ()
    """Comma-separated networks that media URLs and webhooks may reach although they are not public. ``thinkqueue up``
    allows loopback. With ``AUTH=keys``, loopback also needs ``EGRESS_LOOPBACK_WITH_KEYS``."""

    egress_loopback_with_keys: bool = False
    """With ``AUTH=keys``, allow the loopback networks of ``EGRESS_ALLOW``. Otherwise they are ignored: a tenant could
    reach the servers on this machine."""
    ca_file: Path | None = None
    """PEM file with certificate authorities, for instance your company's, that are trusted in addition to the
    well-known ones: for media, webhooks, result copies, the object store, and a Redis with TLS."""

    # ── model ──
    model: str = "pocket"
    """``pocket`` (the embedded model), a folder, or a Hugging Face id such as ``zai-org/GLM-4.1V-9B-Thinking``."""
    model_aliases: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated further names of the model, such as ``gpt-5``, for OpenAI's clients whose model name is fixed."""
    model_family: str | None = None
    """``pocket``, ``glm-4.1v-thinking`` or ``glm-4.6v-flash``. Default: ``pocket`` for the pocket model,
    ``glm-4.6v-flash`` when ``MODEL`` contains "4.6V-Flash", otherwise ``glm-4.1v-thinking``."""
    model_revision: str = "main"
    """Branch, tag or commit of a Hugging Face id."""
    model_device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto``: the GPU if there is one, otherwise the CPU."""
    model_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto``: bfloat16 on a GPU, float32 on a CPU."""
    engine_slots: int | None = Field(default=None, ge=1, le=248)
    """Jobs that a generate worker runs at the same time. Default: 64 on a GPU, 16 on a CPU."""
    engine_kv_gib: float | None = Field(default=None, gt=0)
    """Size of the KV cache. Default: the GPU memory that the model leaves free, or at most 1 GiB on a CPU."""

    # ── webhooks ──
    webhook_secret: SecretStr
    """``whsec_`` and the padded base64 of 24 to 64 bytes. The secret of each tenant, which signs its
    webhooks, is derived from it; ``thinkqueue keys webhook-secret`` prints one."""
    webhook_timeout_s: float = Field(default=15, gt=0, le=45)
    """Time limit of one attempt; shorter than a keeper's claim on a delivery, which is one minute."""
    webhook_schedule_scale: float = Field(default=1.0, ge=0)
    """Factor for the waits between attempts; tests use a small one."""

    # ── shutdown and stalls ──
    prepare_drain_grace_s: float = Field(default=5, ge=0)
    """How long a prepare worker lets its jobs run after SIGTERM; then it releases them to the queue."""
    generate_drain_grace_s: float = Field(default=15, ge=0)
    """How long a generate worker lets its jobs run after SIGTERM; then it releases them, and another worker resumes
    each from its journal. ``terminationGracePeriodSeconds`` must be at least 30 s longer."""
    engine_stall_timeout_s: float = Field(default=60, gt=0)
    """An engine that finishes no step for this long is stalled: its jobs lose their leases, and ``/livez`` fails."""
    keeper_stall_timeout_s: float = Field(default=180, gt=0)
    """A keeper whose maintenance does not complete a run for this long is stalled: ``/livez`` fails. A run ends at most
    a hundred jobs, and each of its calls has a time limit."""
    stall_exit_s: float = Field(default=60, ge=0)
    """A keeper or generate worker that is stalled for this long, beyond the time limits above, logs the stacks of its
    threads and exits with status 1, so that a supervisor without probes restarts it. 0: it goes on."""
    consumer_stall_timeout_s: float = Field(default=45, gt=0)
    """A worker restarts when its Celery consumer receives no wake-up for this long although some are waiting."""
    consumer_check_interval_s: float = Field(default=5, gt=0)
    """How often a worker checks its Celery consumer."""
    consumer_stop_timeout_s: float = Field(default=90, gt=0)
    """How long a worker with a stalled consumer may take to shut down; then it exits at once, and its leases expire."""

    # ── operation ──
    monitor_port: int = Field(default=0, ge=0, le=65_535)
    """Port on which a process serves ``/livez``, ``/readyz`` and ``/metrics``; 0: none. Each process on a machine needs
    its own. ``thinkqueue up`` uses four consecutive ports, for api, prepare, generate and keeper."""
    monitor_host: str = "127.0.0.1"
    """Address for ``MONITOR_PORT``. Keep it private: it serves statistics of the whole service."""
    autoscale_wait_s: float = Field(default=60, gt=0)
    """The longest that jobs should wait. More workers are wanted when jobs would wait longer."""
    autoscale_startup_s: float = Field(default=180, ge=0)
    """Time from the request for a generate worker until it is ready: node, image, model."""
    autoscale_idle_s: float = Field(default=300, ge=0)
    """One idle generate worker is kept while the next job is expected within this time; 0: none is kept."""

    # ── logs ──
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum log level."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """``auto``: ``console`` on a terminal, ``json`` otherwise."""

    @field_validator("egress_allow", "allowed_hosts", "cors_origins", "model_aliases", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("autoscale_key")
    @classmethod
    def _check_autoscale_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not AUTOSCALE_KEY.fullmatch(value.get_secret_value()):
            raise ValueError("must have 24 to 200 visible ASCII characters and no spaces")
        return value

    @field_validator("redis_url", "s3_access_key", "s3_secret_key", "webhook_secret", "autoscale_key")
    @classmethod
    def _refuse_sample_value(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and SAMPLE in value.get_secret_value():
            raise ValueError("is the sample value of .env.example; generate secrets with `thinkqueue secrets`")
        return value

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: SecretStr) -> SecretStr:
        parse_redis_url(value.get_secret_value())
        return value

    @field_validator("s3_endpoint", "s3_public_endpoint", "s3_sts_endpoint")
    @classmethod
    def _check_endpoint(cls, value: str | None) -> str | None:
        return None if value is None else check_endpoint(value)

    @field_validator("s3_bucket")
    @classmethod
    def _check_bucket(cls, value: str) -> str:
        return check_bucket(value)

    @field_validator("s3_region")
    @classmethod
    def _check_region(cls, value: str) -> str:
        return check_region(value)

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            parts = urlsplit(origin)
            if origin != "*" and (not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}"):
                raise ValueError(f"{origin!r} is not an origin such as https://app.example.com, without a path")
        return tuple(origin.lower() for origin in value)

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

    @field_validator("ca_file")
    @classmethod
    def _check_ca_file(cls, value: Path | None) -> Path | None:
        if value is not None:
            check_authorities(value)
        return value

    @model_validator(mode="after")
    def _check_redis_certificate(self) -> Self:
        if self.redis_cert_file and not parse_redis_url(self.redis_url.get_secret_value()).has_tls:
            raise ValueError("REDIS_CERT_FILE needs TLS: write rediss:// or rediss+sentinel:// in REDIS_URL")
        check_client_certificate(self.redis_cert_file, self.redis_key_file)
        tls = parse_redis_url(self.redis_url.get_secret_value()).tls
        check_client_certificate(tls.cert_file, tls.key_file)
        if tls.ca_file is not None:
            check_authorities(tls.ca_file)
        return self

    @model_validator(mode="after")
    def _check_credentials(self) -> Self:
        has_keys = self.s3_access_key.get_secret_value() and self.s3_secret_key.get_secret_value()
        if self.s3_credentials == "static" and not has_keys:
            raise ValueError(
                "S3_ACCESS_KEY and S3_SECRET_KEY are required; set them, or S3_CREDENTIALS=environment for a role"
            )
        return self

    @model_validator(mode="after")
    def _check_heartbeat(self) -> Self:
        if self.heartbeat_s > self.lease_s / 3:
            raise ValueError(
                f"HEARTBEAT_S={self.heartbeat_s:g} must be at most a third of LEASE_S={self.lease_s:g}: a slow server "
                "must not cost a worker its jobs; lower HEARTBEAT_S or raise LEASE_S"
            )
        return self

    @model_validator(mode="after")
    def _check_open_uploads(self) -> Self:
        if self.max_open_upload_bytes < self.max_upload_bytes:
            raise ValueError(
                f"MAX_OPEN_UPLOAD_BYTES={self.max_open_upload_bytes} must be at least "
                f"MAX_UPLOAD_BYTES={self.max_upload_bytes}: raise it, or lower MAX_UPLOAD_BYTES"
            )
        return self

    @model_validator(mode="after")
    def _check_family(self) -> Self:
        if self.family_name not in FAMILIES:
            raise ValueError(f"MODEL_FAMILY={self.model_family!r} is unknown; known: {', '.join(FAMILIES)}")
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

    @property
    def redis_server(self) -> RedisServer:
        """How every client connects to Redis: the wake-ups of Celery too."""
        location = parse_redis_url(self.redis_url.get_secret_value())
        if not location.has_tls:
            return RedisServer(location, None)
        given = location.tls
        pair = (given.cert_file, given.key_file) if given.cert_file else (self.redis_cert_file, self.redis_key_file)
        tls = RedisTls(self.ca_file, *pair, given.ca_file, given.verifies_certificate, given.verifies_host)
        return RedisServer(location, tls)

    @property
    def egress_networks(self) -> tuple[Network, ...]:
        """``egress_allow``, without loopback when tenants with keys choose the URLs."""
        if self.auth == "none" or self.egress_loopback_with_keys:
            return self.egress_allow
        return without_loopback(self.egress_allow)

    @property
    def model_names(self) -> tuple[str, ...]:
        """The names under which clients may ask for the model."""
        return (self.model, *self.model_aliases)

    @property
    def family_name(self) -> str:
        if self.model_family or self.model == "pocket":
            return self.model_family or "pocket"
        return "glm-4.6v-flash" if "4.6v-flash" in self.model.lower() else "glm-4.1v-thinking"

    @cached_property
    def family(self) -> Family:
        return FAMILIES[self.family_name]
