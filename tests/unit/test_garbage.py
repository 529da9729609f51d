"""Full garbage collections do not look at the objects of the start."""

import gc

from runtime.process.garbage import freeze_startup_objects


def test_objects_of_the_start_are_excluded_and_later_garbage_is_collected() -> None:
    before = [dict[str, object]() for _ in range(1_000)]
    try:
        freeze_startup_objects()
        assert gc.get_freeze_count() > len(before)
        assert len(gc.get_objects()) < len(before)
        cycle: list[object] = []
        cycle.append(cycle)
        del cycle
        assert gc.collect() >= 1
    finally:
        gc.unfreeze()
