"""Trains the pocket model.

    python -m pocket.training.train RUN [--seconds S] [--plan P] [--device cuda] [--fonts FOLDER] [--start MODEL]

Trains on generated scenes, or with ``--examples`` on those of a file. ``RUN`` receives a checkpoint, from which the
same command resumes, a log, and the loss curve. ``python -m pocket.training.publish RUN FOLDER`` turns the checkpoint
into a model to serve. ``--start`` continues from a published model.
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
from pocket.tasks.file_dataset import FileDataset
from pocket.tasks.pages import Fonts
from pocket.tasks.synthetic_dataset import KINDS, WEIGHTS, SyntheticDataset
from pocket.training import checkpoint
from pocket.training.batches import BatchLoader, ExampleStream
from pocket.training.cuda_graph_step import GraphedStep
from pocket.training.init_weights import init_weights
from pocket.training.log import Log
from pocket.training.publish import load_published
from pocket.training.training_step import AUX_HEAD_PREFIX, AUX_WEIGHT, LossModule

SEED = 20_261_124
PEAK_LR = 2e-3
WARMUP_STEPS = 200
"""Steps of linear warm-up."""
CURRICULUM_SHARE = 0.12
"""Share of the plan over which the curriculum grows from plain scenes to all (``Curriculum.progress``)."""
DECAY_SHARE = 0.35
"""Last share of the plan, over which the learning rate decays."""
REPLAY_BATCHES = 64
"""Old batches kept for replay."""
EMA_DECAY = 0.999
"""Decay per step of the exponential moving average of the weights."""
ADAM_STATE = {"mean": "exp_avg", "square": "exp_avg_sq"}
"""AdamW's state per parameter: name in a checkpoint → name in the optimizer."""
LOG_EVERY, SAVE_EVERY_S = 50, 120


class Training:
    def __init__(self, run: Path, options: argparse.Namespace) -> None:
        self._run = run
        self._plan: float = options.plan
        self._peak_lr: float = options.peak_lr
        self._device = torch.device(options.device)
        torch.manual_seed(SEED)
        self._tokenizer = make_tokenizer()
        model = make_model(self._tokenizer)
        if options.start:
            model.load_state_dict(load_published(options.start))
        else:
            init_weights(model)
        # A published model has no auxiliary head, and a new one would disturb its vision encoder.
        loss_module = LossModule(model.to(self._device).train(), aux_weight=0.0 if options.start else AUX_WEIGHT)
        self._step_runner = GraphedStep(loss_module, captures=not options.plain, bfloat16=options.bfloat16)
        self._parameters = loss_module.parameters()
        # Vision and text gradients are clipped separately: vision gradients are larger and would dominate a joint norm.
        vision = [p for name, p in self._parameters.items() if ".visual." in name or name.startswith(AUX_HEAD_PREFIX)]
        self._clip_groups = (
            vision,
            [p for p in self._parameters.values() if all(p is not other for other in vision)],
        )
        matrices = [p for p in self._parameters.values() if p.dim() > 1]
        vectors = [p for p in self._parameters.values() if p.dim() <= 1]
        self._optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
            lr=options.peak_lr,
            betas=(0.9, 0.98),
            fused=self._device.type == "cuda",
        )
        self._ema = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        self.step, self._seconds = 0, 0.0
        self._progress = multiprocessing.Value("d", 0.0)
        self._resume()
        # The average restarts here; otherwise that of a short run would be the one of the previous run.
        self._resumed_at = self.step
        # A published model has completed the curriculum.
        self._curriculum_share = 0.0 if options.start else options.curriculum_share
        self._update_curriculum()
        seed, only = 1_000 * (SEED + self.step), options.only.split(",") if options.only else ()

        def dataset(number: int) -> SyntheticDataset | FileDataset:
            if options.examples:
                return FileDataset.of_file(options.examples, seed + number)
            return SyntheticDataset(
                seed + number, Fonts(options.fonts), only=only, sizes=options.sizes, shares=options.shares
            )

        is_gpu = self._device.type == "cuda"
        stream = ExampleStream(self._tokenizer, dataset, options.batch, self._progress)
        self._loader = BatchLoader(stream, options.workers, pinned=is_gpu, replay=REPLAY_BATCHES if is_gpu else 0)
        self._log = Log(run / "log.jsonl")

    def run(self, limit_s: float) -> None:
        """Train until the plan or the time limit ends."""
        started = saved = time.monotonic()
        before = self._seconds
        bar = tqdm(initial=self.step, desc="training", mininterval=5, smoothing=0.05)
        while self._progress_share() < 1 and time.monotonic() - started < limit_s:
            self._train_step()
            self._seconds = before + time.monotonic() - started
            bar.update()
            if self.step % LOG_EVERY == 0:
                how = {
                    "seconds": round(self._seconds, 1),
                    "rate": self._learning_rate(),
                    "graphs": len(self._step_runner),
                }
                how |= {"new": self._loader.new, "old": self._loader.old}
                bar.set_postfix(self._log.write(self.step, how))
                self._update_curriculum()
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
            for kind, moment in ADAM_STATE.items():
                # Missing while no example had an image.
                tensors[f"{kind} {name}"] = state.get(moment, torch.zeros_like(parameter)).bfloat16()
            tensors[f"average {name}"] = self._ema[name].half()
        checkpoint.save(self._run / "checkpoint", tensors, {"step": self.step, "seconds": self._seconds})
        self._log.draw(self._run / "loss.png")

    def _resume(self) -> None:
        found = checkpoint.load(self._run / "checkpoint")
        if not found:
            return
        tensors, state = found
        if unknown := sorted(name for name in self._parameters if f"weight {name}" not in tensors):
            sys.exit(
                f"{self._run} has no {unknown[0]}: a run that was started with --start must be resumed with --start."
            )
        self.step, self._seconds = state["step"], state["seconds"]
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(tensors[f"weight {name}"])
                self._ema[name].copy_(tensors[f"average {name}"])
                self._optimizer.state[parameter] = {
                    "step": torch.tensor(
                        float(self.step), device=self._device if self._device.type == "cuda" else "cpu"
                    ),
                    **{moment: tensors[f"{kind} {name}"].to(parameter) for kind, moment in ADAM_STATE.items()},
                }

    def _train_step(self) -> None:
        batch = self._loader.next()
        output = self._step_runner.run(batch)
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self._optimizer_step()
        self.step += 1
        since = self.step - self._resumed_at
        memory = min(EMA_DECAY, since / (since + 20))
        with torch.no_grad():
            torch._foreach_lerp_(list(self._ema.values()), list(self._parameters.values()), 1 - memory)
        self._log.record(batch.skills, output)

    def _optimizer_step(self) -> None:
        """Clip the gradients to norm 1 and update. A step with a NaN gradient is skipped."""
        lengths = []
        for parameters in self._clip_groups:
            slopes = [parameter.grad for parameter in parameters if parameter.grad is not None]
            if not slopes:
                continue  # A batch without images.
            lengths.append(torch.nn.utils.get_total_norm(slopes, foreach=True))
            torch._foreach_div_(slopes, lengths[-1].clamp(min=1.0))
        grad_norms = torch.stack(lengths)
        is_broken = ~grad_norms.isfinite().all()
        if self._device.type == "cuda":
            # As GradScaler does: the fused optimizer reads it on the device, without a synchronization.
            self._optimizer.found_inf = is_broken.float()  # type: ignore[attr-defined]
            self._optimizer.step()
        elif not is_broken:
            self._optimizer.step()
        self._log.grad_norms.append(grad_norms.max())

    def _update_curriculum(self) -> None:
        """Set the curriculum to the share of the plan that is done."""
        self._progress.value = (
            min(1.0, self._progress_share() / self._curriculum_share) if self._curriculum_share else 1.0
        )

    def _progress_share(self) -> float:
        """Return the share of the plan that is done."""
        return self._seconds / self._plan

    def _learning_rate(self) -> float:
        falling = min(1.0, (1 - self._progress_share()) / DECAY_SHARE)
        return self._peak_lr * min(1.0, (self.step + 1) / WARMUP_STEPS) * max(falling, 0.01)


def parse_shares(text: str) -> dict[str, float]:
    """Parse ``pages=3,locate=2``.

    Raises:
        ArgumentTypeError
    """
    found = {}
    for part in text.split(","):
        name, _, times = part.partition("=")
        if not re.fullmatch(r"\d+(\.\d+)?", times):
            raise argparse.ArgumentTypeError(f"{part!r} is not of the form NAME=TIMES, as pages=3")
        found[name] = float(times)
    if unknown := sorted(set(found) - {*KINDS, *WEIGHTS}):
        raise argparse.ArgumentTypeError(f"unknown task {unknown[0]}; known are {', '.join([*KINDS, *WEIGHTS])}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="stop after this time; the run can be resumed"
    )
    parser.add_argument("--plan", type=float, default=1_200, help="total seconds of training, earlier runs included")
    parser.add_argument("--batch", type=int, default=256, help="examples per step")
    parser.add_argument("--peak-lr", type=float, default=PEAK_LR, help="peak learning rate")
    parser.add_argument(
        "--workers", type=int, default=max(1, multiprocessing.cpu_count() - 1), help="processes that draw examples"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--curriculum-share",
        type=float,
        default=CURRICULUM_SHARE,
        help="share of the plan until the whole curriculum is trained",
    )
    parser.add_argument("--start", type=Path, help="folder of a published model to start a new RUN from")
    parser.add_argument(
        "--shares",
        type=parse_shares,
        default={},
        metavar="NAME=TIMES,…",
        help="factors on the frequency of tasks: pages=3",
    )
    parser.add_argument("--only", help="only these kinds of examples, comma-separated")
    parser.add_argument("--sizes", type=int, help="use only the first N image sizes of each list")
    parser.add_argument("--examples", type=Path, help="train on this finetune.json instead of generated scenes")
    parser.add_argument("--plain", action="store_true", help="do not capture CUDA graphs")
    parser.add_argument("--bfloat16", action="store_true", help="use bfloat16 on a CPU too; a GPU always does")
    parser.add_argument("--fonts", type=Path, help="folder of fonts for pages, in addition to Pillow's")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = True
    training = Training(options.run, options)
    # Garbage collection runs before each capture and need not scan the objects that exist now.
    gc.freeze()
    training.run(options.seconds)


if __name__ == "__main__":
    main()
