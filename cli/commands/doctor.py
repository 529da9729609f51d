"""``thinkqueue doctor``: finds problems of an installation and says how to fix them."""

import os
from collections.abc import Iterator
from dataclasses import asdict

import typer
from rich.console import Console

from cli.commands.options import DEFAULT_STATE, JsonLines, State
from cli.errors import CommandError
from cli.local import machine_checks, server_checks
from cli.local.findings import Finding
from cli.local.installation import Installation
from cli.local.settings import installed_settings
from cli.terminal import write_json

app = typer.Typer()

SIGNS = {"ok": "[green]✓[/]", "note": "[yellow]![/]", "problem": "[red]✗[/]"}
CHECKS = (
    server_checks.check_redis,
    server_checks.check_wakeups,
    server_checks.check_object_store,
    machine_checks.check_disk,
    machine_checks.check_model,
    machine_checks.check_gpu,
    machine_checks.check_prepare_tools,
    machine_checks.check_egress,
    machine_checks.check_ports,
    server_checks.check_workers,
)


@app.command()
def doctor(state: State = DEFAULT_STATE, as_json: JsonLines = False) -> None:
    """Check settings, servers, clock, disk, model, GPU and ports; say what is wrong and how to fix it."""
    console = Console(soft_wrap=True, highlight=False)
    problems = 0
    for finding in run_checks(Installation(state.resolve())):
        problems += finding.level == "problem"
        if as_json:
            write_json(asdict(finding))
            continue
        console.print(f"{SIGNS[finding.level]} ", end="")
        console.print(finding.message, markup=False)
        if finding.remedy:
            console.print(f"    → {finding.remedy}", markup=False)
    if not as_json:
        found = f"[red]{problems} problem{'s' * (problems > 1)} found[/]" if problems else "[green]no problems found[/]"
        console.print(found)
    if problems:
        raise typer.Exit(1)


def run_checks(installation: Installation) -> Iterator[Finding]:
    """Run every check that is possible; a failure does not prevent the other checks."""
    try:
        settings = installed_settings(installation.folder)
    except CommandError as error:
        yield Finding("problem", str(error), "See docs/configuration.md for each setting.")
        return
    yield Finding("ok", f"settings: model {settings.model}, AUTH={settings.auth}")
    embedded = {name for name in ("REDIS_URL", "S3_ENDPOINT") if name not in os.environ}
    if embedded and installation.running() is None and (installation.folder / "env").exists():
        remedy = "`thinkqueue up` starts it and its servers."
        yield Finding("note", f"the service in {installation.folder} is not running", remedy)
    for check in CHECKS:
        yield from check(settings, installation)
