"""Check a folder that should hold a model in the hub's format, without loading it. Needs no torch.

A folder can be incomplete without a clear error: a clone without Git LFS has pointers instead of files, a download can
stop between two shards, and transformers fills missing tensors with random numbers.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
REQUIRED = (
    ("config.json",),
    ("preprocessor_config.json", "processor_config.json"),
    ("tokenizer.json",),
    ("tokenizer_config.json",),
    (WEIGHTS, INDEX),
)
"""One file of each group must exist."""
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
MAX_PROBLEMS = 5


def find_problems(folder: Path, *, model_type: str) -> list[str]:
    """Return what is wrong with a model folder, at most ``MAX_PROBLEMS`` sentences; empty if nothing is.

    Args:
        model_type: of the family, as ``config.json`` must name it.
    """
    missing = [names[0] for names in REQUIRED if not any((folder / name).is_file() for name in names)]
    problems = [f"it has no {', '.join(missing)}"] if missing else []
    if unfinished := sorted(path.name for path in folder.glob("*.incomplete")):
        problems.append(f"a download did not finish: {unfinished[0]}")
    if pointers := [path.name for path in sorted(folder.iterdir()) if _is_lfs_pointer(path)]:
        problems.append(f"Git LFS pointers stand in for files ({', '.join(pointers[:3])}); run `git lfs pull`")
    if not problems:
        problems += _config_problems(folder, model_type)
        problems += _weights_problems(folder)
    return problems[:MAX_PROBLEMS]


def _is_lfs_pointer(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


def _config_problems(folder: Path, model_type: str) -> Iterator[str]:
    for path in sorted(folder.glob("*.json")):
        try:
            document = _read_json(path)
        except ValueError as error:
            yield f"{path.name} is not valid JSON: {error}"
            continue
        found = document.get("model_type") if isinstance(document, dict) else None
        if path.name == "config.json" and found != model_type:
            yield f"config.json has model_type {found!r}, but the family needs {model_type!r}; set MODEL_FAMILY"


def _weights_problems(folder: Path) -> Iterator[str]:
    if (folder / WEIGHTS).is_file():
        tensors: dict[str, set[str]] = {WEIGHTS: set()}
    else:
        try:
            tensors = _tensors_by_shard(_read_json(folder / INDEX))
        except ValueError as error:
            yield f"{INDEX} cannot be used: {error}"
            return
    for name, expected in sorted(tensors.items()):
        path = folder / name
        if not path.is_file():
            yield f"{name} is missing; {INDEX} names it"
            continue
        try:
            with safe_open(path, framework="np") as file:
                absent = expected - set(file.keys())
        except (SafetensorError, OSError) as error:
            yield f"{name} is damaged or cut off ({error}); download it again"
            continue
        if absent:
            yield f"{name} lacks {len(absent)} tensors that {INDEX} names, such as {min(absent)}"


def _tensors_by_shard(index: Any) -> dict[str, set[str]]:
    """Raises ValueError: the document is not an index of shards in the same folder."""
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError("it has no weight_map")
    tensors: dict[str, set[str]] = {}
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise ValueError(f"it maps {tensor} to {shard!r}, which is not a file name")
        tensors.setdefault(shard, set()).add(tensor)
    return tensors


def _read_json(path: Path) -> Any:
    """Raises ValueError."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(str(error)) from error
