"""The settings of Redis, the object store, and the authorities that are trusted."""

from pathlib import Path
from typing import Literal, Self

from pydantic import SecretStr, field_validator, model_validator

from runtime.redis.location import parse_redis_url
from runtime.redis.server import RedisServer
from runtime.redis.tls import RedisTls, check_authorities, check_client_certificate
from runtime.settings.fields import Secret, SettingsGroup
from runtime.settings.server_urls import check_bucket, check_endpoint, check_endpoint_region, check_region


class ServerSettings(SettingsGroup):
    """Redis, the object store, and the authorities that are trusted."""

    redis_url: Secret
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
    s3_access_key: Secret = SecretStr("")
    """Access key of the object store, with ``S3_CREDENTIALS=static``. It must allow to read, write, list and delete
    objects and to set the bucket's lifecycle."""
    s3_secret_key: Secret = SecretStr("")
    """Secret key that belongs to ``S3_ACCESS_KEY``."""
    s3_bucket: str = "thinkqueue"
    """``thinkqueue init`` creates it, unless it is called with ``--no-bucket``."""
    s3_lifecycle: Literal["managed", "external"] = "managed"
    """``managed``: ``thinkqueue init`` and each keeper that starts set the bucket's lifecycle rules, and keep those of
    others. ``external``: you set them, as ``thinkqueue init --no-lifecycle`` prints them; the keys need no permission
    for them then."""
    s3_region: str = "us-east-1"
    """Region of the object store; part of the signature of every presigned URL. That of an endpoint at AWS."""
    ca_file: Path | None = None
    """PEM file with certificate authorities, for instance your company's, that are trusted in addition to the
    well-known ones: for media, webhooks, result copies, the object store, and a Redis with TLS."""

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
    def _check_endpoint_regions(self) -> Self:
        for name in ("s3_endpoint", "s3_public_endpoint"):
            if (url := getattr(self, name)) is not None:
                try:
                    check_endpoint_region(url, self.s3_region)
                except ValueError as error:
                    raise ValueError(f"{name.upper()} {error}") from None
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
