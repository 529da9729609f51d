"""What the routes work with: the clients of one process, made once."""

from dataclasses import dataclass

from fastapi import Request

from api.intake.media import MediaIntake
from api.intake.service import Intake
from api.middleware.auth import Authenticator
from api.middleware.rate_limit import Rates
from api.streaming.event_hub import EventHub
from jobs.lifecycle.archive import EventArchive
from jobs.lifecycle.finalize import JobFinalizer
from jobs.model.usage import UsageLedger
from jobs.objects.reader import DocumentReader
from jobs.objects.store import ObjectStore
from jobs.objects.uploads import Uploads
from jobs.table.deliveries import DeliveryStore
from jobs.table.listing import JobIndex
from jobs.table.scripts import connect
from jobs.table.stats import StatsReader
from jobs.table.store import JobStore
from jobs.tenants.api_keys import ApiKeyStore
from jobs.tenants.webhook_secrets import WebhookSecrets
from runtime.settings import Settings

REDIS_TIMEOUT_S = 0.7
OBJECT_STORE_TIMEOUT_S = 1.5
"""A server that is gone is a 503 within two seconds: one try of the object store, two short ones of Redis."""


@dataclass(frozen=True)
class Services:
    """They connect when they are first used."""

    settings: Settings
    store: JobStore
    index: JobIndex
    object_store: ObjectStore
    documents: DocumentReader
    intake: Intake
    finalizer: JobFinalizer
    archive: EventArchive
    uploads: Uploads
    deliveries: DeliveryStore
    secrets: WebhookSecrets
    usage: UsageLedger
    stats: StatsReader
    keys: ApiKeyStore
    doorkeeper: Authenticator | None
    hub: EventHub

    @classmethod
    def of(cls, settings: Settings) -> "Services":
        redis = connect(settings, timeout_s=REDIS_TIMEOUT_S, is_shared=True)
        object_store = ObjectStore(settings, timeout_s=OBJECT_STORE_TIMEOUT_S, tries=1, is_shared=True)
        documents = DocumentReader(object_store)
        store, index, uploads, keys = (
            JobStore(redis, lease_s=settings.lease_s),
            JobIndex(redis),
            Uploads(object_store, settings),
            ApiKeyStore(redis, object_store),
        )
        has_keys = settings.auth == "keys"
        media = MediaIntake(object_store, uploads, settings)
        return cls(
            settings=settings,
            store=store,
            index=index,
            object_store=object_store,
            documents=documents,
            intake=Intake(store, index, object_store, documents, media, settings),
            finalizer=JobFinalizer(store, object_store, retention_days=settings.retention_days),
            archive=EventArchive(store, object_store),
            uploads=uploads,
            deliveries=DeliveryStore(redis),
            secrets=WebhookSecrets(object_store, settings),
            usage=UsageLedger(redis),
            stats=StatsReader(redis, lease_s=settings.lease_s),
            keys=keys,
            doorkeeper=Authenticator(keys, Rates(settings, timeout_s=REDIS_TIMEOUT_S)) if has_keys else None,
            hub=EventHub(settings),
        )


async def services(request: Request) -> Services:
    """A dependency. Async, because FastAPI would run it in a thread otherwise."""
    found = request.app.state.services
    assert isinstance(found, Services)
    return found
