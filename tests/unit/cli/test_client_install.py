"""``pip install '.[client]'`` installs httpx, rich and typer: enough for the commands of a client."""

import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cli.main import COMMANDS

ROOT = Path(__file__).parents[3]
CLIENT_COMMANDS = ("submit", "watch", "result", "cancel", "jobs", "batch", "secrets")
OWN_PACKAGES = {"cli", "jobs", "runtime"}
RUN = """
import sys
sys.path[:] = sys.argv.pop(1).split("|")
from cli.main import app
app()
"""


@pytest.fixture(scope="session")
def client_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A module search path with the standard library, this package and what it requires without an extra."""
    folder = tmp_path_factory.mktemp("client")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    queue = [Requirement(line).name for line in project["dependencies"]]
    linked: set[str] = set()
    while queue:
        name = queue.pop()
        if name in linked:
            continue
        linked.add(name)
        found = distribution(name)
        required = (Requirement(line) for line in found.requires or ())
        queue += [one.name for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]
        for top in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(found.locate_file(top))))
    for name in OWN_PACKAGES:
        (folder / name).symlink_to(ROOT / name)
    standard = [entry for entry in sys.path if "site-packages" not in entry and entry.startswith(sys.base_prefix)]
    return "|".join([str(folder), *standard])


def thinkqueue(path: str, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-I", "-S", "-c", RUN, path, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("command", CLIENT_COMMANDS)
def test_a_client_command_needs_no_extra(client_path: str, command: str) -> None:
    done = thinkqueue(client_path, command, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
    assert "Not available" not in done.stdout


def test_a_client_command_calls_the_service(client_path: str, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "Hi."}\n', "utf-8")
    for words in (("submit", "Hi."), ("watch", "job_x"), ("jobs",), ("batch", str(prompts), "--max-wait", "0")):
        done = thinkqueue(client_path, *words, "--url", "http://127.0.0.1:9")
        assert done.returncode == 1
        assert "http://127.0.0.1:9 does not answer" in done.stderr


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - set(CLIENT_COMMANDS)))
def test_a_server_command_names_the_extra_that_is_missing(client_path: str, command: str) -> None:
    done = thinkqueue(client_path, command, "--once", "any argument")
    assert done.returncode == 1
    assert f"thinkqueue {command}: this command needs thinkqueue[server]" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_lists_every_command_without_the_server_packages(client_path: str) -> None:
    done = thinkqueue(client_path, "--help")
    assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        assert command in done.stdout
    unavailable = done.stdout.count("Not available: needs thinkqueue with the extra `server`")
    assert unavailable == len(COMMANDS) - len(CLIENT_COMMANDS)
