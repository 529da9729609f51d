"""The generated references match the code."""

from pathlib import Path

from observe import logs_reference, metrics_reference

DOCS = Path(__file__).parents[2] / "docs"


def test_the_log_reference_is_up_to_date() -> None:
    assert (DOCS / "logs.md").read_text("utf-8") == logs_reference.page(), "run `make docs`"


def test_the_metric_reference_is_up_to_date() -> None:
    assert (DOCS / "metrics.md").read_text("utf-8") == metrics_reference.page(), "run `make docs`"


def test_each_log_event_is_a_constant_with_a_known_name() -> None:
    assert len(logs_reference.log_events()) > 30
