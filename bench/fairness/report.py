"""Compare what the neighbour experienced alone and beside a flood."""

from bench.fairness.neighbour import MEASURES, Samples, Summary

ALLOWED_RATIO = 2.0
IGNORED_S = 0.1
"""Times below do not count."""


def failed_measures(alone: Samples, flooded: Samples) -> list[str]:
    """Return the measures whose median or p99 more than doubled, with ``errors`` if a call was refused.

    A refused call counts as a minute, so a neighbour that was refused alone has no time to compare with.
    """
    before, during = alone.summary(), flooded.summary()
    failed = [name for name in MEASURES if not _is_within_limits(before.get(name), during.get(name))]
    return failed + ["errors"] * bool(flooded.errors) + ["errors alone"] * bool(alone.errors)


def _is_within_limits(before: Summary | None, during: Summary | None) -> bool:
    """Return whether neither figure more than doubled; a measure without samples has failed."""
    if not before or not during:
        return False
    return during.median <= max(IGNORED_S, ALLOWED_RATIO * before.median) and during.p99 <= max(
        IGNORED_S, ALLOWED_RATIO * before.p99
    )


def row(name: str, alone: Samples, flooded: Samples) -> str:
    """Return a row of a Markdown table: per measure the median and p99 in ms, alone → flooded."""
    before, during = alone.summary(), flooded.summary()
    cells = []
    for measure in MEASURES:
        if measure not in during or measure not in before:
            cells.append("none")
            continue
        first, second = before[measure], during[measure]
        cells.append(
            f"{first.median * 1e3:.0f} → {second.median * 1e3:.0f}, {first.p99 * 1e3:.0f} → {second.p99 * 1e3:.0f}"
        )
    verdict = ", ".join(failed_measures(alone, flooded)) or "pass"
    return f"| {name} | {' | '.join(cells)} | {verdict} |"
