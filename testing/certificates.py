"""Certificate authorities for tests of TLS, made by the ``openssl`` program."""

import ssl
import subprocess
from pathlib import Path

CONFIG = """
[ca]
default_ca = authority
[authority]
database = {folder}/index.txt
serial = {folder}/serial
new_certs_dir = {folder}
certificate = {folder}/ca.pem
private_key = {folder}/ca.key
default_md = sha256
policy = policy
unique_subject = no
copy_extensions = copy
[policy]
commonName = supplied
[req]
distinguished_name = name
[name]
"""
KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
VALID = ("20200101000000Z", "20500101000000Z")
EXPIRED = ("20200101000000Z", "20210101000000Z")
FUTURE = ("20490101000000Z", "20500101000000Z")


class CertificateAuthority:
    """An authority in a folder of its own; ``path`` is its certificate."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.path = folder / "ca.pem"
        (folder / "openssl.cnf").write_text(CONFIG.format(folder=folder), "utf-8")
        (folder / "index.txt").touch()
        (folder / "serial").write_text("01\n", "utf-8")
        extensions = "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign"
        self._openssl(
            f"req -x509 {KEY} -days 30 -subj /CN=Test-CA {extensions} -keyout {folder}/ca.key -out {self.path}"
        )

    def server_context(self, name: str, validity: tuple[str, str] = VALID) -> ssl.SSLContext:
        """Return a context with a certificate for a host name."""
        return _server_context(*self.issue(name, validity))

    def issue(self, name: str, validity: tuple[str, str] = VALID) -> tuple[str, str]:
        """Return the files of a certificate for a host name, and of its key.

        Args:
            validity: from and to, as ``openssl ca`` takes them.
        """
        stem = self._folder / f"{name}-{validity[1]}"
        self._openssl(
            f"req {KEY} -subj /CN={name} -addext subjectAltName=DNS:{name} -keyout {stem}.key -out {stem}.csr"
        )
        dates = f"-startdate {validity[0]} -enddate {validity[1]}"
        self._openssl(f"ca -batch -notext {dates} -in {stem}.csr -out {stem}.pem")
        return f"{stem}.pem", f"{stem}.key"

    def self_signed_context(self, name: str) -> ssl.SSLContext:
        stem = self._folder / f"{name}-self-signed"
        names = f"-subj /CN={name} -addext subjectAltName=DNS:{name}"
        self._openssl(f"req -x509 {KEY} -days 30 {names} -keyout {stem}.key -out {stem}.pem")
        return _server_context(f"{stem}.pem", f"{stem}.key")

    def _openssl(self, words: str) -> None:
        command, *rest = words.split()
        config = ["-config", str(self._folder / "openssl.cnf")]
        subprocess.run(["openssl", command, *config, *rest], check=True, capture_output=True, timeout=30)


def _server_context(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context
