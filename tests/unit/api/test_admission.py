from api.intake.admission import SHARES, AdmissionQuota


def test_as_many_processes_as_shares_never_exceed_the_limit() -> None:
    free_jobs = 5 * SHARES + 3
    quotas = [AdmissionQuota() for _ in range(SHARES)]
    for quota in quotas:
        quota.grant("a", free_jobs)
    assert sum(quota.spend("a") for quota in quotas for _ in range(free_jobs)) <= free_jobs


def test_close_to_the_limit_there_is_no_quota() -> None:
    quota = AdmissionQuota()
    quota.grant("a", SHARES - 1)
    assert not quota.spend("a")
    quota.grant("a", SHARES)
    assert not quota.spend("b")
    assert quota.spend("a")
    assert not quota.spend("a")
