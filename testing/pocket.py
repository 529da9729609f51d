"""Fixtures with the untrained pocket model, which thinks until it is stopped. Built and loaded once per session."""

import os
from pathlib import Path

import pytest
import torch

from engine import Engine
from engine.loading.model_loader import LoadedModel, load_model
from families import FAMILIES
from pocket.training.untrained import build

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # every xdist worker has its own process


@pytest.fixture(scope="session")
def pocket_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("model") / "pocket")


@pytest.fixture(scope="session")
def pocket_model(pocket_folder: Path) -> LoadedModel:
    """In float32 on the CPU, where equal input gives bitwise equal output."""
    return load_model(str(pocket_folder), revision="main", device="cpu", dtype="float32", family=FAMILIES["pocket"])


@pytest.fixture(scope="session")
def pocket_engine(pocket_model: LoadedModel) -> Engine:
    """Default limits, on ``pocket_model``."""
    return Engine(pocket_model)
