"""The request that one delivery attempt sends."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class OutboundRequest:
    method: Literal["POST", "PUT"]
    url: str
    body: bytes
    headers: dict[str, str]
