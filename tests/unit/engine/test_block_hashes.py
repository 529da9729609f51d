"""Hashes of KV cache blocks: equal exactly where keys and values are."""

from array import array
from dataclasses import replace

from engine.core.block_hashes import BlockHashes, MediaSpan
from engine.core.block_pool import BLOCK_SIZE
from engine.events import Token

IMAGE = MediaSpan(start=70, end=90, cost=1.0, digest=b"red")
IDS = list(range(3 * BLOCK_SIZE))


def hashes(
    ids: list[int] = IDS, *, root: bytes = b"a", media: tuple[MediaSpan, ...] = (IMAGE,), output: tuple[int, ...] = ()
) -> list[bytes]:
    tokens = [Token(one, forced=False) for one in output]
    blocks = (len(ids) + len(output)) // BLOCK_SIZE
    return BlockHashes(root, array("q", ids).tobytes(), media).first(blocks, tokens)


def num_equal(one: list[bytes], other: list[bytes]) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def test_blocks_are_equal_up_to_the_first_difference() -> None:
    plain = hashes()
    assert plain == hashes()
    assert len(set(plain)) == 3
    assert num_equal(plain, hashes([*IDS[:130], 9, *IDS[131:]])) == 2
    assert num_equal(plain, hashes([9, *IDS[1:]])) == 0
    assert num_equal(plain, hashes(root=b"b")) == 0
    shifted = hashes([5, *IDS])
    assert not set(plain) & set(shifted)


def test_a_medium_belongs_to_the_block_where_it_begins_and_to_all_after_it() -> None:
    plain = hashes()
    assert num_equal(plain, hashes(media=(replace(IMAGE, digest=b"blue"),))) == 1
    assert num_equal(plain, hashes(media=(replace(IMAGE, start=71),))) == 1
    assert num_equal(plain, hashes(media=())) == 1
    assert num_equal(plain, hashes(media=(IMAGE, MediaSpan(150, 160, 1.0, b"new")))) == 2


def test_a_token_that_stands_for_an_image_differs_from_the_same_id_as_text() -> None:
    assert num_equal(hashes(), hashes([*IDS[:70], 70 + (1 << 32), *IDS[71:]])) == 1


def test_output_tokens_have_the_hashes_that_they_have_in_a_later_prompt() -> None:
    for split in (1, 63, 64, 65, 100, 191):
        assert hashes(IDS[:split], output=tuple(IDS[split:])) == hashes()


def test_hashes_that_are_computed_one_after_the_other_are_those_computed_at_once() -> None:
    tokens = [Token(one, forced=False) for one in IDS[100:]]
    growing = BlockHashes(b"a", array("q", IDS[:100]).tobytes(), (IMAGE,))
    assert [growing.first(count, tokens[: count * BLOCK_SIZE])[-1] for count in (1, 2, 3)] == hashes()
