"""What a training run tells of itself: a line every so many steps, and the curve of its loss."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from pocket.eval.chart import Line, chart
from pocket.training.training_step import MARKS, Judged


class Log:
    """Losses and answers right (the thought given), by skill; kept on the device until they are written."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        self._marks: list[torch.Tensor] = []
        self._rights: list[tuple[list[str], torch.Tensor]] = []
        self.steep: list[torch.Tensor] = []
        """Lengths of the slopes."""

    def note(self, skills: list[str], judged: Judged) -> None:
        self._marks.append(judged.special_tokens.clone())
        self._rights.append((skills, judged.faults == 0))

    def write(self, step: int, how: dict[str, Any]) -> dict[str, str]:
        """One line; returns what a progress bar shows."""
        by_skill: dict[str, list[float]] = defaultdict(list)
        for skills, rights in self._rights:
            for skill, right in zip(skills, rights.tolist(), strict=True):
                by_skill[skill].append(right)
        means = torch.stack(self._marks).nanmean(dim=0).tolist()
        special_tokens = {name: round(mean, 4) for name, mean in zip(MARKS, means, strict=True)}
        right = {skill: round(sum(values) / len(values), 3) for skill, values in sorted(by_skill.items())}
        steep = torch.stack(self.steep)
        how |= {
            "steepest": round(steep.nan_to_num(0, 0, 0).max().item(), 2),
            "left_out": int((~steep.isfinite()).sum()),
        }
        line = {"step": step, **how, **special_tokens, "right": right}
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._marks.clear()
        self._rights.clear()
        self.steep.clear()
        return {
            **{name: f"{mark:.3f}" for name, mark in special_tokens.items()},
            **{skill: f"{100 * share:.0f}" for skill, share in right.items()},
        }

    def lines(self) -> Iterator[dict[str, Any]]:
        with self._file.open(encoding="utf-8") as file:
            yield from map(json.loads, file)

    def draw(self, picture: Path) -> None:
        if not self._file.exists():
            return
        points = [(line["step"], line["loss"]) for line in self.lines()]
        if len(points) > 1:
            chart(picture, [Line("loss", points)], title="What is still unforeseen", across="step", up="nats a token")
