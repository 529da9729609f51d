"""The training command as a process: start from published weights, resume from a checkpoint, publish."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pocket.model import WEIGHTS
from pocket.training.publish import load_published


def train(run: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    options = ("--device=cpu", "--seconds=0.5", "--plan=60", "--batch=8", "--only=chitchat", "--workers=0")
    return python("pocket.training.train", run, *options, *more)


def python(module: str, *arguments: "Path | str") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_training_starts_from_a_published_model_and_resumes(tmp_path: Path) -> None:
    run, folder = tmp_path / "run", tmp_path / "weights"
    for _ in range(2):
        ended = train(run, "--start", str(WEIGHTS), "--bfloat16")
        assert ended.returncode == 0, ended.stderr
    state = json.loads((run / "checkpoint" / "state.json").read_text("utf-8"))
    assert state["step"] >= 2
    assert state["seconds"] >= 1

    without = train(run)
    assert without.returncode == 1
    assert "resumed with --start" in without.stderr

    ended = python("pocket.training.publish", run, folder)
    assert ended.returncode == 0, ended.stderr
    before, after = load_published(WEIGHTS), load_published(folder)
    assert before.keys() == after.keys()
    words = "lm_head.weight"
    assert not before[words].equal(after[words])
    assert after[words].numpy() == pytest.approx(before[words].numpy(), abs=0.05), "close to the initial weights"
