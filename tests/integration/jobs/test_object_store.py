"""The object store, against a real SeaweedFS."""

import threading

import httpx
import pytest

from jobs.errors import NotInitialized, ObjectStoreUnavailable, RecoveryNeeded
from jobs.lifecycle.bootstrap import initialize
from jobs.objects.client import ObjectNotFound
from jobs.objects.keys import request_key
from jobs.objects.store import ObjectStore
from jobs.table.integrity import Integrity
from jobs.table.scripts import connect
from runtime.settings import Settings
from testing.table import Table, empty_bucket


def test_the_first_of_many_conditional_puts_wins_and_stays(table: Table) -> None:
    wins: list[int] = []

    def put(number: int) -> None:
        if table.object_store.put_if_absent("results/race.json", str(number).encode()):
            wins.append(number)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(wins) == 1
    assert table.object_store.get("results/race.json") == str(wins[0]).encode()
    table.object_store.delete("results/race.json")


def test_a_link_opens_without_credentials_and_only_its_object(table: Table) -> None:
    table.object_store.put("jobs/job_x/0.png", b"picture", "image/png")
    link = table.object_store.presigned_url("jobs/job_x/0.png")
    assert httpx.get(link, timeout=5).content == b"picture"
    assert httpx.get(link.replace("0.png", "1.png"), timeout=5).status_code == 403


def test_links_are_signed_for_the_host_that_clients_see(settings: Settings) -> None:
    public = settings.model_copy(update={"s3_public_endpoint": "https://media.example.com"})
    assert ObjectStore(public).presigned_url("jobs/x").startswith("https://media.example.com/thinkqueue/jobs/x?")


def test_a_missing_object_is_not_an_outage(table: Table) -> None:
    with pytest.raises(ObjectNotFound):
        table.object_store.get("requests/none.json")


def test_wrong_keys_are_an_outage_that_names_its_cause(settings: Settings) -> None:
    wrong = settings.model_copy(update={"s3_access_key": type(settings.s3_access_key)("nobody")})
    with pytest.raises(ObjectStoreUnavailable, match="InvalidAccessKeyId"):
        ObjectStore(wrong).get("requests/none.json")


def test_a_store_that_is_down_is_an_outage_soon(settings: Settings) -> None:
    down = ObjectStore(settings.model_copy(update={"s3_endpoint": "http://127.0.0.1:9"}))
    with pytest.raises(ObjectStoreUnavailable):
        down.get("requests/none.json")
    with pytest.raises(ObjectStoreUnavailable):
        down.put_if_absent("results/none.json", b"")


def test_a_first_start_sets_the_epoch_and_a_second_keeps_it(settings: Settings) -> None:
    settings = settings.model_copy(update={"s3_bucket": "first-start"})
    epoch = initialize(settings)
    assert initialize(settings) == epoch


def test_an_emptied_redis_beside_a_full_bucket_is_refused(settings: Settings) -> None:
    settings = settings.model_copy(update={"s3_bucket": "wiped"})
    empty_bucket(settings)
    initialize(settings)
    ObjectStore(settings).put(request_key("job_a"), b"{}")
    connect(settings).flushall()
    with pytest.raises(RecoveryNeeded):
        initialize(settings)
    with pytest.raises(NotInitialized):
        Integrity(connect(settings)).require_epoch()
