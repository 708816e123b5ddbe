"""Which objects belong to which run."""

from __future__ import annotations

import pytest

from bucketboard.runs.listing import group
from bucketboard.store.bucket import ObjectInfo

EVENTS = "events.out.tfevents.1700000000.host.1.0"


def grouped(*keys: str, prefix: str = "exp/") -> dict[str, list[str]]:
    found = group([ObjectInfo(key, 10, "etag") for key in keys], prefix)
    return {name: [info.key for info in run.objects] for name, run in found.items()}


def test_a_run_is_a_directory_with_event_files_and_what_is_below_it() -> None:
    keys = (
        f"exp/a/{EVENTS}",
        "exp/a/hparams.yaml",
        "exp/a/plugins/profile/1/host.xplane.pb",
        f"exp/b/{EVENTS}",
    )
    assert grouped(*keys) == {"a": list(keys[:3]), "b": [keys[3]]}


def test_what_is_in_a_deeper_run_belongs_to_that_one() -> None:
    found = grouped(f"exp/a/{EVENTS}", f"exp/a/train/{EVENTS}", "exp/a/train/x.txt", "exp/a/y/z.txt")
    assert found == {
        "a": [f"exp/a/{EVENTS}", "exp/a/y/z.txt"],
        "a/train": [f"exp/a/train/{EVENTS}", "exp/a/train/x.txt"],
    }


@pytest.mark.parametrize("prefix", ["", "exp/"])
def test_the_top_is_a_run_where_it_has_event_files(prefix: str) -> None:
    assert grouped(f"{prefix}{EVENTS}", f"{prefix}x/y.txt", prefix=prefix) == {
        ".": [f"{prefix}{EVENTS}", f"{prefix}x/y.txt"]
    }


def test_what_is_in_no_run_or_is_ours_is_left_out() -> None:
    assert (
        grouped(
            "exp/notes.txt",
            f"exp/.bucketboard/v1/{EVENTS}",
            f"exp/.bucketboard-trash/1/{EVENTS}",
            f"exp//{EVENTS}",
        )
        == {}
    )


def test_event_files_are_those_of_the_directory_itself() -> None:
    run = group([ObjectInfo(f"exp/a/{name}", 3, "e") for name in (EVENTS, "x.txt")], "exp/")["a"]
    assert [info.key for info in run.event_files] == [f"exp/a/{EVENTS}"]
    assert (run.prefix, run.size) == ("exp/a/", 6)
