"""The names of Redis keys: the same in Python and in Lua, and spelled in one place each."""

import inspect
import re

import pytest

from jobs.table import keys
from jobs.table.scripts import FOLDER, connect, script_names
from testing.table import Table

PRELUDE = (FOLDER / "prelude.lua").read_text("utf-8")
FUNCTIONS = dict(re.findall(r"^function keys\.(\w+)\((.*?)\)", PRELUDE, re.M))
CONSTANTS = dict(re.findall(r"(\w+) = '([\w:]+)'", PRELUDE.partition("local keys = {")[2].partition("}")[0]))
PYTHON_ONLY = {"EPOCH", "RECONCILED", "RECONCILE_AGAIN", "RATE_LIMIT_PREFIX"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_key_function_gives_the_same_name_in_lua(table: Table, name: str) -> None:
    arguments = [f"x{number}" for number in range(FUNCTIONS[name].count(",") + 1)]
    quoted = ", ".join(f"'{argument}'" for argument in arguments)
    assert connect(table.settings).eval(f"{PRELUDE}\nreturn keys.{name}({quoted})", 0) == getattr(keys, name)(
        *arguments
    )


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_key_is_the_same_in_lua(name: str) -> None:
    assert getattr(keys, name.upper()) == CONSTANTS[name]


def test_every_key_of_python_is_used_by_lua_or_listed_here() -> None:
    constants = {name for name in vars(keys) if name.isupper()}
    functions = {name for name, _ in inspect.getmembers(keys, inspect.isfunction)}
    assert constants - PYTHON_ONLY == {name.upper() for name in CONSTANTS} - PYTHON_ONLY
    assert functions - {"usage_day", "api_key", "stale_api_key"} == set(FUNCTIONS)


@pytest.mark.parametrize("name", script_names())
def test_a_script_spells_no_key(name: str) -> None:
    (path,) = FOLDER.glob(f"*/{name}.lua")
    code = "\n".join(line.partition("--")[0] for line in path.read_text("utf-8").splitlines())
    assert re.findall(r"redis\.call\('\w+', '[^']*'", code.replace("redis.call('INFO', 'memory'", "")) == []
    names = [getattr(keys, name)(*"abc"[: text.count(",") + 1]) for name, text in FUNCTIONS.items()]
    prefixes = {name.partition(":")[0] for name in names}
    assert [literal for literal in re.findall(r"'(\w+):", code) if literal in prefixes] == []
