"""What the routes work with: the clients of one process, made once."""

from dataclasses import dataclass

from fastapi import Request

from api.auth import Doorkeeper
from api.hub import EventHub
from api.intake import Intake
from api.media import MediaIntake
from api.rates import Rates
from jobs.archive import EventArchive
from jobs.blobs import Blobs
from jobs.deliveries import Deliveries
from jobs.ending import Ending
from jobs.figures import FiguresReader
from jobs.index import JobIndex
from jobs.keys import Keys
from jobs.scripts import connect
from jobs.settings import Settings
from jobs.store import JobStore
from jobs.uploads import Uploads
from jobs.usage import UsageLedger
from jobs.webhook_secrets import WebhookSecrets

REDIS_PATIENCE_S = 0.7
BLOBS_PATIENCE_S = 1.5
"""A server that is gone is a 503 within two seconds: one try of the object store, two short ones of Redis."""


@dataclass(frozen=True)
class Services:
    """They connect when they are first used."""

    settings: Settings
    store: JobStore
    index: JobIndex
    blobs: Blobs
    intake: Intake
    ending: Ending
    archive: EventArchive
    uploads: Uploads
    deliveries: Deliveries
    secrets: WebhookSecrets
    usage: UsageLedger
    figures: FiguresReader
    keys: Keys
    doorkeeper: Doorkeeper | None
    hub: EventHub

    @classmethod
    def of(cls, settings: Settings) -> "Services":
        redis = connect(settings, patience_s=REDIS_PATIENCE_S, is_shared=True)
        blobs = Blobs(settings, patience_s=BLOBS_PATIENCE_S, tries=1, is_shared=True)
        store, index, uploads, keys = JobStore(redis), JobIndex(redis), Uploads(blobs, settings), Keys(redis, blobs)
        has_keys = settings.auth == "keys"
        media = MediaIntake(blobs, uploads, settings)
        return cls(
            settings=settings,
            store=store,
            index=index,
            blobs=blobs,
            intake=Intake(store, index, blobs, media, settings),
            ending=Ending(store, blobs, retention_days=settings.retention_days),
            archive=EventArchive(store, blobs),
            uploads=uploads,
            deliveries=Deliveries(redis),
            secrets=WebhookSecrets(blobs, settings),
            usage=UsageLedger(redis),
            figures=FiguresReader(redis),
            keys=keys,
            doorkeeper=Doorkeeper(keys, Rates(settings, patience_s=REDIS_PATIENCE_S)) if has_keys else None,
            hub=EventHub(settings),
        )


async def services(request: Request) -> Services:
    """A dependency. Async, because FastAPI would run it in a thread otherwise."""
    found = request.app.state.services
    assert isinstance(found, Services)
    return found
