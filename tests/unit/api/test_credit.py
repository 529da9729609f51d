from api.intake.admission import SHARES, AdmissionQuota


def test_as_many_processes_as_there_are_shares_never_pass_the_limit() -> None:
    room = 5 * SHARES + 3
    processes = [AdmissionQuota() for _ in range(SHARES)]
    for credit in processes:
        credit.grant("a", room)
    assert sum(credit.spend("a") for credit in processes for _ in range(room)) <= room


def test_close_to_a_limit_there_is_none() -> None:
    credit = AdmissionQuota()
    credit.grant("a", SHARES - 1)
    assert not credit.spend("a")
    credit.grant("a", SHARES)
    assert not credit.spend("b")
    assert credit.spend("a")
    assert not credit.spend("a")
