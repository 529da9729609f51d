"""Errors of the engine.

EngineError
├── ModelLoadError    the model cannot be loaded, or does not belong to its family
├── SequenceError     one request is invalid or failed; carries an error code
└── DeviceLost        the CUDA context is gone, and with it every running sequence
"""

DEVICE_LOST = "device_lost"
"""Error code of every sequence that was running when the device was lost."""


class EngineError(Exception):
    """Base class of the engine's errors."""


class ModelLoadError(EngineError):
    """The model cannot be loaded, or does not belong to its family."""


class SequenceError(EngineError):
    """A request is invalid, or its generation failed."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class DeviceLost(EngineError):
    """The CUDA context is gone. Only a new process gets a new one."""
