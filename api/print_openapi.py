"""Prints docs/openapi.json, the OpenAPI document of a service with API keys: ``python -m api.print_openapi``."""

import json
import sys

from pydantic import SecretStr

from api.app import create_app
from runtime.settings import Settings


def render_document() -> str:
    """Return the document as JSON. It does not depend on the environment, and nothing is connected."""
    unused = SecretStr("whsec_" + "A" * 32)
    settings = Settings.model_construct(
        redis_url=SecretStr("redis://127.0.0.1"),
        s3_endpoint="http://127.0.0.1",
        s3_access_key=unused,
        s3_secret_key=unused,
        webhook_secret=unused,
        auth="keys",
    )
    return json.dumps(create_app(settings).openapi(), ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render_document())
