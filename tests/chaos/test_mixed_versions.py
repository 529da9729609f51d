"""The previous version and this one run side by side on the same servers, through a rolling update and its rollback."""

import io
import subprocess
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.chaos.assertions import check, run_reference_jobs, usage_of, wait_until_idle, wait_until_slots_are_free
from testing.chaos.fleet import PROCESSES, ROOT, Fleet
from testing.chaos.workload import WebhookReceiver, Workload
from testing.processes.servers import short_times
from testing.processes.waiting import TIME_SCALE

PREVIOUS = "7a0b783a1ff4bb3600f88331e035a8073961255c"
"""The commit of the previous version. Set it to the last release when one is made. Until then: a landed version that
keeps the rules of docs/upgrades.md; those before f8c2144 do not ignore unknown fields."""
NAMES = (*PROCESSES, "api2")
UPDATE = (("keeper", "prepare"), ("keeper2", "generate"), ("generate2",), ("api",), ("api2",))
"""Processes that are replaced together, in the order of docs/upgrades.md; the rollback is its reverse."""
JOBS_PER_STEP = 8
SEED = 17

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def previous_tree(tmp_path: Path) -> Path:
    """The files of the previous version."""
    archive = subprocess.run(["git", "archive", PREVIOUS], cwd=ROOT, capture_output=True)
    if archive.returncode:
        pytest.skip(f"The git history is shallow, or there is none: {archive.stderr.decode().strip()}")
    tree = tmp_path / "previous"
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(tree, filter="data")
    return tree


@pytest.fixture
def mixed_fleet(tmp_path: Path, previous_tree: Path, pocket_folder: Path) -> Iterator[Fleet]:
    """Two processes of each kind, of the previous version."""
    fleet = Fleet.launch(tmp_path / "fleet", pocket_folder, names=NAMES, tree=previous_tree, settings=short_times())
    yield fleet
    fleet.close()


def test_a_rolling_update_and_its_rollback_lose_and_double_nothing(
    mixed_fleet: Fleet, receiver: WebhookReceiver, previous_tree: Path
) -> None:
    fleet = mixed_fleet
    references = [run_reference_jobs(fleet)]
    workload = Workload([fleet.url("api"), fleet.url("api2")], receiver.url, SEED)
    jobs = JOBS_PER_STEP * 2 * len(UPDATE)
    submitting = threading.Thread(target=workload.submit_all, args=(jobs,))
    submitting.start()
    for names in UPDATE:
        workload.admit(JOBS_PER_STEP)
        fleet.replace(*names, tree=ROOT)
    references.append(run_reference_jobs(fleet))
    for names in reversed(UPDATE):
        workload.admit(JOBS_PER_STEP)
        fleet.replace(*names, tree=previous_tree)
    submitting.join(timeout=120 * TIME_SCALE)
    wait_until_idle(fleet, workload, receiver, limit_s=120)
    wait_until_slots_are_free(fleet)
    report = check(fleet, workload, receiver, references, [])

    print(f"\n{len(workload.accepted)} jobs: {dict(report.statuses)}; {workload.refused} calls refused and repeated")
    assert len(workload.accepted) == jobs
    assert not report.wrong, "\n".join(report.wrong)
    assert (report.lost, report.doubled) == (0, 0)
    counted = usage_of(fleet) - Counter(job["status"] for reference in references for job in reference.values())
    assert counted == report.statuses, "usage counts each job once"
