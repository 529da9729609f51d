"""The training log: one JSON line every few steps, and the loss curve."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from pocket.eval.chart import Series, line_chart
from pocket.training.training_step import METRICS, StepOutput


class Log:
    """Collects losses and accuracies (given the thought) by skill. Values stay on the device until they are written."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        self._metrics: list[torch.Tensor] = []
        self._rights: list[tuple[list[str], torch.Tensor]] = []
        self.grad_norms: list[torch.Tensor] = []
        """Gradient norms."""

    def record(self, skills: list[str], output: StepOutput) -> None:
        self._metrics.append(output.metrics.clone())
        self._rights.append((skills, output.num_wrong == 0))

    def write(self, step: int, how: dict[str, Any]) -> dict[str, str]:
        """Append one line. Returns what the progress bar shows."""
        by_skill: dict[str, list[float]] = defaultdict(list)
        for skills, rights in self._rights:
            for skill, right in zip(skills, rights.tolist(), strict=True):
                by_skill[skill].append(right)
        means = torch.stack(self._metrics).nanmean(dim=0).tolist()
        metrics = {name: round(mean, 4) for name, mean in zip(METRICS, means, strict=True)}
        right = {skill: round(sum(values) / len(values), 3) for skill, values in sorted(by_skill.items())}
        grad_norms = torch.stack(self.grad_norms)
        how |= {
            "steepest": round(grad_norms.nan_to_num(0, 0, 0).max().item(), 2),
            "left_out": int((~grad_norms.isfinite()).sum()),
        }
        line = {"step": step, **how, **metrics, "right": right}
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._metrics.clear()
        self._rights.clear()
        self.grad_norms.clear()
        return {
            **{name: f"{value:.3f}" for name, value in metrics.items()},
            **{skill: f"{100 * share:.0f}" for skill, share in right.items()},
        }

    def lines(self) -> Iterator[dict[str, Any]]:
        with self._file.open(encoding="utf-8") as file:
            yield from map(json.loads, file)

    def draw(self, image: Path) -> None:
        if not self._file.exists():
            return
        points = [(line["step"], line["loss"]) for line in self.lines()]
        if len(points) > 1:
            line_chart(image, [Series("loss", points)], title="Training loss", x_label="step", y_label="nats per token")
