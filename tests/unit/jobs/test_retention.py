"""Retention times that texts mention are those of the code."""

from datetime import timedelta
from pathlib import Path

from jobs.model.public_job import MediaLink
from jobs.objects.store import OBJECT_GRACE_DAYS, URL_LIFETIME

DOCS = Path(__file__).parents[3] / "docs"


def test_presigned_urls_expire_as_documented() -> None:
    validity = f"valid for {URL_LIFETIME // timedelta(hours=1)} hours"
    assert validity in str(MediaLink.model_fields["url"].description)
    assert f"presigned URLs, {validity}" in (DOCS / "api.md").read_text("utf-8")


def test_objects_outlive_their_record_as_documented() -> None:
    assert f"its objects are deleted {OBJECT_GRACE_DAYS} days later" in (DOCS / "configuration.md").read_text("utf-8")
