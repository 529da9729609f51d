"""What is learned is what is served: the fast way of training against the service's own."""

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
from pocket.tasks.synthetic_dataset import Course, Lessons
from pocket.training.batches import NOTHING, collate
from pocket.training.encoding import Encoder
from pocket.training.init_weights import begin
from pocket.training.publish import publish
from pocket.training.training_step import Learner
from tests.unit.pocket.test_scenes import THREE

TOKENIZER = make_tokenizer()
PROCESSOR = InputProcessor(TOKENIZER, make_image_processor(), FAMILIES["pocket"])


def lesson(kind: str) -> list[Example]:
    """Six examples whose pictures have one size."""
    return Lessons(3, Fonts(), only=[kind]).next(Course(), 12)[:6]


@pytest.fixture(scope="module")
def model():  # type: ignore[no-untyped-def]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return make_model(TOKENIZER).eval()


@pytest.mark.parametrize("kind", ["scene", "follow-up", "compare", "among", "pages", "film", "talk"])
def test_the_loss_is_that_of_the_published_model_on_the_services_inputs(model, kind: str) -> None:  # type: ignore[no-untyped-def]
    examples = lesson(kind)
    encoder = Encoder(TOKENIZER, model.config)
    total = count = 0.0
    for example in examples:
        inputs = PROCESSOR.process(example.messages, example.pictures, example.videos)
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
        judged = Learner(twin).judge(collate(examples, encoder, steps=(64, 512)))
    assert float(judged.special_tokens[0]) == pytest.approx(total / count, rel=1e-5)


def test_forced_tokens_are_not_learned(model) -> None:  # type: ignore[no-untyped-def]
    """Of a thought that is cut short: neither the closing text, nor anything twice."""
    encoder = Encoder(TOKENIZER, model.config)
    closing = TOKENIZER.encode("</think>\n<answer>", add_special_tokens=False)
    rng = random.Random(0)
    cuts = 0
    for example in lesson("scene") * 10:
        whole, encoded = encoder.encode(example), encoder.encode(example, rng)
        learned = encoded.ids[encoded.learned].tolist()
        answer = whole.ids[whole.answer_from :].tolist()
        assert encoded.ids[encoded.answer_from :].tolist() == answer
        assert encoded.ids[encoded.answer_from - len(closing) : encoded.answer_from].tolist() == closing
        assert learned[-len(answer) :] == answer
        if len(encoded.ids) < len(whole.ids):
            cuts += 1
            assert closing[0] not in learned
    assert cuts > 5


def test_targets_stand_behind_the_places_that_foretell_them(model) -> None:  # type: ignore[no-untyped-def]
    batch = collate(lesson("scene"), Encoder(TOKENIZER, model.config), steps=(32, 64))
    real = batch.targets != NOTHING
    assert (batch.ids.flatten()[batch.before[real] + 1] == batch.targets[real]).all()
    assert batch.ids.shape[1] % 32 == 0
    assert len(batch.targets) % 64 == 0


def test_a_model_learns_two_answers_by_heart_and_the_engine_tells_them(tmp_path: Path) -> None:
    """The whole way: examples, loss, published folder, engine."""
    torch.manual_seed(0)
    model = make_model(TOKENIZER).train()
    begin(model)
    learner = Learner(model)
    picture = THREE.picture().resize((112, 84))
    told = (("How many stars?", "50,44 blue star: 1\n", "1"), ("有几个圆形？", "没有\n", "0"))
    examples = [
        Example("count", "en", [user(IMAGE, text(question))], thought, answer, [picture])
        for question, thought, answer in told
    ]
    batch = collate(examples, Encoder(TOKENIZER, model.config))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(200):
        judged = learner.judge(batch)
        optimizer.zero_grad()
        judged.loss.backward()
        optimizer.step()
        if judged.loss.item() < 0.02:
            break
    assert judged.loss.item() < 0.02
    assert judged.faults.tolist() == [0, 0]
    publish(tmp_path / "weights", TOKENIZER, dict(model.named_parameters()))
    engine = Engine.load(
        str(tmp_path / "weights"), revision="main", device="cpu", dtype="float32", family=FAMILIES["pocket"]
    )
    assert engine.sampling_defaults.temperature == 0
    assert greedy(TOKENIZER).repetition_penalty == engine.sampling_defaults.repetition_penalty == 1
    for example in examples:
        events: list[object] = []
        inputs = engine.prepare(example.messages, example.pictures)
        engine.submit(Request("r", inputs, -1, 32, SamplingParams(0, 1, 0, 1, seed=1)), events.append)
        while not engine.is_idle:
            engine.step()
        ended = events[-1]
        assert isinstance(ended, Finished)
        assert (ended.thinking, ended.answer) == (example.thought.strip(), example.answer)
        assert ended.finish_reason == "stop"
