"""The inference engine: a library that knows nothing of jobs, queues or URLs. The only home of torch."""

from worker.engine.engine import Engine
from worker.engine.errors import EngineError, ModelUnusable, SequenceError
from worker.engine.events import Delta, Ended, Event, Failed, Stage, Token
from worker.engine.inputs import ModelInputs, Video
from worker.engine.loop import EngineLoop
from worker.engine.request import Request, Sampling

__all__ = [
    "Delta",
    "Ended",
    "Engine",
    "EngineError",
    "EngineLoop",
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
]
