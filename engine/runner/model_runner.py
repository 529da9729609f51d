"""Runs a step's scheduled tokens on the device: media, prompt chunks, the decode batch, then sampling."""

from collections.abc import Sequence as Items
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from engine.core.block_pool import BLOCK_SIZE
from engine.core.scheduler_output import ScheduledTokens
from engine.core.sequence import PendingToken, Sequence
from engine.request import ModelInputs
from engine.runner.cuda_graphs import DecodeGraphs, Row
from engine.runner.decoder import Decoder
from engine.runner.device import to_device, upload
from engine.runner.kv_cache import KVCache
from engine.runner.sampler import RowSampling, ScoresObserver, sample
from engine.runner.torch_ops import DecodeMetadata, PrefillMetadata
from engine.runner.vision_encoder import MediaEncoding, VisionEncoder

PENDING_ID = -1
"""Replaces a row's id that only the device knows yet: the token that its slot sampled last."""


class SampledTokens:
    """Sampled tokens of one pass, on their way to the host."""

    def __init__(self, pending: list[PendingToken], ids: torch.Tensor) -> None:
        self.pending = pending
        self._ids, self._ready = ids, None
        if ids.is_cuda:
            self._ids = torch.empty(ids.shape, dtype=ids.dtype, pin_memory=True)
            self._ids.copy_(ids, non_blocking=True)
            self._ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._ready.record()

    def read(self) -> list[int]:
        """Wait for the device and return one id per pending token."""
        if self._ready is not None:
            self._ready.synchronize()
        return list(map(int, self._ids.tolist()))


@dataclass
class SlotState:
    """What is stored for a sequence while it has a slot."""

    sequence: Sequence
    slot_generation: int
    positions: torch.Tensor
    """M-RoPE positions of the prompt, ``[3, length]``, int64, on the CPU."""
    rope_delta: int
    """Position minus token number, after the prompt. The model's own ``rope_deltas`` serves one sequence only."""
    encoding: MediaEncoding | None
    """Media of the prompt, until it is computed."""
    feature_offsets: torch.Tensor
    """``[length]``: number of image tokens before each token, without those of cached media."""
    features: torch.Tensor | None = None
    """Encoder output ``[image tokens, hidden]``, while the prompt is computed."""
    num_blocks: int = 0
    """Blocks that the block table has."""


class ModelRunner:
    """The only caller of the model. Belongs to the engine's thread."""

    def __init__(self, model: Any, decoder: Decoder, vision_encoder: VisionEncoder) -> None:
        self.model = model
        self.decoder = decoder
        self.vision_encoder = vision_encoder
        self.graphs: DecodeGraphs | None = None
        """Captured ``forward_decode``. None: each decode pass is launched kernel by kernel."""
        self.on_scores: ScoresObserver | None = None
        """Observer of the scores, for debugging."""
        self.prefills = 0
        """Prompts that were begun."""
        self._device = model.device
        self._cache: KVCache = decoder.cache
        slots = len(self._cache.block_tables)
        vocab_size = model.config.text_config.vocab_size
        self._slot_states: list[SlotState | None] = [None] * slots
        self._last_ids = torch.zeros(slots, dtype=torch.int64, device=self._device)
        self._penalty_mask = torch.zeros((slots, vocab_size), dtype=torch.bool, device=self._device)

    @property
    def packs_prefills(self) -> bool:
        """Whether chunks of several sequences should be one pass."""
        return self.decoder.ops.packs_prefills

    @property
    def encoded_media(self) -> int:
        return self.vision_encoder.encoded_media

    def begin_encoding(self, sequence: Sequence) -> None:
        """Load a sequence into its slot, and find its media in the encoder's cache.

        Raises:
            ValueError: the media do not match the prompt.
        """
        self._slot_state(sequence)

    def encode(self, sequences: Items[Sequence], budget: float) -> None:
        """Encode media of these sequences, the first ones first, until the budget is used up."""
        encodings = [self._slot_state(sequence).encoding for sequence in sequences]
        self.vision_encoder.run([one for one in encodings if one is not None], budget)
        for sequence, encoding in zip(sequences, encodings, strict=True):
            sequence.encoder_cost_left = encoding.cost_left if encoding is not None else 0.0

    @torch.inference_mode()
    def prefill(self, scheduled: Items[ScheduledTokens]) -> SampledTokens | None:
        """Compute chunks of sequences in one pass, and sample the token after those that have one pending.

        If it fails, it may be repeated.
        """
        slots = to_device([one.sequence.slot for one in scheduled], self._device)
        states = [self._slot_state(one.sequence) for one in scheduled]
        chunk_ids = [self._ids(one.sequence, one.start, one.end) for one in scheduled]
        lengths = [len(ids) for ids in chunk_ids]
        ids = upload(torch.cat(chunk_ids), self._device)
        rows = upload(
            torch.repeat_interleave(torch.tensor([one.sequence.slot for one in scheduled]), torch.tensor(lengths)),
            self._device,
        )
        self._penalty_mask[rows, ids] = True
        chunks = [(one.start, one.end) for one in scheduled]
        own = [self._cache.kv_indices(slots[at : at + 1], end)[0, :end] for at, (_, end) in enumerate(chunks)]
        written = torch.cat([indices[start:] for indices, (start, _) in zip(own, chunks, strict=True)])
        metadata = PrefillMetadata.of(chunks, written, torch.cat(own))
        positions = [self._chunk_positions(state, one) for state, one in zip(states, scheduled, strict=True)]
        hidden = self.decoder.embed(ids)
        for state, one, part in zip(states, scheduled, torch.split(hidden, lengths), strict=True):
            self._insert_features(state, one, part)
        normed = self.decoder.prefill(hidden, upload(torch.cat(positions, dim=1), self._device), metadata)
        sampled = [
            (one.pending, end - 1) for one, end in zip(scheduled, accumulate(lengths), strict=True) if one.pending
        ]
        if not sampled:
            return None
        for state, one in zip(states, scheduled, strict=True):
            if one.pending is not None:
                state.encoding = state.features = None
        last = normed[to_device([row for _, row in sampled], self._device)]
        return self._sample(self.decoder.logits(last), [pending for pending, _ in sampled])

    @torch.inference_mode()
    def decode(self, scheduled: Items[ScheduledTokens]) -> SampledTokens:
        """Compute the last tokens of many sequences in one pass, and sample one token for each."""
        rows: list[Row] = []
        last_rows: list[int] = []
        for one in scheduled:
            state, slot = self._slot_state(one.sequence), one.sequence.slot
            assert slot is not None
            ids = [PENDING_ID] if one.is_lookahead else one.sequence.output_ids(one.start, one.end)
            rows += [(token, slot, number, number + state.rope_delta) for number, token in enumerate(ids, one.start)]
            last_rows.append(len(rows) - 1)
        longest = max(one.end for one in scheduled)
        logits = self.decode_logits(rows, longest)
        if len(last_rows) < len(rows):
            logits = logits[to_device(last_rows, self._device)]
        return self._sample(logits, [one.pending for one in scheduled if one.pending is not None])

    @torch.inference_mode()
    def rebuild_penalty_mask(self, sequence: Sequence) -> None:
        """Remove a look-ahead token from the penalty mask: another token took its position."""
        assert sequence.slot is not None
        output = torch.tensor([token.id for token in sequence.tokens], dtype=torch.int64)
        ids = torch.cat([sequence.request.inputs.input_ids, output])
        self._penalty_mask[sequence.slot] = False
        self._penalty_mask[sequence.slot, ids.to(self._device)] = True

    def decode_logits(self, rows: list[Row], longest: int) -> torch.Tensor:
        """Return logits ``[rows, vocab_size]``; ``longest`` is the largest number of tokens that a row attends to."""
        if self.graphs is not None and len(rows) <= self.graphs.max_rows:
            return self.graphs.run(rows)
        # Contiguous: the kernels read each of the four fields with a stride of one.
        return self.forward_decode(to_device(rows, self._device).T.contiguous(), longest)

    def forward_decode(self, rows: torch.Tensor, longest: int) -> torch.Tensor:
        """Run a decode pass over ``[4, rows]``, int64, on the device. With ``longest`` 0 it can be captured."""
        known, slots, numbers, positions = rows
        ids = torch.where(known == PENDING_ID, self._last_ids[slots], known)
        self._penalty_mask.index_put_((slots, ids), self._penalty_mask.new_ones(()))
        kv_indices = self._cache.kv_indices(slots, longest) if longest else None
        slot_mapping = self._cache.slot_mapping(slots, numbers)
        metadata = DecodeMetadata(slots, self._cache.block_tables, (numbers + 1).int(), slot_mapping, kv_indices)
        return self.decoder.decode(self.decoder.embed(ids), positions, metadata)

    def _sample(self, logits: torch.Tensor, pending: list[PendingToken]) -> SampledTokens:
        rows = [
            RowSampling(one.sequence.request.sampling, one.position, one.suppressed_ids, one.allowed_ids)
            for one in pending
        ]
        slots = to_device([one.sequence.slot for one in pending], self._device)
        has_penalty = any(row.params.repetition_penalty != 1 for row in rows)
        penalty_mask = self._penalty_mask[slots] if has_penalty else None
        ids = sample(logits, penalty_mask, rows, on_scores=self.on_scores)
        self._last_ids[slots] = ids.clamp(min=0)
        return SampledTokens(pending, ids)

    def _slot_state(self, sequence: Sequence) -> SlotState:
        """Return the sequence's slot state with its block table up to date; create it for a new sequence."""
        assert sequence.slot is not None
        state = self._slot_states[sequence.slot]
        if state is None or state.sequence is not sequence or state.slot_generation != sequence.slot_generation:
            state = self._load_slot(sequence)
            self._slot_states[sequence.slot] = state
        if state.num_blocks < len(sequence.blocks):
            self._cache.assign_blocks(
                sequence.slot,
                state.num_blocks,
                sequence.blocks[state.num_blocks :],
                num_cached=max(0, sequence.num_cached_tokens // BLOCK_SIZE - state.num_blocks),
            )
            state.num_blocks = len(sequence.blocks)
        return state

    def _load_slot(self, sequence: Sequence) -> SlotState:
        inputs = sequence.request.inputs
        encoding = self.vision_encoder.begin(inputs)
        positions, rope_delta = self._mrope_positions(inputs)
        is_image = inputs.mm_token_type_ids > 0
        if encoding.media and int(is_image.sum()) != encoding.num_tokens:
            raise ValueError(f"{int(is_image.sum())} image tokens, but {encoding.num_tokens} image embeddings")
        self._penalty_mask[sequence.slot] = False
        if sequence.num_cached_tokens:
            cached_ids = self._ids(sequence, 0, sequence.num_cached_tokens)
            self._penalty_mask[sequence.slot, cached_ids.to(self._device)] = True
        self.prefills += 1
        sequence.num_prefills += 1
        # Embeddings are needed of the media that the prefix cache does not cover.
        num_cached_media = sequence.num_cached_media
        num_covered = sum(medium.num_tokens for medium in encoding.media[:num_cached_media])
        encoding.media = encoding.media[num_cached_media:]
        offsets = is_image.cumsum(0) - is_image.long() - num_covered
        return SlotState(
            sequence, sequence.slot_generation, positions, rope_delta, encoding if encoding.media else None, offsets
        )

    @staticmethod
    def _ids(sequence: Sequence, start: int, end: int) -> torch.Tensor:
        prompt = sequence.request.inputs.input_ids
        if end <= len(prompt):
            return prompt[start:end]
        output = sequence.output_ids(max(start, len(prompt)), end)
        return torch.cat([prompt[start:], torch.tensor(output, dtype=torch.int64)])

    def _chunk_positions(self, state: SlotState, scheduled: ScheduledTokens) -> torch.Tensor:
        """M-RoPE positions ``[3, tokens]`` of a chunk."""
        length = state.positions.shape[1]
        first = max(scheduled.start, length)
        output = torch.arange(first, max(scheduled.end, first)) + state.rope_delta
        return torch.cat([state.positions[:, scheduled.start : scheduled.end], output.expand(3, -1)], dim=1)

    def _insert_features(self, state: SlotState, scheduled: ScheduledTokens, hidden: torch.Tensor) -> None:
        """Replace the embeddings ``[tokens, hidden]`` of a chunk's image tokens by the encoder output."""
        if state.encoding is None:
            return
        is_image = state.sequence.request.inputs.mm_token_type_ids[scheduled.start : scheduled.end] > 0
        rows = is_image.nonzero()[:, 0]
        if len(rows) == 0:
            return
        if state.features is None:
            state.features = state.encoding.features()
        assert state.features is not None
        first = int(state.feature_offsets[scheduled.start + int(rows[0])])
        features = state.features[first : first + len(rows)]
        hidden.index_copy_(0, upload(rows, self._device), features.to(hidden.dtype))

    def _mrope_positions(self, inputs: ModelInputs) -> tuple[torch.Tensor, int]:
        """Positions ``[3, length]`` of the prompt, and the rope delta of the tokens after it."""
        if inputs.image_grid_thw is None and inputs.video_grid_thw is None:
            return torch.arange(len(inputs)).expand(3, -1), 0
        positions, deltas = self.model.model.get_rope_index(
            inputs.input_ids[None],
            mm_token_type_ids=inputs.mm_token_type_ids[None],
            image_grid_thw=inputs.image_grid_thw,
            video_grid_thw=inputs.video_grid_thw,
        )
        return positions[:, 0], int(deltas[0, 0])
