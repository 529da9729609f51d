"""What commands say on a terminal: answers on stdout, everything else on stderr, so that pipes get answers only."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import typer
from rich.console import Console

from cli.client.client import Refused
from cli.errors import CommandError
from jobs.errors import ThinkqueueError

tell = Console(stderr=True, soft_wrap=True, highlight=False)


def printable(text: str) -> str:
    """Without what a terminal would obey: what a model says is a stranger's text."""
    return "".join(sign for sign in text if sign.isprintable() or sign in "\n\t")


def say(text: str) -> None:
    """To stdout: as it is into a file or pipe, harmless on a terminal."""
    sys.stdout.write((printable(text) if sys.stdout.isatty() else text).rstrip("\n") + "\n")
    sys.stdout.flush()


def failed(message: str) -> typer.Exit:
    tell.print(message, style="red", markup=False)
    return typer.Exit(1)


@contextmanager
def told() -> Iterator[None]:
    """Errors that a person can do something about, as one line instead of a traceback."""
    try:
        yield
    except (Refused, CommandError, httpx.HTTPError) as error:
        raise failed(str(error)) from error
    except ThinkqueueError as error:
        raise failed(f"{error.code}: {error.message}") from error
