"""``/docs``: the API reference, Swagger UI served from this package.

It loads nothing from another host; the Content-Security-Policy makes the browser enforce that.
"""

from pathlib import Path

from fastapi import FastAPI
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

PAGE = Path(__file__).parents[1] / "web" / "docs"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'"
)
"""Swagger UI sets inline styles and embeds its icons as ``data:`` URLs."""


class DocsPage(StaticFiles):
    """Serves the files of ``api/web/docs``."""

    def __init__(self) -> None:
        super().__init__(directory=PAGE, html=True)

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Content-Security-Policy"] = POLICY
        return response


def add_docs(app: FastAPI) -> None:
    """Add the page and, because its files have relative addresses, a redirect to its name with a slash."""
    app.mount("/docs", DocsPage())

    @app.get("/docs", include_in_schema=False)
    async def redirect() -> RedirectResponse:
        return RedirectResponse("/docs/")
