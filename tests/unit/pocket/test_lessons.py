"""Which lessons come how often."""

import argparse

import pytest

from pocket.tasks.pages import Fonts
from pocket.tasks.synthetic_dataset import Course, Lessons
from pocket.training.train import shares


def test_lessons_come_as_often_as_they_are_asked_for() -> None:
    wanted = shares("talk=60,scene=0,pages=0,film=0,count=0")
    kinds: list[str] = []
    lessons = Lessons(5, Fonts(), shares=wanted)
    for _ in range(60):
        kinds += {example.skill for example in lessons.next(Course(), 8)}
    assert not {"pages", "film", "count"} & set(kinds)
    assert kinds.count("talk") > kinds.count("compare") > 0


@pytest.mark.parametrize(
    ("said", "told"),
    [("pages", "NAME=TIMES"), ("pages=x", "NAME=TIMES"), ("pages=-1", "NAME=TIMES"), ("page=3", "pages")],
)
def test_shares_that_cannot_be_read_are_refused(said: str, told: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=told):
        shares(said)
