from api.intake.admission import SHARES, AdmissionQuota
from jobs.table.intake.admission import RESERVE_BELOW

LIMIT = 20_000


def test_as_many_processes_as_shares_leave_room_for_jobs_that_redis_does_not_count_yet() -> None:
    free_jobs = RESERVE_BELOW + 5 * SHARES + 3
    quotas = [AdmissionQuota() for _ in range(SHARES)]
    for quota in quotas:
        quota.grant("a", LIMIT, free_jobs)
    assert sum(quota.spend("a", LIMIT) for quota in quotas for _ in range(free_jobs)) <= free_jobs - RESERVE_BELOW


def test_close_to_the_limit_there_is_no_quota() -> None:
    quota = AdmissionQuota()
    quota.grant("a", LIMIT, RESERVE_BELOW + SHARES - 1)
    assert not quota.spend("a", LIMIT)
    quota.grant("a", LIMIT, RESERVE_BELOW + SHARES)
    assert not quota.spend("b", LIMIT)
    assert quota.spend("a", LIMIT)
    assert not quota.spend("a", LIMIT)


def test_a_key_with_a_lower_limit_does_not_use_the_quota_of_another_key() -> None:
    quota = AdmissionQuota()
    quota.grant("a", LIMIT, 10_000)
    assert not quota.spend("a", 30)
