"""The bucket's lifecycle rules: after how many days the store deletes what the service does not delete itself."""

from minio.commonconfig import ENABLED, Filter
from minio.lifecycleconfig import AbortIncompleteMultipartUpload, Expiration, LifecycleConfig, Rule

from jobs.model.retention import DAY_S, MAX_EXPIRES_S
from jobs.objects import keys
from runtime.settings import Settings

OUR_RULES = "thinkqueue-"
"""Ids of our rules begin with this; rules with other ids are kept. Before 0.2 an id was the prefix of the keys only."""
GRACE_DAYS = 2
"""The objects of a job outlive its record by this."""
UPLOAD_RETENTION_DAYS = 2
"""An upload can be used in new jobs for this long; a job that uses it has its own copy."""
FILE_RETENTION_DAYS = 30
"""A file of ``/v1/files`` is kept for this long, unless its client asks for less; a batch always."""
MULTIPART_DAYS = 2
"""Parts that were never joined to an object, of uploads and of files that a worker wrote, are deleted after this."""


def waiting_days(settings: Settings) -> int:
    """Return how many days a job may wait before it ends as ``expired``."""
    return -(-max(MAX_EXPIRES_S, settings.job_expires_s) // DAY_S)


def object_days(settings: Settings) -> int:
    """Return how long the objects of a job are kept.

    A rule counts from the creation of an object. The request of a job must be there while the job waits, and as long as
    its record. All objects of jobs have the same rule: a request that outlived its result would look like a job that
    must run again.
    """
    return waiting_days(settings) + settings.retention_days + GRACE_DAYS


def upload_days(settings: Settings) -> int:
    """Return how long an upload is kept at most: until its ``expires_at``, and while a job waits that uses it.

    The keeper deletes it earlier (``jobs/lifecycle/upload_cleanup.py``), unless Redis has lost its entry.
    """
    return UPLOAD_RETENTION_DAYS + waiting_days(settings) + GRACE_DAYS


def file_days() -> int:
    """Return how long a file is kept at most. The keeper deletes it earlier, unless Redis has lost its entry."""
    return FILE_RETENTION_DAYS + GRACE_DAYS


def lifecycle_config(settings: Settings) -> LifecycleConfig:
    """Return the rules of the bucket."""
    return LifecycleConfig([_expiration(prefix, days) for prefix, days in _days_by_prefix(settings).items()])


def _days_by_prefix(settings: Settings) -> dict[str, int]:
    return {
        **dict.fromkeys(keys.JOB_PREFIXES, object_days(settings)),
        keys.UPLOADS: upload_days(settings),
        **dict.fromkeys((keys.FILES, keys.FILE_CONTENTS, keys.BATCHES), file_days()),
    }


def describe_rules(settings: Settings) -> str:
    """Return a line for each rule: the prefix of its objects and the days after which they are deleted."""
    days = _days_by_prefix(settings).items()
    lines = [f"  {prefix:<14} delete objects after {count} days" for prefix, count in days]
    return "\n".join([*lines, f"  {'all of these':<14} abort multipart uploads after {MULTIPART_DAYS} days"])


def merged_config(settings: Settings, present: LifecycleConfig | None) -> LifecycleConfig:
    """Return our rules and those that others have set for the bucket."""
    ours = lifecycle_config(settings).rules
    earlier = {str(rule.rule_id).removeprefix(OUR_RULES) for rule in ours}
    others = [
        rule
        for rule in (present.rules if present else [])
        if rule.rule_id not in earlier and not (rule.rule_id or "").startswith(OUR_RULES)
    ]
    return LifecycleConfig(others + ours)


def _expiration(prefix: str, days: int) -> Rule:
    """Return the rule of one prefix. Two rules for the same objects are avoided: SeaweedFS keeps one per prefix."""
    return Rule(
        ENABLED,
        rule_filter=Filter(prefix=prefix),
        rule_id=OUR_RULES + prefix.strip("/"),
        expiration=Expiration(days=days),
        abort_incomplete_multipart_upload=AbortIncompleteMultipartUpload(days_after_initiation=MULTIPART_DAYS),
    )
