"""A folder as the hub has GLM-4.1V-9B-Thinking, written by transformers 4.5x, is the same model."""

from pathlib import Path

import pytest

from engine import Engine, ModelInputs
from engine.debug import model_of
from engine.loading.model_loader import load_model
from families import FAMILIES
from testing.engine import INPUT_NAMES, SAMPLED, inputs_of, request, run, tokens_of
from testing.published_folder import id_map, publish


@pytest.fixture(scope="module")
def published(pocket_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = publish(pocket_folder, tmp_path_factory.mktemp("published") / "model")
    return Engine(load_model(str(folder), revision="main", device="cpu", dtype="auto", family=FAMILIES["pocket"]))


def test_the_configuration_is_read_under_its_old_names(published: Engine, pocket_engine: Engine) -> None:
    ours, theirs = model_of(published).config, model_of(pocket_engine).config
    assert ours.text_config.rope_parameters == theirs.text_config.rope_parameters
    assert ours.vision_config.rope_parameters == theirs.vision_config.rope_parameters
    assert (ours.image_token_id, ours.video_token_id) == (151_343, 151_344)
    info = published.tokenizer_info
    assert {151_329, 151_336, 151_338} <= set(info.special_tokens.stop)


@pytest.mark.parametrize("name", INPUT_NAMES)
def test_it_generates_the_same_text_from_the_same_prompt(
    published: Engine, pocket_engine: Engine, pocket_folder: Path, name: str
) -> None:
    ids = id_map(pocket_folder)

    def mapped(inputs: ModelInputs) -> list[int]:
        return [ids[one] for one in inputs.input_ids.tolist()]

    theirs, ours = inputs_of(pocket_engine, name), inputs_of(published, name)
    assert ours.input_ids.tolist() == mapped(theirs)
    assert ours.mm_hashes == theirs.mm_hashes
    expected, end = run(pocket_engine, request(theirs, sampling=SAMPLED))
    deltas, published_end = run(published, request(ours, sampling=SAMPLED))
    assert [token.id for token in tokens_of(deltas)] == [ids[token.id] for token in tokens_of(expected)]
    assert (published_end.thinking, published_end.answer) == (end.thinking, end.answer)
