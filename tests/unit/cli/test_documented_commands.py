"""The commands in the documentation exist, with their options."""

import re
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from cli.main import app

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
HISTORY = {"CHANGELOG.md"}
"""Names commands of earlier versions."""
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
IN_FENCE = re.compile(r"(?:^|bin/|-- |&& |; |exec api |:slim )thinkqueue ([a-z][^`|#\n]*)", re.MULTILINE)
INLINE = re.compile(r"`thinkqueue ([a-z][^`\n]*)`")
OPTION = re.compile(r"(?<!\S)--[a-z][a-z-]*")


def invocations(page: Path) -> list[str]:
    """Return what follows `thinkqueue` in code blocks and in inline code."""
    text = page.read_text("utf-8")
    blocks = [found for block in FENCED.findall(text) for found in IN_FENCE.findall(block)]
    return blocks + INLINE.findall(FENCED.sub("", text))


def options_of(words: list[str]) -> set[str] | None:
    """Return the options of the command that the words begin with; None: there is no such command."""
    command = get_command(app)
    for word in words:
        if not hasattr(command, "get_command"):
            break
        found = command.get_command(typer.Context(command), word)
        if found is None:
            return None
        command = found
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in HISTORY], ids=lambda page: page.name)
def test_each_documented_command_and_option_exists(page: Path) -> None:
    for text in invocations(page):
        options = options_of(text.split())
        assert options is not None, f"there is no command `thinkqueue {text}`"
        unknown = set(OPTION.findall(text)) - options - {"--help"}
        assert not unknown, f"`thinkqueue {text}` has no option {', '.join(unknown)}"


def test_documented_commands_are_found() -> None:
    found = [text for page in PAGES for text in invocations(page)]
    assert len(found) > 40
    assert any("--" in text for text in found)
