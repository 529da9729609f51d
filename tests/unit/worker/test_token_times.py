"""The time per output token leaves out the first tokens, which wait for prefill."""

from prometheus_client import REGISTRY

from worker.generate.engine_metrics import TokenTimes


def jobs_observed() -> float:
    return REGISTRY.get_sample_value("thinkqueue_output_token_seconds_count") or 0


def test_a_job_is_observed_once_if_it_has_tokens_after_the_first_ones() -> None:
    before = jobs_observed()
    times = TokenTimes()
    times.end()
    times.record(3)
    times.end()
    assert jobs_observed() == before, "there is no second token to measure"
    times.record(1)
    times.record(2)
    times.end()
    assert jobs_observed() == before + 1
