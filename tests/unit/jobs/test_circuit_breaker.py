import threading
import time

import pytest

from runtime.circuit_breaker import PAUSE_S, CircuitBreaker


def fail(breaker: CircuitBreaker) -> None:
    with breaker.call():
        raise TimeoutError("gone")


def test_calls_after_a_failure_fail_immediately_until_one_succeeds() -> None:
    breaker = CircuitBreaker((TimeoutError,), ConnectionError)
    with pytest.raises(TimeoutError):
        fail(breaker)
    with pytest.raises(ConnectionError, match="a moment ago"):
        fail(breaker)
    time.sleep(PAUSE_S + 0.05)
    with breaker.call(), pytest.raises(ConnectionError):
        fail(breaker)  # while one tries, the others are refused
    with breaker.call():
        pass


def test_other_errors_keep_the_circuit_closed() -> None:
    breaker = CircuitBreaker((TimeoutError,), ConnectionError)
    for _ in range(2):
        with pytest.raises(ValueError, match="wrong"), breaker.call():
            raise ValueError("wrong")


def test_concurrent_calls_are_all_made_while_the_circuit_is_closed() -> None:
    breaker, barrier = CircuitBreaker((TimeoutError,), ConnectionError), threading.Barrier(4, timeout=5)

    def call() -> None:
        with breaker.call():
            barrier.wait()

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert not barrier.broken
