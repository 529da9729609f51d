"""docs/configuration.md, out of the settings class: ``make docs`` writes it."""

import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic.fields import FieldInfo

from runtime.settings import Settings

HEAD = """\
# Configuration

Made by `make docs` from `runtime/settings.py`.

Every process reads its settings once, at start, from environment variables. A wrong value refuses to start and says
why; an empty one counts as not set. `thinkqueue up` generates what is *needed* and keeps it in `.thinkqueue/env` (mode
0600); variables that you set win. `thinkqueue secrets` prints new ones for installations of other kinds.
"""

TAIL = """
## Beside the settings

| variable | of | meaning |
|---|---|---|
| `THINKQUEUE_URL` | commands | the service that they talk to; else what runs here, else port 8800 |
| `THINKQUEUE_API_KEY` | commands | their API key |
| `THINKQUEUE_STATE` | commands | the folder of `up`, `.thinkqueue` |
| `EMBEDDED_REDIS_PORT`, `EMBEDDED_S3_PORT` | `up` | 8801, 8802; the store takes five in a row, and five 10,000 above |
| `HF_HOME`, `HF_HUB_OFFLINE` | generate worker | where models from the hub are kept; 1: take none from the network |
| `TMPDIR` | prepare worker | room for media: twice the largest video for each child |
"""

SIGNS = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for title, names in groups():
        lines += [f"## {title.capitalize()}", "", "| variable | default | may be | meaning |", "|---|---|---|---|"]
        lines += [_row(name, Settings.model_fields[name]) for name in names]
        lines.append("")
    return "\n".join([*lines, ""]).rstrip("\n") + "\n" + TAIL


def groups() -> Iterator[tuple[str, list[str]]]:
    """The fields under the headings of the class's source."""
    title, names = "", list[str]()
    for line in inspect.getsource(Settings).splitlines():
        if found := re.fullmatch(r"    # ── (.+) ──", line):
            if names:
                yield title, names
            title, names = found[1], []
        elif (found := re.match(r"    (\w+): ", line)) and found[1] in Settings.model_fields:
            names.append(found[1])
    yield title, names


def _row(name: str, field: FieldInfo) -> str:
    meaning = " ".join((field.description or "").replace("``", "`").split())
    return f"| `{name.upper()}` | {_default(field)} | {_bounds(field)} | {meaning} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*needed*"
    value = field.default
    if value is None or value == ():
        return "none"
    if isinstance(value, int) and value >= 2**20 and value % 2**20 == 0:
        return f"{value // 2**30} GiB" if value % 2**30 == 0 else f"{value // 2**20} MiB"
    return f"{value:,}" if isinstance(value, int) and value >= 100_000 else f"`{value}`"


def _bounds(field: FieldInfo) -> str:
    choices = _choices(field.annotation)
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    words = [
        f"{sign} {getattr(bound, attribute):,}"
        for kind, attribute, sign in SIGNS
        for bound in field.metadata
        if isinstance(bound, kind)
    ]
    least = next((bound.min_length for bound in field.metadata if isinstance(bound, MinLen)), None)
    most = next((bound.max_length for bound in field.metadata if isinstance(bound, MaxLen)), None)
    if least is not None or most is not None:
        words.append(f"{least or 0} to {most} characters")
    return ", ".join(words)


def _choices(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if str(get_origin(annotation)) == "typing.Literal" else ()


if __name__ == "__main__":
    sys.stdout.write(page())
