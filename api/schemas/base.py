"""The base classes of the bodies. The docstrings of fields are their descriptions in the OpenAPI document."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class RequestBody(BaseModel):
    """The body of a request, or a part of it. Unknown fields are refused by name, so no field is ignored silently.

    Lists are annotated with ``FailFast``: pydantic checks the length of a list after its items, and would otherwise
    build an error for each of them.
    """

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class Reply(BaseModel):
    """The body of a reply, or a part of it."""

    model_config = ConfigDict(use_attribute_docstrings=True)


def with_example(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]}, use_attribute_docstrings=True)
