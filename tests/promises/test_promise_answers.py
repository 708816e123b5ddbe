"""What S3 answers and no local server does: it changes nothing of what is stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bucketboard import FencedError, InvalidError, pull
from bucketboard.testing import Fault, FaultKind, Request, answers
from promised import MIB, Place, blob, first_record, framed, opaque_gateway

SMALL, LARGE = 2000, 3 * MIB
WRITES = ("PutObject", "CompleteMultipartUpload")


def on(status: int, code: str, kind: FaultKind = FaultKind.STATUS, **which: Any) -> Fault:
    return Fault(kind, status=status, code=code, **which)


ANSWERS: dict[str, Fault] = {
    "409": answers.conditional_conflict(nth=2, times=2),
    "404-if-match": answers.missing_key(nth=2),
    "stored-then-409": on(409, "ConditionalRequestConflict", FaultKind.MASK, operation=WRITES, nth=2),
    "stored-then-412": on(412, "PreconditionFailed", FaultKind.MASK, operation=WRITES, nth=2),
    "stored-then-500": on(500, "InternalError", FaultKind.MASK, operation=WRITES, nth=2),
    "stored-then-503": on(503, "SlowDown", FaultKind.MASK, operation=WRITES, nth=2),
    "stored-then-403": on(403, "ExpiredToken", FaultKind.MASK, operation=WRITES, nth=2),
    "lost-success": answers.lost_success(),
    "lost-success-once": answers.lost_success(nth=2, times=1),
    "lost-create": answers.lost_create(times=1),
    "error-in-success": answers.error_in_success(times=2),
    "slow-down-in-success": answers.error_in_success("SlowDown", nth=2, times=2),
    "error-in-done-success": answers.error_in_success(done=True, nth=2),
    "conflict-in-success": answers.error_in_success("ConditionalRequestConflict", nth=2),
    "precondition-in-success": answers.error_in_success("PreconditionFailed", done=True, nth=2),
    "expired-400": answers.expired_token(nth=2, times=3),
    "expired-403": answers.expired_token(403, nth=2, times=3),
    "denied-for-a-while": answers.access_denied(operation="ListObjectsV2", times=1),
    "redirected-for-a-while": answers.temporary_redirect("http://127.0.0.1:9", operation=WRITES, times=3),
    "damaged-upload": Fault(FaultKind.CORRUPT_UPLOAD, operation=("PutObject", "UploadPart"), times=2),
    "damaged-reply": Fault(FaultKind.CORRUPT, operation=("CreateMultipartUpload", *WRITES), nth=2, times=2),
    "stale-listing": Fault(FaultKind.STALE, operation="ListObjectsV2"),
}


SOON = {("409", SMALL), ("lost-success", LARGE), ("error-in-done-success", LARGE), ("expired-400", SMALL)}
"""What the default selection tries; the others are slow together."""


@pytest.mark.parametrize(
    ("name", "size"),
    [
        pytest.param(name, size, marks=[] if (name, size) in SOON else [pytest.mark.slow])
        for name in ANSWERS
        for size in (SMALL, LARGE)
    ],
)
def test_an_answer_changes_nothing_of_what_is_stored(
    new_place: Callable[..., Place], tmp_path: Path, name: str, size: int
) -> None:
    place = new_place("seaweedfs")
    hit = place.proxy.inject(ANSWERS[name])
    writer = place.writer(spool=tmp_path / "spool")
    logged = []
    for round_ in range(4):
        for step in range(round_ * 2, round_ * 2 + 2):
            logged.append(blob(step, size))
            writer.add_event(logged[-1])
        writer.flush()
        _synced(writer, place)
    if name == "lost-success":
        hit.remove()
    writer.close()
    assert not {FencedError, InvalidError} & set(place.kinds()), place.errors
    assert place.payloads() == logged
    assert place.uploads() == []
    assert writer.dropped == 0
    assert list((tmp_path / "spool").iterdir()) == []


def _synced(writer: Any, place: Place) -> None:
    """As a training loop would: an error that may pass is waited for in the background."""
    for _ in range(20):
        try:
            writer.sync(60)
            return
        except FencedError:
            raise
        except Exception as error:
            place.errors.append(error)  # type: ignore[arg-type]
    raise AssertionError(f"not stored: {place.errors}")


def test_a_deleted_object_as_s3_tells_of_it(new_place: Callable[..., Place], tmp_path: Path) -> None:
    """A write under If-Match to a key that is gone is answered 404, where local servers say 412."""
    place = new_place("seaweedfs")
    writer = place.writer(spool=tmp_path)
    first, second = blob(1, SMALL), blob(2, SMALL)
    writer.add_event(first)
    writer.sync(30)
    [key] = place.event_keys()
    place.client.delete_object(Bucket=place.bucket, Key=key)

    def under_if_match(request: Request) -> bool:
        return "if-match" in request.headers

    hit = place.proxy.inject(answers.missing_key(when=under_if_match, times=1))
    writer.add_event(second)
    writer.sync(30)
    writer.close()
    assert hit.fired == 1
    assert place.event_keys() == [key]
    assert place.payloads() == [first, second]
    assert place.errors == []


@pytest.mark.parametrize("kind", [FaultKind.LOST_REPLY, pytest.param(None, marks=pytest.mark.slow)])
def test_etags_that_tell_nothing(
    new_place: Callable[..., Place], spool: Path | None, tmp_path: Path, kind: FaultKind | None
) -> None:
    """As with SSE-KMS, behind a gateway that signs anew: written, grown, fenced and pulled all the same."""
    server = new_place("seaweedfs").server
    place = new_place("seaweedfs", gateway=opaque_gateway(server))
    if kind is not None:
        place.proxy.inject(Fault(kind, operation=WRITES, nth=2, times=3))
    writer = place.writer(spool=spool)
    logged = []
    for step in range(6):
        logged.append(blob(step, [SMALL, LARGE][step % 2]))
        writer.add_event(logged[-1])
        writer.sync(60)
    data = place.only()
    assert data[first_record(data) :] == b"".join(map(framed, logged))
    pull(place.url, tmp_path / "pulled", endpoint_url=place.proxy.url)
    [pulled] = (tmp_path / "pulled").rglob("*tfevents*")
    assert pulled.read_bytes() == data
    [key] = place.event_keys()
    place.client.put_object(Bucket=place.bucket, Key=key, Body=data + framed(b"another writer's"))
    writer.add_event(blob(9, SMALL))
    with pytest.raises(FencedError):
        writer.sync(30)
    writer.close()
    assert place.get(key) == data + framed(b"another writer's")
    assert place.uploads() == []
