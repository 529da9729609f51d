import json
from typing import Annotated, Any, Literal

import pytest
from llguidance import LLMatcher, LLTokenizer
from pydantic import BaseModel, Field

from jobs.model.structured_output.response_format import answer_grammar, schema_problem


class Leaf(BaseModel):
    kind: Literal["leaf"]
    value: int


class Node(BaseModel):
    kind: Literal["node", "root"]
    children: list[Annotated["Node | Leaf", Field(discriminator="kind")]]


class First(BaseModel):
    version: Literal[1]
    name: str


class Second(BaseModel):
    version: Literal[2]
    names: list[str]


class DefaultA(BaseModel):
    kind: Literal["a"] = "a"


class DefaultB(BaseModel):
    kind: Literal["b"] = "b"


class Answer(BaseModel):
    tree: Annotated[Node | Leaf, Field(discriminator="kind")]
    versions: list[Annotated[First | Second, Field(discriminator="version")]]
    optional: Annotated[First | Second, Field(discriminator="version")] | None = None


class Unrequired(BaseModel):
    either: Annotated[DefaultA | DefaultB, Field(discriminator="kind")]


LEAF = {"kind": "leaf", "value": 1}
FIRST = {"version": 1, "name": "a"}


def tagged(values: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"kind": values}, "required": ["kind"], **more}


def follows(document: Any, schema: dict[str, Any]) -> bool:
    return follows_text(json.dumps(document), schema)


def follows_text(document: str, schema: dict[str, Any]) -> bool:
    """Return whether the grammar of a schema allows a whole document."""
    grammar = answer_grammar({"type": "json_schema", "schema": schema})
    matcher = LLMatcher(LLTokenizer("byte"), grammar, log_level=0)
    text = list(document.encode())
    return matcher.validate_tokens(text) == len(text) and matcher.consume_tokens(text) and matcher.is_accepting()


def test_discriminated_unions_of_pydantic_are_enforced() -> None:
    schema = Answer.model_json_schema()
    assert schema_problem(schema) == ""
    tree = {"kind": "root", "children": [LEAF, {"kind": "node", "children": [LEAF]}]}
    assert follows({"tree": tree, "versions": [FIRST, {"version": 2, "names": ["a"]}], "optional": FIRST}, schema)
    assert follows({"tree": LEAF, "versions": [], "optional": None}, schema)
    assert not follows({"tree": LEAF, "versions": [{"version": 2, "name": "a"}]}, schema), "the fields of the other"


def test_a_document_with_the_tags_of_two_branches_is_refused() -> None:
    schema = {"oneOf": [tagged({"const": 1}), tagged({"const": 2})]}
    assert schema_problem(schema) == ""
    assert follows_text('{"kind": 1}', schema)
    assert follows_text('{"kind": 2}', schema)
    assert not follows_text('{"kind": 1, "kind": 2}', schema)
    assert not follows_text('{"kind": [1, 2]}', schema)


@pytest.mark.parametrize(
    "branches",
    [
        [tagged({"enum": [1, 2]}), tagged({"enum": [2, 3]})],
        [tagged({"const": 1}), tagged({"const": 1.0})],
        [tagged({"const": 1}), tagged({"const": 2}, required=[])],
        [tagged({"const": 1}), tagged({"const": 2}, type=["object", "null"])],
        [tagged({"const": 1}), tagged({"const": 2}), {"type": "object"}],
        [tagged({"const": [1]}), tagged({"const": [2]})],
        [{"$ref": "#/$defs/same"}, {"$ref": "#/$defs/same"}],
    ],
)
def test_branches_that_may_overlap_are_refused_by_name(branches: list[dict[str, Any]]) -> None:
    schema = {"$defs": {"same": tagged({"const": 1})}, "oneOf": branches}
    assert "oneOf" in schema_problem(schema)


def test_a_tag_that_may_be_left_out_is_refused_by_name() -> None:
    assert "oneOf" in schema_problem(Unrequired.model_json_schema())


def test_values_and_names_that_look_like_unions_stay() -> None:
    union = {"oneOf": [tagged({"const": 1}), tagged({"const": 2})]}
    schema = {"type": "object", "properties": {"oneOf": {"const": union}}, "required": ["oneOf"]}
    assert follows({"oneOf": union}, schema)


@pytest.mark.parametrize("reference", ["#/$defs/loop", "#/$defs/absent", "#", "#/oneOf/0", "https://127.0.0.1/a"])
def test_references_that_lead_nowhere_are_no_proof(reference: str) -> None:
    schema = {"$defs": {"loop": {"$ref": "#/$defs/loop"}}, "oneOf": [{"$ref": reference}, tagged({"const": 1})]}
    assert schema_problem(schema)


def test_a_deep_schema_is_refused_without_an_error() -> None:
    schema: dict[str, Any] = {"oneOf": [tagged({"const": 1}), tagged({"const": 2})]}
    for _ in range(480):
        schema = {"type": "array", "items": schema}
    assert schema_problem(schema)
