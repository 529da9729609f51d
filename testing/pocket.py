"""The untrained pocket model, which thinks until its budget ends, and an engine that has loaded it."""

from pathlib import Path

import pytest

from engine import Engine
from families import FAMILIES
from pocket.training.untrained import build


@pytest.fixture(scope="session")
def pocket_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("model") / "pocket")


@pytest.fixture(scope="session")
def pocket_engine(pocket_folder: Path) -> Engine:
    """float32 on the CPU, where equal inputs give bit-identical outputs."""
    return Engine.load(str(pocket_folder), revision="main", device="cpu", dtype="float32", family=FAMILIES["pocket"])
