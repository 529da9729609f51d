"""The scaling decision, case by case."""

from dataclasses import replace

import pytest

from engine.loading.allocate import CPU_DEFAULTS, GPU_DEFAULTS
from jobs.model.job import Stage
from jobs.scaling import DEFAULT_ENGINE_SLOTS, ScalingTargets, decide_scaling
from jobs.table.reports.stats import HORIZONS_S, QueueStats, ServiceStats, StageStats, WorkerStats

PLAN = ScalingTargets(wait_s=60, startup_s=180, idle_s=300)


def workers(*states: str, busy: int = 0, slots: int = 8) -> tuple[WorkerStats, ...]:
    return tuple(
        WorkerStats(f"w{number}", "generate", state, slots, slots - 1 if number < busy else slots, {})
        for number, state in enumerate(states)
    )


def stats(
    waiting: int = 0,
    *,
    in_progress: int = 0,
    arrivals: float = 0.0,
    present: tuple[WorkerStats, ...] = (),
    preparing: int = 0,
    job_s: float = 20.0,
    must_start: dict[int, int] | None = None,
) -> ServiceStats:
    """A worker with 8 slots does 0.4 jobs of 20 s a second."""
    nothing = StageStats({"default": QueueStats(preparing, 0)}, 0, 0, 1, 1, ())
    gpu = StageStats({"default": QueueStats(waiting, 0)}, in_progress, arrivals, job_s, 8, present)
    horizons = dict.fromkeys(HORIZONS_S, 0) | (must_start or {})
    return ServiceStats({Stage.PREPARE: nothing, Stage.GENERATE: gpu}, 1, horizons, 0, 0, 0, 0, 0, 0, {})


def wanted(**case: object) -> tuple[int, str]:
    decision = decide_scaling(Stage.GENERATE, stats(**case), PLAN)  # type: ignore[arg-type]
    return decision.wanted, decision.reason


def test_the_slots_of_an_unmeasured_service_are_the_smaller_default_of_the_engine() -> None:
    assert min(CPU_DEFAULTS.slots, GPU_DEFAULTS.slots) == DEFAULT_ENGINE_SLOTS


def test_an_idle_service_needs_no_worker() -> None:
    assert wanted() == (0, "idle")
    assert wanted(present=workers("ready", "ready")) == (0, "idle")


def test_one_waiting_job_starts_the_first_worker() -> None:
    assert wanted(waiting=1) == (1, "backlog")
    assert wanted(preparing=1) == (1, "backlog"), "it will wait for a generate worker before that worker is ready"


def test_the_job_duration_is_estimated_before_the_first_job() -> None:
    assert wanted(waiting=1, job_s=0.0)[0] == 1


def test_workers_with_jobs_are_never_removed() -> None:
    assert wanted(in_progress=3, present=workers(*["ready"] * 5, busy=3)) == (3, "busy")


def test_a_backlog_that_ends_before_a_new_worker_is_ready_adds_no_worker() -> None:
    # 60 jobs at 0.4 a second: 150 s, and help needs 180 s.
    one = decide_scaling(Stage.GENERATE, stats(60, in_progress=8, present=workers("ready", busy=1)), PLAN)
    assert one.wanted == 1
    assert one.backlog_s == pytest.approx(150)


def test_a_longer_backlog_adds_as_many_workers_as_finish_it_in_time() -> None:
    # 400 jobs, of which one worker does 72 in 180 s; 328 left at 24 a minute and worker: 14 more.
    assert wanted(waiting=400, in_progress=8, present=workers("ready", busy=1)) == (15, "backlog")


def test_starting_workers_count_as_ready() -> None:
    with_starting = workers("ready", *["starting"] * 14, busy=1)
    assert wanted(waiting=400, in_progress=8, present=with_starting)[0] <= 17
    assert wanted(waiting=400, in_progress=8, present=workers("ready", *["draining"] * 14, busy=1)) == (15, "backlog")


def test_workers_keep_up_with_arrivals() -> None:
    # 2 a second at 0.4 each, at 85 % load.
    assert wanted(waiting=3, in_progress=40, arrivals=2.0, present=workers(*["ready"] * 6, busy=5)) == (6, "arrivals")


def test_one_worker_is_kept_while_the_next_job_is_expected_soon() -> None:
    assert wanted(arrivals=1 / 100) == (1, "warm")
    assert wanted(arrivals=1 / 400) == (0, "idle")


def test_deadlines_can_require_more_workers_than_the_backlog() -> None:
    case = stats(100, in_progress=8, present=workers("ready", busy=1), must_start={300: 100, 900: 100, 3600: 100})
    patient = replace(PLAN, wait_s=3600)
    relaxed = decide_scaling(Stage.GENERATE, replace(case, must_start=dict.fromkeys(HORIZONS_S, 0)), patient)
    pressed = decide_scaling(Stage.GENERATE, case, patient)
    assert pressed.reason == "deadlines"
    assert pressed.wanted > relaxed.wanted


def test_any_statistics_give_a_valid_decision() -> None:
    for waiting in (0, 1, 100_000):
        for arrivals in (0.0, 1e-9, 500.0):
            for job_s in (0.0, 0.001, 10_000.0):
                for present in ((), workers("starting"), workers("ready", slots=0), workers(*["ready"] * 50, busy=50)):
                    decision = decide_scaling(
                        Stage.GENERATE, stats(waiting, arrivals=arrivals, job_s=job_s, present=present), PLAN
                    )
                    assert decision.wanted >= sum(worker.is_busy for worker in present)


def test_before_the_first_worker_was_ready_the_configured_slots_are_assumed() -> None:
    """60 jobs of an assumed 20 s on 8 slots: 3 workers finish them in a minute.

    One slot, and their arrivals, made it 32.
    """
    new = stats(60, arrivals=60 / 300, job_s=0.0)
    stages = {**new.stages, Stage.GENERATE: replace(new.stages[Stage.GENERATE], slots=0)}
    decision = decide_scaling(Stage.GENERATE, replace(new, stages=stages), replace(PLAN, unmeasured_slots=8))
    assert (decision.wanted, decision.reason) == (3, "backlog")
