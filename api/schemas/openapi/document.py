"""Completes FastAPI's OpenAPI document: the API's error bodies, webhooks and security scheme."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.errors.catalog import ERROR_RESPONSES
from api.schemas import autoscale, health, jobs, models, problems, uploads, usage, webhooks
from api.schemas.openapi.webhook_events import WEBHOOK_EXAMPLES, documented_webhooks

MODULES = (autoscale, health, jobs, models, uploads, usage, webhooks)
"""The modules whose bodies have examples."""
REF_TEMPLATE = "#/components/schemas/{model}"

TAGS = [
    {"name": "jobs", "description": "Submit, follow, list, cancel, retry and delete jobs."},
    {"name": "uploads", "description": "Send large files directly to the object store."},
    {"name": "webhooks", "description": "Secrets, test events and deliveries; the events the service sends."},
    {"name": "models", "description": "The model, its defaults and the limits of this installation."},
    {"name": "usage", "description": "Jobs, tokens and GPU time by day."},
    {"name": "operation", "description": "For operators and autoscalers."},
    {"name": "health", "description": "Probes."},
]


def install_openapi(app: FastAPI, *, needs_key: bool) -> None:
    """Make ``app.openapi()`` return the completed document.

    Args:
        app: the application, with all routes.
        needs_key: whether requests need an API key; without, the document has no security scheme.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _build(app, needs_key=needs_key)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _build(app: FastAPI, *, needs_key: bool) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        webhooks=documented_webhooks().routes,
        tags=TAGS,
    )
    schemas = document["components"]["schemas"]
    problem = problems.ProblemReply.model_json_schema(ref_template=REF_TEMPLATE)
    schemas.update(problem.pop("$defs"))
    schemas["ProblemReply"] = problem
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    for operations in document["webhooks"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)  # FastAPI's own; the receiver decides what it answers
    _restore_examples(document)
    _share_error_responses(document)
    _describe_constants(schemas)
    if not needs_key:
        document["components"].pop("securitySchemes")
        for operation in (operation for path in document["paths"].values() for operation in path.values()):
            operation.pop("security", None)
    return document


def _restore_examples(document: dict[str, Any]) -> None:
    """Put the examples back as they were written: FastAPI removes all nulls from its document."""
    for model in (model for module in MODULES for model in vars(module).values()):
        extra = getattr(model, "model_config", {}).get("json_schema_extra")
        if isinstance(extra, dict) and "examples" in extra and model.__name__ in document["components"]["schemas"]:
            document["components"]["schemas"][model.__name__]["examples"] = extra["examples"]
    for name, operations in document["webhooks"].items():
        for operation in operations.values():
            examples = {title: {"value": value} for title, value in WEBHOOK_EXAMPLES[name].items()}
            operation["requestBody"]["content"]["application/json"]["examples"] = examples


def _share_error_responses(document: dict[str, Any]) -> None:
    """Replace the error responses of all routes by references to one copy."""
    shared = {f"Error{status}": response for status, response in ERROR_RESPONSES.items()}
    document["components"]["responses"] = shared
    for operation in (operation for path in document["paths"].values() for operation in path.values()):
        for status, response in operation["responses"].items():
            error = shared.get(f"Error{status}")
            if error and response["description"] == error["description"]:
                operation["responses"][status] = {"$ref": f"#/components/responses/Error{status}"}


def _describe_constants(schemas: dict[str, Any]) -> None:
    """Describe the fields that have one possible value, such as ``object``."""
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            if "const" in field:
                field.setdefault("description", f"Always `{field['const']}`.")
