"""The wheel works where this repository is not: every module imports, and every data file is there."""

import json
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest

from testing.processes.wheel import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PACKAGES = [name.removesuffix("*") for name in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]]
IMPORT_ALL = """
import importlib, json, pkgutil, sys
imported, missing = [], []
def fail(name):
    raise ImportError(name)
for package in json.loads(sys.argv[1]):
    module = importlib.import_module(package)
    for found in pkgutil.walk_packages(module.__path__, package + ".", onerror=fail):
        try:
            imported.append([found.name, importlib.import_module(found.name).__file__])
        except ModuleNotFoundError as error:
            missing.append(error.name)
print(json.dumps([imported, missing]))
"""


def test_the_wheel_has_every_file_of_its_packages(wheel: Path) -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == files
    assert {
        "jobs/table/lua/execution/claim.lua",
        "cli/commands/shapes.png",
        "pocket/weights/model.safetensors",
    } <= packed


@pytest.mark.timeout(300)  # it imports torch and transformers: 62 s with eight other processes on two cores
def test_every_module_imports_from_the_installed_wheel(installed: Path, tmp_path: Path) -> None:
    command = [str(installed / "python"), "-I", "-c", IMPORT_ALL, json.dumps(PACKAGES)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    imported, missing = json.loads(done.stdout)
    assert set(missing) <= {"triton"}, "triton is a part of torch's builds for GPUs"
    assert all(Path(file).is_relative_to(installed.parent) for _, file in imported)
    expected = sum(path.name != "__init__.py" for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    assert len([name for name, file in imported if not file.endswith("__init__.py")]) + len(missing) == expected


def test_the_installed_command_runs(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(installed / "thinkqueue"), "secrets"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WEBHOOK_SECRET=whsec_" in done.stdout
