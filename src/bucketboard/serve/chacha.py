"""The random numbers that TensorBoard's data server samples with: ``ChaCha20Rng::seed_from_u64(0)``.

The stream can be entered anywhere, so nothing of it needs to be kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["words", "words32"]

_BLOCK_WORDS = 16
_ROUNDS = 20
_CHUNK_BLOCKS = 1 << 10
_CONSTANTS = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)
_QUARTERS = (
    ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)),
    ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)),
)


def _seed() -> tuple[int, ...]:
    """``SeedableRng::seed_from_u64(0)``: a PCG32 fills the key."""
    state, words = 0, []
    for _ in range(8):
        state = (state * 6364136223846793005 + 11634580027462260723) & 0xFFFFFFFFFFFFFFFF
        shifted, turn = (((state >> 18) ^ state) >> 27) & 0xFFFFFFFF, state >> 59
        words.append(((shifted >> turn) | (shifted << (-turn & 31))) & 0xFFFFFFFF)
    return tuple(words)


_KEY = _seed()


def _turn(word: Any, bits: int) -> Any:
    return (word << np.uint32(bits)) | (word >> np.uint32(32 - bits))


@lru_cache(maxsize=64)
def _chunk(number: int) -> Any:
    """1,024 blocks of the key stream, as uint32: each row of the work is one word of all blocks at once."""
    counter: Any = np.arange(number * _CHUNK_BLOCKS, (number + 1) * _CHUNK_BLOCKS, dtype=np.uint64)
    start: Any = np.zeros((_BLOCK_WORDS, _CHUNK_BLOCKS), np.uint32)
    start[:12] = np.array(_CONSTANTS + _KEY, np.uint32)[:, None]
    start[12] = counter.astype(np.uint32)
    start[13] = (counter >> np.uint64(32)).astype(np.uint32)
    work = start.copy()
    for turn in range(_ROUNDS):
        a, b, c, d = (list(places) for places in zip(*_QUARTERS[turn & 1], strict=True))
        wa, wb, wc, wd = work[a], work[b], work[c], work[d]
        wa = wa + wb
        wd = _turn(wd ^ wa, 16)
        wc = wc + wd
        wb = _turn(wb ^ wc, 12)
        wa = wa + wb
        wd = _turn(wd ^ wa, 8)
        wc = wc + wd
        wb = _turn(wb ^ wc, 7)
        work[a], work[b], work[c], work[d] = wa, wb, wc, wd
    stream = np.ascontiguousarray((work + start).T).reshape(-1)
    stream.flags.writeable = False
    return stream


def words32(start: int, count: int) -> Any:
    """Numbers ``start`` to ``start + count`` of the stream as ``next_u32`` gives them."""
    size = _CHUNK_BLOCKS * _BLOCK_WORDS
    first, last = start // size, (start + max(count, 1) - 1) // size
    chunks = [_chunk(number) for number in range(first, last + 1)]
    stream = chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
    return stream[start - first * size : start - first * size + count]


def words(start: int, count: int) -> Any:
    """Numbers ``start`` to ``start + count`` of the stream as ``next_u64`` gives them."""
    pairs = words32(2 * start, 2 * count).astype(np.uint64)
    return pairs[::2] | (pairs[1::2] << np.uint64(32))
