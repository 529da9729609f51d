"""The API's OpenAPI document: FastAPI's own, with our errors where it would put its."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.schemas.replies import ProblemReply

REF = "#/components/schemas/{model}"


def install_openapi(app: FastAPI, *, needs_key: bool) -> None:
    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, needs_key=needs_key)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI, *, needs_key: bool) -> dict[str, Any]:
    found = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
    )
    schemas = found["components"]["schemas"]
    problem = ProblemReply.model_json_schema(ref_template=REF)
    schemas.update(problem.pop("$defs"))
    schemas["ProblemReply"] = problem
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    if not needs_key:
        del found["components"]["securitySchemes"]
        for operation in (operation for path in found["paths"].values() for operation in path.values()):
            operation.pop("security", None)
    return found
