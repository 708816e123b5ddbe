"""A viewer that nobody looks at sends nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from viewing import Page, Store, event_file, eventually

Show = Callable[..., Page]


def test_an_idle_viewer_sends_nothing(store: Store, show: Show) -> None:
    store.put("run1", event_file(1.0))
    page = show(reload_interval=0.05)
    eventually(lambda: page.scalars("run1"), [1.0])
    eventually(lambda: page.health()["idle"], True)
    quiet = store.requests
    store.put("run2", event_file(2.0))
    for _ in range(100):
        assert page.health()["idle"]
    assert store.requests == quiet
    # Whoever comes back is told what is new, at once.
    assert page.runs() == ["run1", "run2"]
    assert store.requests["ListObjectsV2"] > quiet["ListObjectsV2"]


def test_a_page_that_is_looked_at_is_kept_up_to_date(store: Store, show: Show) -> None:
    store.put("run1", event_file(1.0))
    page = show(reload_interval=0.05)
    eventually(page.runs, ["run1"])
    listings = store.requests["ListObjectsV2"]
    eventually(lambda: page.runs() == ["run1"] and store.requests["ListObjectsV2"] > listings + 5, True)
    assert store.requests["GetObject"] == 1


def test_what_does_not_change_is_looked_at_less_often(store: Store, show: Show) -> None:
    store.put("run1", event_file(1.0))
    page = show(reload_interval=0.02)

    def interval() -> float:
        page.runs()  # somebody looks
        return float(page.health()["interval"])

    def interval_while_it_grows() -> float:
        store.put("run1", event_file(*range(next(sizes))))
        return interval()

    sizes = itertools.count(2)
    eventually(interval, 0.08)
    eventually(interval_while_it_grows, 0.02)
    store.put("run2", event_file(2.0))
    eventually(page.runs, ["run1", "run2"])
