"""The inference engine: a library that knows nothing of jobs, queues or URLs. The only home of torch."""

from worker.engine.device import device_memory
from worker.engine.engine import Engine, EngineStats
from worker.engine.errors import DeviceLost, EngineError, ModelUnusable, SequenceError
from worker.engine.events import Delta, Ended, Event, Failed, Stage, Token
from worker.engine.inputs import ModelInputs, Video
from worker.engine.limits import EngineLimits
from worker.engine.loop import DEVICE_LOST, EngineLoop
from worker.engine.request import Request, Sampling

__all__ = [
    "DEVICE_LOST",
    "Delta",
    "DeviceLost",
    "Ended",
    "Engine",
    "EngineError",
    "EngineLimits",
    "EngineLoop",
    "EngineStats",
    "Event",
    "Failed",
    "ModelInputs",
    "ModelUnusable",
    "Request",
    "Sampling",
    "SequenceError",
    "Stage",
    "Token",
    "Video",
    "device_memory",
]
