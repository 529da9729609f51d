"""``thinkqueue keys``."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from jobs.table.scripts import connect
from jobs.tenants.api_keys import ApiKeyStore
from testing.processes.servers import Servers
from testing.table import Table

TOKEN = re.compile(r"tq_[\w-]{43}")


class Terminal:
    def __init__(self, environment: dict[str, str], state: Path) -> None:
        self.environment = environment
        self._state = str(state)

    def __call__(self, *words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["keys", *words, "--state", self._state], env=self.environment)
        assert result.exit_code == code, result.output
        return result.output


@pytest.fixture
def keys_command(table: Table, servers: Servers, tmp_path: Path) -> Terminal:
    secret = table.settings.webhook_secret.get_secret_value()
    return Terminal({**servers.environment(), "WEBHOOK_SECRET": secret, "COLUMNS": "80"}, tmp_path)


def test_a_key_is_created_listed_rotated_and_revoked(keys_command: Terminal, table: Table) -> None:
    keys = ApiKeyStore(connect(table.settings), table.object_store)
    created = keys_command("create", "--tenant", "acme", "--name", "ci", "--priority", "high", "--priority", "default")
    token = TOKEN.findall(created)[0]
    assert "whsec_" in created, "a tenant's first key comes with its webhook secret"
    key = keys.find(token)
    assert key is not None
    assert (key.tenant, key.name, key.priorities) == ("acme", "ci", ("high", "default"))
    assert "whsec_" not in keys_command("create", "--tenant", "acme")

    listed = keys_command("list")
    assert re.search(rf"^{key.id}  acme ", listed, re.MULTILINE), "no cell is cut at 80 columns"
    assert token not in listed
    rows = [json.loads(line) for line in keys_command("list", "--json").splitlines()]
    row = next(row for row in rows if row["id"] == key.id)
    assert (row["tenant"], row["priorities"], row["max_open_jobs"]) == ("acme", ["high", "default"], None)
    assert token not in json.dumps(rows)

    rotated = TOKEN.findall(keys_command("rotate", key.id))[0]
    both = [keys.find(one) for one in (token, rotated)]
    assert all(found is not None and found.priorities == ("high", "default") for found in both)

    keys_command("revoke", key.id)
    assert keys.find(token) is None
    assert keys.find(rotated) is not None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("create", "--tenant", "Not A Name"), "tenant 'Not A Name' must have 1 to 40 characters"),
        (
            ("create", "--tenant", "acme", "--priority", "urgent"),
            "priorities must be one or more of high, default, low",
        ),
        (("create", "--tenant", "acme", "--max-open-jobs", "-5"), "max_open_jobs must be a whole number, 0 or more"),
        (("create", "--tenant", "acme", "--requests-per-minute", "-1"), "requests_per_minute must be a whole number"),
        (("create", "--tenant", "acme", "--name", "x" * 201), "name must be a string of at most 200 characters"),
        (("revoke", "key_none"), "There is no key key_none"),
        (("rotate", "key_none"), "There is no key key_none"),
    ],
)
def test_the_error_says_what_is_wrong(keys_command: Terminal, words: tuple[str, ...], says: str) -> None:
    assert says in keys_command(*words, code=1)


def test_without_settings_thinkqueue_up_is_recommended(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("REDIS_URL", "S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY", "WEBHOOK_SECRET"), "")
    assert "thinkqueue up" in Terminal(nothing, tmp_path)("list", code=1)


def test_an_object_store_that_does_not_answer_is_named_with_the_remedy(keys_command: Terminal) -> None:
    keys_command.environment["S3_ENDPOINT"] = "http://127.0.0.1:9"
    output = keys_command("create", "--tenant", "acme", code=1)
    assert "http://127.0.0.1:9 must answer" in output
    assert "`thinkqueue up` starts it" in output


def test_a_redis_that_does_not_answer_is_named_with_the_remedy(keys_command: Terminal) -> None:
    keys_command.environment["REDIS_URL"] = "redis://:secret-word@127.0.0.1:9/0"
    output = keys_command("list", code=1)
    assert "Redis at 127.0.0.1:9/0 does not answer" in output
    assert "`thinkqueue up` starts it" in output
    assert "secret-word" not in output


def test_no_command_prints_the_secret_from_which_all_others_are_derived(keys_command: Terminal) -> None:
    created = keys_command("create", "--tenant", "default")
    printed = keys_command("webhook-secret").strip()
    assert printed in created
    assert keys_command.environment["WEBHOOK_SECRET"] not in created
    assert keys_command.environment["WEBHOOK_SECRET"] != printed
    assert keys_command("webhook-secret", "--tenant", "acme").strip() not in (printed, "")
    assert "not valid" in keys_command("webhook-secret", "--tenant", "../x", code=1)


def test_a_key_gets_scopes_and_quotas(keys_command: Terminal, table: Table) -> None:
    keys = ApiKeyStore(connect(table.settings), table.object_store)
    options = (
        "--scope",
        "submit",
        "--scope",
        "read",
        "--quota",
        "tokens_per_day=1000",
        "--quota",
        "gpu_hours_per_month=2.5",
    )
    created = keys_command("create", "--tenant", "acme", *options)
    key = keys.find(TOKEN.findall(created)[0])
    assert key is not None
    assert (key.scopes, key.tokens_per_day, key.gpu_hours_per_month) == (("submit", "read"), 1_000, 2.5)
    row = json.loads(keys_command("list", "--json"))
    assert (row["scopes"], row["tokens_per_day"], row["tokens_per_month"]) == (["submit", "read"], 1_000, None)
    rotated = keys.find(TOKEN.findall(keys_command("rotate", key.id))[0])
    assert rotated is not None
    assert (rotated.scopes, rotated.tokens_per_day) == (key.scopes, 1_000)


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--scope", "admin", "scopes must be one or more of submit"),
        ("--quota", "tokens=5", "must be NAME=NUMBER"),
        ("--quota", "tokens_per_day=many", "'many' is not a number"),
        ("--quota", "tokens_per_day=-1", "tokens_per_day must be a number, 0 or more"),
    ],
)
def test_a_wrong_scope_or_quota_is_refused(keys_command: Terminal, option: str, value: str, says: str) -> None:
    refused = keys_command("create", "--tenant", "acme", option, value, code=1)
    assert says in " ".join(refused.split())
