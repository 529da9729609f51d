"""What `thinkqueue doctor` finds."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    level: Level
    message: str
    remedy: str = ""
