"""Terminal output: answers go to stdout, everything else to stderr, so that a pipe receives answers only."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

from cli.errors import ApiError, CommandError
from jobs.errors import ThinkqueueError

NO_LIMIT = 100_000
"""Columns; more than any table has."""

stderr = Console(stderr=True, soft_wrap=True, highlight=False)


def printable(text: str) -> str:
    """Remove control characters, which a terminal would obey: a model's output is untrusted text."""
    return "".join(sign for sign in text if sign.isprintable() or sign in "\n\t")


def write_stdout(text: str) -> None:
    """Write text to stdout: unchanged to a file or pipe, without control characters to a terminal."""
    sys.stdout.write((printable(text) if sys.stdout.isatty() else text).rstrip("\n") + "\n")
    sys.stdout.flush()


def write_json(value: Any, *, indent: int | None = None) -> None:
    """Write one JSON value to stdout; without ``indent`` on one line, as JSON Lines need it."""
    write_stdout(json.dumps(value, ensure_ascii=False, indent=indent))


def new_table(*columns: str) -> Table:
    return Table(*columns, box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))


def print_table(table: Table) -> None:
    """Print a table in full, even if its lines are wider than the terminal: an id that is cut cannot be copied."""
    console = Console(width=NO_LIMIT, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(table)
    sys.stdout.write("".join(line.rstrip() + "\n" for line in capture.get().splitlines()))


def exit_with_error(message: str) -> typer.Exit:
    """Print an error; raise what this returns."""
    stderr.print(message, style="red", markup=False)
    return typer.Exit(1)


@contextmanager
def report_errors() -> Iterator[None]:
    """Report errors that the user can act on in one line, without a traceback, and exit with status 1."""
    try:
        yield
    except (ApiError, CommandError, httpx.HTTPError) as error:
        raise exit_with_error(str(error)) from error
    except ThinkqueueError as error:
        raise exit_with_error(f"{error.code}: {error.message}") from error
