"""The engine's errors.

EngineError
├── ModelUnusable     the model cannot be loaded or does not belong to its family; refuses to start
├── SequenceError     one request cannot be done; has a code for the one who asked
└── DeviceLost        the GPU's context is gone, and with it all that ran
"""


class EngineError(Exception):
    """Something is wrong with the engine or what it was given."""


class ModelUnusable(EngineError):
    """The model cannot be used."""


class SequenceError(EngineError):
    """The request cannot be done."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class DeviceLost(EngineError):
    """The device's context is gone; only a new process gets another."""
