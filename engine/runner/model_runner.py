"""Puts a step's plan on the device: prefills one by one, then the decode batch, then the choice of tokens."""

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Any

import torch

from engine.core.scheduler import ScheduledTokens
from engine.core.sequence import PendingToken, Sequence
from engine.request import ModelInputs
from engine.runner.cuda_graphs import DecodeGraphs
from engine.runner.decoder import Decoder
from engine.runner.device import to_device
from engine.runner.kv_cache import KVCache
from engine.runner.sampler import Choice, sample
from engine.runner.torch_ops import Chunk, Rows
from engine.runner.vision_encoder import VisionEncoder

PENDING_ID = -1
"""Instead of a row's id: it is what its slot drew last, which only the device knows yet."""


class SampledTokens:
    """Tokens that were asked for in one go."""

    def __init__(self, draws: list[PendingToken], ids: torch.Tensor) -> None:
        self.draws = draws
        self._ids, self._ready = ids, None
        if ids.is_cuda:
            self._ids = torch.empty(ids.shape, dtype=ids.dtype, pin_memory=True)
            self._ids.copy_(ids, non_blocking=True)
            self._ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._ready.record()

    def read(self) -> list[int]:
        """Wait for the device, and return an id for each draw."""
        if self._ready is not None:
            self._ready.synchronize()
        return list(map(int, self._ids.tolist()))


@dataclass
class SlotState:
    """What the device keeps of a sequence while it has a slot."""

    sequence: Sequence
    stay: int
    positions: torch.Tensor
    """M-RoPE of the prompt, ``[3, length]``, int64, on the CPU."""
    delta: int
    """Behind the prompt a token's position is its number plus this. The model's own ``rope_deltas`` serves one."""
    features: torch.Tensor | None
    """``[image tokens, hidden]``, until the prompt is read."""
    feature_of: torch.Tensor
    """``[length]``: how many image tokens stand before each token."""
    blocks: int = 0
    """Of them the table knows."""


class ModelRunner:
    """The only caller of the model. Belongs to the engine's thread."""

    def __init__(self, model: Any, decoder: Decoder, vision: VisionEncoder) -> None:
        self._model = model
        self._device = model.device
        self._decoder = decoder
        self._cache: KVCache = decoder.cache
        self._vision = vision
        self.graphs: DecodeGraphs | None = None
        """Of ``read``; None: each decode pass is launched kernel by kernel."""
        slots = len(self._cache.tables)
        vocab_size = model.config.text_config.vocab_size
        self._residents: list[SlotState | None] = [None] * slots
        self._last_ids = torch.zeros(slots, dtype=torch.int64, device=self._device)
        self._seen = torch.zeros((slots, vocab_size), dtype=torch.bool, device=self._device)
        self.prefills = 0
        """Prompts that were begun since the start."""

    @property
    def vision_passes(self) -> int:
        return self._vision.passes

    @torch.inference_mode()
    def prefill(self, span: ScheduledTokens) -> SampledTokens | None:
        """Read a chunk of one sequence; the draw behind its last token, where the plan asks for one."""
        resident = self._resident(span)
        ids = self._ids_of(resident, span)
        device_ids = ids.to(self._device, non_blocking=True)
        self._seen[span.sequence.slot, device_ids] = True
        slots = to_device([span.sequence.slot], self._device)
        seen = self._cache.places(slots, span.end)[0, : span.end]
        chunk = Chunk(span.start, span.end, seen[span.start :], seen)
        positions = self._positions(resident, span).to(self._device, non_blocking=True)
        state = self._decoder.prefill(self._embed(resident, span, device_ids), positions, chunk)
        if span.draw is None:
            return None
        resident.features = None
        return self._choose(self._decoder.logits(state), [span.draw])

    @torch.inference_mode()
    def decode(self, spans: Items[ScheduledTokens]) -> SampledTokens:
        """Read the last tokens of many sequences in one pass."""
        rows: list[tuple[int, int, int, int]] = []
        drawing: list[int] = []
        for span in spans:
            resident, slot = self._resident(span), span.sequence.slot
            assert slot is not None
            ids = [PENDING_ID] if span.is_ahead else span.sequence.behind_prompt(span.start, span.end)
            rows += [(token, slot, number, number + resident.delta) for number, token in enumerate(ids, span.start)]
            drawing.append(len(rows) - 1)
        longest = max(span.end for span in spans)
        logits = self._read_rows(rows, longest)
        if len(drawing) < len(rows):
            logits = logits[to_device(drawing, self._device)]
        return self._choose(logits, [span.draw for span in spans if span.draw is not None])

    @torch.inference_mode()
    def forget_guess(self, sequence: Sequence) -> None:
        """A token that was read ahead is not the one that came to stand there: it must not count as said."""
        assert sequence.slot is not None
        said = torch.tensor([token.id for token in sequence.tokens], dtype=torch.int64)
        ids = torch.cat([sequence.request.inputs.input_ids, said])
        self._seen[sequence.slot] = False
        self._seen[sequence.slot, ids.to(self._device)] = True

    def _read_rows(self, rows: list[tuple[int, int, int, int]], longest: int) -> torch.Tensor:
        """Logits ``[rows, vocab_size]`` of rows of id, slot, number in the sequence, and M-RoPE position."""
        if self.graphs is not None and len(rows) <= self.graphs.largest:
            return self.graphs.run(rows)
        return self.read(to_device(rows, self._device).T, longest)

    def read(self, rows: torch.Tensor, longest: int) -> torch.Tensor:
        """A decode pass over ``[4, rows]``, int64, on the device. With ``longest`` left at 0 it can be captured."""
        known, slots, numbers, positions = rows
        ids = torch.where(known == PENDING_ID, self._last_ids[slots], known)
        self._seen.index_put_((slots, ids), self._seen.new_ones(()))
        seen = self._cache.places(slots, longest) if longest else None
        places = self._cache.place_of(slots, numbers)
        batch = Rows(slots, self._cache.tables, (numbers + 1).int(), places, seen)
        return self._decoder.decode(self._decoder.embed(ids), positions, batch)

    def _choose(self, logits: torch.Tensor, draws: list[PendingToken]) -> SampledTokens:
        choices = [Choice(draw.sequence.request.sampling, draw.position, draw.suppressed_ids) for draw in draws]
        slots = to_device([draw.sequence.slot for draw in draws], self._device)
        has_penalty = any(choice.sampling.repetition_penalty != 1 for choice in choices)
        ids = sample(logits, self._seen[slots] if has_penalty else None, choices)
        self._last_ids[slots] = ids.clamp(min=0)
        return SampledTokens(draws, ids)

    def _resident(self, span: ScheduledTokens) -> SlotState:
        """The span's sequence in its slot, its table up to date; moves it in if it is new there."""
        sequence = span.sequence
        assert sequence.slot is not None
        resident = self._residents[sequence.slot]
        if resident is None or resident.sequence is not sequence or resident.stay != sequence.stay:
            resident = self._move_in(sequence)
            self._residents[sequence.slot] = resident
        if resident.blocks < len(sequence.blocks):
            self._cache.assign(sequence.slot, resident.blocks, sequence.blocks[resident.blocks :])
            resident.blocks = len(sequence.blocks)
        return resident

    def _move_in(self, sequence: Sequence) -> SlotState:
        inputs = sequence.request.inputs
        features = self._vision.features(inputs)
        positions, delta = self._mrope(inputs)
        is_image = inputs.mm_token_type_ids > 0
        if features is not None and int(is_image.sum()) != len(features):
            raise ValueError(f"{int(is_image.sum())} image tokens for {len(features)} features")
        self._seen[sequence.slot] = False
        self.prefills += 1
        sequence.prefills += 1
        return SlotState(sequence, sequence.stay, positions, delta, features, is_image.cumsum(0) - is_image.long())

    def _ids_of(self, resident: SlotState, span: ScheduledTokens) -> torch.Tensor:
        prompt = resident.sequence.request.inputs.input_ids
        if span.end <= len(prompt):
            return prompt[span.start : span.end]
        behind = resident.sequence.behind_prompt(max(span.start, len(prompt)), span.end)
        return torch.cat([prompt[span.start :], torch.tensor(behind, dtype=torch.int64)])

    def _positions(self, resident: SlotState, span: ScheduledTokens) -> torch.Tensor:
        """``[3, tokens]`` of a chunk."""
        length = resident.positions.shape[1]
        first = max(span.start, length)
        behind = torch.arange(first, max(span.end, first)) + resident.delta
        return torch.cat([resident.positions[:, span.start : span.end], behind.expand(3, -1)], dim=1)

    def _embed(self, resident: SlotState, span: ScheduledTokens, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings ``[tokens, hidden]`` of a chunk, with what the tower saw at the image tokens."""
        hidden: torch.Tensor = self._decoder.embed(ids)
        if resident.features is None:
            return hidden
        here = resident.sequence.request.inputs.mm_token_type_ids[span.start : span.end] > 0
        places = here.nonzero()[:, 0]
        if len(places) == 0:
            return hidden
        first = int(resident.feature_of[span.start + int(places[0])])
        features = resident.features[first : first + len(places)]
        return hidden.index_copy(0, places.to(self._device), features.to(hidden.dtype))

    def _mrope(self, inputs: ModelInputs) -> tuple[torch.Tensor, int]:
        """Positions ``[3, length]`` of the prompt, and the delta of what follows."""
        if inputs.image_grid_thw is None and inputs.video_grid_thw is None:
            return torch.arange(len(inputs)).expand(3, -1), 0
        positions, deltas = self._model.model.get_rope_index(
            inputs.input_ids[None],
            mm_token_type_ids=inputs.mm_token_type_ids[None],
            image_grid_thw=inputs.image_grid_thw,
            video_grid_thw=inputs.video_grid_thw,
        )
        return positions[:, 0], int(deltas[0, 0])
