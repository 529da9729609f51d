"""Teach the pocket model to see.

    python -m pocket.train RUN [--seconds S] [--plan P] [--device cuda] [--fonts FOLDER]

Endless scenes, or with ``--examples`` those of a file. ``RUN`` gets a checkpoint, from which the same command goes on,
a log, and the loss curve; of the checkpoint, ``python -m pocket.publish RUN FOLDER`` makes a model to serve.
"""

import argparse
import gc
import json
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from pocket import checkpoint
from pocket.batches import Endless, Supply
from pocket.beginning import begin
from pocket.chart import Line, chart
from pocket.given import Given
from pocket.learning import MARKS, TELLING, Judged, Learner
from pocket.lessons import Lessons
from pocket.model import make_model, make_tokenizer
from pocket.recording import Passes
from pocket.skills.pages import Fonts

SEED = 20_261_124
PEAK = 2e-3
WARM_UP = 200
"""Steps to the peak of the learning rate."""
RAMP = 0.12
"""Share of the plan over which plain scenes of few things grow to all (``Course.progress``)."""
FALL = 0.35
"""The last share of the plan, over which the learning rate falls to nothing."""
KEEPS = 64
"""Batches that may be learned from once more."""
MEMORY = 0.999
"""Of the averaged weights, a step."""
LOG_EVERY, SAVE_EVERY_S = 50, 120


class Training:
    def __init__(self, run: Path, options: argparse.Namespace) -> None:
        self._run = run
        self._plan: float = options.plan
        self._peak: float = options.peak
        self._device = torch.device(options.device)
        torch.manual_seed(SEED)
        self._tokenizer = make_tokenizer()
        model = make_model(self._tokenizer)
        begin(model)
        learner = Learner(model.to(self._device).train())
        self._passes = Passes(learner, records=not options.plain)
        self._parameters = learner.parameters()
        # What is seen has the steeper slope; cut to one length with what is said, it left little of that.
        eyes = [p for name, p in self._parameters.items() if ".visual." in name or name.startswith(TELLING)]
        self._sides = eyes, [p for p in self._parameters.values() if all(p is not eye for eye in eyes)]
        matrices = [p for p in self._parameters.values() if p.dim() > 1]
        vectors = [p for p in self._parameters.values() if p.dim() <= 1]
        self._optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
            lr=options.peak,
            betas=(0.9, 0.98),
            fused=self._device.type == "cuda",
        )
        self._average = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self.step, self._seconds = 0, 0.0
        self._progress = multiprocessing.Value("d", 0.0)
        self._resume()
        # From here the average is begun anew: that of a short call would be the last call's.
        self._resumed_at = self.step
        self._ramp = options.ramp
        self._progress.value = min(1.0, self._share() / self._ramp)
        seed, only = 1_000 * (SEED + self.step), options.only.split(",") if options.only else ()

        def lessons(number: int) -> Lessons | Given:
            if options.examples:
                return Given.of_file(options.examples, seed + number)
            return Lessons(seed + number, Fonts(options.fonts), only=only, sizes=options.sizes)

        is_gpu = self._device.type == "cuda"
        endless = Endless(self._tokenizer, lessons, options.batch, self._progress)
        self._supply = Supply(endless, options.workers, pinned=is_gpu, keeps=KEEPS if is_gpu else 0)
        self._log = Log(run / "log.jsonl")

    def go(self, limit_s: float) -> None:
        """To the end of the plan, or until the time is over."""
        started = saved = time.monotonic()
        before = self._seconds
        bar = tqdm(initial=self.step, desc="learning", mininterval=5, smoothing=0.05)
        while self._share() < 1 and time.monotonic() - started < limit_s:
            self._learn()
            self._seconds = before + time.monotonic() - started
            bar.update()
            if self.step % LOG_EVERY == 0:
                how = {"seconds": round(self._seconds, 1), "rate": self._rate(), "recordings": len(self._passes)}
                how |= {"new": self._supply.new, "old": self._supply.old}
                bar.set_postfix(self._log.write(self.step, how))
                self._progress.value = min(1.0, self._share() / self._ramp)
            if time.monotonic() - saved > SAVE_EVERY_S:
                self.save()
                saved = time.monotonic()
        bar.close()
        self.save()

    def save(self) -> None:
        tensors: dict[str, torch.Tensor] = {}
        for name, parameter in self._parameters.items():
            state = self._optimizer.state[parameter]
            tensors[f"weight {name}"] = parameter
            tensors[f"mean {name}"] = state["exp_avg"].bfloat16()
            tensors[f"square {name}"] = state["exp_avg_sq"].bfloat16()
            tensors[f"average {name}"] = self._average[name].half()
        checkpoint.save(self._run / "checkpoint", tensors, {"step": self.step, "seconds": self._seconds})
        self._log.draw(self._run / "loss.png")

    def _resume(self) -> None:
        found = checkpoint.load(self._run / "checkpoint")
        if not found:
            return
        tensors, state = found
        self.step, self._seconds = state["step"], state["seconds"]
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(tensors[f"weight {name}"])
                self._average[name].copy_(tensors[f"average {name}"])
                self._optimizer.state[parameter] = {
                    "step": torch.tensor(
                        float(self.step), device=self._device if self._device.type == "cuda" else "cpu"
                    ),
                    "exp_avg": tensors[f"mean {name}"].to(parameter),
                    "exp_avg_sq": tensors[f"square {name}"].to(parameter),
                }

    def _learn(self) -> None:
        batch = self._supply.next()
        judged = self._passes.run(batch)
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate()
        self._descend()
        self.step += 1
        since = self.step - self._resumed_at
        memory = min(MEMORY, since / (since + 20))
        with torch.no_grad():
            torch._foreach_lerp_(list(self._average.values()), list(self._parameters.values()), 1 - memory)
        self._log.note(batch.skills, judged)

    def _descend(self) -> None:
        """A step down slopes of length 1 at most. One that is no number (NaN) is left out, and nothing is lost."""
        lengths = []
        for parameters in self._sides:
            slopes = [parameter.grad for parameter in parameters if parameter.grad is not None]
            if not slopes:
                continue  # Talk without pictures.
            lengths.append(torch.nn.utils.get_total_norm(slopes, foreach=True))
            torch._foreach_div_(slopes, lengths[-1].clamp(min=1.0))
        steep = torch.stack(lengths)
        is_broken = ~steep.isfinite().all()
        if self._device.type == "cuda":
            # As a GradScaler does it: the fused optimizer reads it on the device, and nobody waits.
            self._optimizer.found_inf = is_broken.float()  # type: ignore[attr-defined]
            self._optimizer.step()
        elif not is_broken:
            self._optimizer.step()
        self._log.steep.append(steep.max())

    def _share(self) -> float:
        """Of the plan."""
        return self._seconds / self._plan

    def _rate(self) -> float:
        falling = min(1.0, (1 - self._share()) / FALL)
        return self._peak * min(1.0, (self.step + 1) / WARM_UP) * max(falling, 0.01)


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
        self._marks.append(judged.marks.clone())
        self._rights.append((skills, judged.faults == 0))

    def write(self, step: int, how: dict[str, Any]) -> dict[str, str]:
        """One line; returns what a progress bar shows."""
        by_skill: dict[str, list[float]] = defaultdict(list)
        for skills, rights in self._rights:
            for skill, right in zip(skills, rights.tolist(), strict=True):
                by_skill[skill].append(right)
        means = torch.stack(self._marks).nanmean(dim=0).tolist()
        marks = {name: round(mean, 4) for name, mean in zip(MARKS, means, strict=True)}
        right = {skill: round(sum(values) / len(values), 3) for skill, values in sorted(by_skill.items())}
        steep = torch.stack(self.steep)
        how |= {
            "steepest": round(steep.nan_to_num(0, 0, 0).max().item(), 2),
            "left_out": int((~steep.isfinite()).sum()),
        }
        line = {"step": step, **how, **marks, "right": right}
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._marks.clear()
        self._rights.clear()
        self.steep.clear()
        return {
            **{name: f"{mark:.3f}" for name, mark in marks.items()},
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop, ready to go on, after so long")
    parser.add_argument("--plan", type=float, default=1_200, help="seconds of learning in all, earlier calls included")
    parser.add_argument("--batch", type=int, default=256, help="examples in a step")
    parser.add_argument("--peak", type=float, default=PEAK, help="learning rate")
    parser.add_argument("--workers", type=int, default=max(1, multiprocessing.cpu_count() - 1), help="that draw")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--ramp", type=float, default=RAMP, help="share of the plan until all is taught")
    parser.add_argument("--only", help="these kinds of lessons, by comma")
    parser.add_argument("--sizes", type=int, help="pictures of the first so many sizes")
    parser.add_argument("--examples", type=Path, help="a finetune.json to learn from, in place of drawn scenes")
    parser.add_argument("--plain", action="store_true", help="record no passes as CUDA graphs")
    parser.add_argument("--fonts", type=Path, help="folder of fonts for pages, beside Pillow's own")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = True
    training = Training(options.run, options)
    # What is there now stays: collecting garbage before each recording need not look at it again.
    gc.freeze()
    training.go(options.seconds)


if __name__ == "__main__":
    main()
