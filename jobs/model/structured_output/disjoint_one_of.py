"""Reads ``oneOf`` as ``anyOf`` where at most one branch can be valid. llguidance proves fewer cases by itself."""

from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 64
"""Deeper parts of a schema stay as they are."""
MAX_REFERENCES = 8
"""References to references that are followed."""
MAX_VALUES = 256
"""A property with more values does not tell branches apart."""
NAMED_SUBSCHEMAS = ("properties", "patternProperties", "$defs", "definitions")
LISTED_SUBSCHEMAS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
SUBSCHEMAS = ("items", "additionalProperties", "contains")
ANNOTATION = "discriminator"
"""OpenAPI's hint restricts nothing, and llguidance refuses it where branches are recursive."""

Values = set[Any]
Tags = dict[str, Values]


def with_any_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of the same documents, with ``anyOf`` for each ``oneOf`` whose branches are provably disjoint."""
    found: dict[str, Any] = _Rewriter(schema).rewrite(schema)
    return found


class _Rewriter:
    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._tags_of_references: dict[str, Tags] = {}

    def rewrite(self, schema: Any, depth: int = 0) -> Any:
        """Return a schema with its subschemas rewritten. Other values, such as those of ``const``, stay."""
        if not isinstance(schema, dict) or depth > MAX_DEPTH:
            return schema
        if "$id" in schema and depth:
            return schema  # its references start at itself
        found = {key: self._rewrite_value(key, value, depth + 1) for key, value in schema.items()}
        if "anyOf" in schema or not self._is_disjoint(schema.get("oneOf")):
            return found
        return {"anyOf" if key == "oneOf" else key: value for key, value in found.items() if key != ANNOTATION}

    def _rewrite_value(self, key: str, value: Any, depth: int) -> Any:
        if isinstance(value, dict) and key in NAMED_SUBSCHEMAS:
            return {name: self.rewrite(one, depth) for name, one in value.items()}
        if isinstance(value, list) and key in LISTED_SUBSCHEMAS:
            return [self.rewrite(one, depth) for one in value]
        return self.rewrite(value, depth) if key in SUBSCHEMAS else value

    def _is_disjoint(self, branches: Any) -> bool:
        """Return whether all branches are objects that require one property, and no two allow it the same value."""
        if not isinstance(branches, list) or not branches:
            return False
        first, *others = [self._tags(branch) for branch in branches]
        return any(_share_no_value([first[name], *(tags.get(name) for tags in others)]) for name in first)

    def _tags(self, branch: Any) -> Tags:
        """Return the required properties of an object that have only certain values; empty for anything else."""
        reference = branch.get("$ref") if isinstance(branch, dict) else None
        if not isinstance(reference, str):
            return dict(self._required_values(branch))
        if reference not in self._tags_of_references:
            self._tags_of_references[reference] = dict(self._required_values(self._resolve(branch)))
        return self._tags_of_references[reference]

    def _required_values(self, branch: Any) -> Iterator[tuple[str, Values]]:
        if not isinstance(branch, dict) or branch.get("type") != "object" or "$ref" in branch:
            return
        properties, required = branch.get("properties"), branch.get("required")
        if not isinstance(properties, dict) or not isinstance(required, list):
            return
        for name, one in properties.items():
            values = _values(self._resolve(one))
            if values is not None and name in required:
                yield name, values

    def _resolve(self, schema: Any) -> Any:
        """Follow references inside the document. What stands beside one is left out: drafts differ on its meaning."""
        for _ in range(MAX_REFERENCES):
            reference = schema.get("$ref") if isinstance(schema, dict) else None
            if not isinstance(reference, str):
                break
            schema = self._target(reference)
        return schema

    def _target(self, reference: str) -> Any:
        root, *names = reference.split("/")
        found: Any = self._root if root == "#" else None
        for name in names:
            found = found.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
            if isinstance(found, dict) and "$id" in found:
                return None
        return found


def _values(schema: Any) -> Values | None:
    """Return the only values that a schema allows, or more; None if they are not listed, too many or not all simple."""
    if not isinstance(schema, dict) or "$ref" in schema:
        return None
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(values, list) or len(values) > MAX_VALUES or any(isinstance(one, dict | list) for one in values):
        return None
    return set(values)


def _share_no_value(sets: list[Values | None]) -> bool:
    seen: Values = set()
    for values in sets:
        if values is None or not seen.isdisjoint(values):
            return False
        seen |= values
    return True
