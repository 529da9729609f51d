"""The HTTP application."""

from importlib.metadata import version

from fastapi import FastAPI

from api import health, jobs
from api.errors import install_handlers
from api.intake import Intake
from api.limits import BodyLimit
from jobs import bells
from jobs.blobs import Blobs
from jobs.settings import Settings
from jobs.store import JobStore, connect


def create_app(settings: Settings) -> FastAPI:
    """The application with its clients, which connect when they are first used."""
    app = FastAPI(
        title="thinkqueue",
        version=version("thinkqueue"),
        description="Asynchronous jobs for vision-language models that think before they answer.",
    )
    bells.configure(settings)
    app.state.store = JobStore(connect(settings))
    app.state.blobs = Blobs(settings)
    app.state.intake = Intake(app.state.store, app.state.blobs, settings)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    install_handlers(app)
    app.include_router(jobs.router)
    app.include_router(health.router)
    return app
