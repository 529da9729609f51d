"""The engine's own pass over the vision tower, against transformers', and how media share the steps with others."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from engine import Delta, Engine, EngineConfig, Event, ModelInputs
from engine.core.step_costs import StepCosts
from engine.debug import model_of
from engine.loading.allocate import step_costs
from engine.loading.model_loader import LoadedModel
from engine.runner.torch_ops import TorchOps
from engine.runner.vision_encoder import VisionEncoder
from engine.runner.vision_tower import VisionTower
from testing.engine import GREEDY, Batch, image, inputs_of, request, run_until_idle, tokens_of, user

TOLERANCE = 1e-5
"""Relative error in float32: our pass multiplies patches by a matrix where transformers convolves."""
PATCH = 3 * 2 * 14 * 14

MakeEncoder = Callable[..., VisionEncoder]


@pytest.fixture(scope="module")
def new_encoder(pocket_model: LoadedModel) -> MakeEncoder:
    model = pocket_model.model
    tower = VisionTower(model, TorchOps())

    def make(**more: int) -> VisionEncoder:
        more.setdefault("cache_bytes", 0)
        return VisionEncoder(tower, step_costs(model), device=model.device, dtype=model.dtype, **more)

    return make


def error(ours: torch.Tensor | None, theirs: torch.Tensor) -> float:
    assert ours is not None
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())


def images(*grids: tuple[int, int], hashes: tuple[bytes, ...] = ()) -> ModelInputs:
    grid = torch.tensor([[1, *size] for size in grids])
    pixels = torch.randn(int(grid.prod(-1).sum()), PATCH, generator=torch.Generator().manual_seed(len(grids)))
    return ModelInputs(torch.zeros(1), torch.zeros(1), pixel_values=pixels, image_grid_thw=grid, mm_hashes=hashes)


def video(pairs: int, rows: int, columns: int) -> ModelInputs:
    pixels = torch.randn(pairs * rows * columns, PATCH, generator=torch.Generator().manual_seed(pairs))
    grid = torch.tensor([[pairs, rows, columns]])
    return ModelInputs(torch.zeros(1), torch.zeros(1), pixel_values_videos=pixels, video_grid_thw=grid)


@torch.inference_mode()
def by_transformers(model: LoadedModel, inputs: ModelInputs) -> torch.Tensor:
    whole = model.model.model
    if inputs.pixel_values is not None:
        output = whole.get_image_features(inputs.pixel_values, inputs.image_grid_thw)
    else:
        output = whole.get_video_features(inputs.pixel_values_videos, inputs.video_grid_thw)
    return torch.cat(list(output.pooler_output))


@pytest.mark.parametrize("pass_patches", [0, 300, 10_000])
@pytest.mark.parametrize(
    "inputs",
    [
        images((4, 4)),
        images((8, 12), (8, 12), (4, 30), (24, 24), (2, 2)),
        video(1, 8, 8),
        video(7, 6, 10),
    ],
    ids=["an image", "images", "a frame pair", "a video"],
)
def test_embeddings_equal_those_of_transformers(
    new_encoder: MakeEncoder, pocket_model: LoadedModel, inputs: ModelInputs, pass_patches: int
) -> None:
    encoder = new_encoder(max_pass_patches=pass_patches, max_part_patches=130)
    assert error(encoder.encode(inputs), by_transformers(pocket_model, inputs)) < TOLERANCE


def test_media_of_several_requests_share_a_pass_and_a_pass_may_stop_after_each_layer(
    new_encoder: MakeEncoder, pocket_model: LoadedModel
) -> None:
    encoder = new_encoder(max_pass_patches=200, max_part_patches=130)
    requests = [images((8, 8)), video(3, 6, 10), images((4, 6), (8, 12))]
    encodings = [encoder.begin(inputs) for inputs in requests]
    costs = [sum(encoding.cost_left for encoding in encodings)]
    assert costs[0] == pytest.approx(sum(cost for inputs in requests for _, cost in encoder.sizes_of(inputs)))
    calls = 0
    while costs[-1] > 0:
        encoder.run(encodings, budget=1e-9)  # one layer
        costs.append(sum(encoding.cost_left for encoding in encodings))
        calls += 1
        assert calls < 100
    passes = len(set(costs)) - 1
    assert passes == 2, "64 + 120 and 60 + 24 + 96 patches"
    assert encoder.encoded_media == 4
    for inputs, encoding in zip(requests, encodings, strict=True):
        assert error(encoding.features(), by_transformers(pocket_model, inputs)) < TOLERANCE


def test_the_same_image_in_two_waiting_requests_is_encoded_once(new_encoder: MakeEncoder) -> None:
    encoder = new_encoder()
    inputs = images((8, 8), (4, 4), hashes=(b"a", b"b"))
    encodings = [encoder.begin(inputs), encoder.begin(inputs)]
    encoder.run(encodings, budget=float("inf"))
    assert encoder.encoded_media == 2
    first, second = (encoding.features() for encoding in encodings)
    assert first is not None
    assert second is not None
    assert torch.equal(first, second)


def test_a_pass_whose_requests_have_left_is_dropped(new_encoder: MakeEncoder, pocket_model: LoadedModel) -> None:
    encoder = new_encoder()
    encoder.run([encoder.begin(images((8, 8)))], budget=1e-9)
    other = images((4, 6))
    encoding = encoder.begin(other)
    encoder.run([encoding], budget=float("inf"))
    assert error(encoding.features(), by_transformers(pocket_model, other)) < TOLERANCE
    assert encoder.encoded_media == 1


def test_patches_that_do_not_match_their_grids_are_refused(new_encoder: MakeEncoder) -> None:
    inputs = replace(images((8, 8)), image_grid_thw=torch.tensor([[1, 8, 10]]))
    with pytest.raises(ValueError, match="64 patches do not match"):
        new_encoder().begin(inputs)


def test_other_sequences_get_a_token_in_each_step_while_media_are_encoded(pocket_model: LoadedModel) -> None:
    config = EngineConfig(slots=4, max_prefill_tokens=40, encoder_cache_mib=0, prefix_cache=False)
    engine = Engine(pocket_model, config)
    alone = Batch(engine)
    parts = user(*[None] * 4, "Compare.")
    media = engine.prepare(parts, [image(color, (336, 336)) for color in ("red", "blue", "green", "black")])
    alone.submit(replace(request(media, budget=4, answer=4, sampling=GREEDY), id="media"))
    alone.run()

    tokens: dict[str, int] = {"text": 0, "media": 0}

    def counted(name: str) -> Callable[[Event], None]:
        def on_event(event: Event) -> None:
            if isinstance(event, Delta):
                tokens[name] += len(event.tokens)
                outputs[name].append(event)

        return on_event

    outputs: dict[str, list[Delta]] = {"text": [], "media": []}
    engine.submit(replace(request(inputs_of(engine, "text"), budget=200), id="text"), counted("text"))
    while tokens["text"] < 3:
        engine.step()
    engine.submit(replace(request(media, budget=4, answer=4, sampling=GREEDY), id="media"), counted("media"))
    steps = 0
    while not tokens["media"]:
        before = tokens["text"]
        engine.step()
        steps += 1
        assert tokens["text"] > before, "each step has a token of the sequence that runs"
    prompt_steps = len(media) // 40 + 1
    assert steps > prompt_steps + 1, "the media take several steps of their own"
    engine.abort("text")
    run_until_idle(engine)
    assert tokens_of(outputs["media"]) == alone.tokens["media"], "sharing steps changes nothing"


def test_a_failing_pass_ends_only_the_sequence_that_fails_alone(pocket_model: LoadedModel) -> None:
    engine = Engine(pocket_model, EngineConfig(slots=4, encoder_cache_mib=0))
    good = inputs_of(engine, "an image")
    assert good.pixel_values is not None
    bad = replace(good, pixel_values=good.pixel_values[:, :-1], mm_hashes=())  # a patch too short for the tower
    events: dict[str, list[Event]] = {"good": [], "bad": []}
    for name, inputs in (("bad", bad), ("good", good)):
        engine.submit(replace(request(inputs, budget=4, answer=4), id=name), events[name].append)
    run_until_idle(engine)
    assert [type(one).__name__ for one in events["bad"]] == ["Failed"]
    assert type(events["good"][-1]).__name__ == "Finished"


def test_costs_bound_a_chunk_by_its_attention_too() -> None:
    costs = StepCosts(token_pair=1e-4)
    assert StepCosts().chunk_tokens(2_048, 50_000) == 2_048
    for start in (0, 1_000, 60_000):
        tokens = costs.chunk_tokens(2_048, start)
        assert costs.of_chunk(start, start + tokens) <= 2_048
        assert costs.of_chunk(start, start + tokens + 64) > 2_048
        assert tokens % 64 == 0
    assert costs.chunk_tokens(1, 60_000) == 1, "some progress in any case"


def test_the_costs_of_the_pocket_model_count_its_multiplications(pocket_engine: Engine) -> None:
    costs = step_costs(model_of(pocket_engine))
    assert 0 < costs.token_pair < 0.01
    assert 0.1 < costs.patch < 10
    assert costs.of_grid(3, 8, 10) == pytest.approx(3 * costs.of_grid(1, 8, 10))
