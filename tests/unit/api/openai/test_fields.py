import pytest

from api.openai.request.fields import HONORED, IGNORED, FieldTable, NoEffect, Refused, read_fields
from jobs.errors import Invalid

TABLE: FieldTable = {
    "model": HONORED,
    "user": IGNORED,
    "n": NoEffect((1,)),
    "logprobs": NoEffect((False,)),
    "conversation": Refused("send the messages instead"),
}


def refused(body: dict[str, object]) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as error:
        read_fields(body, TABLE)
    return [(problem.pointer, problem.code) for problem in error.value.problems]


def test_null_means_that_a_field_is_left_out() -> None:
    fields = read_fields({"model": None, "n": None, "conversation": None, "made_up": None}, TABLE)
    assert (fields.values, fields.unknown) == ({}, ())


def test_a_field_is_honored_or_ignored_and_an_unknown_one_is_named() -> None:
    fields = read_fields({"model": "pocket", "user": {"any": 1}, "n": 1, "made_up": 2, "other": False}, TABLE)
    assert (fields.values, fields.unknown) == ({"model": "pocket"}, ("made_up", "other"))


@pytest.mark.parametrize("body", [{"n": 2}, {"n": True}, {"logprobs": True}, {"logprobs": 0}, {"conversation": "c"}])
def test_a_value_that_would_change_the_answer_is_refused_by_name(body: dict[str, object]) -> None:
    assert refused(body) == [(f"/{next(iter(body))}", "unsupported_parameter")]


def test_all_refused_fields_are_named() -> None:
    assert [pointer for pointer, _ in refused({"n": 2, "logprobs": True})] == ["/n", "/logprobs"]


def test_a_nested_field_is_named_with_its_parent() -> None:
    fields = read_fields({"model": {"a": 1, "b": 2}}, TABLE).nested("model", {"a": HONORED})
    assert (fields.values, fields.unknown) == ({"a": 1}, ("model.b",))
    with pytest.raises(Invalid, match="/model: must be an object"):
        read_fields({"model": "pocket"}, TABLE).nested("model", {})
