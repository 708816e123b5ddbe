"""A flush costs nothing: what is sent does not depend on how often the frameworks flush."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import flushing
import pytest

from promised import Place, first_record

pytestmark = pytest.mark.timeout(600)
SCRIPT = Path(flushing.__file__)


@pytest.mark.parametrize("framework", flushing.FRAMEWORKS)
def test_a_thousand_flushes_send_the_log_once_and_its_beginning_twice(
    framework: str, spooled_place: Callable[..., Place], tmp_path: Path
) -> None:
    place = spooled_place()
    never = {"BUCKETBOARD_UPLOAD_EVERY": "3600", "BUCKETBOARD_MAX_LAG": "3600"}
    done = place.run(SCRIPT, framework, place.url, environ=never, cwd=tmp_path, timeout=290)
    assert done.returncode == 0, done.stderr
    events = place.event_keys("exp/run/")
    assert len(events) == 1
    data = place.get(events[0])
    losses = [payload for payload in place.payloads("exp/run/") if b"loss" in payload]
    assert sum(b"epoch_loss" not in payload for payload in losses) == flushing.STEPS
    counts = place.proxy.counts
    others = sum(len(place.get(key)) for key in place.keys("exp/run/") if key not in events)
    # The first events go at once, all of them at the end; at most one PUT more learns what the server can.
    beginning = counts["PutObject"].bytes_sent - len(data) - others
    assert first_record(data) <= beginning <= 2 * len(data)
    assert counts["PutObject"].requests <= 3 + (others > 0)
    assert counts.total.requests <= 8
