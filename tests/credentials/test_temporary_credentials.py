"""Credentials that end, are renewed, are refused for a while: nothing is lost or has to be restarted."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from issuing import Endpoint, Issuer

from bucketboard import FencedError, InvalidError, UnavailableError, pull, sync
from bucketboard.store.client import forget
from bucketboard.store.fast import FastBucket
from bucketboard.store.settings import Settings
from bucketboard.testing import Gateway, answers
from promised import MIB, Place, blob, framed

HOW = ["file", *(pytest.param(how, marks=pytest.mark.slow) for how in ("container", "process"))]


@dataclass
class Scene:
    """A bucket that lets in whom the issuer's latest credentials sign for."""

    place: Place
    issuer: Issuer
    endpoint: Endpoint
    file: Path

    def renew(self) -> None:
        """What was issued is no longer valid; whoever asks again is given what is."""
        self.issuer.revoke()
        if self.file.exists():
            self.issuer.write_file(self.file)


@pytest.fixture
def scene(
    request: pytest.FixtureRequest,
    new_place: Callable[..., Place],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Scene]:
    """How credentials come is the parameter."""
    how = getattr(request, "param", "container")
    gateway = Gateway({})
    place = new_place("seaweedfs", gateway=gateway)
    issuer = Issuer(place.server, gateway)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    file = tmp_path / "credentials"
    with Endpoint(issuer) as endpoint:
        if how == "container":
            monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{endpoint.url}/")
        elif how == "process":
            script = tmp_path / "issue.py"
            script.write_text(
                "import sys, urllib.request\n"
                "print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())\n"
            )
            config = tmp_path / "config"
            config.write_text(
                f"[default]\ncredential_process = {sys.executable} {script} {endpoint.url}/process\n"
            )
            monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        else:
            issuer.write_file(file)
            monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
        place.proxy.inject(issuer.refusal())
        yield Scene(place, issuer, endpoint, file)
        forget(Settings(endpoint_url=place.proxy.url))


@pytest.mark.parametrize("scene", HOW, indirect=True)
def test_credentials_that_end_before_their_time(scene: Scene, tmp_path: Path) -> None:
    """They are read again, wherever they came from: no restart is needed."""
    place = scene.place
    writer = place.writer(spool=tmp_path / "spool")
    logged = []
    for round_ in range(4):
        logged.append(blob(round_, [1000, 3 * MIB][round_ % 2]))
        writer.add_event(logged[-1])
        writer.sync(60)
        scene.renew()
    writer.close()
    assert place.payloads() == logged
    assert not {InvalidError, FencedError} & set(place.kinds()), place.errors
    assert place.uploads() == []


def test_credentials_are_renewed_before_they_end(scene: Scene, tmp_path: Path) -> None:
    """Those that say when they end are never refused."""
    scene.issuer.lifetime = timedelta(minutes=1)
    writer = scene.place.writer(spool=tmp_path / "spool")
    for step in range(5):
        writer.add_scalar("loss", step, step, 1e9)
        writer.sync(60)
    writer.close()
    assert len(scene.issuer.issued) > 5
    assert scene.place.errors == []
    assert 400 not in scene.place.proxy.counts.total.statuses
    assert scene.place.steps() == list(range(5))


def test_credentials_that_cannot_be_had_for_a_while(scene: Scene, tmp_path: Path) -> None:
    place = scene.place
    writer = place.writer(spool=tmp_path / "spool")
    writer.add_scalar("loss", 0, 0, 1e9)
    writer.sync(60)
    scene.issuer.revoke()
    scene.endpoint.failing = True
    writer.add_scalar("loss", 1, 1, 1e9)
    with pytest.raises(UnavailableError):
        writer.sync(2)
    scene.endpoint.failing = False
    writer.sync(60)
    writer.close()
    assert place.steps() == [0, 1]


@pytest.mark.parametrize("status", [400, pytest.param(403, marks=pytest.mark.slow)])
def test_a_directory_goes_up_and_comes_down(
    scene: Scene, tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two files the credentials end: sync and pull go on."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = scene.place
    place.proxy.clear()
    place.proxy.inject(scene.issuer.refusal(status))
    root = tmp_path / "runs"
    for number in range(4):
        (root / f"run{number}").mkdir(parents=True)
        path = root / f"run{number}" / "events.out.tfevents.1.host"
        path.write_bytes(framed(b"\x1a\x0dbrain.Event:2") + framed(blob(number, 1000)))
        report = sync(root, f"s3://{place.bucket}/exp", endpoint_url=place.proxy.url)
        assert report.complete, report.failed
        scene.renew()
    for _ in range(2):
        pull(f"s3://{place.bucket}/exp", tmp_path / "pulled", endpoint_url=place.proxy.url)
        scene.renew()
    found = {path.relative_to(root): path.read_bytes() for path in root.rglob("*tfevents*")}
    assert {each: (tmp_path / "pulled" / each).read_bytes() for each in found} == found


def test_a_reader_that_stays_open(scene: Scene) -> None:
    """As a board does for days, through obstore."""
    place = scene.place
    place.client.put_object(Bucket=place.bucket, Key="k", Body=b"body")
    bucket = FastBucket(place.bucket, Settings(endpoint_url=place.proxy.url))
    assert bucket.get("k")[0] == b"body"
    scene.renew()
    with pytest.raises(UnavailableError, match="ExpiredToken"):
        bucket.get("k")
    assert bucket.get("k")[0] == b"body"


@pytest.mark.parametrize("size", [1000, pytest.param(3 * MIB, marks=pytest.mark.slow)])
def test_a_denial_that_heals(new_place: Callable[..., Place], tmp_path: Path, size: int) -> None:
    """While a policy is changed everything is refused; afterwards everything arrives, once."""
    place = new_place("seaweedfs")
    writer = place.writer(spool=tmp_path / "spool")
    logged = [blob(step, size) for step in range(6)]
    for event in logged[:3]:
        writer.add_event(event)
    writer.sync(30)
    denied = place.proxy.inject(answers.access_denied())
    for event in logged[3:]:
        writer.add_event(event)
    with pytest.raises((InvalidError, UnavailableError)):
        writer.sync(5)
    denied.remove()
    writer.sync(60)
    writer.close()
    assert place.payloads() == logged
    assert place.uploads() == []
    assert list((tmp_path / "spool").iterdir()) == []


def test_credentials_that_come_late_to_a_writer_made_without(
    new_place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A machine on which somebody logs in only after the training has begun."""
    place = new_place("seaweedfs")
    file = tmp_path / "credentials"
    known = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    for name in known:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    writer = place.writer(spool=tmp_path / "spool")
    writer.add_scalar("loss", 1, 1, 1e9)
    with pytest.raises(InvalidError, match="no usable AWS credentials"):
        writer.sync(30)
    lines = [f"{name.lower()}={value}" for name, value in known.items()]
    file.write_text("\n".join(["[default]", *lines, ""]))
    writer.sync(60)
    writer.close()
    assert place.steps() == [1]
