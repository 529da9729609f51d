"""The training step computes the same as the engine's input path and the published class."""

import random
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from engine import Engine, Finished, Request, SamplingParams
from engine.inputs.processor import InputProcessor
from families import FAMILIES
from pocket.model import greedy, make_image_processor, make_model, make_tokenizer
from pocket.tasks.example import IMAGE, Example, text, user
from pocket.tasks.pages import Fonts
from pocket.tasks.synthetic_dataset import Curriculum, SyntheticDataset
from pocket.training.batches import IGNORE_INDEX, collate
from pocket.training.encoding import Encoder
from pocket.training.init_weights import init_weights
from pocket.training.publish import publish
from pocket.training.training_step import LossModule
from testing.inputs.scenes import THREE_OBJECTS

TOKENIZER = make_tokenizer()
PROCESSOR = InputProcessor(TOKENIZER, make_image_processor(), FAMILIES["pocket"])


def examples_of(kind: str) -> list[Example]:
    """Return six examples whose images have one size."""
    return SyntheticDataset(3, Fonts(), only=[kind]).next_examples(Curriculum(), 12)[:6]


@pytest.fixture(scope="module")
def model():  # type: ignore[no-untyped-def]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return make_model(TOKENIZER).eval()


@pytest.mark.parametrize("kind", ["scene", "follow-up", "compare", "among", "pages", "video", "chitchat"])
def test_the_loss_equals_that_of_the_published_class_on_the_engines_inputs(model, kind: str) -> None:  # type: ignore[no-untyped-def]
    examples = examples_of(kind)
    encoder = Encoder(TOKENIZER, model.config)
    total = count = 0.0
    for example in examples:
        inputs = PROCESSOR.process(example.messages, example.images, example.videos)
        said = TOKENIZER.encode(
            f"<think>{example.thought}</think>\n<answer>{example.answer}</answer>", add_special_tokens=False
        )
        assert encoder.encode(example).ids.tolist() == inputs.input_ids.tolist() + said
        types = torch.cat([inputs.mm_token_type_ids, torch.zeros(len(said), dtype=torch.int32)])
        given = {name: getattr(inputs, name) for name in ("pixel_values", "image_grid_thw")}
        given |= {name: getattr(inputs, name) for name in ("pixel_values_videos", "video_grid_thw")}
        with torch.no_grad():
            logits = model(
                input_ids=torch.cat([inputs.input_ids, torch.tensor(said)])[None],
                mm_token_type_ids=types[None],
                **{name: value for name, value in given.items() if value is not None},
            ).logits[0]
        model.model.rope_deltas = None
        total += float(functional.cross_entropy(logits[len(inputs) - 1 : -1], torch.tensor(said), reduction="sum"))
        count += len(said)
    twin = make_model(TOKENIZER).eval()
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        output = LossModule(twin).compute_loss(collate(examples, encoder, steps=(64, 512)))
    assert float(output.metrics[0]) == pytest.approx(total / count, rel=1e-5)


def test_forced_tokens_are_no_targets(model) -> None:  # type: ignore[no-untyped-def]
    """Of a truncated thought, the closing text is no target."""
    encoder = Encoder(TOKENIZER, model.config)
    closing = TOKENIZER.encode("</think>\n<answer>", add_special_tokens=False)
    rng = random.Random(0)
    cuts = 0
    for example in examples_of("scene") * 10:
        whole, encoded = encoder.encode(example), encoder.encode(example, rng)
        target_ids = encoded.ids[encoded.is_target].tolist()
        answer = whole.ids[whole.answer_from :].tolist()
        assert encoded.ids[encoded.answer_from :].tolist() == answer
        assert encoded.ids[encoded.answer_from - len(closing) : encoded.answer_from].tolist() == closing
        assert target_ids[-len(answer) :] == answer
        if len(encoded.ids) < len(whole.ids):
            cuts += 1
            assert closing[0] not in target_ids
    assert cuts > 5


def test_targets_follow_their_source_positions(model) -> None:  # type: ignore[no-untyped-def]
    batch = collate(examples_of("scene"), Encoder(TOKENIZER, model.config), steps=(32, 64))
    real = batch.targets != IGNORE_INDEX
    assert (batch.ids.flatten()[batch.source_positions[real] + 1] == batch.targets[real]).all()
    assert batch.ids.shape[1] % 32 == 0
    assert len(batch.targets) % 64 == 0


@pytest.mark.slow
def test_a_model_trained_on_two_examples_answers_them_in_the_engine(tmp_path: Path) -> None:
    """From examples over the loss and the published folder to the engine."""
    torch.manual_seed(0)
    model = make_model(TOKENIZER).train()
    init_weights(model)
    loss_module = LossModule(model)
    image = THREE_OBJECTS.image().resize((112, 84))
    conversations = (("How many stars?", "50,44 blue star: 1\n", "1"), ("有几个圆形？", "没有\n", "0"))
    examples = [
        Example("count", "en", [user(IMAGE, text(question))], thought, answer, [image])
        for question, thought, answer in conversations
    ]
    batch = collate(examples, Encoder(TOKENIZER, model.config))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(200):
        output = loss_module.compute_loss(batch)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        if output.loss.item() < 0.02:
            break
    assert output.loss.item() < 0.02
    assert output.num_wrong.tolist() == [0, 0]
    publish(tmp_path / "weights", TOKENIZER, dict(model.named_parameters()))
    engine = Engine.load(
        str(tmp_path / "weights"), revision="main", device="cpu", dtype="float32", family=FAMILIES["pocket"]
    )
    assert engine.sampling_defaults.temperature == 0
    assert greedy(TOKENIZER).repetition_penalty == engine.sampling_defaults.repetition_penalty == 1
    for example in examples:
        events: list[object] = []
        inputs = engine.prepare(example.messages, example.images)
        engine.submit(Request("r", inputs, -1, 32, SamplingParams(0, 1, 0, 1, seed=1)), events.append)
        while not engine.is_idle:
            engine.step()
        ended = events[-1]
        assert isinstance(ended, Finished)
        assert (ended.thinking, ended.answer) == (example.thought.strip(), example.answer)
        assert ended.finish_reason == "stop"
