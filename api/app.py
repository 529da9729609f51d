"""The HTTP application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import anyio.to_thread
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from api.dependencies import REDIS_TIMEOUT_S, Services
from api.errors.handlers import install_handlers
from api.middleware.auth import AuthMiddleware
from api.middleware.body_limit import BodyLimit
from api.middleware.metrics import MetricsMiddleware
from api.routes import autoscale, deliveries, events, health, jobs, models, uploads, usage, webhooks
from api.schemas.openapi import install_document
from jobs.wakeup import notify
from runtime.settings import Settings

THREADS = 64
"""Handlers wait for Redis and the object store, not for the processor."""


def create_app(settings: Settings) -> FastAPI:
    """The application with its clients, which connect when they are first used."""
    notify.configure(settings, timeout_s=REDIS_TIMEOUT_S)
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
            services.documents.close()

    app = FastAPI(
        title="thinkqueue",
        version=version("thinkqueue"),
        description="Asynchronous jobs for vision-language models that think before they answer.",
        lifespan=lifespan,
    )
    app.state.services = services

    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s)
    app.add_middleware(AuthMiddleware, doorkeeper=services.doorkeeper)
    app.add_middleware(MetricsMiddleware)
    install_handlers(app)
    for routes in (jobs, events, deliveries, uploads, webhooks, models, usage, autoscale, health):
        app.include_router(routes.router)
    install_document(app, has_keys=settings.auth == "keys")
    return app
