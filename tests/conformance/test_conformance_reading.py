"""Reading from every server: the viewer's answers, an index, and what `doctor` finds."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from matrix import ROWS, SERVERS, documented, probe
from sites import Site

from promised import blob

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what TensorBoard's own modules warn of when they are imported
    from bucketboard.serve import serve

pytestmark = pytest.mark.conformance

RUN = "a b/c+d%20e"


def scalars(url: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What a page shows of all runs' losses."""
    with serve(url, port=0, reload_interval=0, **settings) as server:

        def get(path: str, **query: str) -> Any:
            address = f"{server.url}data/{path}?{urllib.parse.urlencode(query)}"
            with urllib.request.urlopen(address, timeout=30) as answer:
                return json.load(answer)

        return {
            run: get("plugin/scalars/scalars", run=run, tag=tag)
            for run, tags in get("plugin/scalars/tags").items()
            for tag in tags
        }


def test_the_viewer_shows_the_same_with_and_without_an_index(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(site.home / "cache"))
    from bucketboard import SummaryWriter

    settings = {"endpoint_url": site.place.proxy.url}
    for run in (RUN, "ü"):
        with SummaryWriter(f"{site.url}/{run}", spool=None, **settings) as writer:
            for step in range(20):
                writer.add_scalar("loss", 1 / (step + 1), step, walltime=1e9 + step)
    bare = scalars(site.url, {**settings, "cache_size": 0})
    assert set(bare) == {RUN, "ü"}
    assert [[step, round(value, 6)] for _, step, value in bare[RUN]] == [
        [step, round(1 / (step + 1), 6)] for step in range(20)
    ]
    site.command("index", site.url)
    assert any(".bucketboard/v1/scalars/" in key for key in site.place.keys(site.prefix))
    seen = len(site.place.proxy.requests)
    assert scalars(site.url, {**settings, "cache_size": 0}) == bare
    asked = [exchange.request for exchange in site.place.proxy.requests[seen:]]
    assert any(request.key.endswith(".parquet") for request in asked)
    of_files = [request for request in asked if "tfevents" in request.key]
    assert all(request.headers["range"] != "bytes=0-" for request in of_files), "at most an end is read again"
    writer = site.place.writer(f"{site.url}/later", spool=None)
    writer.add_event(blob(1, 100))
    writer.close()
    assert "1 new values" in site.command("index", site.url)


def test_what_the_server_supports_is_documented(
    site: Site, record_property: Callable[[str, object], None]
) -> None:
    name = site.place.server.name
    checks = site.doctor()
    found = probe(site.place, checks)
    record_property("matrix", found)
    assert checks["verdict"]["ok"] is True
    assert site.place.keys(site.prefix) == [], "doctor leaves nothing"
    assert documented()[name] == found


def test_the_document_has_every_server_and_row() -> None:
    assert set(documented()) == set(SERVERS)
    assert all(tuple(answers) == ROWS for answers in documented().values())
