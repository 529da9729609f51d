"""Rewrites a model folder as transformers 4.5x wrote GLM-4.1V-9B-Thinking to the hub: its names, and its token ids."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from pocket.model import SPECIAL_TOKENS

VOCAB_SIZE = 151_552
FIRST_SPECIAL_ID = 151_329
"""GLM-4.1V's special tokens, in the order of the pocket model's."""


def id_map(folder: Path) -> dict[int, int]:
    """Return the published id of each token id of a pocket folder."""
    tokenizer = _read(folder / "tokenizer.json")
    ids: dict[str, int] = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    published = {one: one for one in tokenizer["model"]["vocab"].values()}
    return published | {ids[token]: FIRST_SPECIAL_ID + number for number, token in enumerate(SPECIAL_TOKENS)}


def publish(source: Path, target: Path) -> Path:
    """Write the model of a pocket folder to ``target``, as the hub has GLM-4.1V-9B-Thinking."""
    shutil.copytree(source, target)
    ids = id_map(source)
    _write_weights(target / "model.safetensors", ids)
    _write_tokenizer(target / "tokenizer.json", ids)
    config = _read(target / "config.json")
    _write(target / "config.json", _published_config(config, ids))
    generation = _read(target / "generation_config.json")
    generation |= {"eos_token_id": [ids[one] for one in generation["eos_token_id"]], "pad_token_id": FIRST_SPECIAL_ID}
    _write(target / "generation_config.json", generation | {"transformers_version": "4.57.1"})
    processor = _read(target / "preprocessor_config.json")
    _write(target / "preprocessor_config.json", processor | {"processor_class": "Glm4vProcessor"})
    assert (target / "chat_template.jinja").is_file()
    assert "chat_template" not in _read(target / "tokenizer_config.json")
    return target


def _published_config(config: dict[str, Any], ids: dict[int, int]) -> dict[str, Any]:
    text = dict(config["text_config"])
    rope = text.pop("rope_parameters")
    text |= {
        "rope_theta": rope["rope_theta"],
        "partial_rotary_factor": rope["partial_rotary_factor"],
        "rope_scaling": {"rope_type": "default", "mrope_section": rope["mrope_section"]},
        "attention_bias": True,
        "eos_token_id": [ids[one] for one in text["eos_token_id"]],
        "pad_token_id": FIRST_SPECIAL_ID,
        "vocab_size": VOCAB_SIZE,
        "torch_dtype": "float32",
    }
    vision = {key: value for key, value in config["vision_config"].items() if key != "rope_parameters"}
    media = {key: ids[value] for key, value in config.items() if key.endswith("_token_id")}
    return {
        "architectures": config["architectures"],
        "model_type": config["model_type"],
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "transformers_version": "4.57.1",
        "text_config": text,
        "vision_config": vision,
        **media,
    }


def _write_weights(path: Path, ids: dict[int, int]) -> None:
    tensors = load_file(path)
    for name in ("model.language_model.embed_tokens.weight", "lm_head.weight"):
        rows = tensors[name]
        wide = torch.zeros(VOCAB_SIZE, rows.shape[1])
        wide[list(ids.values())] = rows[list(ids)]
        tensors[name] = wide
    save_file(tensors, path, metadata={"format": "pt"})


def _write_tokenizer(path: Path, ids: dict[int, int]) -> None:
    tokenizer = _read(path)
    vocabulary = tokenizer["model"]["vocab"]
    for token in tokenizer["added_tokens"]:
        vocabulary.pop(token["content"], None)
        token["id"] = ids[token["id"]]
    # No merge leads to these, so that text never becomes one.
    vocabulary |= {f"<unused {one}>": one for one in range(len(vocabulary), FIRST_SPECIAL_ID)}
    _write(path, tokenizer)


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def _write(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, ensure_ascii=False), "utf-8")
