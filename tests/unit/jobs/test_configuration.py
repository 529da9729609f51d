"""The page of settings is what the settings are."""

from pathlib import Path

import pytest

from runtime.settings import Settings
from runtime.settings_doc import groups, page

ROOT = Path(__file__).parents[3]


def test_the_page_is_not_stale() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text("utf-8") == page(), "run `make docs`"


def test_every_setting_stands_in_one_group() -> None:
    names = [name for _, group in groups() for name in group]
    assert sorted(names) == sorted(Settings.model_fields)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_it_is(name: str) -> None:
    assert Settings.model_fields[name].description, f"{name} has no docstring"
