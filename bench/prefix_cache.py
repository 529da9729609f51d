"""Measure what the prefix cache saves: the first token of a follow-up, beside the first token of the conversation.

    python -m bench.prefix_cache

Each round asks about another document, so that its first turn finds nothing. The follow-up sends the conversation
again with an answer and a question; it runs with the cache and without, in turn. Encoder outputs are cached in all.
"""

import statistics
import time
from typing import Any

import torch
from PIL import Image, ImageDraw

from bench.mixed import GREEDY, untrained
from engine import Delta, Engine, EngineConfig, Event, Finished, ModelInputs, Request

ROUNDS = 12


def main() -> None:
    loaded = untrained()
    cached, plain = (Engine(loaded, EngineConfig(prefix_cache=is_on)) for is_on in (True, False))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)")
    print("document   prompt   first turn   follow-up   ratio   without the cache   ratio     (ms to the first token)")
    for lines, images in ((20, 0), (80, 0), (60, 4)):
        times: list[list[float]] = [[], [], []]
        for number in range(ROUNDS + 1):
            first = conversation(cached, number, lines, images)
            follow_up = conversation(cached, number, lines, images, answer="There are two.")
            first_token_ms(plain, first)
            found = [first_token_ms(cached, first), first_token_ms(cached, follow_up), first_token_ms(plain, follow_up)]
            if number:  # the first round warms up
                for side, value in zip(times, found, strict=True):
                    side.append(value)
        turn, fast, slow = map(statistics.median, times)
        name = f"{lines} lines" + (f", {images} images" if images else "")
        ratios = fast / turn, slow / turn
        print(
            f"{name:18}{len(first):6}  {turn:10.1f}  {fast:10.1f}  {ratios[0]:6.2f}  {slow:18.1f}  {ratios[1]:6.2f}",
            flush=True,
        )


def conversation(engine: Engine, number: int, lines: int, images: int, answer: str = "") -> ModelInputs:
    """Build a question on a document and images, and a second question after an answer."""
    document = "".join(f"{number}.{line}: How many red circles are there?\n" for line in range(lines))
    content: list[dict[str, Any]] = [{"type": "image"}] * images
    content = [{"type": "text", "text": f"Document {number}."}, *content, {"type": "text", "text": document}]
    messages = [{"role": "user", "content": content}]
    if answer:
        messages += [
            {"role": "assistant", "content": [{"type": "text", "text": answer}]},
            {"role": "user", "content": [{"type": "text", "text": "And how many are blue?"}]},
        ]
    return engine.prepare(messages, [picture(number, one) for one in range(images)])


def picture(number: int, one: int) -> Image.Image:
    drawn = Image.new("RGB", (224, 224), "white")
    ImageDraw.Draw(drawn).ellipse((9 + number, 9 + 20 * one, 90, 190), fill="red")
    return drawn


def first_token_ms(engine: Engine, inputs: ModelInputs) -> float:
    """Return the time from ``submit`` to the first token, in milliseconds."""
    times: list[float] = []

    def record(event: Event) -> None:
        if isinstance(event, Delta | Finished):
            times.append(time.monotonic())

    started = time.monotonic()
    engine.submit(Request("r", inputs, 8, 8, GREEDY), record)
    while not engine.is_idle:
        engine.step()
    return (times[0] - started) * 1000


if __name__ == "__main__":
    main()
