"""The KV cache's blocks: who uses them, and which of them stay for sequences that begin alike."""

from hypothesis import given
from hypothesis import strategies as st

from engine.core.block_pool import BLOCK_SIZE, BlockPool


def names(*numbers: int) -> list[bytes]:
    return [bytes([number]) for number in numbers]


def pool_of(blocks: int) -> BlockPool:
    return BlockPool(blocks * BLOCK_SIZE)


def fill(pool: BlockPool, hashes: list[bytes]) -> list[int]:
    """Compute a sequence of these blocks, and let it leave."""
    blocks = pool.allocate(len(hashes), pool.find(hashes))
    assert blocks is not None
    for block, block_hash in zip(blocks, hashes, strict=True):
        pool.register(block, block_hash)
    pool.release(blocks)
    return blocks


def test_blocks_that_no_sequence_uses_are_found_by_their_hashes_and_count_as_free() -> None:
    pool = pool_of(4)
    blocks = fill(pool, names(1, 2, 3))
    assert pool.num_free == 4
    assert pool.find(names(1, 2, 9)) == blocks[:2]
    assert pool.find(names(9, 2)) == [], "a block is of no use without the one before it"


def test_a_cached_block_is_used_by_several_sequences_and_free_after_the_last() -> None:
    pool = pool_of(4)
    cached = fill(pool, names(1, 2))
    first, second = pool.allocate(3, cached), pool.allocate(3, cached)
    assert first is not None
    assert second is not None
    assert first[:2] == second[:2] == cached
    assert first[2] != second[2]
    assert pool.num_free == 0
    pool.release(first)
    assert pool.num_free == 1
    pool.release(second)
    assert pool.num_free == 4


def test_cached_blocks_are_given_away_after_the_others_and_the_end_of_the_oldest_prefix_first() -> None:
    pool = pool_of(5)
    fill(pool, names(1, 2))
    fill(pool, names(3, 4))
    fill(pool, names(1))  # used again
    assert pool.allocate(1) is not None
    assert len(pool.find(names(1, 2))) == len(pool.find(names(3, 4))) == 2
    assert pool.allocate(1) is not None
    assert len(pool.find(names(1, 2))) == 1
    assert len(pool.find(names(3, 4))) == 2
    assert pool.allocate(2) is not None
    assert len(pool.find(names(1))) == 1
    assert pool.find(names(3)) == []


def test_the_first_block_of_a_hash_is_kept() -> None:
    pool = pool_of(2)
    first, second = pool.allocate(1), pool.allocate(1)
    assert first is not None
    assert second is not None
    pool.register(first[0], b"same")
    pool.register(second[0], b"same")
    assert pool.find([b"same"]) == first
    pool.release(second)
    pool.release(first)
    assert pool.num_free == 2
    assert pool.allocate(2) is not None
    assert pool.find([b"same"]) == []


def test_blocks_that_a_sequence_takes_from_the_cache_are_not_free_for_its_new_ones() -> None:
    pool = pool_of(3)
    cached = fill(pool, names(1, 2))
    assert pool.num_taken(4, cached) == 4
    assert pool.allocate(4, cached) is None
    assert pool.num_free == 3
    user = pool.allocate(2, cached)
    assert user == cached
    assert pool.num_taken(3, cached) == 1


@given(actions=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4), st.booleans()), max_size=60))
def test_each_block_is_free_or_used_and_a_hash_names_one_content(actions: list[tuple[int, int, bool]]) -> None:
    pool = pool_of(6)
    running: list[list[int]] = []
    content: dict[int, bytes] = {}
    for kind, count, leaves in actions:
        hashes = names(*(10 * kind + number for number in range(count)))
        cached = pool.find(hashes)
        assert [content[block] for block in cached] == hashes[: len(cached)]
        free = pool.num_free
        blocks = pool.allocate(count, cached)
        if blocks is None:
            assert pool.num_free == free < count
            if running:
                pool.release(running.pop(0))
            continue
        for block, block_hash in list(zip(blocks, hashes, strict=True))[len(cached) :]:
            assert all(block not in others for others in running), "a new block belongs to one sequence"
            content[block] = block_hash
            pool.register(block, block_hash)
        running.append(blocks)
        if leaves:
            pool.release(running.pop())
        used = {block for one in running for block in one}
        assert len(used) + pool.num_free == pool.num_blocks
        assert 0 not in used
