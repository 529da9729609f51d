"""docs/configuration.md describes every setting."""

from pathlib import Path

import pytest

from runtime.settings import Settings
from runtime.settings.page import groups, page

ROOT = Path(__file__).parents[3]


def test_the_settings_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "configuration.md").read_text("utf-8") == page(), "run `make docs`"


def test_every_setting_is_in_exactly_one_group() -> None:
    names = [name for _, group in groups() for name in group]
    assert sorted(names) == sorted(Settings.model_fields)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_description(name: str) -> None:
    assert Settings.model_fields[name].description, f"{name} has no docstring"
