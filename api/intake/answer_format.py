"""Checks the form that an answer should have: a schema that cannot be compiled is refused at submit."""

import json

from api.intake.conversation import raise_invalid
from api.schemas.jobs import JobBody
from jobs.model.structured_output.response_format import schema_problem

MAX_SCHEMA_BYTES = 32 * 1024
"""Compiling a schema of this size takes up to 0.5 s."""
MAX_PROBLEM_CHARACTERS = 300


def check_response_format(body: JobBody) -> None:
    """Raise Invalid when the answer cannot be held to the requested form."""
    wanted = body.response_format
    if wanted is None:
        return
    if wanted.type == "json_object":
        if wanted.schema_ is not None:
            raise_invalid("/response_format/schema", 'is only for "type": "json_schema"')
        return
    if wanted.schema_ is None:
        raise_invalid("/response_format/schema", 'is required for "type": "json_schema"')
    size = len(json.dumps(wanted.schema_, ensure_ascii=False).encode())
    if size > MAX_SCHEMA_BYTES:
        raise_invalid("/response_format/schema", f"has {size} bytes; the limit is {MAX_SCHEMA_BYTES}")
    if problem := schema_problem(wanted.schema_):
        raise_invalid(
            "/response_format/schema",
            f"cannot be enforced: {problem[:MAX_PROBLEM_CHARACTERS]}; leave that out of the schema, and check it in "
            "your own code",
        )
