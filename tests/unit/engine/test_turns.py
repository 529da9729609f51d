"""In which steps the heaviest group takes part, from the measured times of steps."""

import pytest

from engine.core.turns import MAX_SLOWDOWN, Turns

WITHOUT_S, WITH_S = 0.001, 0.008


def run(turns: Turns, steps: int, *, slow_alone: frozenset[int] = frozenset()) -> tuple[int, float]:
    """Run steps of two groups; return in how many the heaviest one took part, and the mean time of a step.

    Args:
        slow_alone: steps without the heaviest group that take ten times as long, by number.
    """
    took_part, elapsed_s, alone = 0, 0.0, 0
    for _ in range(steps):
        turn = turns.next("heaviest")
        step_s = WITH_S if turn.takes_part else WITHOUT_S * (10 if alone in slow_alone else 1)
        alone += not turn.takes_part
        turns.record(turn, step_s)
        took_part += turn.takes_part
        elapsed_s += step_s
    return took_part, elapsed_s / steps


def test_other_groups_are_slowed_down_no_more_than_the_limit() -> None:
    took_part, mean_s = run(Turns(), 1_000)
    assert mean_s <= 1.05 * MAX_SLOWDOWN * WITHOUT_S
    assert took_part * WITH_S / (1_000 * mean_s) >= 0.95 * (1 - 1 / MAX_SLOWDOWN)


@pytest.mark.parametrize("slow", [{0}, {0, 1}, {3, 4}, {0, 2, 5}])
def test_a_step_that_another_process_delayed_does_not_count_as_the_time_of_a_step(slow: set[int]) -> None:
    turns = Turns()
    took_part, _ = run(turns, 40, slow_alone=frozenset(slow))
    assert took_part <= 8


def test_the_time_without_the_heaviest_group_is_measured_again() -> None:
    """The first measurements are ten times too long, so that no debt leaves the heaviest group out."""
    turns = Turns()
    took_part, _ = run(turns, 2_000, slow_alone=frozenset(range(3)))
    assert took_part < 400
