"""What is saved of a damaged event file."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bucketboard.events.reference import MAX_DAMAGE
from bucketboard.events.salvage import Kept, Lost, salvage
from promised import framed, records


def saved(data: bytes) -> list[bytes]:
    return [
        payload
        for part in salvage(data)
        if isinstance(part, Kept)
        for payload in records(data[part.start : part.stop])
    ]


@given(
    st.lists(st.binary(max_size=60), min_size=1, max_size=20),
    st.sets(st.integers(0, 2000), max_size=4),
    st.integers(1, 255),
    st.integers(0, 30),
)
def test_only_damaged_records_are_lost(payloads: list[bytes], places: set[int], flip: int, torn: int) -> None:
    parts = [framed(payload) for payload in payloads]
    data = bytearray(b"".join(parts))
    hit = {place % len(data) for place in places}
    for place in hit:
        data[place] ^= flip
    end = len(data) - min(torn, len(parts[-1]) - 1)
    at, whole = 0, []
    for part, payload in zip(parts, payloads, strict=True):
        if hit.isdisjoint(range(at, at + len(part))) and at + len(part) <= end:
            whole.append(payload)
        at += len(part)
    data = data[:end]
    assert saved(bytes(data)) == whole
    stretches = list(salvage(bytes(data)))
    bounds = [stretch.start for stretch in stretches] + [len(data)]
    assert bounds[0] == 0
    assert all(stretch.stop == after for stretch, after in zip(stretches, bounds[1:], strict=True))
    assert sum(part.records for part in stretches if isinstance(part, Kept)) == len(whole)


def test_more_damage_than_a_scan_names() -> None:
    good, bad = framed(b"good"), bytearray(framed(b"bad"))
    bad[12] ^= 1
    data = (good + bytes(bad)) * (2 * MAX_DAMAGE + 7)
    assert len(saved(data)) == 2 * MAX_DAMAGE + 7
    assert sum(isinstance(part, Lost) for part in salvage(data)) == 2 * MAX_DAMAGE + 7
