"""Workload of the engine benchmarks: short text and image requests on the untrained pocket model."""

import tempfile
from pathlib import Path

from PIL import Image, ImageDraw

from engine import Delta, Engine, EngineConfig, Event, ModelInputs, Request, SamplingParams
from engine.loading.model_loader import LoadedModel, load_model
from families import FAMILIES
from pocket.training.untrained import build

GREEDY = SamplingParams(temperature=0, top_p=1, top_k=0, repetition_penalty=1, seed=1)
CLOSING = 3


def untrained() -> LoadedModel:
    """Load the untrained pocket model on the CPU, in float32."""
    with tempfile.TemporaryDirectory() as folder:
        model = str(build(Path(folder) / "pocket"))
        return load_model(model, revision="main", device="cpu", dtype="float32", family=FAMILIES["pocket"])


def engine_of(loaded: LoadedModel, slots: int = 32) -> Engine:
    return Engine(loaded, EngineConfig(slots=slots, encoder_cache_mib=0, prefix_cache=False))


def mixed_inputs(engine: Engine, count: int) -> list[ModelInputs]:
    """Build inputs, every other one with an image; prompts of 20 to 120 tokens."""
    inputs = []
    for number in range(count):
        image = Image.new("RGB", (112 + 28 * (number % 4), 168), "white")
        ImageDraw.Draw(image).ellipse((9, 9, 90, 90), fill=("red", "blue", "green")[number % 3])
        text = {"type": "text", "text": "How many red circles are there? " * (1 + number % 5)}
        content = [{"type": "image"}, text] if number % 2 else [text]
        inputs.append(engine.prepare([{"role": "user", "content": content}], [image] if number % 2 else []))
    return inputs


def run(engine: Engine, inputs: list[ModelInputs], *, thinking: int, answer: int) -> int:
    """Run all inputs at once to their end; return the number of generated tokens."""
    generated = 0

    def count(event: Event) -> None:
        nonlocal generated
        generated += len(event.tokens) if isinstance(event, Delta) else 0

    for number, one in enumerate(inputs):
        engine.submit(Request(str(number), one, thinking, answer, GREEDY), count)
    while not engine.is_idle:
        engine.step()
    return generated
