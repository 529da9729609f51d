"""Measure the engine end to end on this GPU: first tokens, batches, images and videos, at the published model's size.

    python -m bench.gpu_rows [tower,ttft,images,videos,text,stall]

Each row is one line of JSON. The weights are noise (see ``bench.gpu``); the work is greedy, with 256 tokens per request
where nothing else is said. It uses the engine's public interface only, so that two versions can be compared by running
it in both.
"""

import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from PIL import Image

from bench.gpu import GREEDY, load_random_model, text
from engine import Delta, Engine, EngineConfig, Event, Failed, ModelInputs, Request, Video
from engine.debug import encode_media

QUESTION_TOKENS = 100

Make = Callable[[], ModelInputs]


class Rows:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.random = np.random.default_rng(1)
        self.numbers = 0

    def emit(self, name: str, **values: Any) -> None:
        rounded = {key: round(value, 2) if isinstance(value, float) else value for key, value in values.items()}
        print("ROW", json.dumps({"name": name, **rounded}), flush=True)

    def image(self, side: int) -> ModelInputs:
        picture = Image.fromarray(self.random.integers(0, 255, (side, side, 3), dtype=np.uint8))
        return self._asked(self.engine.prepare([{"role": "user", "content": [{"type": "image"}]}], [picture]))

    def video(self, frames: int, height: int = 252, width: int = 448) -> ModelInputs:
        shape = (height, width, 3)
        pictures = [Image.fromarray(self.random.integers(0, 255, shape, dtype=np.uint8)) for _ in range(frames)]
        medium = Video(pictures, [number / 2 for number in range(frames)])
        return self._asked(self.engine.prepare([{"role": "user", "content": [{"type": "video"}]}], [], [medium]))

    def _asked(self, inputs: ModelInputs) -> ModelInputs:
        question = text(QUESTION_TOKENS)
        return replace(
            inputs,
            input_ids=torch.cat([inputs.input_ids, question.input_ids]),
            mm_token_type_ids=torch.cat([inputs.mm_token_type_ids, question.mm_token_type_ids]),
        )

    def run(self, makers: list[Make], tokens: int, *, prepared: bool = True) -> tuple[list[float], float]:
        """Generate for all requests at once; return the times of the first tokens, and the whole time, in seconds."""
        engine = self.engine
        inputs = [make() for make in makers] if prepared else []
        first: dict[str, float] = {}
        counts: Counter[str] = Counter()
        torch.cuda.synchronize()
        started = time.perf_counter()

        def listener(name: str) -> Callable[[Event], None]:
            def on_event(event: Event) -> None:
                if isinstance(event, Failed):
                    raise RuntimeError(f"{event.code}: {event.message}")
                if isinstance(event, Delta):
                    first.setdefault(name, time.perf_counter() - started)
                    counts[name] += len(event.tokens)

            return on_event

        live = []
        for number, make in enumerate(makers):
            self.numbers += 1
            name = str(self.numbers)
            live.append(name)
            engine.submit(Request(name, inputs[number] if prepared else make(), -1, 512, GREEDY), listener(name))
        while not engine.is_idle:
            engine.step()
            for name in [one for one in live if counts[one] >= tokens]:
                engine.abort(name)
                live.remove(name)
        torch.cuda.synchronize()
        return sorted(first.values()), time.perf_counter() - started

    def first_token(self, name: str, make: Make, *, rounds: int = 4, prepared: bool = True) -> None:
        times = [1000 * self.run([make], 1, prepared=prepared)[0][0] for _ in range(rounds)]
        self.emit(name, ttft_ms=statistics.median(times[1:]), first_ms=times[0])

    def batch(self, name: str, make: Make, count: int, tokens: int = 256) -> None:
        first, whole = self.run([make] * count, tokens)
        self.emit(
            name, tokens_per_s=count * tokens / whole, requests_per_s=count / whole,
            ttft_p50_ms=1000 * statistics.median(first), ttft_max_ms=1000 * first[-1],
        )  # fmt: skip

    def stall(self, name: str, make: Make, streams: int = 16) -> None:
        """Print the longest silence of running streams while another request arrives."""
        engine = self.engine
        arrivals: dict[str, list[float]] = {f"s{number}": [] for number in range(streams)}

        def listener(key: str) -> Callable[[Event], None]:
            return lambda event: arrivals[key].append(time.perf_counter()) if isinstance(event, Delta) else None

        heavy = make()
        for key in arrivals:
            engine.submit(Request(key, text(500), -1, 512, GREEDY), listener(key))
        for _ in range(40):
            engine.step()
        arrivals["heavy"] = []
        started = time.perf_counter()
        engine.submit(Request("heavy", heavy, -1, 512, GREEDY), listener("heavy"))
        while not arrivals["heavy"]:
            engine.step()
        for _ in range(4):
            engine.step()
        times = [[one for one in arrivals[f"s{number}"] if one > started - 0.1] for number in range(streams)]
        gaps = [1000 * (after - before) for one in times for before, after in pairwise(one)]
        self.emit(
            name, longest_silence_ms=max(gaps), p50_ms=statistics.median(gaps),
            heavy_ttft_ms=1000 * (arrivals["heavy"][0] - started), tokens=len(heavy),
        )  # fmt: skip
        for key in arrivals:
            engine.abort(key)
        while not engine.is_idle:
            engine.step()


def noise_video(pairs: int, rows: int, columns: int) -> ModelInputs:
    """A video as tensors: its image tokens alone, without timestamps."""
    patches = pairs * rows * columns
    return ModelInputs(
        torch.zeros(1), torch.zeros(1), pixel_values_videos=torch.randn(patches, 1_176),
        video_grid_thw=torch.tensor([[pairs, rows, columns]]),
    )  # fmt: skip


def tower(rows: Rows) -> None:
    """Print the time and peak memory of the vision encoder on large media."""

    def image(side: int, count: int = 1) -> ModelInputs:
        grid = torch.tensor([[1, side, side]] * count)
        return ModelInputs(
            torch.zeros(1), torch.zeros(1), pixel_values=torch.randn(count * side**2, 1_176), image_grid_thw=grid
        )

    media = {
        "448": image(32), "448 x 8": image(32, 8), "448 x 32": image(32, 32), "1344": image(96),
        "1344 x 4": image(96, 4), "2184": image(156), "video 30 pairs 448x252": noise_video(30, 18, 32),
        "largest video": noise_video(300, 20, 20),
    }  # fmt: skip
    for name, inputs in media.items():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        try:
            times = []
            for _ in range(4):
                torch.cuda.synchronize()
                started = time.perf_counter()
                encode_media(rows.engine, inputs)
                torch.cuda.synchronize()
                times.append(1000 * (time.perf_counter() - started))
        except torch.OutOfMemoryError as error:
            rows.emit(f"tower {name}", error=str(error)[:80])
            continue
        peak = (torch.cuda.max_memory_allocated() - before) / 2**30
        rows.emit(f"tower {name}", ms=statistics.median(times[1:]), first_ms=times[0], peak_gib=peak)


def first_tokens(rows: Rows) -> None:
    for length in (1_024, 8_192, 30_000):
        rows.first_token(f"first token, text {length}", partial(text, length))


def images(rows: Rows) -> None:
    for side in (448, 1_344):
        make = partial(rows.image, side)
        rows.first_token(f"first token, image {side}", make)
        rows.first_token(f"first token, image {side}, with preparation", make, prepared=False)
        for count in (1, 8, 32):
            rows.batch(f"image {side} x {count}", make, count)
        rows.batch(f"image {side} x 32, 1 token", make, 32, 1)


def videos(rows: Rows) -> None:
    for frames in (60, 120):
        rows.first_token(f"first token, video {frames}", partial(rows.video, frames))
    for count in (1, 8):
        rows.batch(f"video 60 x {count}", partial(rows.video, 60), count)


def texts(rows: Rows) -> None:
    for count in (1, 8, 32, 128):
        rows.batch(f"text 2048 x {count}", partial(text, 2_048), count)


def stalls(rows: Rows) -> None:
    rows.stall("stall, image 2184", partial(rows.image, 2_184))
    rows.stall("stall, text 30000", partial(text, 30_000))
    rows.stall("stall, video 120 frames", partial(rows.video, 120))


PARTS: dict[str, Callable[[Rows], None]] = {
    "tower": tower, "ttft": first_tokens, "images": images, "videos": videos, "text": texts, "stall": stalls,
}  # fmt: skip


def main(parts: list[str]) -> None:
    torch.manual_seed(1)
    _, loaded = load_random_model()
    started = time.monotonic()
    engine = Engine(loaded, EngineConfig(slots=128, encoder_cache_mib=0, prefix_cache=False))
    rows = Rows(engine)
    rows.emit(
        "engine", card=torch.cuda.get_device_name(), torch=torch.__version__, start_s=time.monotonic() - started,
        attention=engine.attention, kv_tokens=engine.kv_tokens,
    )  # fmt: skip
    rows.run([partial(text, 2_048)] * 8, 16)
    for part in parts:
        PARTS[part](rows)
    rows.emit("peak", gib=torch.cuda.max_memory_allocated() / 2**30)


if __name__ == "__main__":
    main(sys.argv[1].split(",") if len(sys.argv) > 1 else list(PARTS))
