"""The option that names the state folder."""

from pathlib import Path
from typing import Annotated

import typer

State = Annotated[
    Path, typer.Option("--state", envvar="THINKQUEUE_STATE", help="Where secrets, data and logs are kept.")
]
DEFAULT_STATE = Path(".thinkqueue")
