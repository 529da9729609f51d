"""Model folders as they arrive: Git LFS pointers, missing and cut shards, another model's files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from engine.errors import ModelLoadError
from engine.loading.model_folder import INDEX, WEIGHTS, find_problems
from engine.loading.model_loader import load_model
from families import FAMILIES

POCKET = Path(__file__).parents[3] / "pocket" / "weights"
FAMILY = FAMILIES["pocket"]
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 9620992\n"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")

Damage = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(POCKET, tmp_path / "model")


def write(name: str, content: bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(content)


def remove(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def cut(name: str, count: int) -> Damage:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-count])


def split(folder: Path) -> None:
    """Write the weights as two shards and their index."""
    tensors = load_file(folder / WEIGHTS)
    names = sorted(tensors)
    halves = dict(zip(SHARDS, (names[::2], names[1::2]), strict=True))
    for shard, members in halves.items():
        save_file({name: tensors[name] for name in members}, folder / shard, metadata={"format": "pt"})
    weight_map = {name: shard for shard, members in halves.items() for name in members}
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}), "utf-8")
    (folder / WEIGHTS).unlink()


def sharded(damage: Damage) -> Damage:
    def split_and_damage(folder: Path) -> None:
        split(folder)
        damage(folder)

    return split_and_damage


def drop_tensors(name: str) -> Damage:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / name)
        kept = {key: value for key, value in tensors.items() if "layers.1." not in key}
        assert len(kept) < len(tensors)
        save_file(kept, folder / name, metadata={"format": "pt"})

    return damage


def rename_weights(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / f"{WEIGHTS}.incomplete")


DAMAGES = {
    "weights are an LFS pointer": (write(WEIGHTS, POINTER), "Git LFS"),
    "tokenizer is an LFS pointer": (write("tokenizer.json", POINTER), "Git LFS"),
    "no weights": (remove(WEIGHTS), WEIGHTS),
    "unfinished download": (rename_weights, "did not finish"),
    "empty weights": (write(WEIGHTS, b""), "damaged or cut off"),
    "cut weights": (cut(WEIGHTS, 5_000), "damaged or cut off"),
    "a web page as weights": (write(WEIGHTS, b"<html>404</html>" * 100), "damaged or cut off"),
    "no tokenizer": (remove("tokenizer.json"), "tokenizer.json"),
    "no image processor": (remove("preprocessor_config.json"), "preprocessor_config.json"),
    "no config": (remove("config.json"), "config.json"),
    "config of another model": (write("config.json", b'{"model_type": "llama"}'), "'llama'"),
    "config that is cut": (cut("config.json", 20), "config.json is not valid JSON"),
    "a missing shard": (sharded(remove(SHARDS[1])), f"{SHARDS[1]} is missing"),
    "a cut shard": (sharded(cut(SHARDS[0], 5_000)), f"{SHARDS[0]} is damaged or cut off"),
    "a shard without some tensors": (sharded(drop_tensors(SHARDS[1])), "that model.safetensors.index.json names"),
    "an index without a map": (sharded(write(INDEX, b"{}")), "no weight_map"),
    "an index that leaves the folder": (
        sharded(write(INDEX, b'{"weight_map": {"a": "../../etc/passwd"}}')),
        "not a file name",
    ),
}


@pytest.mark.parametrize(("damage", "says"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_folder_is_refused_with_the_reason(folder: Path, damage: Damage, says: str) -> None:
    damage(folder)
    assert says in "; ".join(find_problems(folder, model_type=FAMILY.model_type))
    with pytest.raises(ModelLoadError, match="cannot be used") as refused:
        load_model(str(folder), revision="main", device="cpu", dtype="float32", family=FAMILY)
    assert says in str(refused.value)


def test_whole_and_split_weights_are_loaded(folder: Path) -> None:
    assert find_problems(folder, model_type=FAMILY.model_type) == []
    split(folder)
    assert find_problems(folder, model_type=FAMILY.model_type) == []
    assert load_model(str(folder), revision="main", device="cpu", dtype="float32", family=FAMILY).context_tokens > 0


def test_missing_tensors_are_not_replaced_by_random_numbers(folder: Path) -> None:
    drop_tensors(WEIGHTS)(folder)
    with pytest.raises(ModelLoadError, match=r"lack \d+ tensors, such as .*layers\.1"):
        load_model(str(folder), revision="main", device="cpu", dtype="float32", family=FAMILY)
