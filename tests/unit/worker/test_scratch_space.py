"""The files of all jobs together stay within the space of the temporary folder."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobs.errors import JobFailed
from worker.prepare.deadline import Deadline
from worker.prepare.preparation import Preparation
from worker.prepare.scratch.space import OUTPUT_BYTES, ScratchSpace, default_scratch_bytes

GIB = 2**30


class Cancelled(Exception):
    pass


def job_of(tenant: str, stopped: threading.Event | None = None) -> Preparation:
    def check() -> None:
        if stopped and stopped.is_set():
            raise Cancelled

    return Preparation(tenant, Deadline(100), check)


def files(size: int) -> int:
    """Return how many bytes of files make a reservation of this size."""
    return size - OUTPUT_BYTES


def test_a_job_waits_until_there_is_space_for_all_of_its_files() -> None:
    space, entered = ScratchSpace(2 * GIB), threading.Event()

    def wait_for_space() -> None:
        with space.reserve(job_of("b"), files(GIB)):
            entered.set()

    with ThreadPoolExecutor(1) as threads:
        with space.reserve(job_of("a"), files(GIB + 1)):
            future = threads.submit(wait_for_space)
            assert not entered.wait(0.3)
        future.result(30)


def test_what_files_did_not_need_goes_to_the_next_job() -> None:
    space = ScratchSpace(GIB)
    with space.reserve(job_of("a"), files(GIB)) as reservation:
        reservation.shrink(1_000)
        with space.reserve(job_of("b"), files(GIB // 2)):
            pass
    with space.reserve(job_of("a"), files(GIB)):
        pass  # everything was given back, once


def test_a_tenant_leaves_space_for_the_next_one() -> None:
    """The second job of a tenant waits where it would take what another tenant may need."""
    space, stopped = ScratchSpace(4 * GIB), threading.Event()
    first, second = space.reserve(job_of("a"), files(GIB)), space.reserve(job_of("a"), files(GIB))
    with ThreadPoolExecutor(1) as threads, first, second:
        third = threads.submit(space.reserve(job_of("a", stopped), files(GIB)).__enter__)
        with space.reserve(job_of("b"), files(GIB)):
            assert not third.done()
        stopped.set()
        with pytest.raises(Cancelled):
            third.result(30)


def test_a_job_that_needs_more_than_there_is_fails() -> None:
    with pytest.raises(JobFailed, match="upload those that are given by URL") as error:
        ScratchSpace(GIB).reserve(job_of("a"), GIB).__enter__()
    assert error.value.failure_code == "media_too_large"


def test_the_time_that_a_job_waits_does_not_count() -> None:
    space = ScratchSpace(GIB)
    job = Preparation("b", Deadline(0.2), lambda: None)
    with ThreadPoolExecutor(1) as threads:
        with space.reserve(job_of("a"), files(GIB)):
            future = threads.submit(space.reserve(job, files(GIB)).__enter__)
            threading.Event().wait(0.5)
            assert job.deadline.overdue_s == 0
        future.result(30)
    assert job.deadline.left(100) > 0


def test_half_of_the_free_space_is_used_by_default() -> None:
    assert default_scratch_bytes() > 0
