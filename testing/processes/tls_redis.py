"""Debian's Redis with TLS only, and the settings of a service that uses it."""

from dataclasses import dataclass
from pathlib import Path

import redis

from testing.certificates import CertificateAuthority

PASSWORD = "tls-password"


@dataclass(frozen=True)
class TlsRedis:
    """Its certificate is for ``localhost``."""

    program: str
    folder: Path
    port: int
    authority: CertificateAuthority
    demands_certificate: bool = False
    """Whether a client needs a certificate of the same authority."""
    acl: str = ""
    """Lines of the configuration that create further users."""
    name: str = "redis"

    def ports(self) -> dict[str, int]:
        return {"REDIS_PORT": self.port}

    def command(self) -> list[str]:
        self.folder.mkdir(parents=True, exist_ok=True)
        certificate, key = self.authority.issue("localhost")
        config = self.folder / "redis.conf"
        config.write_text(
            f"bind 127.0.0.1\nport 0\ntls-port {self.port}\nrequirepass {PASSWORD}\ndir {self.folder}\n"
            f"tls-cert-file {certificate}\ntls-key-file {key}\ntls-ca-cert-file {self.authority.path}\n"
            f"tls-auth-clients {'yes' if self.demands_certificate else 'no'}\n"
            f"appendonly yes\nsave ''\nmaxmemory 256mb\n{self.acl}\n",
            "utf-8",
        )
        return [self.program, str(config)]

    def environment(self) -> dict[str, str]:
        return {}

    def is_ready(self) -> bool:
        try:
            return bool(self.admin().ping())
        except redis.RedisError:
            return False

    def admin(self) -> "redis.Redis":
        """Return a client that may do everything."""
        files = self.client_files()
        return redis.Redis(
            "localhost",
            self.port,
            password=PASSWORD,
            ssl=True,
            ssl_ca_certs=str(self.authority.path),
            ssl_certfile=files["REDIS_CERT_FILE"],
            ssl_keyfile=files["REDIS_KEY_FILE"],
            decode_responses=True,
        )

    def client_files(self) -> dict[str, str]:
        """Return the settings of a client with a certificate."""
        certificate, key = self.authority.issue("client")
        return {"REDIS_CERT_FILE": certificate, "REDIS_KEY_FILE": key}

    def settings(self, user: str = "", password: str = PASSWORD) -> dict[str, str]:
        """Return the settings of a client that trusts the authority, without a certificate of its own."""
        return {
            "REDIS_URL": f"rediss://{user}:{password}@localhost:{self.port}/0",
            "CA_FILE": str(self.authority.path),
        }
