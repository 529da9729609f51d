"""The engine at the published model's size, with random weights: does it load, fit and run on this GPU, and how fast?

    python -m bench.full_size FOLDER        (it gets 20 GB of weights, and keeps them for the next run)

The shape is that of GLM-4.1V-9B-Thinking, the words are the pocket model's, the weights are noise: speed and memory are
real, answers are not.
"""

import sys
import time
from pathlib import Path

import torch
from PIL import Image
from transformers import Glm4vConfig, Glm4vForConditionalGeneration

from families import FAMILIES
from pocket.build import END_TOKENS, make_image_processor, make_tokenizer
from worker.engine import Ended, Engine, Event, Request, Sampling

PICTURE = Path(__file__).parent.parent / "cli" / "shapes.png"
VOCABULARY = 151_552


def main(folder: Path) -> None:
    if not (folder / "config.json").exists():
        write_model(folder)
    family = FAMILIES["glm-4.1v-thinking"]
    started = time.monotonic()
    engine = Engine.load(str(folder), revision="main", device="cuda", dtype="auto", family=family)
    torch.cuda.synchronize()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    print(f"loaded in {time.monotonic() - started:.1f} s, {torch.cuda.memory_allocated() / 2**30:.1f} GiB")
    picture = Image.open(PICTURE).convert("RGB")
    print("budget  prompt  thinking  answer  prefills  prefill ms  tokens/s")
    for side, budget in ((168, 0), (168, 1), (168, 256), (1_568, 256)):
        ended = generate(engine, picture.resize((side, side)), budget)
        made = ended.thinking_tokens + ended.answer_tokens
        print(
            f"{budget:6}  {ended.input_tokens:6}  {ended.thinking_tokens:8}  {ended.answer_tokens:6}  "
            f"{ended.prefills:8}  {ended.prefill_ms:10.0f}  {1000 * made / max(ended.decode_ms, 1):8.1f}"
        )
    print(f"peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


def generate(engine: Engine, picture: Image.Image, budget: int) -> Ended:
    content = [{"type": "image"}, {"type": "text", "text": "How many red circles are there?"}]
    inputs = engine.prepare([{"role": "user", "content": content}], [picture])
    events: list[Event] = []
    engine.submit(Request("bench", inputs, budget, 64, Sampling(0.8, 0.6, 20, 1.1, seed=1)), events.append)
    while not engine.is_idle:
        engine.step()
    ended = events[-1]
    assert isinstance(ended, Ended), ended
    return ended


def write_model(folder: Path) -> None:
    """Glm4vConfig's defaults are the published 9B shape; ids are of the pocket's tokenizer."""
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    processor = make_image_processor()
    bounds = FAMILIES["glm-4.1v-thinking"].images
    processor.size = {"shortest_edge": 2 * bounds.min_pixels, "longest_edge": 2 * bounds.max_pixels}
    processor.save_pretrained(folder)
    ids = {mark: int(tokenizer.convert_tokens_to_ids(mark)) for mark in ("<|image|>", "<|video|>", *END_TOKENS)}
    config = Glm4vConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "max_position_embeddings": 65_536,
            "eos_token_id": [ids[mark] for mark in END_TOKENS],
            "pad_token_id": ids["<|endoftext|>"],
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "partial_rotary_factor": 0.5,
                "mrope_section": [8, 12, 12],
            },
        },
        image_token_id=ids["<|image|>"],
        video_token_id=ids["<|video|>"],
    )
    torch.manual_seed(1)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = Glm4vForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        model.lm_head.weight[len(tokenizer) :] = 0  # ids that the tokenizer does not know stay improbable
        model.lm_head.weight[: len(tokenizer)] *= 20
    model.generation_config.eos_token_id = [ids[mark] for mark in END_TOKENS]
    model.save_pretrained(folder)
    print(f"{sum(parameter.numel() for parameter in model.parameters()) / 1e9:.2f} billion parameters")
    del model
    torch.cuda.empty_cache()


if __name__ == "__main__":
    with torch.no_grad():
        main(Path(sys.argv[1]))
