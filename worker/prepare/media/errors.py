"""What is wrong with a client's file."""


class MediaError(Exception):
    """The file cannot be used; the message says why and what would do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
