"""Measure what closing the thinking at its budget costs, compared with the reference script.

    python -m bench.cutoff

The reference script stops generate() at the budget, appends the closing text, and starts again with the whole prompt,
its images and the thinking. In the engine the closing text is three more rows of the next step. Both are compared with
a run of as many tokens without a cut. Interleaved rounds, medians, eight images, CPU.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image

from bench.mixed import CLOSING, engine_of, run, untrained
from engine import Engine, ModelInputs

ROUNDS = 9
THINKING, ANSWER = 256, 32


def main() -> None:
    loaded = untrained()
    engine = engine_of(loaded)
    image = Image.effect_noise((336, 336), 80).convert("RGB")
    content = [*[{"type": "image"}] * 8, {"type": "text", "text": "Compare them."}]
    inputs = engine.prepare([{"role": "user", "content": content}], [image] * 8)
    sides: list[Callable[[], float]] = [
        lambda: timed(lambda: run(engine, [inputs], thinking=THINKING, answer=ANSWER)),
        # As many steps without closing: all tokens are answer tokens.
        lambda: timed(lambda: run(engine, [inputs], thinking=0, answer=THINKING + ANSWER)),
        lambda: timed(lambda: reference(loaded.model, engine, inputs)),
        lambda: timed(lambda: generate(loaded.model, inputs, inputs.input_ids, THINKING + ANSWER)),
    ]
    times: list[list[float]] = [[] for _ in sides]
    for number in range(ROUNDS + 1):
        for side, found in zip(sides, times, strict=True):
            took = side()
            if number:
                found.append(took)
    cut, uncut, reference_cut, reference_uncut = map(statistics.median, times)
    steps = steps_of(engine, inputs, THINKING, ANSWER) - steps_of(engine, inputs, 0, THINKING + ANSWER)
    ours_step, theirs_step = uncut / (THINKING + ANSWER), reference_uncut / (THINKING + ANSWER)
    print(f"{THINKING} thinking tokens, cut, and {ANSWER} answer tokens; a prompt of {len(inputs)} tokens")
    print("              cut ms   uncut ms   cost of the cut in decode steps")
    print(
        f"engine      {1000 * cut:8.0f}   {1000 * uncut:8.0f}   {(cut - uncut) / ours_step:8.2f}   (steps: {steps:+d})"
    )
    print(
        f"reference   {1000 * reference_cut:8.0f}   {1000 * reference_uncut:8.0f}   "
        f"{(reference_cut - reference_uncut) / theirs_step:8.2f}"
    )


def timed(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def steps_of(engine: Engine, inputs: ModelInputs, thinking: int, answer: int) -> int:
    before = engine.stats().steps
    run(engine, [inputs], thinking=thinking, answer=answer)
    return engine.stats().steps - before


def reference(model: Any, engine: Engine, inputs: ModelInputs) -> None:
    """The two calls of the reference script, with all media passed again (the script itself omits the video)."""
    thinking = generate(model, inputs, inputs.input_ids, THINKING)
    closing = torch.tensor(engine.tokenizer_info.special_tokens.closing)
    assert len(closing) == CLOSING
    generate(model, inputs, torch.cat([thinking, closing]), ANSWER)


def generate(model: Any, inputs: ModelInputs, ids: torch.Tensor, tokens: int) -> torch.Tensor:
    kinds = torch.cat([inputs.mm_token_type_ids, torch.zeros(len(ids) - len(inputs), dtype=torch.int32)])
    whole: torch.Tensor = model.generate(
        input_ids=ids[None],
        attention_mask=torch.ones_like(ids)[None],
        mm_token_type_ids=kinds[None],
        pixel_values=inputs.pixel_values,
        image_grid_thw=inputs.image_grid_thw,
        max_new_tokens=tokens,
        min_new_tokens=tokens,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        repetition_penalty=1.0,
    )[0]
    return whole


if __name__ == "__main__":
    with torch.inference_mode():
        main()
