"""``thinkqueue init`` where others manage the bucket."""

import pytest
from minio import Minio
from minio.error import S3Error
from typer.testing import CliRunner

from cli.main import app
from jobs.objects.lifecycle_rules import describe_rules, lifecycle_config
from jobs.objects.store import ObjectStore
from jobs.table.scripts import connect
from runtime.settings import Settings
from testing.processes.servers import Servers, settings_of

BUCKET = "managed-elsewhere"


@pytest.fixture
def environment(servers: Servers) -> dict[str, str]:
    found = servers.environment(bucket=BUCKET)
    connect(settings_of(found)).flushdb()
    return found


@pytest.fixture
def minio(environment: dict[str, str]) -> Minio:
    """A client for a store without the bucket."""
    client = ObjectStore(settings_of(environment))._minio
    if client.bucket_exists(BUCKET):
        for item in client.list_objects(BUCKET, recursive=True):
            client.remove_object(BUCKET, str(item.object_name))
        client.remove_bucket(BUCKET)
    return client


def init(environment: dict[str, str], *options: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["init", *options], env=environment)
    assert result.exit_code == code, result.output
    return result.output


def has_rules(minio: Minio) -> bool:
    try:
        return minio.get_bucket_lifecycle(BUCKET) is not None
    except S3Error:
        return False


def test_a_missing_bucket_is_not_created_with_no_bucket(environment: dict[str, str], minio: Minio) -> None:
    assert "does not exist" in init(environment, "--no-bucket", code=1)
    assert not minio.bucket_exists(BUCKET)
    minio.make_bucket(BUCKET)
    assert "ready" in init(environment, "--no-bucket")
    assert has_rules(minio)


def test_lifecycle_rules_are_printed_instead_of_set(environment: dict[str, str], minio: Minio) -> None:
    printed = [" ".join(line.split()) for line in init(environment, "--no-lifecycle").splitlines()]
    assert not has_rules(minio)
    for rule in lifecycle_config(settings_of(environment)).rules:
        assert rule.rule_filter is not None
        assert rule.expiration is not None
        assert f"{rule.rule_filter.prefix} delete objects after {rule.expiration.days} days" in printed


def test_a_keeper_leaves_external_rules_alone(environment: dict[str, str], minio: Minio) -> None:
    minio.make_bucket(BUCKET)
    external: Settings = settings_of({**environment, "S3_LIFECYCLE": "external"})
    ObjectStore(external).set_lifecycle()  # what a keeper calls when it starts
    assert not has_rules(minio)
    ObjectStore(settings_of(environment)).set_lifecycle()
    assert has_rules(minio)
    assert "requests/" in describe_rules(external)
