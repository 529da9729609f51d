import re

from api.intake.service import keyed_job_id


def test_an_idempotency_key_gives_the_same_job_id_within_its_tenant_only() -> None:
    job_id = keyed_job_id("a", "order-17")
    assert job_id == keyed_job_id("a", "order-17")
    assert len({job_id, keyed_job_id("b", "order-17"), keyed_job_id("a", "order-18")}) == 3
    assert re.fullmatch(r"job_[0-7][0-9A-HJKMNP-TV-Z]{25}", job_id)
