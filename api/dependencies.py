"""The clients that the routes use, created once per process."""

from dataclasses import dataclass

from fastapi import Request

from api.intake.media import MediaIntake
from api.intake.service import Intake
from api.middleware.access.auth import Authenticator
from api.middleware.fairness.rate_limit import RateLimiter, UnknownKeyLimit
from api.middleware.fairness.shares import lookup_share, replay_share
from api.streaming.event_hub import EventHub
from api.streaming.replays import Replays
from jobs.batches.batches import Batches
from jobs.batches.store import BatchStore
from jobs.lifecycle.end.archive import EventArchive
from jobs.lifecycle.end.ended_jobs import EndedJobReader
from jobs.lifecycle.end.finalize import JobFinalizer
from jobs.lifecycle.files import Files
from jobs.lifecycle.uploads import Uploads
from jobs.objects.reader import DocumentReader
from jobs.objects.store import ObjectStore
from jobs.table.batches import BatchLedger
from jobs.table.deliveries import DeliveryStore
from jobs.table.followers import Followers
from jobs.table.reports.listing import JobIndex
from jobs.table.reports.stats import StatsReader
from jobs.table.reports.usage import UsageLedger
from jobs.table.scripts import connect
from jobs.table.store import JobStore
from jobs.table.uploads import UploadLedger
from jobs.tenants.api_keys import ApiKeyStore
from jobs.tenants.quotas import TenantQuotas
from jobs.tenants.webhook_secrets import WebhookSecrets
from runtime.settings import Settings

REDIS_TIMEOUT_S = 0.7
OBJECT_STORE_TIMEOUT_S = 1.5
"""When a server is down, clients get a 503 within two seconds: two short attempts on Redis, one on the object store."""
FILE_TIMEOUT_S = 10.0
"""The content of files takes longer than other objects."""


@dataclass(frozen=True)
class Services:
    """All clients of an api process. They connect when they are first used."""

    settings: Settings
    store: JobStore
    followers: Followers
    index: JobIndex
    object_store: ObjectStore
    documents: DocumentReader
    intake: Intake
    finalizer: JobFinalizer
    ended_jobs: EndedJobReader
    replays: Replays
    uploads: Uploads
    files: Files
    batches: Batches
    deliveries: DeliveryStore
    secrets: WebhookSecrets
    usage: UsageLedger
    quotas: TenantQuotas
    stats: StatsReader
    keys: ApiKeyStore
    authenticator: Authenticator | None
    """None with ``AUTH=none``."""
    event_hub: EventHub

    @classmethod
    def from_settings(cls, settings: Settings) -> "Services":
        redis = connect(settings, timeout_s=REDIS_TIMEOUT_S, is_shared=True)
        object_store = ObjectStore(settings, timeout_s=OBJECT_STORE_TIMEOUT_S, tries=1, is_shared=True)
        documents = DocumentReader(object_store)
        store, index = JobStore(redis, lease_s=settings.lease_s), JobIndex(redis)
        ledger, keys = UploadLedger(redis), ApiKeyStore(redis, object_store)
        uploads = Uploads(object_store, ledger, settings)
        files = Files(ObjectStore(settings, timeout_s=FILE_TIMEOUT_S, is_shared=True), ledger, settings)
        media, usage = MediaIntake(object_store, uploads, files, settings), UsageLedger(redis)
        quotas = TenantQuotas(usage)
        ended_jobs = EndedJobReader(store, object_store, retention_days=settings.retention_days)
        return cls(
            settings=settings,
            store=store,
            followers=Followers(redis),
            index=index,
            object_store=object_store,
            documents=documents,
            intake=Intake(store, index, object_store, documents, ended_jobs, media, quotas, settings),
            finalizer=JobFinalizer(store, object_store, retention_days=settings.retention_days),
            ended_jobs=ended_jobs,
            replays=Replays(EventArchive(store, object_store), replay_share().hold),
            uploads=uploads,
            files=files,
            batches=Batches(BatchStore(object_store), BatchLedger(redis), max_open=settings.max_open_batches),
            deliveries=DeliveryStore(redis),
            secrets=WebhookSecrets(object_store, settings),
            usage=usage,
            quotas=quotas,
            stats=StatsReader(redis, lease_s=settings.lease_s),
            keys=keys,
            authenticator=_authenticator(keys, settings) if settings.auth == "keys" else None,
            event_hub=EventHub(settings),
        )


def _authenticator(keys: ApiKeyStore, settings: Settings) -> Authenticator:
    rate_limiter = RateLimiter(settings, timeout_s=REDIS_TIMEOUT_S)
    return Authenticator(keys, rate_limiter, UnknownKeyLimit(), lookup_share())


async def services(request: Request) -> Services:
    """Return the services; a dependency. Async, because FastAPI runs sync dependencies in a thread."""
    found = request.app.state.services
    assert isinstance(found, Services)
    return found
