from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketboard.replication.log import State
from bucketboard.replication.metadata import ObjectMetadata, run_file

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
USER = st.dictionaries(TEXT, TEXT | st.integers(300, 2000).map("x".__mul__), max_size=6)
HEX = st.text("0123456789abcdef", min_size=1, max_size=32)


def metadata(user: dict[str, str], **changes: Any) -> ObjectMetadata:
    values = {"log_id": "a" * 32, "write_id": "b" * 16, "length": 0, "crc32c": 0, "state": State.LIVE}
    return ObjectMetadata(**{**values, **changes}, user=user)


@given(HEX, HEX, st.integers(0, 2**45), st.integers(0, 2**32 - 1), st.sampled_from(State))
def test_what_is_said_of_an_object_can_be_read_back(
    log: str, write: str, length: int, crc: int, state: State
) -> None:
    said = ObjectMetadata(log, write, length, crc, state, {"team": "vision & sound+%"})
    assert ObjectMetadata.parse(said.headers()) == said


@given(USER, st.integers(0, 2**45), st.sampled_from(State))
def test_headers_are_ascii_and_within_what_s3_allows(user: dict[str, str], length: int, state: State) -> None:
    said = metadata(user, length=length, crc32c=2**32 - 1, state=state, damaged=length, gathered=user)
    headers = said.headers()
    assert all(text.isascii() and text.isprintable() and text == text.strip() for text in headers.values())
    assert all(name == name.lower() for name in headers)
    assert sum(len(f"x-amz-meta-{name}") + len(value) for name, value in headers.items()) <= 2048


@given(USER)
def test_the_users_pairs_stand_in_the_headers_or_all_of_them_in_the_run_file(user: dict[str, str]) -> None:
    parsed = ObjectMetadata.parse(metadata(user).headers())
    assert parsed is not None
    assert parsed.user.items() <= user.items()
    contents = run_file(user)
    if contents is None:
        assert parsed.user == user
    else:
        assert parsed.user != user
        assert json.loads(contents) == {"format": 1, "metadata": user}


@pytest.mark.parametrize(
    "user",
    [{}, {"": ""}, {"team": "vision"}, {"équipe": "損失 🧪"}, {"a": "b=c&d=e+f %20"}, {"k": "x" * 1022}],
)
def test_a_kilobyte_fits(user: dict[str, str]) -> None:
    parsed = ObjectMetadata.parse(metadata(user).headers())
    assert parsed is not None
    assert parsed.user == user
    assert run_file(user) is None


def test_what_does_not_fit_is_left_out_and_the_rest_stays() -> None:
    user = {"note": "é" * 600, "team": "vision"}
    parsed = ObjectMetadata.parse(metadata(user).headers())
    assert parsed is not None
    assert parsed.user == {"team": "vision"}
    assert json.loads(run_file(user) or b"")["metadata"] == user


def test_a_text_that_is_no_unicode_is_kept_as_well_as_it_can_be() -> None:
    user = {"path": "/data/\udcff"}  # what os.fsdecode gives for a byte that is no UTF-8
    headers = metadata(user).headers()
    assert all(text.isascii() for text in headers.values())
    run_file(user)


@pytest.mark.parametrize(
    "change",
    [
        {"bucketboard-format": "2"},
        {"bucketboard-length": "many"},
        {"bucketboard-crc32c": "xyz"},
        {"bucketboard-state": "asleep"},
        *({name: None} for name in metadata({}).headers()),
    ],
)
def test_metadata_that_is_not_ours_is_none(change: dict[str, str | None]) -> None:
    headers: dict[str, Any] = {**metadata({"a": "b"}).headers(), **change}
    assert ObjectMetadata.parse({name: text for name, text in headers.items() if text is not None}) is None


def test_an_object_of_somebody_else_is_none() -> None:
    assert ObjectMetadata.parse({}) is None
    assert ObjectMetadata.parse({"log": "x"}) is None
