import threading
import time
from contextlib import suppress

import pytest

from runtime.circuit_breaker import IDLE_S, CircuitBreaker
from testing.processes.waiting import wait_until

LIMIT_S = 5.0


class Server:
    """A server whose small standard request succeeds or not."""

    def __init__(self) -> None:
        self.is_up = True
        self.probes = 0
        self.may_answer = threading.Event()
        self.may_answer.set()

    def probe(self) -> None:
        self.probes += 1
        assert self.may_answer.wait(LIMIT_S)
        if not self.is_up:
            raise TimeoutError("gone")

    def breaker(self, probe_timeout_s: float = LIMIT_S, *, idle_s: float = IDLE_S) -> CircuitBreaker:
        return CircuitBreaker(
            (TimeoutError,), ConnectionError, self.probe, probe_timeout_s=probe_timeout_s, idle_s=idle_s
        )


def fail(breaker: CircuitBreaker) -> None:
    with breaker.call():
        raise TimeoutError("slow")


def is_closed(breaker: CircuitBreaker) -> bool:
    try:
        with breaker.call():
            return True
    except ConnectionError:
        return False


def test_calls_fail_immediately_while_the_server_does_not_answer_a_probe() -> None:
    server = Server()
    breaker = server.breaker()
    server.is_up = False
    with pytest.raises(TimeoutError):
        fail(breaker)
    with pytest.raises(ConnectionError, match="a moment ago"):
        fail(breaker)  # it waits for the outcome of the first probe
    server.is_up = True
    wait_until(lambda: is_closed(breaker), "the breaker is closed")


def test_failing_calls_do_not_open_the_breaker_of_a_server_that_answers() -> None:
    """One tenant's large bodies are slow: another tenant's calls are made all the same."""
    server = Server()
    breaker = server.breaker()
    for _ in range(50):
        with pytest.raises(TimeoutError):
            fail(breaker)
        assert is_closed(breaker)
    assert server.probes <= 2, "a server that has just answered is not asked again"


def test_errors_that_do_not_concern_the_server_cause_no_probe() -> None:
    server = Server()
    breaker = server.breaker()
    for _ in range(2):
        with pytest.raises(ValueError, match="wrong"), breaker.call():
            raise ValueError("wrong")
    assert server.probes == 0


def test_calls_wait_for_a_slow_probe_only_as_long_as_they_may() -> None:
    server = Server()
    breaker = server.breaker(probe_timeout_s=0.01)
    server.may_answer.clear()
    with pytest.raises(TimeoutError):
        fail(breaker)
    assert is_closed(breaker)
    server.may_answer.set()


def test_many_failures_at_once_cause_one_probe() -> None:
    server = Server()
    breaker, barrier = server.breaker(), threading.Barrier(8, timeout=LIMIT_S)

    def call() -> None:
        with suppress(TimeoutError), breaker.call():
            barrier.wait()  # concurrent calls are all made
            raise TimeoutError("slow")

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert not barrier.broken
    assert is_closed(breaker)
    assert server.probes == 1


def test_the_breaker_is_tried_again_when_nobody_has_called_for_a_while() -> None:
    server = Server()
    breaker = server.breaker(idle_s=0)
    server.is_up = False
    with pytest.raises(TimeoutError):
        fail(breaker)
    wait_until(lambda: threading.active_count() == 1 or is_closed(breaker), "probing has ended")
    started = time.monotonic()
    assert is_closed(breaker)
    assert time.monotonic() - started < LIMIT_S
