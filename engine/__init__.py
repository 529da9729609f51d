"""The inference engine: a library that knows nothing of jobs, queues or URLs. The only home of torch."""

from engine.config import EngineLimits
from engine.engine import Engine, EngineStats
from engine.errors import DeviceLost, EngineError, ModelUnusable, SequenceError
from engine.events import Delta, Ended, Event, Failed, Stage, Token
from engine.inputs.processor import ModelInputs, Video
from engine.loading.device import device_memory
from engine.loop import DEVICE_LOST, EngineLoop
from engine.request import Request, Sampling

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
