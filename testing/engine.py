"""Builders for tests of the engine: conversations, requests, and the reference output of transformers."""

from dataclasses import replace
from typing import Any

import torch
from PIL import Image, ImageDraw

from engine import Delta, Engine, Event, Failed, Finished, ModelInputs, Request, SamplingParams, Token, Video
from engine.core.tokenizer_info import SpecialTokenIds
from engine.debug import inspect, model_of
from testing.inputs.videos import scene

GREEDY = SamplingParams(temperature=0, top_p=1, top_k=0, repetition_penalty=1, seed=1)
SAMPLED = SamplingParams(temperature=0.9, top_p=0.9, top_k=40, repetition_penalty=1.1, seed=7)
REFERENCE_TOKENS = 40
"""Tokens that ``generated_by_transformers`` generates."""
MEDIA_FIELDS = ("pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw")
"""Fields of ``ModelInputs`` that are arguments of the model under the same name."""


def image(color: str, size: tuple[int, int] = (168, 112)) -> Image.Image:
    """An ellipse on white."""
    drawn = Image.new("RGB", size, "white")
    ImageDraw.Draw(drawn).ellipse((20, 20, 90, 90), fill=color)
    return drawn


def user(*parts: str | None) -> list[dict[str, Any]]:
    """One user message; None is an image."""
    content = [{"type": "image"} if part is None else {"type": "text", "text": part} for part in parts]
    return [{"role": "user", "content": content}]


CONVERSATIONS: dict[str, tuple[list[dict[str, Any]], list[Image.Image]]] = {
    "text": (user("How many red circles are there?"), []),
    "an image": (user(None, "How many red circles are there?"), [image("red")]),
    "two images": (user(None, "and", None, "Compare."), [image("red"), image("blue", (56, 140))]),
    "a system message": (
        [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}, *user(None, "有几个?")],
        [image("green", (300, 300))],
    ),
    "several turns": (
        [
            *user(None, "How many red circles are there?"),
            {"role": "assistant", "content": [{"type": "text", "text": "Two."}]},
            *user("And in this one?", None),
        ],
        [image("red"), image("blue", (112, 84))],
    ),
}
INPUT_NAMES = [*CONVERSATIONS, "a video"]
"""Arguments of ``inputs_of``."""


def inputs_of(engine: Engine, name: str) -> ModelInputs:
    """Tensors of a named conversation."""
    if name == "a video":
        frames = [Image.fromarray(scene(number, 6, (140, 84))) for number in range(6)]
        question = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "What moves?"}]}
        return engine.prepare([question], [], [Video(frames, [0, 0.5, 1, 1.5, 2, 2.5])])
    messages, images = CONVERSATIONS[name]
    return engine.prepare(messages, images)


def request(
    inputs: ModelInputs, *, budget: int = 24, answer: int = 16, sampling: SamplingParams = SAMPLED, **more: Any
) -> Request:
    return Request("r", inputs, budget, answer, sampling, **more)


def run(engine: Engine, request: Request) -> tuple[list[Delta], Finished]:
    """Run one request to its end in an idle engine."""
    events: list[Event] = []
    engine.submit(request, events.append)
    run_until_idle(engine)
    assert isinstance(events[-1], Finished), events[-1]
    return [event for event in events if isinstance(event, Delta)], events[-1]


def run_until_idle(engine: Engine, max_steps: int = 20_000) -> None:
    for _ in range(max_steps):
        if engine.is_idle:
            return
        engine.step()
    raise AssertionError(f"the engine is not idle after {max_steps} steps")


def tokens_of(deltas: list[Delta]) -> list[Token]:
    return [token for delta in deltas for token in delta.tokens]


def generated_by_transformers(engine: Engine, inputs: ModelInputs) -> list[int]:
    """Output ids of ``generate()`` with greedy sampling."""
    media = {field: value for field in MEDIA_FIELDS if (value := getattr(inputs, field)) is not None}
    whole = model_of(engine).generate(
        input_ids=inputs.input_ids[None],
        mm_token_type_ids=inputs.mm_token_type_ids[None],
        attention_mask=torch.ones_like(inputs.input_ids)[None],
        max_new_tokens=REFERENCE_TOKENS,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        repetition_penalty=1.0,
        **media,
    )
    return list(map(int, whole[0, len(inputs) :].tolist()))


def assert_equal_up_to_a_phase_token(ours: list[int], reference: list[int], special: SpecialTokenIds) -> None:
    """The engine may differ from ``generate()`` only from a special token on that thinking control acts on."""
    alike = next((i for i, (a, b) in enumerate(zip(ours, reference, strict=False)) if a != b), len(reference))
    if alike < len(reference):
        assert reference[alike] in {*special.stop, special.answer_open, special.think_open, special.think_close}


class Batch:
    """Submits requests to an engine and records the output of each."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.tokens: dict[str, list[Token]] = {}
        """By request id; a journal is part of it."""
        self.finished: dict[str, Finished] = {}

    def submit(self, request: Request) -> None:
        self.tokens[request.id] = list(request.journal)

        def on_event(event: Event) -> None:
            assert not isinstance(event, Failed), event
            if isinstance(event, Delta):
                self.tokens[request.id].extend(event.tokens)
            else:
                assert request.id not in self.finished, "a request finishes once"
                self.finished[request.id] = event

        self.engine.submit(request, on_event)

    def run(self) -> None:
        """Run to the end, and check that nothing stays allocated."""
        run_until_idle(self.engine)
        snapshot = inspect(self.engine)
        assert (snapshot.running, snapshot.waiting, snapshot.in_flight_steps) == ((), (), 0)
        assert snapshot.free_blocks == snapshot.num_blocks
        assert snapshot.taken_slots == 0


def mixed_requests(engine: Engine, *, unlimited_answer: int = 40) -> list[Request]:
    """Text and media, greedy and sampled; thinking closed at once, early, late, and by the end of the context.

    The last one has no budget, and up to ``unlimited_answer`` tokens of answer.
    """
    kinds = [(0, SAMPLED), (7, SAMPLED), (24, GREEDY), (40, replace(SAMPLED, seed=3, top_k=2))]
    mixed = [
        replace(
            request(inputs_of(engine, name), budget=budget, answer=12 + 3 * number, sampling=sampling),
            id=f"{name}, budget {budget}",
        )
        for number, (budget, sampling) in enumerate(kinds)
        for name in INPUT_NAMES
    ]
    unlimited = request(inputs_of(engine, "an image"), budget=-1, answer=unlimited_answer, sampling=GREEDY)
    return [*mixed, replace(unlimited, id="an image, no budget")]
