"""``thinkqueue secrets``: prints new secrets for a deployment."""

from secrets import token_hex, token_urlsafe

import typer

from cli.local.secret_values import generate_secrets
from cli.terminal import write_stdout

app = typer.Typer()


@app.command()
def secrets() -> None:
    """Print new random secrets in the form that docker-compose.yml and the dev overlay read."""
    values = {**generate_secrets(), "AUTOSCALE_KEY": token_hex(32), "GRAFANA_PASSWORD": token_urlsafe(18)}
    write_stdout("\n".join(f"{name}={value}" for name, value in values.items()))
