"""The error for a client's file that cannot be used."""


class MediaError(Exception):
    """A file is refused.

    Args:
        code: error code in the public API.
        message: what is wrong with the file and what the client can do. It starts in lower case: the file's name
            precedes it, as in ``Image 2: the file is empty.``
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
