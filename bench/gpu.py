"""Measure the engine at the published model's size on this GPU, compared with generate() and the roofline.

    python -m bench.gpu [--quick]

The shape is that of GLM-4.1V-9B-Thinking, the weights are noise in bfloat16 and the tokenizer is the pocket model's:
speed and memory are real, answers are not. The roofline is the number of bytes that a step must read (layers, head,
keys and values in use) divided by the bandwidth of a copy in the same run.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
import transformers
from torch.profiler import ProfilerActivity, profile
from transformers import Glm4vConfig, Glm4vForConditionalGeneration

from engine import Engine, EngineConfig, Event, ModelInputs, Request, SamplingParams, debug
from engine.core.tokenizer_info import TokenizerInfo
from engine.loading.model_loader import LoadedModel
from families import FAMILIES, SamplingDefaults
from pocket.model import END_TOKENS, make_image_processor, make_tokenizer

VOCAB_SIZE = 151_552
CONTEXT = 65_536
GREEDY = SamplingParams(temperature=0, top_p=1, top_k=0, repetition_penalty=1, seed=1)
USUAL = SamplingParams(temperature=0.8, top_p=0.6, top_k=2, repetition_penalty=1.1, seed=1)
ROUNDS = 3
STEPS = 48


def main(*, quick: bool) -> None:
    torch.manual_seed(1)
    model, loaded = load_random_model()
    bandwidth = copy_bandwidth()
    print(
        f"{torch.cuda.get_device_name()} · torch {torch.__version__} · transformers {transformers.__version__} · "
        f"{time.strftime('%Y-%m-%d')}\ncopy {bandwidth / 1e12:.2f} TB/s (read + written)"
    )
    started = time.monotonic()
    engine = Engine(loaded, EngineConfig(slots=128, encoder_cache_mib=0, prefix_cache=False))
    torch.cuda.synchronize()
    print(
        f"engine up in {time.monotonic() - started:.0f} s (kernels compiled, graphs captured): {engine.attention}, "
        f"KV cache {engine.kv_tokens:,} tokens, {torch.cuda.memory_allocated() / 2**30:.1f} GiB"
    )
    debug.fill_kv_cache_with_noise(engine)  # zeros would be read faster
    compare_logits(engine, model)
    decode_table(engine, model, bandwidth, quick=quick)
    profile_decode(engine)
    prefill_table(engine, model)
    vision_table(engine)
    print(f"peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


def load_random_model() -> tuple[Glm4vForConditionalGeneration, LoadedModel]:
    """Build the published 9B shape (Glm4vConfig's defaults) with random weights and the pocket model's tokenizer."""
    tokenizer, processor, family = make_tokenizer(), make_image_processor(), FAMILIES["glm-4.1v-thinking"]
    bounds = family.images
    processor.size = {"shortest_edge": 2 * bounds.min_pixels, "longest_edge": 2 * bounds.max_pixels}
    ids = {token: int(tokenizer.convert_tokens_to_ids(token)) for token in ("<|image|>", "<|video|>", *END_TOKENS)}
    config = Glm4vConfig(
        text_config={
            "vocab_size": VOCAB_SIZE,
            "max_position_embeddings": CONTEXT,
            "eos_token_id": [ids[token] for token in END_TOKENS],
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
    config._attn_implementation = "sdpa"
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = Glm4vForConditionalGeneration(config)
    torch.set_default_dtype(torch.float32)
    # Buffers in bfloat16 would change the rotary frequencies.
    for module in model.modules():
        for name in ("inv_freq", "original_inv_freq"):
            if isinstance(getattr(module, name, None), torch.Tensor):
                frequencies, _ = (
                    getattr(module, "compute_default_rope_parameters", None) or module.compute_axial_rope_parameters
                )(module.config)
                setattr(module, name, frequencies.float().cuda())
    print(f"{sum(parameter.numel() for parameter in model.parameters()) / 1e9:.2f} billion parameters")
    return model, LoadedModel(
        model=model.eval(),
        tokenizer=tokenizer,
        image_processor=processor,
        tokenizer_info=TokenizerInfo(tokenizer, family, [ids[token] for token in END_TOKENS]),
        sampling_defaults=SamplingDefaults(),
        family=family,
        context_tokens=CONTEXT,
        revision="noise",
    )


def copy_bandwidth() -> float:
    """Return bytes read and written per second by a copy of 4 GiB."""
    source = torch.empty(2**32, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    return 2 * source.nbytes / median_s(lambda: target.copy_(source), rounds=10)


def median_s(work: Callable[[], object], *, rounds: int = ROUNDS) -> float:
    work()
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        started = time.monotonic()
        work()
        torch.cuda.synchronize()
        times.append(time.monotonic() - started)
    return statistics.median(times)


def text(length: int) -> ModelInputs:
    ids = torch.randint(100, 900, (length,))
    return ModelInputs(ids, torch.zeros(length, dtype=torch.int32))


def compare_logits(engine: Engine, model: Glm4vForConditionalGeneration) -> None:
    """Compare the logits of a prefill plus a captured decode pass of the last token with transformers' single pass."""
    inputs = text(700)
    with torch.inference_mode():
        theirs = model(input_ids=inputs.input_ids[None].cuda(), logits_to_keep=1).logits[0, -1].float()
    ours = debug.last_token_logits(engine, inputs)
    error = float((ours - theirs).norm() / theirs.norm())
    print(f"relative error of the logits against transformers, bfloat16: {error:.4f}")


def decode_table(engine: Engine, model: Glm4vForConditionalGeneration, bandwidth: float, *, quick: bool) -> None:
    """Print medians of decode speed by batch and context, beside the roofline and generate() on one sequence."""
    text_model = model.model.language_model
    weights = sum(p.numel() for layer in text_model.layers for p in layer.parameters()) + model.lm_head.weight.numel()
    per_token = debug.inspect(engine).kv_bytes_per_token
    print("\ndecode, tokens/s\nbatch  context     ours   roofline   share   generate()   ratio   step ms")
    cells = [(1, 2_048), (32, 2_048)] if quick else [(b, c) for c in (2_048, 8_192) for b in (1, 8, 32, 128)]
    theirs = {context: generate_speed(model, context, rounds=1 if quick else 2) for context in {c for _, c in cells}}
    for batch, context in cells:
        if batch * (context + 2 * STEPS) > engine.kv_tokens:
            print(f"{batch:5}  {context:7}   does not fit {engine.kv_tokens:,} tokens")
            continue
        ours = statistics.median(decode_speed(engine, batch, context) for _ in range(ROUNDS))
        roofline = batch * bandwidth / (2 * weights + batch * context * per_token)
        print(
            f"{batch:5}  {context:7}  {ours:7.0f}  {roofline:9.0f}  {ours / roofline:6.0%}  {theirs[context]:11.1f}"
            f"  {ours / theirs[context]:6.1f}  {1000 * batch / ours:8.2f}",
            flush=True,
        )


def decode_speed(engine: Engine, batch: int, context: int) -> float:
    """Return tokens per second of the whole engine, including scheduler, sampling and copies to the host.

    The prompts are not computed: their keys and values are the noise in the cache, except for the last token.
    """
    generated = 0

    def count(event: Event) -> None:
        nonlocal generated
        generated += len(getattr(event, "tokens", ()))

    for number in range(batch):
        sequence = engine.submit(Request(str(number), text(context), -1, 512, USUAL), count)
        sequence.num_computed_tokens = context - 1
    while generated < 8 * batch:
        engine.step()
    torch.cuda.synchronize()
    before, started = generated, time.monotonic()
    for _ in range(STEPS):
        engine.step()
    took = time.monotonic() - started
    speed = (generated - before) / took
    for number in range(batch):
        engine.abort(str(number))
    while not engine.is_idle:
        engine.step()
    return speed


def generate_speed(model: Glm4vForConditionalGeneration, context: int, *, rounds: int) -> float:
    """Return tokens per second of transformers' generate() on one sequence, after the first token."""
    ids = text(context).input_ids[None].cuda()
    more = {"attention_mask": torch.ones_like(ids), "do_sample": False, "eos_token_id": VOCAB_SIZE + 1}

    def run(tokens: int) -> float:
        torch.cuda.synchronize()
        started = time.monotonic()
        model.generate(ids, max_new_tokens=tokens, min_new_tokens=tokens, **more)
        torch.cuda.synchronize()
        return time.monotonic() - started

    run(2)
    return statistics.median(32 / (run(33) - run(1)) for _ in range(rounds))


def profile_decode(engine: Engine) -> None:
    """Print the share of time that the GPU works, and its kernels, for 32 sequences at 2,048 tokens."""
    for number in range(32):
        sequence = engine.submit(Request(str(number), text(2_048), -1, 512, USUAL), lambda _: None)
        sequence.num_computed_tokens = 2_047
    for _ in range(12):
        engine.step()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as trace:
        started = time.monotonic()
        for _ in range(STEPS):
            engine.step()
        torch.cuda.synchronize()
        took = time.monotonic() - started
    kernels = trace.key_averages()
    worked = sum(kernel.self_device_time_total for kernel in kernels) / 1e6
    print(f"\nGPU busy at 32 × 2,048: {worked / took:.1%} of {1000 * took / STEPS:.2f} ms a step")
    for kernel in sorted(kernels, key=lambda one: -one.self_device_time_total)[:14]:
        took_ms = kernel.self_device_time_total / STEPS / 1000
        print(f"  {took_ms:7.3f} ms  {kernel.count / STEPS:6.1f} ×  {kernel.key[:90]}")
    for number in range(32):
        engine.abort(str(number))
    while not engine.is_idle:
        engine.step()


def prefill_table(engine: Engine, model: Glm4vForConditionalGeneration) -> None:
    print("\nprefill\ntokens     ours ms   generate()'s ms   tokens/s")
    for length in (1_024, 8_192, 30_000):
        ids = text(length).input_ids[None].cuda()

        def theirs(ids: torch.Tensor = ids) -> None:
            with torch.inference_mode():
                model(input_ids=ids, use_cache=True, logits_to_keep=1)

        def ours(length: int = length) -> None:
            sequence = engine.submit(Request("p", text(length), -1, 512, GREEDY), lambda _: None)
            while not sequence.pending:
                engine.step()
            torch.cuda.synchronize()
            engine.abort("p")
            while not engine.is_idle:
                engine.step()

        us, them = median_s(ours), median_s(theirs)
        print(f"{length:6}  {1000 * us:10.0f}  {1000 * them:16.0f}  {length / us:9.0f}", flush=True)


def vision_table(engine: Engine) -> None:
    print("\nvision encoder\nmedium                      tokens        ms")
    for name, grids in (
        ("an image of 448 × 448", [[1, 32, 32]]),
        ("an image of 2,184 × 2,184", [[1, 156, 156]]),
        ("a video of 60 pairs of 448 × 252", [[60, 18, 32]]),
    ):
        grid = torch.tensor(grids)
        patches = int(grid.prod(dim=-1).sum())
        pixels = torch.randn(patches, 3 * 2 * 14 * 14)
        empty = torch.zeros(1)
        if "video" in name:
            inputs = ModelInputs(empty, empty, pixel_values_videos=pixels, video_grid_thw=grid)
        else:
            inputs = ModelInputs(empty, empty, pixel_values=pixels, image_grid_thw=grid)
        took = median_s(lambda inputs=inputs: debug.encode_media(engine, inputs))  # type: ignore[misc]
        print(f"{name:32}  {patches // 4:6}  {1000 * took:8.1f}", flush=True)


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
