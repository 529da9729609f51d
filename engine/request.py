"""What a caller asks of the engine: plain data."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.events import Token

if TYPE_CHECKING:
    from engine.inputs.processor import ModelInputs


@dataclass(frozen=True, slots=True)
class Sampling:
    temperature: float
    """0: the most likely token, always."""
    top_p: float
    top_k: int
    """0: no limit."""
    repetition_penalty: float
    """1: none. Divides the scores of all tokens of prompt and output, as transformers does."""
    seed: int


@dataclass(frozen=True, slots=True)
class Request:
    id: str
    inputs: "ModelInputs"
    thinking_budget: int
    """Tokens; -1: no budget, 0: the answer at once."""
    max_answer_tokens: int
    sampling: Sampling
    keeps_box_marks: bool = False
    """Leave the special_tokens round boxes and values in the text of the answer."""
    journal: tuple[Token, ...] = ()
    """What an earlier run of the same request has made: generation goes on behind it."""
