"""The fields of API keys: defaults, limits on values, and other versions."""

import json

import pytest

from jobs.errors import NewerDocument
from jobs.tenants.api_key import SCOPES, ApiKey


def test_a_stored_key_without_scopes_and_quotas_has_all_rights() -> None:
    key = ApiKey.from_stored({"id": "key_a", "tenant": "t", "created_ms": 1})
    assert key.scopes == SCOPES
    assert (key.tokens_per_day, key.gpu_hours_per_month) == (0, 0)


def test_scopes_and_quotas_are_stored_only_where_they_are_set() -> None:
    plain = ApiKey("key_a", "t")
    assert not plain.to_stored().keys() & {"scopes", "tokens_per_day"}, "an older version reads such a key"
    key = ApiKey("key_a", "t", scopes=("read",), gpu_hours_per_day=1.5)
    assert ApiKey.from_stored(json.loads(json.dumps(key.to_stored()))) == key


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scopes": []}, "scopes must be one or more of submit, read, cancel, webhooks, autoscale"),
        ({"scopes": ["admin"]}, "scopes must be one or more of"),
        ({"tokens_per_day": -1}, "tokens_per_day must be a number, 0 or more, not -1"),
        ({"gpu_hours_per_month": "ten"}, "gpu_hours_per_month must be a number, 0 or more, not .ten."),
        ({"tokens_per_month": float("nan")}, "tokens_per_month must be a number"),
        ({"tokens_per_month": True}, "tokens_per_month must be a number"),
        ({"tokens_per_year": 5}, "unknown fields: tokens_per_year"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ApiKey.from_input({"id": "", "tenant": "t", **fields})


def test_a_scope_of_a_newer_version_is_refused_when_used_and_shown_in_lists() -> None:
    stored = {"id": "key_a", "tenant": "t", "scopes": ["read", "train"]}
    with pytest.raises(NewerDocument, match="scopes of a newer version: train"):
        ApiKey.from_stored(stored)
    assert ApiKey.for_lists({**stored, "regions": ["eu"]}).scopes == ("read", "train")
