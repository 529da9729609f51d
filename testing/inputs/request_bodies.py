"""Parts of request bodies that many tests and benches send."""

import base64
from pathlib import Path
from typing import Any

SHAPES_PATH = Path(__file__).parents[2] / "cli" / "commands" / "shapes.png"
SHAPES_PNG = SHAPES_PATH.read_bytes()
SHAPES_URL = "data:image/png;base64," + base64.b64encode(SHAPES_PNG).decode()
"""The picture of the demo."""

FAR_FROM_TIES = {"temperature": 0.9, "top_p": 1.0, "top_k": 5}
"""Sampling parameters whose result does not depend on the other sequences of a batch.

Other neighbours move a logit by up to 2e-5; a token changes if its draw falls that close to the border of another
token. With top-k 40 and top-p 0.6, one in 95 runs of 600 tokens changed. Which seeds are safe is measured by
``tests/integration/engine/test_near_ties.py``.
"""


def question(*parts: str | dict[str, Any]) -> list[dict[str, Any]]:
    """Return one user message.

    Args:
        parts: texts, or complete content parts.
    """
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return [{"role": "user", "content": content}]


def image_part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


SHORT_JOB: dict[str, Any] = {"messages": question("Hi."), "thinking": {"budget_tokens": 4}, "max_answer_tokens": 4}

LONG_JOB: dict[str, Any] = {
    "messages": question("Describe the picture.", image_part(SHAPES_URL)),
    "thinking": {"budget_tokens": 1_500},
    "max_answer_tokens": 64,
    "sampling": {**FAR_FROM_TIES, "repetition_penalty": 1.1, "seed": 19},
}
"""Takes some seconds: more than 1,000 tokens of thinking. With float32 and a seed, the output is always the same."""

ENDLESS_JOB: dict[str, Any] = {
    "messages": question("Describe everything that you see."),
    "thinking": {"budget_tokens": -1},
    "sampling": {"temperature": 1.0, "top_k": 40, "seed": 1},
}
"""Some thousands of tokens, unless something stops it."""
