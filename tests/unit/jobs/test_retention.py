"""Retention times that texts mention are those of the code, and objects live as long as their job may."""

from datetime import timedelta
from pathlib import Path

import pytest
from minio.lifecycleconfig import Expiration

from jobs.model.public.public_job import MediaLink
from jobs.model.retention import DAY_S, MAX_EXPIRES_S
from jobs.objects import keys
from jobs.objects.lifecycle_rules import GRACE_DAYS, UPLOAD_RETENTION_DAYS, lifecycle_config
from jobs.objects.store import URL_LIFETIME
from runtime.settings import Settings
from tests.unit.jobs.test_settings import GIVEN

DOCS = Path(__file__).parents[3] / "docs"


def test_presigned_urls_expire_as_documented() -> None:
    validity = f"valid for {URL_LIFETIME // timedelta(hours=1)} hours"
    assert validity in str(MediaLink.model_fields["url"].description)
    assert f"presigned URLs, {validity}" in (DOCS / "api.md").read_text("utf-8")


def test_objects_outlive_their_record_as_documented() -> None:
    page = (DOCS / "configuration.md").read_text("utf-8")
    assert f"({MAX_EXPIRES_S // DAY_S} days, or `JOB_EXPIRES_S` if that is longer) and {GRACE_DAYS} days" in page


@pytest.mark.parametrize(
    ("retention_days", "job_expires_s", "days"), [(1, 3_600, 1 + 7 + 2), (7, 86_400, 16), (1, 30 * DAY_S, 1 + 30 + 2)]
)
def test_a_request_outlives_the_longest_wait_and_the_record(retention_days: int, job_expires_s: int, days: int) -> None:
    """A retention of one day must not remove the request of a job that still waits."""
    found = rules(Settings(**GIVEN, retention_days=retention_days, job_expires_s=job_expires_s))
    assert {prefix: found[prefix] for prefix in keys.JOB_PREFIXES} == dict.fromkeys(keys.JOB_PREFIXES, days)
    assert found[keys.UPLOADS] == UPLOAD_RETENTION_DAYS + days - retention_days


def rules(settings: Settings) -> dict[str, int]:
    """Return the days until the objects under each prefix are deleted."""
    found: dict[str, int] = {}
    for rule in lifecycle_config(settings).rules:
        assert rule.rule_filter is not None
        assert isinstance(rule.expiration, Expiration)
        assert rule.abort_incomplete_multipart_upload is not None
        found[str(rule.rule_filter.prefix)] = int(rule.expiration.days or 0)
    return found
