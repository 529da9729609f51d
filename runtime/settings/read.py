"""Reads the settings of a process, and ends it with a readable message if they are wrong."""

from pydantic import ValidationError

from runtime.settings import Settings


def read_settings() -> Settings:
    """Return the settings of this process. Ends it with a line for each setting that is missing or wrong."""
    try:
        return Settings()
    except ValidationError as error:
        raise SystemExit(describe_problems(error)) from None


def describe_problems(error: ValidationError) -> str:
    """Return a line for each setting that is missing or wrong, without its value."""
    lines = ["Wrong settings:"]
    for problem in error.errors(include_input=False, include_url=False):
        name, message = ".".join(map(str, problem["loc"])).upper(), problem["msg"].removeprefix("Value error, ")
        # The checks of the service itself end a sentence that begins with the name; some name several settings.
        separator = " " if problem["type"] == "value_error" else ": "
        lines.append(f"{name}{separator}{message}" if name else message)
    return "\n".join(lines)
