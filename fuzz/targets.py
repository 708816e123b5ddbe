"""What is fuzzed beside the native scan: each target takes any bytes and fails if a promise does not hold.

Nothing in here needs the fuzzer: tests run the targets on the seeds and on what was found before.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import posixpath
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from bucketboard.errors import BucketboardError, InvalidError, Reason, UnavailableError
from bucketboard.events import reference
from bucketboard.events.columns import Kind
from bucketboard.events.event import file_version_event
from bucketboard.events.filename import newest_time
from bucketboard.events.record import frame, whole_records
from bucketboard.events.scanner import FileScanner, record_ends
from bucketboard.fetch.keys import lay_out
from bucketboard.replication.metadata import ObjectMetadata
from bucketboard.replication.options import Options
from bucketboard.store.settings import Settings, from_environ
from bucketboard.store.url import S3Url

Target = Callable[[bytes], None]


def framing(data: bytes) -> None:
    """Fed whole or in two pieces a file gives the same; the native scan agrees with the reference."""
    whole = FileScanner()
    columns = whole.feed(data)
    assert whole.offset <= len(data)
    pieces = FileScanner()
    cut = len(data) // 2
    events = pieces.feed(data[:cut]).events
    events += pieces.feed(data[pieces.offset :]).events
    assert (pieces.offset, pieces.dead, events) == (whole.offset, whole.dead, columns.events)
    end, count = whole_records(data)
    assert end <= whole.offset
    found, records, damage = record_ends(data)
    assert found == whole.offset
    assert records >= count
    assert damage or (end, count) == (found, records)
    assert reference.scan(data, 0).end == whole.offset


def events(data: bytes) -> None:
    """An event of any content is shown or refused, and never costs more than it is long."""
    from bucketboard.serve.compat import blobs_of, metadata_of, tensor_of

    columns = FileScanner().feed(frame(data))
    for kind, first in zip(columns.kind.tolist(), [*columns.first.values()], strict=False):
        metadata = metadata_of(kind, first)
        for index in columns.index.tolist()[:4]:
            with contextlib.suppress(Exception):  # any that says that it is no tensor
                assert np.asarray(tensor_of(data, index)).size <= max(len(data), 1 << 20)
            with contextlib.suppress(Exception):
                assert sum(map(len, blobs_of(data, index, metadata.plugin))) <= len(data) + 64
    assert set(columns.kind.tolist()) <= {int(kind) for kind in Kind}


class _Objects:
    """The objects of an index, in memory."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects

    def get(self, name: str, start: int = 0, stop: int | None = None) -> tuple[bytes, str]:
        if name not in self.objects:
            raise UnavailableError(f"{name} is not there", reason=Reason.NOT_FOUND)
        return self.objects[name][start:stop], "etag"

    def put(self, name: str, body: bytes, **conditions: object) -> str:
        self.objects[name] = body
        return "etag"

    def list(self) -> list[Any]:
        return []

    def delete(self, name: str) -> None:
        raise AssertionError(f"{name} is deleted")


@functools.cache
def _indexed() -> dict[str, bytes]:
    from bucketboard.index import update
    from bucketboard.source import DirectorySource

    objects = _Objects({})
    update(DirectorySource(Path(__file__).parents[1] / "tests" / "events" / "data"), objects)
    return objects.objects


def _read(objects: dict[str, bytes]) -> None:
    from bucketboard.index import Index

    index = Index.open(_Objects(objects))
    for read in (index.scalars, index.values):
        with contextlib.suppress(BucketboardError):
            read()
            read(["loss"], ["run/events"])


def manifest(data: bytes) -> None:
    """Any manifest can be opened: what is no good is not covered."""
    _read({**_indexed(), "manifest.json": data})


def parquet(data: bytes) -> None:
    """A damaged segment costs coverage and nothing else. The first byte says which of the two it is.

    Its footer stays as it is: on some that are damaged pyarrow (26.0) aborts the process.
    """
    objects = dict(_indexed())
    pieces = sorted(name for name in objects if name.endswith(".parquet"))
    name = pieces[data[0] % len(pieces)] if data else pieces[0]
    known = json.loads(objects["manifest.json"])
    whole = objects[name]
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    body = data[1 : len(whole) - footer + 1].ljust(len(whole) - footer, b"\0") + whole[-footer:]
    for segment in known["segments"]:
        for piece in filter(None, segment.values()):
            if piece["name"] == name:
                piece["bytes"] = len(body)
                piece["footer"] = min(piece["footer"], len(body))
                piece["head"] = min(piece["head"], len(body))
    objects |= {name: body, "manifest.json": json.dumps(known).encode()}
    _read(objects)


def keys(data: bytes) -> None:
    """Whatever is laid out lies below the target, each in a place of its own."""
    paths = data.decode("utf-8", "surrogateescape").split("\n")
    layout = lay_out(paths)
    assert {*layout.paths, *(refusal.key for refusal in layout.refused)} == set(paths)
    places = [posixpath.normpath(posixpath.join("/target", path)) for path in layout.paths]
    assert len(set(places)) == len(places)
    for path, place in zip(layout.paths, places, strict=True):
        assert place == f"/target/{path}"
        os.fsencode(path)
        assert not any(other.startswith(f"{place}/") for other in places)
    newest_time(paths)


def urls(data: bytes) -> None:
    """An address is refused with an InvalidError, or means the same when it is written and read again."""
    text = "s3://" + data.decode("utf-8", "surrogateescape")
    try:
        url = S3Url.parse(text)
    except InvalidError:
        return
    assert S3Url.parse(str(url)) == url
    assert (url / "run").prefix.endswith("run/")


def settings(data: bytes) -> None:
    """Variables and metadata of any text are taken, or refused with an InvalidError that names them."""
    lines = data.decode("utf-8", "replace").replace("\0", "").split("\n")
    names = [
        f"BUCKETBOARD_{name.upper()}" for cls in (Settings, Options) for name in cls.__dataclass_fields__
    ]
    names += ["AWS_ENDPOINT_URL_S3", "S3_ENDPOINT", "S3_USE_HTTPS"]
    environ = dict(zip(names, lines, strict=False))
    with contextlib.suppress(InvalidError):
        Settings.resolve(environ).endpoint(environ)
    with contextlib.suppress(InvalidError):
        options = from_environ(Options, {}, environ)
        assert options.limit(options.in_memory) > 0
    fields = ("format", "log", "write", "length", "crc32c", "state", "user", "damaged")
    stored = {f"bucketboard-{name}": line for name, line in zip(fields, ["1", *lines], strict=False)}
    known = ObjectMetadata.parse(stored)
    assert known is None or ObjectMetadata.parse(known.headers()) is not None


@functools.cache
def _site() -> Any:
    """What answers requests: the guard around the fast routes, on a directory of real files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what TensorBoard's modules warn of when they are imported
        from tensorboard.backend.application import TensorBoardWSGI  # noqa: F401

        from bucketboard.serve.guard import Guard
        from bucketboard.serve.mount import Mount
        from bucketboard.serve.routes import FastRoutes
    from tensorboard import errors

    from bucketboard.serve.catalog import Catalog
    from bucketboard.source import DirectorySource

    mount = Mount(DirectorySource(Path(__file__).parents[1] / "tests" / "events" / "data"))
    catalog = Catalog([mount])
    catalog.refresh()
    passed: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        passed.append(environ)
        start("200 OK", [("Content-Type", "text/plain")])
        return [b"passed on"]

    routes = FastRoutes(app, catalog, {"scalars": 100})

    def guarded(environ: dict[str, Any], start: Any) -> Any:
        passed.append(environ)
        try:
            return routes(environ, start)
        except errors.PublicError as error:  # TensorBoard makes answers of them
            start(f"{error.http_code} Error", [])
            return [str(error).encode()]

    guard = Guard(
        guarded,
        token="correct-horse-battery",  # noqa: S106
        host="127.0.0.1",
        exposed_everywhere=False,
        allowed_hosts=["*.example.org"],
        path_prefix="",
        health=lambda: {"ok": True, "trouble": "s3://secret"},
    )
    return SimpleNamespace(guard=guard, passed=passed)


_PATHS = ("scalars/scalars", "scalars/scalars_multirun", "timeseries/timeSeries")


def http(data: bytes) -> None:
    """Nothing passes without the token; with it any request has an answer that is not a failure of ours.

    Lines: flags, host, query, authorization, cookie, origin, body.
    """
    site = _site()
    lines = [*data.split(b"\n", 6), *[b""] * 7][:7]
    flags, host, query, authorization, cookie, origin, body = (line.decode("latin-1") for line in lines)
    bits = ord(flags[0]) if flags else 0
    path = f"/data/plugin/{_PATHS[bits % 3]}" if bits & 4 else f"/{flags}"
    statuses: list[str] = []
    environ = {
        "REQUEST_METHOD": "POST" if bits & 8 else "GET",
        "PATH_INFO": path,
        "QUERY_STRING": query + ("&token=correct-horse-battery" if bits & 16 and bits & 8 else ""),
        "HTTP_HOST": host,
        "HTTP_COOKIE": cookie,
        "HTTP_ORIGIN": origin,
        "HTTP_AUTHORIZATION": "Bearer correct-horse-battery" if bits & 32 else authorization,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "6006",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body.encode("latin-1")),
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
    }
    site.passed.clear()
    answer = b"".join(site.guard(environ, lambda status, headers, *more: statuses.append(status)))
    status = int(statuses[-1].split()[0])
    assert status < 500, (status, answer)
    shown = "correct-horse-battery" in query + authorization or bits & 48
    assert shown or not site.passed, "passed without a token"
    if status in (401, 403):
        assert not site.passed


def spool(data: bytes) -> None:
    """Whatever a spool holds, a look at it says what is there, and another log in it is found beside it.

    The first line is a header, the rest the log.
    """
    from bucketboard import recover

    header, _, log = data.partition(b"\n")
    with tempfile.TemporaryDirectory() as directory:
        for name, body in (("bad", header), ("good", _HEADER)):
            (Path(directory) / f"{name}.json").write_bytes(body)
            (Path(directory) / f"{name}.tfevents").write_bytes(log if name == "bad" else _LOG)
        found = {Path(each.path).stem: each for each in recover(directory, dry_run=True)}
        assert (found["good"].state, found["good"].events) == ("pending", 1)
        assert {each.state for each in found.values()} <= {"pending", "failed"}
        kept = {path.name for path in Path(directory).iterdir()}
        assert not log or "bad.json" in kept or found.get("bad") is None
        assert {"good.json", "good.tfevents"} <= kept


_LOG = frame(file_version_event(1e9)) + frame(b"\x09\0\0\0\0\0\0\xf0\x3f\x10\x05")
_HEADER = (
    b'{"log_id": "good", "writer_id": "w", "sequence": 0, "bucket": "bucket", "prefix": "exp/run/",'
    b' "kind": "events", "name": "", "suffix": "", "append": "auto", "settings": {"endpoint_url": "http://127.0.0.1:9000"},'
    b' "metadata": {"team": "vision"}, "gathered": {}, "created": 1700000000.5, "sent": 0, "format": 1}'
)
_OTHER = _HEADER.replace(b"good", b"bad").replace(b'"w"', b'"v"')

TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (framing, events, manifest, parquet, keys, urls, settings, http, spool)
}


def seeds(target: str) -> list[bytes]:
    """Real inputs of a target."""
    data = Path(__file__).parents[1] / "tests" / "events" / "data"
    files = [path.read_bytes() for path in sorted(data.iterdir())]
    if target == "framing":
        return [body[:4096] for body in files]
    if target == "events":
        return [record for body in files for record in _payloads(body)[:40] if len(record) < 4096]
    if target == "manifest":
        return [_indexed()["manifest.json"]]
    if target == "parquet":
        pieces = sorted(name for name in _indexed() if name.endswith(".parquet"))
        return [bytes([number]) + _indexed()[name] for number, name in enumerate(pieces)]
    if target == "spool":
        return [_OTHER + b"\n" + log for log in (_LOG, files[0][:4096], b"")]
    return [seed.encode() for seed in _TEXTS[target]]


def _payloads(body: bytes) -> list[bytes]:
    from bucketboard.events.record import scan

    return [record.payload for record in scan(body)]


_TEXTS = {
    "keys": [
        "run/events.out.tfevents.1700000000.host.1.0\nrun/a b+c%20d\nü/x",
        "../x\na//b\nC:/x\na/./b\nx\nx/y\n/x\nx\\y\n\x00",
    ],
    "urls": ["bucket/exp/run 1", "arn:aws:s3:eu-west-1:123456789012:accesspoint/name/exp", "b//x/", "/"],
    "settings": [
        "http://127.0.0.1:9000\neu-west-1\nprofile\n1\n/ca.pem\n0\n0\n123456789012\n30\ncrc32c\naws:kms\nkey"
        "\nSTANDARD\nprivate\nteam=vision&cost=42\nnone\ngrow\n10\n120\n65536\n1000000\n60\n1\n0",
        "log\nwrite\n10\n0000ffff\nlive\na=b&c=%20\n5",
    ],
    "http": [
        "$\n127.0.0.1:6006\ntag=loss&run=.\n\n\n\n",
        "-\nlocalhost\n\n\n\nhttp://localhost\ntag=loss&runs=.&runs=a",
        '.\nlocalhost\n\n\n\n\nrequests=[{"plugin":"scalars","tag":"loss"}]',
        "x\n[::1]:1\ntoken=correct-horse-battery&x=1\nBearer x\nbucketboard-6006=0\nnull\n",
        "healthz\nevil.example\n\n\n\n\n",
    ],
}
