"""Structured output: the form of an answer as a grammar. llguidance needs neither torch nor the model."""

import json
from typing import Any

from llguidance import LLMatcher

from jobs.model.structured_output.disjoint_one_of import with_any_of

FORM_OF_JSON = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""One line: an untrained or a confused model would otherwise fill an answer with white space."""


def answer_grammar(response_format: dict[str, Any]) -> str:
    """Return the grammar of an answer, in llguidance's format.

    Args:
        response_format: ``{"type": "json_object"}``, or ``{"type": "json_schema", "schema": {…}}``.

    Raises:
        ValueError: the schema is not a JSON object that llguidance can read.
    """
    schema = response_format["schema"] if response_format["type"] == "json_schema" else {"type": "object"}
    schema = with_any_of(schema)
    return LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=FORM_OF_JSON)  # type: ignore[arg-type]


def schema_problem(schema: dict[str, Any]) -> str:
    """Return why a schema cannot be used: what it asks for that is not supported; empty if it can."""
    try:
        grammar = answer_grammar({"type": "json_schema", "schema": schema})
    except ValueError as error:
        return str(error)
    is_error, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    return " ".join(messages[0].split()) if is_error else ""
