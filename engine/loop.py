"""One thread that steps the engine, and the door to it for all other threads."""

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
"""How often an idle loop says that it is alive."""


class EngineLoop:
    """``on_lost`` is called, in the loop's thread, when the device is gone: this process cannot use it any more."""

    def __init__(self, engine: Engine, *, on_lost: Callable[[str], object] | None = None) -> None:
        self.last_progress = time.monotonic()
        """When the last step, or idle tick, ended. Old: the device hangs."""
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
        """End the thread behind the step in progress; what still runs is dropped. False: it did not end in time."""
        self._stopping.set()
        self._calls.put(lambda: None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def submit(self, request: Request, on_event: OnEvent) -> None:
        """Put a request in line; a refusal comes as a Failed event."""
        self._calls.put(lambda: self._submit(request, on_event))

    def abort(self, request_id: str) -> None:
        """End a sequence behind the step in progress; its Finished event is the answer."""
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
            self._answer_calls(wait=self._engine.is_idle)
            if self._lost is None:
                try:
                    self._engine.step()
                except DeviceLost as error:
                    self._lose(str(error))
            self.last_progress = time.monotonic()

    def _lose(self, reason: str) -> None:
        self._lost = f"The device is lost to this process: {reason[:500]}"
        self._engine.fail_all(DEVICE_LOST, self._lost)
        if self._on_lost is not None:
            self._on_lost(self._lost)

    def _answer_calls(self, *, wait: bool) -> None:
        try:
            self._calls.get(block=wait, timeout=IDLE_TICK_S)()
            while True:
                self._calls.get_nowait()()
        except queue.Empty:
            return
