"""Secrets are nowhere but in requests' signatures: not in what is said, stored, spooled or seen by others."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import bucketboard
from bucketboard.testing import Fault, FaultKind, Gateway, answers
from promised import Place, blob, framed

SECRET, TOKEN = "SECRET/that+nobody-may/see", "TOKEN//that+nobody-may==see"
FORMS = [SECRET, TOKEN, *(text.replace("/", "%2F").replace("+", "%2B") for text in (SECRET, TOKEN))]

TRAINER = """
import logging, sys
from bucketboard import EventFileWriter
logging.basicConfig(level=logging.INFO)
logging.getLogger("bucketboard").setLevel(logging.DEBUG)
writer = EventFileWriter(sys.argv[1], close_timeout=3, metadata={"team": "vision"})
print(repr(writer), vars(writer))
for step in range(100):
    writer.add_scalar("loss", step, step, 1e9)
try:
    writer.sync(3)
except Exception as error:
    print(repr(error), error, vars(error), repr(error.__cause__))
print("ready", flush=True)
sys.stdin.readline()
writer.close()
"""


def exposed(text: str | bytes) -> bool:
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    return any(form in text for form in FORMS)


@pytest.fixture
def place(new_place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch) -> Place:
    gateway = Gateway({})
    place = new_place("seaweedfs", gateway=gateway)
    gateway.admit("ASIASECRETS", (place.server.access_key, place.server.secret_key))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIASECRETS")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", place.proxy.url)
    return place


@pytest.fixture
def environ(place: Place, tmp_path: Path) -> dict[str, str]:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    own = {name: os.environ[name] for name in names}
    homes = {f"XDG_{kind}_HOME": str(tmp_path / kind.lower()) for kind in ("STATE", "CACHE")}
    return {**place.environ(), **own, **homes, "BUCKETBOARD_SPOOL": str(tmp_path / "spool")}


FAULTS: dict[str, Fault | None] = {
    "none": None,
    "denied": answers.access_denied(),
    "expired": answers.expired_token(),
    "signature": Fault(
        FaultKind.STATUS,
        status=403,
        code="SignatureDoesNotMatch",
        details={"CanonicalRequest": f"PUT\n/\nx-amz-security-token:{TOKEN}\n"},  # as S3 says it
    ),
    "redirect": answers.temporary_redirect("http://127.0.0.1:9"),
    "region": answers.wrong_region("eu-west-3", status=400),
}


some = pytest.mark.parametrize(
    "name", [name if name == "expired" else pytest.param(name, marks=pytest.mark.slow) for name in FAULTS]
)


@some
def test_a_trainer_exposes_nothing(place: Place, environ: dict[str, str], tmp_path: Path, name: str) -> None:
    """What it prints and logs, its spool, what stands in the process list, and what others can read in S3."""
    fault = FAULTS[name]
    hit = place.proxy.inject(fault) if fault else None
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER)
    command = [*(sys.executable, "-m", "bucketboard", "run", f"s3://{place.bucket}/exp", "--logdir")]
    command += [*(str(tmp_path / "runs"), "--drain-timeout", "3", "--json", "--")]
    command += [sys.executable, str(script), place.url]
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "events.out.tfevents.1.h").write_bytes(framed(b"\x1a\x0dbrain.Event:2"))
    process = subprocess.Popen(
        command,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    place.processes.append(process)
    assert process.stdin is not None
    assert process.stdout is not None
    said = ""
    while not said.endswith("ready\n"):
        line = process.stdout.readline()
        assert line, said
        said += line
    lines = [path.read_bytes() for path in command_lines(process.pid)]
    spooled = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path != script]
    process.stdin.close()
    process.stdin = None
    said += process.communicate(timeout=60)[0]
    assert not exposed(said), said
    assert len(lines) >= 2
    assert not any(map(exposed, lines))
    assert spooled
    assert not any(map(exposed, spooled))
    left = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path != script]
    assert not any(map(exposed, left))
    if name == "none":
        assert place.event_keys()
    for key in place.keys():  # noqa: SIM118
        assert not exposed(place.get(key))
        assert not exposed(json.dumps(place.head(key), default=str))
    assert hit is None or hit.fired


def command_lines(pid: int) -> list[Path]:
    """Those of a process and its descendants."""
    found = [Path(f"/proc/{pid}/cmdline")]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += command_lines(int(child))
    return found


@some
def test_every_command_exposes_nothing(
    place: Place, environ: dict[str, str], tmp_path: Path, name: str
) -> None:
    root = tmp_path / "runs"
    root.mkdir()
    (root / "events.out.tfevents.1.h").write_bytes(framed(b"\x1a\x0dbrain.Event:2") + framed(blob(1, 100)))
    fault = FAULTS[name]
    if fault:
        place.proxy.inject(fault)
    url = f"s3://{place.bucket}/exp"
    for arguments in (["doctor", url], ["pull", url, str(tmp_path / "pulled")], ["recover", "--dry-run"]):
        done = subprocess.run(
            [sys.executable, "-m", "bucketboard", *arguments],
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert not exposed(done.stdout + done.stderr), arguments
        assert "Traceback" not in done.stderr


def test_what_a_debugger_and_a_log_show(
    place: Place, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG, "bucketboard")
    place.proxy.inject(answers.access_denied(operation="PutObject"))
    writer = place.writer(spool=tmp_path / "spool", close_timeout=1)
    writer.add_scalar("loss", 1, 1, 1e9)
    with pytest.raises(bucketboard.BucketboardError) as caught:
        writer.sync(10)
    writer.close()
    chain: BaseException | None = caught.value
    while chain is not None:
        assert not exposed(repr(chain) + str(chain) + repr(vars(chain)))
        chain = chain.__cause__
    assert not exposed(repr(vars(writer)))
    assert not exposed(caplog.text)
