"""Teach the pocket model to see.

    python -m pocket.training.train RUN [--seconds S] [--plan P] [--device cuda] [--fonts FOLDER] [--start MODEL]

Endless scenes, or with ``--examples`` those of a file. ``RUN`` gets a checkpoint, from which the same command goes on,
a log, and the loss curve; of the checkpoint, ``python -m pocket.training.publish RUN FOLDER`` makes a model to
serve. With
``--start``, a published one learns on.
"""

import argparse
import gc
import multiprocessing
import re
import sys
import time
from pathlib import Path

import torch
from tqdm import tqdm

from pocket.model import make_model, make_tokenizer
from pocket.tasks.file_dataset import Given
from pocket.tasks.pages import Fonts
from pocket.tasks.synthetic_dataset import KINDS, WEIGHTS, Lessons
from pocket.training import checkpoint
from pocket.training.batches import Endless, Supply
from pocket.training.cuda_graph_step import Passes
from pocket.training.init_weights import begin
from pocket.training.log import Log
from pocket.training.publish import published
from pocket.training.training_step import SEEING, TELLING, Learner

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
MOMENTS = {"mean": "exp_avg", "square": "exp_avg_sq"}
"""What AdamW remembers of each parameter: in a checkpoint, and in the optimizer."""
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
        if options.start:
            model.load_state_dict(published(options.start))
        else:
            begin(model)
        # A published model sees: its telling layer is gone, and a new one would only disturb it.
        learner = Learner(model.to(self._device).train(), seeing=0.0 if options.start else SEEING)
        self._passes = Passes(learner, records=not options.plain, halves=options.bfloat16)
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
        # A published model has been through the plain scenes.
        self._ramp = 0.0 if options.start else options.ramp
        self._move_on()
        seed, only = 1_000 * (SEED + self.step), options.only.split(",") if options.only else ()

        def lessons(number: int) -> Lessons | Given:
            if options.examples:
                return Given.of_file(options.examples, seed + number)
            return Lessons(seed + number, Fonts(options.fonts), only=only, sizes=options.sizes, shares=options.shares)

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
                self._move_on()
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
            for told, moment in MOMENTS.items():
                # Missing where no example had a picture so far.
                tensors[f"{told} {name}"] = state.get(moment, torch.zeros_like(parameter)).bfloat16()
            tensors[f"average {name}"] = self._average[name].half()
        checkpoint.save(self._run / "checkpoint", tensors, {"step": self.step, "seconds": self._seconds})
        self._log.draw(self._run / "loss.png")

    def _resume(self) -> None:
        found = checkpoint.load(self._run / "checkpoint")
        if not found:
            return
        tensors, state = found
        if unknown := sorted(name for name in self._parameters if f"weight {name}" not in tensors):
            sys.exit(f"{self._run} holds no {unknown[0]}: begun with --start, it goes on with --start.")
        self.step, self._seconds = state["step"], state["seconds"]
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(tensors[f"weight {name}"])
                self._average[name].copy_(tensors[f"average {name}"])
                self._optimizer.state[parameter] = {
                    "step": torch.tensor(
                        float(self.step), device=self._device if self._device.type == "cuda" else "cpu"
                    ),
                    **{moment: tensors[f"{told} {name}"].to(parameter) for told, moment in MOMENTS.items()},
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

    def _move_on(self) -> None:
        """To what is taught at this share of the plan."""
        self._progress.value = min(1.0, self._share() / self._ramp) if self._ramp else 1.0

    def _share(self) -> float:
        """Of the plan."""
        return self._seconds / self._plan

    def _rate(self) -> float:
        falling = min(1.0, (1 - self._share()) / FALL)
        return self._peak * min(1.0, (self.step + 1) / WARM_UP) * max(falling, 0.01)


def shares(said: str) -> dict[str, float]:
    """``pages=3,locate=2``. Raises: ArgumentTypeError"""
    found = {}
    for part in said.split(","):
        name, _, times = part.partition("=")
        if not re.fullmatch(r"\d+(\.\d+)?", times):
            raise argparse.ArgumentTypeError(f"{part!r} is not of the form NAME=TIMES, as pages=3")
        found[name] = float(times)
    if unknown := sorted(set(found) - {*KINDS, *WEIGHTS}):
        raise argparse.ArgumentTypeError(f"no lesson is called {unknown[0]}; there are {', '.join([*KINDS, *WEIGHTS])}")
    return found


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
    parser.add_argument("--start", type=Path, help="a published model's folder to go on from, where RUN is new")
    parser.add_argument(
        "--shares",
        type=shares,
        default={},
        metavar="NAME=TIMES,…",
        help="how often lessons come, times as else: pages=3",
    )
    parser.add_argument("--only", help="these kinds of lessons, by comma")
    parser.add_argument("--sizes", type=int, help="pictures of the first so many sizes")
    parser.add_argument("--examples", type=Path, help="a finetune.json to learn from, in place of drawn scenes")
    parser.add_argument("--plain", action="store_true", help="record no passes as CUDA graphs")
    parser.add_argument("--bfloat16", action="store_true", help="on a CPU too; a GPU always does")
    parser.add_argument("--fonts", type=Path, help="folder of fonts for pages, beside Pillow's own")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = True
    training = Training(options.run, options)
    # What is there now stays: collecting garbage before each recording need not look at it again.
    gc.freeze()
    training.go(options.seconds)


if __name__ == "__main__":
    main()
