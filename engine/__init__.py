"""Inference engine: continuous batching over a paged KV cache, with thinking budgets and vision.

A library. It knows nothing of jobs, queues or URLs. ``from engine import Engine`` imports torch; the configuration, the
requests, the events, the errors and ``engine.core`` do not.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from engine.config import EngineConfig
from engine.errors import DEVICE_LOST, DeviceLost, EngineError, ModelLoadError, SequenceError
from engine.events import Delta, Event, Failed, Finished, Phase, Token
from engine.request import ModelInputs, Request, SamplingParams
from engine.stats import EngineStats

if TYPE_CHECKING:
    from engine.engine import Engine
    from engine.inputs.processor import Video
    from engine.loop import EngineLoop
    from engine.runner.device import device_memory

__all__ = [
    "DEVICE_LOST",
    "Delta",
    "DeviceLost",
    "Engine",
    "EngineConfig",
    "EngineError",
    "EngineLoop",
    "EngineStats",
    "Event",
    "Failed",
    "Finished",
    "ModelInputs",
    "ModelLoadError",
    "Phase",
    "Request",
    "SamplingParams",
    "SequenceError",
    "Token",
    "Video",
    "device_memory",
]


def __getattr__(name: str) -> Any:
    """Import the names that need torch on first use (PEP 562)."""
    modules = {
        "Engine": "engine.engine",
        "EngineLoop": "engine.loop",
        "Video": "engine.inputs.processor",
        "device_memory": "engine.runner.device",
    }
    if name not in modules:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(modules[name]), name)
