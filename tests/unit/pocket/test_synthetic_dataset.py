"""The frequency of tasks in the generated dataset."""

import argparse
import os
import subprocess
import sys

import pytest

from pocket.tasks.pages import Fonts
from pocket.tasks.synthetic_dataset import Curriculum, SyntheticDataset
from pocket.training.train import parse_shares


def test_shares_change_the_frequency_of_tasks() -> None:
    shares = parse_shares("chitchat=60,scene=0,pages=0,video=0,count=0")
    kinds: list[str] = []
    dataset = SyntheticDataset(5, Fonts(), shares=shares)
    for _ in range(60):
        kinds += {example.skill for example in dataset.next_examples(Curriculum(), 8)}
    assert not {"pages", "video", "count"} & set(kinds)
    assert kinds.count("chitchat") > kinds.count("compare") > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [("pages", "NAME=TIMES"), ("pages=x", "NAME=TIMES"), ("pages=-1", "NAME=TIMES"), ("page=3", "pages")],
)
def test_invalid_shares_are_rejected(text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        parse_shares(text)


def test_a_seed_gives_the_same_examples_in_every_process() -> None:
    script = (
        "from pocket.tasks.pages import Fonts\n"
        "from pocket.tasks.synthetic_dataset import Curriculum, SyntheticDataset\n"
        "dataset = SyntheticDataset(7, Fonts(), only=['scene'])\n"
        "print([example.thought for _ in range(6) for example in dataset.next_examples(Curriculum(), 8)])\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1
