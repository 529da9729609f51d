"""Builds the HTTP application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import anyio.to_thread
from fastapi import Depends, FastAPI
from starlette.concurrency import run_in_threadpool

from api.dependencies import REDIS_TIMEOUT_S, Services
from api.errors.handlers import install_error_handlers
from api.large_bodies.caller import ForwardedCallerMiddleware
from api.large_bodies.process import LargeBodyProcess
from api.middleware.access.auth import AuthMiddleware
from api.middleware.access.browser_guard import BrowserGuardMiddleware
from api.middleware.access.cors import add_cors
from api.middleware.fairness.refusal_pacing import RefusalPacingMiddleware
from api.middleware.fairness.shares import Shares, call_slot
from api.middleware.input.body_limit import BodyLimitMiddleware
from api.middleware.input.unknown_input import refuse_unknown_input
from api.middleware.protocol.head_requests import HeadMiddleware
from api.middleware.protocol.http_protocol import DEFAULT_MAX_CONNECTIONS
from api.middleware.protocol.metrics import MetricsMiddleware
from api.middleware.protocol.request_id import RequestIdMiddleware
from api.openai.batches import routes as batches
from api.openai.batches.process import BatchProcess
from api.openai.chat import route as chat
from api.openai.error_form import OpenAIErrorMiddleware
from api.openai.files import routes as files
from api.openai.files.form import FORM_BYTES
from api.openai.foreground.departures import Departures
from api.openai.responses import create_route as create_responses
from api.openai.responses import routes as responses
from api.routes import autoscale, deliveries, docs, events, health, jobs, models, uploads, usage, webhooks
from api.schemas.openapi.document import install_openapi
from jobs.wakeup.app import configure_app
from runtime.settings import Settings

THREADS = 64
"""Handlers wait for Redis and the object store, not for the processor."""


def create_app(
    settings: Settings,
    *,
    max_connections: int = DEFAULT_MAX_CONNECTIONS,
    large_bodies: LargeBodyProcess | None = None,
    batch_process: BatchProcess | None = None,
) -> FastAPI:
    """Build the application and its clients, which connect when they are first used.

    Args:
        max_connections: of clients. Event streams and waiting calls together have at most three quarters.
        large_bodies: handles the requests with large bodies; None: this process does.
        batch_process: runs batches; None: another process does.
    """
    app = _create_app(settings, max_connections, large_bodies, batch_process, keys_file=settings.api_keys_file)
    authenticator = app.state.services.authenticator
    # The middleware added last runs first.
    app.add_middleware(AuthMiddleware, authenticator=authenticator, autoscale_key=settings.autoscale_key)
    if settings.auth == "keys":
        app.add_middleware(RefusalPacingMiddleware, prompt_refusals=settings.prompt_refusals)
    app.add_middleware(BrowserGuardMiddleware, settings=settings)
    add_cors(app, settings.cors_origins)
    app.add_middleware(OpenAIErrorMiddleware)
    app.add_middleware(HeadMiddleware)
    app.add_middleware(MetricsMiddleware)
    app.add_middleware(RequestIdMiddleware)
    return app


def create_inner_app(settings: Settings) -> FastAPI:
    """Build the application of the process for large bodies. The api process has checked who calls."""
    app = _create_app(settings, DEFAULT_MAX_CONNECTIONS, None, None, keys_file=None)
    app.state.is_inner = True
    app.add_middleware(ForwardedCallerMiddleware)
    app.add_middleware(RequestIdMiddleware)
    return app


def _create_app(
    settings: Settings,
    max_connections: int,
    large_bodies: LargeBodyProcess | None,
    batch_process: BatchProcess | None,
    *,
    keys_file: Path | None,
) -> FastAPI:
    """Build what both have in common: clients, routes, errors and the limits of bodies."""
    configure_app(settings, timeout_s=REDIS_TIMEOUT_S)
    services = Services.from_settings(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        if keys_file:
            await run_in_threadpool(services.keys.seed, keys_file)
        await services.event_hub.start()
        if batch_process:
            batch_process.start()
        try:
            yield
        finally:
            if batch_process:
                await batch_process.stop()
            if large_bodies:
                await large_bodies.stop()
            departures: Departures = app.state.departures
            await departures.stop()
            await services.event_hub.stop()
            services.documents.close()
            services.files.close()
            services.batches.close()

    app = FastAPI(
        title="thinkqueue",
        version=version("thinkqueue"),
        description="Asynchronous jobs for vision-language models that think before they answer.",
        lifespan=lifespan,
        docs_url=None,
        dependencies=[Depends(refuse_unknown_input)],
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.large_bodies = large_bodies
    app.state.is_inner = False
    app.state.departures = Departures(services.followers, services.finalizer, grace_s=settings.disconnect_grace_s)
    app.state.health = health.Health()
    app.state.shares = shares = Shares.from_settings(settings, max_connections=max_connections)

    app.add_middleware(
        BodyLimitMiddleware,
        max_bytes=settings.max_body_bytes,
        timeout_s=settings.body_timeout_s,
        bodies=shares.bodies,
        processing=shares.processing,
        streamed={files.PATH: settings.max_file_bytes + FORM_BYTES},
    )
    install_error_handlers(app)
    for routes in (
        jobs,
        events,
        deliveries,
        uploads,
        webhooks,
        models,
        usage,
        autoscale,
        chat,
        create_responses,
        responses,
        files,
        batches,
    ):
        # The slot is free again before the response is sent: sending waits for the client.
        app.include_router(routes.router, dependencies=[Depends(call_slot, scope="function")])
    app.include_router(health.router)
    docs.add_docs(app)
    install_openapi(app, needs_key=settings.auth == "keys")
    return app
