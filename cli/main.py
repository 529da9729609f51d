"""The ``thinkqueue`` command. Loads a subcommand's module only when it is used, so that a client needs few packages."""

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import typer
from typer.core import TyperGroup

from cli.terminal import exit_with_error

COMMANDS = {
    "submit": "jobs",
    "watch": "jobs",
    "result": "jobs",
    "cancel": "jobs",
    "jobs": "jobs",
    "batch": "batch",
    "demo": "demo",
    "up": "up",
    "status": "admin",
    "drain": "admin",
    "doctor": "doctor",
    "keys": "keys",
    "secrets": "secrets",
    "init": "init",
    "recover": "recover",
}
"""Each command, in the order of ``--help``, with its module in ``cli.commands``."""


class LazyGroup(TyperGroup):
    """Commands whose modules are imported on first use. One whose packages are missing says which extra it needs."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        try:
            module = import_module(f"cli.commands.{COMMANDS[cmd_name]}")
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if not package or find_spec(package):
                raise  # a module of an installed package: a fault, not a missing extra
            return _unavailable(cmd_name, package)
        return typer.main.get_group(module.app).commands[cmd_name]


def _unavailable(name: str, package: str) -> Any:
    """Return a command that takes any arguments and says what to install."""
    app = typer.Typer()

    @app.command(
        name,
        help="Not available: needs thinkqueue with the extra `server`.",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        add_help_option=False,
    )
    def unavailable() -> None:
        raise exit_with_error(
            f"thinkqueue {name}: this command needs thinkqueue[server]; the package {package} is not installed. "
            "Install thinkqueue with the extra `server`."
        )

    return typer.main.get_group(app).commands[name]


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _main() -> None:
    """Asynchronous jobs for vision-language models that think before they answer."""


if __name__ == "__main__":
    os.umask(0o077)
    app()
