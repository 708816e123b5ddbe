"""How long it takes until one scalar of all runs is on the way to the browser, from the start of the process.

    python bench/view.py                                   100 and 1,000 runs; 0 and 30 ms; with and without
                                                           100 Mbit/s; stock TensorBoard once
    python bench/view.py --runs 100                        one of these: 10 tags x 2,000 steps, 30 ms
    python bench/view.py --runs 100 --bandwidth 12.5e6     the same on 100 Mbit/s
    python bench/view.py --runs 100 --stock                also `tensorboard --logdir s3://...`: takes minutes
    python bench/view.py --runs 1000 --only indexed        many runs
    python bench/view.py --runs 100 --direct               without the proxy that delays and counts

The S3 server is SeaweedFS; the proxy delays each request, shares the bandwidth among all bodies, and
counts. The ways to look are taken in alternation, each as a process of its own: cold, with empty caches, and
then warm, with what the cold one left on this machine. A way ends when
``data/plugin/timeseries/timeSeries`` gives all points that TensorBoard keeps of one tag for all runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bucketboard.events.event import ScalarEncoder, file_version_event
from bucketboard.events.record import frame
from bucketboard.testing import FaultProxy, Server, seaweedfs
from bucketboard.testing.process import executable, free_ports
from row import Row, add_options, faster, middle, write_json

KEPT = 1000
"""Points that TensorBoard keeps of a series."""
BUCKET = "bench"
TAG = "train/loss/metric0"
MIB = 1 << 20

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Look:
    """One way, once."""

    seconds: float
    requests: int
    megabytes: float
    resident: float
    """MiB, of the processes that are left when the answer is there."""
    cpu: float
    """Seconds of processors until then; what another load of the machine does not change."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    add_case(parser)
    parser.add_argument("--tags", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=3, help="rounds; medians are printed")
    parser.add_argument("--only", nargs="+", choices=WAYS, help="these ways alone")
    parser.add_argument("--stock", action="store_true", help="measure stock TensorBoard on s3:// too, once")
    parser.add_argument("--direct", action="store_true", help="without the proxy: no delay, nothing counted")
    options = parser.parse_args()
    rows: list[Row] = []
    if options.quick:
        options.repeat = 1
        rows += look(argparse.Namespace(**{**vars(options), "runs": 10, "steps": 200, "only": QUICK}))
    elif options.runs:
        rows += look(options)
    else:
        for runs, steps in ((100, 2000), (1000, 200)):
            for latency, bandwidth in ((0.0, None), (0.03, None), (0.03, 12.5e6)):
                # Once: it takes minutes, and its requests are one after the other.
                stock = (runs, latency, bandwidth) == (100, 0.03, None)
                given = {
                    "runs": runs,
                    "steps": steps,
                    "latency": latency,
                    "bandwidth": bandwidth,
                    "stock": stock,
                }
                rows += look(argparse.Namespace(**{**vars(options), **given}))
    if options.json:
        write_json(options.json, rows)


def add_case(parser: argparse.ArgumentParser) -> None:
    """The options that say what is looked at, and behind which line."""
    parser.add_argument("--runs", type=int, help="measure this alone, with what the options below say")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--latency", type=float, default=0.03, help="seconds per request (default: 0.03)")
    parser.add_argument("--bandwidth", type=float, help="bytes per second, of all requests together")


def look(options: argparse.Namespace) -> list[Row]:
    """One logdir, behind one kind of line, in all ways that the options name."""
    left_out = {"stock"} - ({"stock"} if options.stock else set()) | {"aws"}
    ways = [name for name in options.only or WAYS if options.only or name not in left_out]
    with tempfile.TemporaryDirectory(prefix="bucketboard-bench-") as scratch, seaweedfs() as server:
        directory = Path(scratch, "logs")
        size = generate(directory, options.runs, options.tags, options.steps)
        print(f"{options.runs} runs, {size / 1e6:.0f} MB", file=sys.stderr, flush=True)
        publish(server, directory, ways)
        with contextlib.ExitStack() as stack:
            proxy = None
            if not options.direct:
                proxy = stack.enter_context(
                    FaultProxy(server.endpoint, latency=options.latency, bandwidth=options.bandwidth)
                )
            looks = measure(ways, options, server, proxy, Path(scratch))
    report(options, size, looks)
    return list(rows_of(options, size, looks))


def generate(directory: Path, runs: int, tags: int, steps: int) -> int:
    """Write the event files; gives their bytes."""
    with ProcessPoolExecutor() as pool:
        return sum(pool.map(partial(_run, directory, tags, steps), range(runs), chunksize=5))


def _run(directory: Path, tags: int, steps: int, number: int) -> int:
    draw = np.random.default_rng(number)
    values = (np.exp(-np.arange(steps) / steps)[:, None] + draw.normal(0, 0.05, (steps, tags))).tolist()
    encoder, begin = ScalarEncoder(), 1.7e9 + 10 * number
    body = [frame(file_version_event(begin))]
    for step, row in enumerate(values):
        at = begin + step / 7
        body += [encoder.record(f"train/loss/metric{tag}", value, step, at) for tag, value in enumerate(row)]
    path = directory / f"run{number:04}" / f"events.out.tfevents.{int(begin)}.host.1.0"
    path.parent.mkdir(parents=True)
    return path.write_bytes(b"".join(body))


def publish(server: Server, directory: Path, ways: list[str]) -> None:
    """Upload the files, below one prefix with the index and below another without."""
    client = server.client()
    client.create_bucket(Bucket=BUCKET)
    client.close()
    environ = {**os.environ, **server.environ()}
    for prefix in {_PREFIXES[way] for way in ways}:
        command = [*s5cmd(server), "cp", f"{directory}/", f"s3://{BUCKET}/{prefix}/"]
        subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
    if "indexed" in ways:
        begin = time.monotonic()
        command = [sys.executable, "-m", "bucketboard", "index", f"s3://{BUCKET}/indexed"]
        subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
        print(f"indexed in {time.monotonic() - begin:.1f} s", file=sys.stderr, flush=True)


def measure(
    ways: list[str], options: argparse.Namespace, server: Server, proxy: FaultProxy | None, scratch: Path
) -> dict[str, list[Look]]:
    """Look in each way as often as told, in alternation, and warm after each; stock once, at the end."""
    through = server.through(proxy.url) if proxy else server
    looks: dict[str, list[Look]] = {way + kind: [] for kind in ("", " warm") for way in ways}
    looks.pop("stock warm", None)
    rounds = [way for _ in range(options.repeat) for way in ways if way != "stock"]
    for number, way in enumerate([*rounds, *(way for way in ways if way == "stock")]):
        place = scratch / f"look{number}"
        place.mkdir()
        for kind in (way,) if way == "stock" else (way, f"{way} warm"):
            look = look_once(WAYS[way], options, through, proxy, place)
            print(f"{kind:<14} {look.seconds:8.2f} s", file=sys.stderr, flush=True)
            looks[kind].append(look)
    return looks


def look_once(
    way: Callable[..., list[list[str]]],
    options: argparse.Namespace,
    server: Server,
    proxy: FaultProxy | None,
    place: Path,
) -> Look:
    [port] = free_ports(1)
    environ = environ_of(server, place)
    *before, last = way(server, place, port)
    earlier = proxy.counts if proxy else None
    spent = os.times()
    begin = time.monotonic()
    for command in before:
        subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
    cpu = sum(os.times()[2:4]) - sum(spent[2:4])
    with started(last, environ, place) as (process, log):
        seconds = wait_for(port, options.runs, min(options.steps, KEPT), process, log) - begin
        family = list(_family(process.pid))
        resident = sum(map(_resident, family)) / MIB
        cpu += sum(map(_processor_time, family))
    total = (proxy.counts - earlier).total if proxy and earlier else None
    megabytes = (total.bytes_received if total else 0) / 1e6
    return Look(seconds, total.requests if total else 0, megabytes, resident, cpu)


def environ_of(server: Server, place: Path) -> dict[str, str]:
    """The environment of a viewer that keeps what it likes below ``place``."""
    return {
        **os.environ,
        **server.environ(),
        "S3_ENDPOINT": server.endpoint,  # what TensorBoard's own file system reads
        "XDG_CACHE_HOME": str(place / "cache"),
        "NO_PROXY": "127.0.0.1",
    }


@contextlib.contextmanager
def started(
    command: list[str], environ: dict[str, str], place: Path
) -> Iterator[tuple[subprocess.Popen[bytes], Any]]:
    """A viewer, ended behind, and the file that it logs to."""
    with open(place / "log", "w+b") as log:
        process = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=log, stderr=log)
        try:
            yield process, log
        finally:
            process.terminate()
            process.communicate(timeout=60)


def wait_for(port: int, runs: int, points: int, process: subprocess.Popen[bytes], log: Any) -> float:
    """Until the server gives every run's points; when the last byte of them was there."""
    url = f"http://127.0.0.1:{port}/data"
    asked = json.dumps([{"plugin": "scalars", "tag": TAG}])
    form = urllib.parse.urlencode({"requests": asked}).encode()
    pause = 0.01
    while True:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            if (
                len(json.loads(read(f"{url}/runs"))) == runs
            ):  # cheap, so that asking does not slow the answer down
                body = read(f"{url}/plugin/timeseries/timeSeries", form)
                arrived = time.monotonic()  # what a browser makes of it is not ours
                told = json.loads(body)[0]["runToSeries"]
                if len(told) == runs and all(len(series) >= points for series in told.values()):
                    return arrived
                pause = min(1.0, pause * 2)
        if process.poll() is not None:
            log.seek(0)
            raise SystemExit(f"{process.args!r} ended:\n{log.read().decode(errors='replace')}")
        time.sleep(pause)


def read(url: str, form: bytes | None = None) -> bytes:
    with _opener.open(url, form, timeout=600) as answer:
        body: bytes = answer.read()
        return body


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def s5cmd(server: Server) -> list[str]:
    return [executable("s5cmd", "s5cmd"), "--endpoint-url", server.endpoint, "--log", "error"]


def serve(prefix: str, server: Server, place: Path, port: int) -> list[list[str]]:
    return [[sys.executable, "-m", "bucketboard", "serve", f"s3://{BUCKET}/{prefix}", "--port", str(port)]]


def _copied(
    tool: Callable[[Server, Path], list[str]], server: Server, place: Path, port: int
) -> list[list[str]]:
    return [tool(server, place / "logs"), tensorboard(str(place / "logs"), port, "--load_fast=true")]


def _aws_sync(server: Server, logs: Path) -> list[str]:
    return [
        executable("aws", "awscli"),
        "s3",
        "sync",
        f"s3://{BUCKET}/plain",
        str(logs),
        "--only-show-errors",
    ]


def _s5cmd_sync(server: Server, logs: Path) -> list[str]:
    return [*s5cmd(server), "sync", f"s3://{BUCKET}/plain/*", f"{logs}/"]


def _stock(server: Server, place: Path, port: int) -> list[list[str]]:
    return [tensorboard(f"s3://{BUCKET}/plain", port)]


def tensorboard(logdir: str, port: int, *options: str) -> list[str]:
    return [sys.executable, "-m", "tensorboard.main", "--logdir", logdir, "--port", str(port), *options]


WAYS: dict[str, Callable[..., list[list[str]]]] = {
    "indexed": partial(serve, "indexed"),
    "unindexed": partial(serve, "plain"),
    "s5cmd": partial(_copied, _s5cmd_sync),
    "aws": partial(_copied, _aws_sync),
    "stock": _stock,
}
QUICK = ("indexed", "s5cmd", "stock")
_PREFIXES = {way: "indexed" if way == "indexed" else "plain" for way in WAYS}
_TITLES = {
    "indexed": "bucketboard serve, index",
    "unindexed": "bucketboard serve, no index",
    "s5cmd": "s5cmd sync + TensorBoard (Rust)",
    "aws": "aws s3 sync + TensorBoard (Rust)",
    "stock": "tensorboard --logdir s3://",
}


def report(options: argparse.Namespace, size: int, looks: dict[str, list[Look]]) -> None:
    """Print the medians, and write what was asked for."""
    line = f"{options.bandwidth / 1e6:g} MB/s" if options.bandwidth else "no bandwidth limit"
    wait = "directly, no proxy" if options.direct else f"{options.latency * 1000:g} ms per request, {line}"
    print(
        f"\n{options.runs} runs x {options.tags} tags x {options.steps} steps, {size / 1e6:.0f} MB; {wait};"
    )
    print(f"medians of {options.repeat}, process start to one tag of all runs over HTTP\n")
    print(f"{'':<34} {'seconds':>8} {'÷ first':>8} {'CPU s':>6} {'requests':>8} {'MB':>7} {'RSS MiB':>8}")
    first = statistics.median(look.seconds for look in next(iter(looks.values())))
    for way, found in looks.items():
        median = {name: statistics.median(asdict(look)[name] for look in found) for name in asdict(found[0])}
        print(
            f"{_title(way):<34} {median['seconds']:>8.2f} {median['seconds'] / first:>8.1f} "
            f"{median['cpu']:>6.2f} {median['requests']:>8.0f} {median['megabytes']:>7.1f} "
            f"{median['resident']:>8.0f}"
        )


def _title(way: str) -> str:
    name, _, kind = way.partition(" ")
    return f"{_TITLES[name]}{', ' if kind else ''}{kind}"


def rows_of(options: argparse.Namespace, size: int, looks: dict[str, list[Look]]) -> Iterator[Row]:
    """Cold and warm opening, and memory, beside the peers."""
    line = f", {options.bandwidth / 1e6:g} MB/s" if options.bandwidth else ""
    where = f"{options.runs:,} runs, {size / 1e6:.0f} MB, {options.latency * 1000:g} ms{line}"
    peer, least = _TITLES["s5cmd"], 6.0 if options.bandwidth else 1.5
    for what, kind in (("cold", ""), ("warm", " warm")):
        if not {f"indexed{kind}", f"s5cmd{kind}"} <= looks.keys():
            return
        seconds = {way: [each.seconds for each in looks[f"{way}{kind}"]] for way in ("indexed", "s5cmd")}
        row = faster(f"{what} open, {where}", seconds["indexed"], {peer: seconds["s5cmd"]}, peer, least, 0.3)
        others = {way: looks[f"{way}{kind}"] for way in ("unindexed", "aws") if f"{way}{kind}" in looks}
        medians = {
            _TITLES[way]: statistics.median(each.seconds for each in found) for way, found in others.items()
        }
        idle = "The peer has all bytes on its disk and fetches none: a line's bandwidth slows neither."
        why = idle if kind and options.bandwidth and not row.met else ""
        yield replace(row, peers={**row.peers, **medians}, why=why)
    mine = statistics.median(each.seconds for each in looks["indexed"])
    for found in looks.get("stock", ()):
        ratio = found.seconds / mine
        yield Row(
            f"cold open, {where}, beside stock TensorBoard",
            mine,
            "s",
            {_TITLES["stock"]: found.seconds},
            ratio,
            bar="≥ 100 x stock",
            met=ratio >= 100,
            guard="≥ 2 x stock",
            held=ratio >= 2,
            why=f"stock once: {found.requests:,} requests beside {looks['indexed'][0].requests:,}.",
        )
    memory = {
        way: [each.resident for each in looks[way]]
        for way in ("indexed", "s5cmd", "unindexed")
        if way in looks
    }
    ours, spread = middle(memory.pop("indexed"))
    peers = {_TITLES[way]: statistics.median(each) for way, each in memory.items()}
    yield Row(
        f"memory when that is open, {where}",
        ours,
        "MiB",
        peers,
        spread=spread,
        guard="≤ 600 MiB",
        held=ours <= 600,
    )


if __name__ == "__main__":
    main()
