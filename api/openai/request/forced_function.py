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
    'function with "tool_choice", or send "response_format"'
)
NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}


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


def read_forced_function(fields: Fields) -> ForcedFunction | None:
    """Return the function that a chat completion must call; None: no tool is to be called.

    Raises:
        Invalid: the model would have to choose whether to call a tool, or which one; or a field has no valid form.
    """
    tools = fields.read("tools", lambda value: isinstance(value, list), "a list of functions") or []
    choice = fields.get("tool_choice")
    if choice == "none" or (not tools and choice in (None, "auto")):
        return None
    functions = [_function(tool, index) for index, tool in enumerate(tools)]
    if choice == "required" and len(functions) == 1:
        return functions[0]
    if not isinstance(choice, dict):
        raise Invalid([unsupported(("tools",) if tools else ("tool_choice",), NO_TOOLS)])
    wanted = choice.get("function")
    name = wanted.get("name") if isinstance(wanted, dict) else None
    found = [one for one in functions if one.name == name]
    if choice.get("type") != "function" or not found:
        message = f"must be the name of one of the functions in tools, not {quoted(name)}"
        raise invalid(("tool_choice", "function", "name"), message)
    return found[0]


def _function(tool: Any, index: int) -> ForcedFunction:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if kind != "function":
        raise Invalid([unsupported(("tools", index, "type"), f"must be function, not {quoted(kind)}")])
    function = tool.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or not name:
        raise invalid(("tools", index, "function", "name"), "must be the name of the function")
    parameters = function.get("parameters") or NO_PARAMETERS
    at = ("tools", index, "function", "parameters")
    if not isinstance(parameters, dict):
        raise invalid(at, f"must be a JSON Schema, not {quoted(parameters)}")
    return ForcedFunction(name, parameters, at)
