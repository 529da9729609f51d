"""Finds the name that a misspelled field or parameter was meant to be."""

from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from api.errors.pointers import Step

MAX_LENGTH = 64
"""Characters of a name that is compared: the time grows with the square of the length."""
MIN_SIMILARITY = 0.75
"""As ``difflib`` counts it: ``sead`` is similar to ``seed``, ``stop`` is not similar to ``top_p``."""


def similar_name(name: str, known: Collection[str]) -> str:
    """Return the known name that is most similar to an unknown one; empty if none is similar enough."""
    if len(name) > MAX_LENGTH:
        return ""
    return next(iter(get_close_matches(name.lower(), known, n=1, cutoff=MIN_SIMILARITY)), "")


def field_names(body_type: Any, steps: Sequence[Step]) -> set[str]:
    """Return the names of the fields that the object at a place of a body can have; empty if it has none.

    Args:
        body_type: the annotation of the whole body.
        steps: of the place, in the client's body.
    """
    found = set(_models(body_type))
    for step in steps:
        found = {
            model
            for parent in found
            if isinstance(step, int) or step in parent.model_fields
            for model in (_models(parent.model_fields[step].annotation) if isinstance(step, str) else [parent])
        }
    return {name for model in found for name in model.model_fields}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in an annotation; those of the items of a list as well, since an index is no step of its own."""
    if isinstance(annotation, type) and not get_origin(annotation):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    if get_origin(annotation) is dict:
        return
    for argument in get_args(annotation):
        yield from _models(argument)
