"""The lifecycle rules of a bucket that others use as well."""

from minio.commonconfig import ENABLED, Filter
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule

from jobs.objects.lifecycle_rules import lifecycle_config
from testing.table import Table


def test_rules_of_others_stay_and_ours_are_replaced(table: Table) -> None:
    store, bucket = table.object_store._minio, table.settings.s3_bucket
    rule = Rule(ENABLED, rule_filter=Filter(prefix="backups/"), rule_id="backups", expiration=Expiration(days=30))
    old = Rule(ENABLED, rule_filter=Filter(prefix="requests/"), rule_id="requests", expiration=Expiration(days=1))
    store.set_bucket_lifecycle(bucket, LifecycleConfig([rule, old]))
    table.object_store.set_lifecycle()
    table.object_store.set_lifecycle()
    ours = {rule.rule_id for rule in lifecycle_config(table.settings).rules}
    assert rule_ids(table) == {"backups", *ours}
    store.delete_bucket_lifecycle(bucket)
    table.object_store.set_lifecycle()
    assert rule_ids(table) == ours


def rule_ids(table: Table) -> set[str | None]:
    config = table.object_store._minio.get_bucket_lifecycle(table.settings.s3_bucket)
    assert config is not None
    return {rule.rule_id for rule in config.rules}
