"""A function that a client forces the model to call.

The model has no tools. But a call that must happen is an answer in the form of the function's parameters, and many
clients ask for structured output in this way.
"""

from dataclasses import dataclass
from typing import Any

from api.errors.pointers import Step
from api.errors.wording import quoted
from api.openai.request.fields import Fields, invalid, unsupported
from api.openai.request.origins import Origins
from jobs.errors import Invalid

NO_TOOLS = (
    "is not supported: the model has no tools; to get an answer in the form of one function's parameters, force that "
    'function with "tool_choice", or send "response_format" (in a response, "text.format")'
)
NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}
IN_CHAT: tuple[str, ...] = ("function",)
IN_RESPONSES: tuple[str, ...] = ()
"""Where a tool of a chat completion, and of a response, has the function's name and parameters."""


@dataclass(frozen=True)
class ForcedFunction:
    """The function that the answer calls."""

    name: str
    parameters: dict[str, Any]
    """JSON Schema."""
    at: tuple[Step, ...]
    """Where the schema is in the client's body."""

    def native(self, origins: Origins) -> dict[str, Any]:
        """Return the native ``response_format``."""
        origins.add("/response_format", self.at)
        origins.add("/response_format/schema", self.at)
        return {"response_format": {"type": "json_schema", "schema": self.parameters}}


def read_forced_function(fields: Fields, *, inside: tuple[str, ...]) -> ForcedFunction | None:
    """Return the function that the answer must call; None: no tool is to be called.

    Args:
        inside: the fields of a tool, and of the choice, that lead to the function's: ``IN_CHAT`` or ``IN_RESPONSES``.

    Raises:
        Invalid: the model would have to choose whether to call a tool, or which one; or a field has no valid form.
    """
    tools = fields.read("tools", lambda value: isinstance(value, list), "a list of functions") or []
    choice = fields.get("tool_choice")
    if choice == "none" or (not tools and choice in (None, "auto")):
        return None
    functions = [_function(tool, index, inside) for index, tool in enumerate(tools)]
    if choice == "required" and len(functions) == 1:
        return functions[0]
    if not isinstance(choice, dict):
        raise Invalid([unsupported(("tools",) if tools else ("tool_choice",), NO_TOOLS)])
    name = _inner(choice, inside).get("name")
    found = [one for one in functions if one.name == name]
    if choice.get("type") != "function" or not found:
        message = f"must be the name of one of the functions in tools, not {quoted(name)}"
        raise invalid(("tool_choice", *inside, "name"), message)
    return found[0]


def _function(tool: Any, index: int, inside: tuple[str, ...]) -> ForcedFunction:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if kind != "function":
        raise Invalid([unsupported(("tools", index, "type"), f"must be function, not {quoted(kind)}")])
    function = _inner(tool, inside)
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise invalid(("tools", index, *inside, "name"), "must be the name of the function")
    parameters = function.get("parameters") or NO_PARAMETERS
    at: tuple[Step, ...] = ("tools", index, *inside, "parameters")
    if not isinstance(parameters, dict):
        raise invalid(at, f"must be a JSON Schema, not {quoted(parameters)}")
    return ForcedFunction(name, parameters, at)


def _inner(value: dict[str, Any], inside: tuple[str, ...]) -> dict[str, Any]:
    found: Any = value
    for name in inside:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}
