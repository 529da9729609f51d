"""The request that one delivery attempt sends."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class OutboundRequest:
    """An HTTP request that is ready to send."""

    method: Literal["POST", "PUT"]
    url: str
    body: bytes
    headers: dict[str, str]
