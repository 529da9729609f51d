"""Thread that steps the engine, and the thread-safe interface to it."""

import queue
import threading
import time
from collections.abc import Callable

from engine.core.sequence import OnEvent
from engine.engine import Engine
from engine.errors import DEVICE_LOST, DeviceLost, SequenceError
from engine.events import Failed
from engine.request import Request

IDLE_TICK_S = 1.0
"""How often an idle loop updates ``last_progress``."""


class EngineLoop:
    """Runs the engine in one thread and accepts requests from all threads.

    Args:
        engine: stepped by this loop only.
        on_lost: called in the loop's thread when the device is lost; this process cannot use it any more.
    """

    def __init__(self, engine: Engine, *, on_lost: Callable[[str], object] | None = None) -> None:
        self.last_progress = time.monotonic()
        """When the last step or idle tick ended. An old value means that the device hangs."""
        self._engine = engine
        self._on_lost = on_lost
        self._lost: str | None = None
        # Bounded by the callers: a worker submits only what it has claimed a slot for.
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, timeout_s: float) -> bool:
        """Stop the thread after the current step; running sequences are dropped.

        Returns:
            False if the thread did not stop in time.
        """
        self._stopping.set()
        self._calls.put(lambda: None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def submit(self, request: Request, on_event: OnEvent) -> None:
        """Queue a request. An invalid request gets a ``Failed`` event."""
        self._calls.put(lambda: self._submit(request, on_event))

    def abort(self, request_id: str) -> None:
        """End a sequence after the current step; it gets a ``Finished`` event with reason ``aborted``."""
        self._calls.put(lambda: self._engine.abort(request_id))

    def _submit(self, request: Request, on_event: OnEvent) -> None:
        if self._lost is not None:
            on_event(Failed(DEVICE_LOST, self._lost))
            return
        try:
            self._engine.submit(request, on_event)
        except SequenceError as error:
            on_event(Failed(error.code, error.message))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._run_calls(wait=self._engine.is_idle)
            if self._lost is None:
                try:
                    self._engine.step()
                except DeviceLost as error:
                    self._handle_device_loss(str(error))
            self.last_progress = time.monotonic()

    def _handle_device_loss(self, reason: str) -> None:
        self._lost = f"The GPU failed and this process cannot use it any more; restart the worker: {reason[:500]}"
        self._engine.fail_all(DEVICE_LOST, self._lost)
        if self._on_lost is not None:
            self._on_lost(self._lost)

    def _run_calls(self, *, wait: bool) -> None:
        try:
            self._calls.get(block=wait, timeout=IDLE_TICK_S)()
            while True:
                self._calls.get_nowait()()
        except queue.Empty:
            return
