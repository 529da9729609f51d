import re

from jobs.model.documents.idempotency import key_digest


def test_an_idempotency_key_has_the_same_digest_within_its_tenant_only() -> None:
    digest = key_digest("a", "order-17")
    assert digest == key_digest("a", "order-17")
    assert len({digest, key_digest("b", "order-17"), key_digest("a", "order-18")}) == 3
    assert re.fullmatch(r"[0-9a-f]{64}", digest)
