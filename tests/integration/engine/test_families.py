"""A family with other rules than GLM-4.1V: no answer token, and a switch for thinking in its template."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from engine import Engine, ModelInputs, Video
from engine.loading.model_loader import load_model
from families import FAMILIES
from testing.engine import GREEDY, SAMPLED, request, run, tokens_of, user
from testing.inputs.videos import scene

SWITCH = "{%- if enable_thinking is defined and not enable_thinking -%}/nothink{%- endif -%}"
CLOSED = "{% if enable_thinking is defined and not enable_thinking -%}<think></think>\n{% endif -%}"
"""As in GLM-4.6V's template: a suffix of the user's text, and thinking that is closed before it begins."""


@pytest.fixture(scope="module")
def engine(pocket_folder: Path) -> Engine:
    """The pocket weights under GLM-4.6V's rules."""
    family = replace(FAMILIES["glm-4.6v-flash"], context_tokens=2_048, images=FAMILIES["pocket"].images)
    loaded = load_model(str(pocket_folder), revision="main", device="cpu", dtype="float32", family=family)
    template = loaded.tokenizer.chat_template
    head, foot = template.rsplit("{%- endfor -%}", 1)
    loaded.tokenizer.chat_template = (
        f"{head}{SWITCH}{{%- endfor -%}}{foot.rsplit('{% endif', 1)[0]}{CLOSED}{{% endif -%}}"
    )
    return Engine(loaded)


def text_of(engine: Engine, inputs: ModelInputs) -> str:
    return engine.tokenizer_info.decode(inputs.input_ids.tolist())


def test_no_thinking_is_requested_in_the_prompt(engine: Engine) -> None:
    messages = user("How many?")
    thinking = text_of(engine, engine.prepare(messages, []))
    assert thinking.endswith("How many?<|assistant|>\n")
    inputs = engine.prepare(messages, [], enable_thinking=False)
    assert text_of(engine, inputs).endswith("How many?/nothink<|assistant|>\n<think></think>\n")

    deltas, end = run(engine, request(inputs, budget=0))
    assert not any(token.forced for token in tokens_of(deltas)), "the prompt has closed the thinking"
    assert (end.thinking, end.thinking_tokens, end.thinking_truncated) == ("", 0, False)
    assert end.answer_tokens > 0
    assert end.answer


def test_a_budget_is_enforced_without_the_switch(engine: Engine) -> None:
    inputs = engine.prepare(user("How many?"), [])
    deltas, end = run(engine, request(inputs, budget=5))
    forced = [token.id for token in tokens_of(deltas) if token.forced]
    assert engine.tokenizer_info.decode(forced) == "</think>\n", "this family has no answer token"
    assert end.thinking_tokens <= 5 + 3
    assert end.truncation_reason == "budget"
    assert end.answer_tokens > 0


def test_an_answer_without_thinking_continues_from_its_journal(engine: Engine) -> None:
    inputs = engine.prepare(user("How many?"), [], enable_thinking=False)
    deltas, whole = run(engine, request(inputs, budget=0, sampling=SAMPLED))
    journal = tuple(tokens_of(deltas)[:4])
    _, resumed = run(engine, request(inputs, budget=0, sampling=SAMPLED, journal=journal))
    assert resumed.answer == whole.answer


def test_a_family_without_a_switch_ignores_it(pocket_engine: Engine) -> None:
    without_thinking = pocket_engine.prepare(user("How many?"), [], enable_thinking=False)
    assert not without_thinking.thinking_closed
    assert without_thinking.input_ids.tolist() == pocket_engine.prepare(user("How many?"), []).input_ids.tolist()


def test_a_video_prompt_contains_timestamps(engine: Engine, pocket_engine: Engine) -> None:
    frames = [Image.fromarray(scene(number, 4, (112, 84))) for number in range(4)]
    video = Video(frames, [0, 0.5, 1, 1.5])
    messages = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "What moves?"}]}]
    places = "<|image|>" * 12
    frame = f"<|begin_of_image|>{places}<|end_of_image|>"
    whole = engine.prepare(messages, [], [video])
    assert f"<|begin_of_video|>{frame}0.0 seconds{frame}1.0 seconds<|end_of_video|>What" in text_of(engine, whole)
    seconds = pocket_engine.prepare(messages, [], [video])
    assert f"<|begin_of_video|>{frame}0{frame}1<|end_of_video|>What" in text_of(pocket_engine, seconds)
    bounds = FAMILIES["pocket"].videos
    without_video = pocket_engine.prepare(user("What moves?"), [])
    assert len(seconds) - len(without_video) <= bounds.max_tokens(112, 84, video.seconds)
    _, end = run(pocket_engine, request(seconds, budget=4, sampling=GREEDY))
    assert end.answer_tokens > 0
