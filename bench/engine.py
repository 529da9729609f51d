"""Compare the engine with transformers' generate(), one by one and as a static batch: tokens per second on this CPU.

    python -m bench.engine

All sides run the same requests with 160 new tokens each, in interleaved rounds; medians. generate() has one advantage:
it does not check for special tokens, budgets and repetition. Its static batch has another: all sequences begin and end
at the same time, which real jobs do not.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from bench.mixed import engine_of, mixed_inputs, run, untrained
from engine import ModelInputs

ROUNDS = 5
TOKENS = 160
THINKING, ANSWER = 141, 16


def main() -> None:
    loaded = untrained()
    engine = engine_of(loaded)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)")
    print("jobs   engine   one by one   ratio   static batch   ratio     (tokens/s)")
    for count in (1, 4, 16, 32):
        inputs = mixed_inputs(engine, count)
        sides: list[Callable[[], int]] = [
            lambda inputs=inputs: run(engine, inputs, thinking=THINKING, answer=ANSWER),  # type: ignore[misc]
            lambda inputs=inputs: sum(generate(loaded.model, [one]) for one in inputs),  # type: ignore[misc]
            lambda inputs=inputs: generate(loaded.model, inputs),  # type: ignore[misc]
        ]
        speeds: list[list[float]] = [[], [], []]
        for number in range(ROUNDS + 1):
            for side, found in zip(sides, speeds, strict=True):
                started = time.monotonic()
                generated = side()
                if number:  # the first round warms up
                    found.append(generated / (time.monotonic() - started))
        ours, sequential, static = map(statistics.median, speeds)
        print(
            f"{count:4}  {ours:7.0f}  {sequential:11.0f}  {ours / sequential:6.2f}  "
            f"{static:13.0f}  {ours / static:6.2f}",
            flush=True,
        )


def generate(model: Any, inputs: list[ModelInputs]) -> int:
    """Run all inputs as one static batch, padded on the left; return the number of generated tokens."""
    longest = max(map(len, inputs))
    ids = torch.zeros((len(inputs), longest), dtype=torch.int64)
    mask, kinds = torch.zeros_like(ids), torch.zeros((len(inputs), longest), dtype=torch.int32)
    for row, one in enumerate(inputs):
        ids[row, longest - len(one) :], kinds[row, longest - len(one) :] = one.input_ids, one.mm_token_type_ids
        mask[row, longest - len(one) :] = 1
    pixels = [one.pixel_values for one in inputs if one.pixel_values is not None]
    grids = [one.image_grid_thw for one in inputs if one.image_grid_thw is not None]
    media = {"pixel_values": torch.cat(pixels), "image_grid_thw": torch.cat(grids)} if pixels else {}
    model.generate(
        input_ids=ids,
        attention_mask=mask,
        mm_token_type_ids=kinds,
        max_new_tokens=TOKENS,
        min_new_tokens=TOKENS,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        repetition_penalty=1.0,
        **media,
    )
    return TOKENS * len(inputs)


if __name__ == "__main__":
    with torch.inference_mode():
        main()
