"""What the passes of a step cost, so that no step takes long, whatever one request brings.

The unit is one prompt token without attention. A token also attends to all tokens before it, and a patch of an image
to all patches of the image, so that the costs of a long prompt and of a large image grow with the square of their size.
"""

import math
from dataclasses import dataclass

ALIGNMENT = 64
"""A chunk that the attention to earlier tokens shortens is a multiple of this."""
LARGE_ALIGNMENT, LARGE_CHUNK = 1_024, 4_096
"""The same for chunks from this size on: attention is fastest on whole pieces."""


@dataclass(frozen=True, slots=True)
class StepCosts:
    """Operations per token or patch, in the unit above. The default: only the number of prompt tokens counts."""

    token_pair: float = 0.0
    """Attention of a prompt token to one token before it."""
    patch: float = 0.0
    """A patch in the vision encoder, without attention."""
    patch_pair: float = 0.0
    """Attention of a patch to one patch of the same image or frame pair."""

    def of_chunk(self, start: int, end: int) -> float:
        """Return the cost of computing the tokens ``start`` to ``end`` of a sequence."""
        return (end - start) * (1 + self.token_pair * (start + end) / 2)

    def of_grid(self, pairs: int, rows: int, columns: int) -> float:
        """Return the cost of encoding an image (one pair), or frame pairs of a video."""
        patches = rows * columns
        return pairs * patches * (self.patch + self.patch_pair * patches)

    def chunk_tokens(self, budget: float, start: int) -> int:
        """Return how many tokens from ``start`` on a budget allows; at least one."""
        if self.token_pair == 0:
            return max(1, int(budget))
        # tokens + token_pair · (start · tokens + tokens² / 2) = budget
        linear = 1 + self.token_pair * start
        root = math.sqrt(linear**2 + 2 * self.token_pair * budget)
        tokens = int((root - linear) / self.token_pair + 1e-6)
        alignment = LARGE_ALIGNMENT if tokens >= LARGE_CHUNK else ALIGNMENT
        return max(1, tokens) if tokens < alignment else tokens // alignment * alignment
