"""The generated references match the code."""

from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from observe import logs_reference, metrics_reference
from runtime.telemetry import metrics

DOCS = Path(__file__).parents[2] / "docs"


def test_the_log_reference_is_up_to_date() -> None:
    assert (DOCS / "logs.md").read_text("utf-8") == logs_reference.page(), "run `make docs`"


def test_the_metric_reference_is_up_to_date() -> None:
    assert (DOCS / "metrics.md").read_text("utf-8") == metrics_reference.page(), "run `make docs`"


def test_the_metric_reference_lists_every_metric() -> None:
    defined = {name for name, value in vars(metrics).items() if isinstance(value, MetricWrapperBase)}
    assert defined == {name for names in metrics_reference.SERVED_BY.values() for name in names}


def test_each_log_event_is_a_constant_with_a_known_name() -> None:
    assert len(logs_reference.log_events()) > 30
