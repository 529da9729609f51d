"""The ACL user of docs/deploy.md has every key and every command of the scripts; a new one must be added there."""

import inspect
import re
from fnmatch import fnmatchcase
from pathlib import Path

from jobs.table import keys
from jobs.table.scripts import script_names, script_source
from jobs.wakeup.message import PROBE_PREFIX

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy.md"


def rules(sign: str) -> list[str]:
    """Return the documented key patterns (``~``) or commands (``+``)."""
    found = re.search(r"ACL SETUSER thinkqueue (.+?)\n```", DEPLOY.read_text("utf-8"), re.DOTALL)
    assert found
    return [word[1:] for word in found[1].split() if word.startswith(sign)]


def test_the_user_may_access_each_key() -> None:
    names = [value for name, value in vars(keys).items() if name.isupper() and isinstance(value, str)]
    for name, function in inspect.getmembers(keys, inspect.isfunction):
        if name != "usage_day":
            names.append(function(*("prepare" for _ in inspect.signature(function).parameters)))
    missing = [name for name in (*names, f"{PROBE_PREFIX}x") if not any(fnmatchcase(name, rule) for rule in rules("~"))]
    assert missing == []


def test_the_user_may_run_each_command_of_a_script() -> None:
    sources = "\n".join(map(script_source, script_names()))
    commands = {name.lower() for name in re.findall(r"redis\.p?call\('(\w+)'", sources)}
    assert commands - set(rules("+")) == set()
