"""Random JSON schemas, and a check of documents against them that shares no code with the service."""

import random
import re
from typing import Any

PATTERNS = ("^[a-z]{2,5}$", "^(red|blue)-[0-9]+$", "^[A-Z][a-z]*( [A-Z][a-z]*)?$")


def random_schema(seed: int) -> dict[str, Any]:
    """Return a schema of an object, with up to three levels; the same for the same seed."""
    return _object(random.Random(seed), depth=0)


def _object(rng: random.Random, depth: int) -> dict[str, Any]:
    names = [f"{rng.choice('abcdefgh')}{number}" for number in range(rng.randint(1, 4))]
    return {
        "type": "object",
        "properties": {name: _any(rng, depth + 1) for name in names},
        "required": [name for name in names if rng.random() < 0.8],
        "additionalProperties": False,
    }


def _any(rng: random.Random, depth: int) -> dict[str, Any]:
    kinds = ["integer", "number", "boolean", "null", "string", "pattern", "enum", "const"]
    if depth < 3:
        kinds += ["array", "object", "anyOf"]
    match rng.choice(kinds):
        case "integer":
            low = rng.randint(-50, 50)
            return {"type": "integer", "minimum": low, "maximum": low + rng.randint(0, 1_000)}
        case "string":
            low = rng.randint(0, 4)
            return {"type": "string", "minLength": low, "maxLength": low + rng.randint(0, 8)}
        case "pattern":
            return {"type": "string", "pattern": rng.choice(PATTERNS)}
        case "enum":
            return {"enum": rng.sample(["red", "blue", 'a "quote"', "Ünï", 7, None, True], rng.randint(1, 4))}
        case "const":
            return {"const": rng.choice(["x", 3, [1, "two"], {"k": None}])}
        case "array":
            low = rng.randint(0, 2)
            return {
                "type": "array",
                "items": _any(rng, depth + 1),
                "minItems": low,
                "maxItems": low + rng.randint(0, 3),
            }
        case "object":
            return _object(rng, depth)
        case "anyOf":
            return {"anyOf": [_any(rng, depth + 1), _any(rng, depth + 1)]}
        case kind:
            return {"type": kind}


def is_valid(value: Any, schema: dict[str, Any]) -> bool:
    """Return whether a value is valid under a schema of ``random_schema``."""
    if "anyOf" in schema:
        return any(is_valid(value, option) for option in schema["anyOf"])
    if "enum" in schema:
        return any(_equal(value, option) for option in schema["enum"])
    if "const" in schema:
        return _equal(value, schema["const"])
    match schema["type"]:
        case "object":
            return _is_valid_object(value, schema)
        case "array":
            in_bounds = isinstance(value, list) and schema.get("minItems", 0) <= len(value) <= schema["maxItems"]
            return in_bounds and all(is_valid(item, schema["items"]) for item in value)
        case "string":
            return isinstance(value, str) and (
                re.search(schema["pattern"], value) is not None
                if "pattern" in schema
                else schema.get("minLength", 0) <= len(value) <= schema["maxLength"]
            )
        case "integer":
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return is_number and schema["minimum"] <= value <= schema["maximum"] and value == int(value)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case _:
            return value is None


def _is_valid_object(value: Any, schema: dict[str, Any]) -> bool:
    properties = schema["properties"]
    return (
        isinstance(value, dict)
        and set(schema["required"]) <= set(value) <= set(properties)
        and all(is_valid(item, properties[name]) for name, item in value.items())
    )


def _equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other
