"""Creates the environments of the clients and runs programs in them.

Each client has its own locked requirements, because they exclude each other. An environment is created once and kept in
``.venv/conformance`` until its requirements change.
"""

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
ENVIRONMENTS, PROGRAMS = FOLDER / "environments", FOLDER / "programs"
CACHE = FOLDER.parents[1] / ".venv" / "conformance"
INSTALL_LIMIT_S, PROGRAM_LIMIT_S = 240, 120
READY = "ready"

Outcome = dict[str, str]
"""By feature: ``ok``, or what went wrong."""


@dataclass(frozen=True)
class Client:
    """A client and the program that uses it."""

    name: str
    """For people."""
    environment: str
    """The name of its requirements in ``environments``."""
    program: str
    mode: str = "default"
    """``strict``: the client validates each reply and each event."""


CLIENTS = (
    Client("openai 3.57 (Python)", "openai-3", "openai_chat.py"),
    Client("openai 3.57, strict", "openai-3", "openai_chat.py", "strict"),
    Client("openai 2.54 (Python)", "openai-2", "openai_chat.py"),
    Client("openai 2.54, strict", "openai-2", "openai_chat.py", "strict"),
    Client("openai 1.109 (Python)", "openai-1", "openai_chat.py"),
    Client("openai 1.109, strict", "openai-1", "openai_chat.py", "strict"),
    Client("openai 7.57 (JavaScript)", "openai-js", "openai_chat.mjs"),
    Client("openai 3.57 (Python)", "openai-3", "openai_responses.py"),
    Client("openai 3.57, strict", "openai-3", "openai_responses.py", "strict"),
    Client("openai 3.57 (Python)", "openai-3", "openai_files.py"),
    Client("openai 3.57, strict", "openai-3", "openai_files.py", "strict"),
    Client("openai 3.57 (Python)", "openai-3", "openai_batches.py"),
    Client("openai 3.57, strict", "openai-3", "openai_batches.py", "strict"),
    Client("openai 2.54 (Python)", "openai-2", "openai_responses.py"),
    Client("openai 2.54, strict", "openai-2", "openai_responses.py", "strict"),
    Client("openai 2.54 (Python)", "openai-2", "openai_files.py"),
    Client("openai 2.54, strict", "openai-2", "openai_files.py", "strict"),
    Client("openai 2.54 (Python)", "openai-2", "openai_batches.py"),
    Client("openai 2.54, strict", "openai-2", "openai_batches.py", "strict"),
    Client("openai 1.109 (Python)", "openai-1", "openai_responses.py"),
    Client("openai 1.109, strict", "openai-1", "openai_responses.py", "strict"),
    Client("openai 1.109 (Python)", "openai-1", "openai_files.py"),
    Client("openai 1.109, strict", "openai-1", "openai_files.py", "strict"),
    Client("openai 1.109 (Python)", "openai-1", "openai_batches.py"),
    Client("openai 1.109, strict", "openai-1", "openai_batches.py", "strict"),
    Client("openai 7.57 (JavaScript)", "openai-js", "openai_responses.mjs"),
    Client("langchain-openai 1.7", "langchain", "langchain_chat.py"),
)


def run_client(client: Client, url: str) -> Outcome:
    """Run a client's program in its environment against a service, and return the outcome of each feature."""
    program = PROGRAMS / client.program
    if program.suffix == ".mjs":
        folder = _environment(client.environment, ENVIRONMENTS / client.environment / "package-lock.json", _install_npm)
        copy = folder / program.name  # Node looks for packages beside the program
        shutil.copyfile(program, copy)
        command = ["node", str(copy)]
    else:
        folder = _environment(client.environment, ENVIRONMENTS / f"{client.environment}.txt", _install_pip)
        command = [str(folder / "bin" / "python"), str(program)]
    result = subprocess.run(
        [*command, f"{url}/v1", client.mode], capture_output=True, text=True, timeout=PROGRAM_LIMIT_S, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    outcome = json.loads(result.stdout.splitlines()[-1])
    return {str(name): str(said) for name, said in outcome.items()}


def _environment(name: str, requirements: Path, install: Callable[[Path, Path], None]) -> Path:
    """Return the folder of an environment, which is created if it does not exist."""
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = CACHE / f"{name}-{digest}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of pytest-xdist may create it too
        if not (folder / READY).exists():
            shutil.rmtree(folder, ignore_errors=True)
            install(folder, requirements)
            (folder / READY).touch()
    return folder


def _install_pip(folder: Path, requirements: Path) -> None:
    venv.create(folder, with_pip=True)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--no-deps", "-r", str(requirements)]
    subprocess.run(command, check=True, timeout=INSTALL_LIMIT_S)


def _install_npm(folder: Path, lock: Path) -> None:
    shutil.copytree(lock.parent, folder)
    subprocess.run(["npm", "ci", "--silent", "--no-audit"], cwd=folder, check=True, timeout=INSTALL_LIMIT_S)
