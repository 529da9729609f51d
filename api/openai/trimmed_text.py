"""Makes the pieces of a streamed text add up to the final text, which has no white space at its ends."""


class TrimmedText:
    """Holds back white space at the end of what was sent until more text follows."""

    def __init__(self) -> None:
        self.sent = ""
        self._held = ""

    def push(self, text: str) -> str:
        """Return what may be sent after a new piece."""
        text = self._held + text
        if not self.sent:
            text = text.lstrip()
        ready = text.rstrip()
        self._held = text[len(ready) :]
        self.sent += ready
        return ready

    def rest_of(self, final: str) -> str:
        """Return what is missing of the final text."""
        if not final.startswith(self.sent):
            return ""
        rest = final[len(self.sent) :]
        self.sent = final
        return rest
