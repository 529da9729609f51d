"""The HTTP application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import anyio.to_thread
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from api import autoscale, deliveries, health, jobs, models, stream, uploads, usage, webhooks
from api.auth import Door
from api.document import install_document
from api.errors import install_handlers
from api.limits import BodyLimit
from api.measure import Measure
from api.services import REDIS_PATIENCE_S, Services
from jobs import bells
from jobs.settings import Settings

THREADS = 64
"""Handlers wait for Redis and the object store, not for the processor."""


def create_app(settings: Settings) -> FastAPI:
    """The application with its clients, which connect when they are first used."""
    bells.configure(settings, patience_s=REDIS_PATIENCE_S)
    services = Services.of(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        if settings.api_keys_file:
            await run_in_threadpool(services.keys.seed, settings.api_keys_file)
        await services.hub.start()
        try:
            yield
        finally:
            await services.hub.stop()

    app = FastAPI(
        title="thinkqueue",
        version=version("thinkqueue"),
        description="Asynchronous jobs for vision-language models that think before they answer.",
        lifespan=lifespan,
    )
    app.state.services = services

    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s)
    app.add_middleware(Door, doorkeeper=services.doorkeeper)
    app.add_middleware(Measure)
    install_handlers(app)
    for routes in (jobs, stream, deliveries, uploads, webhooks, models, usage, autoscale, health):
        app.include_router(routes.router)
    install_document(app, has_keys=settings.auth == "keys")
    return app
