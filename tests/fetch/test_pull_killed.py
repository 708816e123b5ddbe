"""A pull that is killed at any moment leaves nothing wrong, and the next one goes on."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pulling import EVENTS, MIB, content, noise, put, put_in_parts, records

import bucketboard
from bucketboard.fetch.download import PART
from bucketboard.testing import Fault, FaultKind, FaultProxy, Server

PULL = """
import sys
import bucketboard
bucketboard.pull(sys.argv[1], sys.argv[2], endpoint_url=sys.argv[3])
"""


def start(bucket: tuple[Any, str], target: Path, proxy: FaultProxy) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PULL, f"s3://{bucket[1]}/exp", str(target), proxy.url],
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_at_twenty_moments_it_is_whole_in_the_end(
    server: Server, bucket: tuple[Any, str], tmp_path: Path
) -> None:
    target, chance = tmp_path / "target", random.Random(20)
    numbers = {f"run{number % 7}/small{number}": noise(number, 5000) for number in range(150)}
    tree = {**numbers, "large": noise(901, 20 * MIB), "run1/model": noise(902, 9 * MIB)}
    events = {f"run{number}/{EVENTS}": 2000 for number in range(5)}
    for path, body in tree.items():
        put(bucket, f"exp/{path}", body)
    with FaultProxy(server.endpoint, bandwidth=30e6) as proxy:
        for round_ in range(20):
            for path, count in events.items():
                events[path] = count + chance.randrange(20_000)
                tree[path] = records(0, events[path])
                put(bucket, f"exp/{path}", tree[path], log=path)
            process = start(bucket, target, proxy)
            before = proxy.counts["ListObjectsV2"].requests
            while proxy.counts["ListObjectsV2"].requests == before and process.poll() is None:
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.6))  # the moment is what is tried, not waited for
            process.kill()
            process.wait()
            for path, body in content(target).items():
                if path.startswith(".bucketboard-pull"):
                    continue
                if path in events:
                    assert tree[path].startswith(body), f"{path} is no prefix in round {round_}"
                else:
                    assert body == tree[path], f"{path} is not whole in round {round_}"
        proxy_free = bucketboard.pull(f"s3://{bucket[1]}/exp", target, endpoint_url=server.endpoint)
    assert proxy_free.complete
    assert proxy_free.replaced == []
    assert content(target) == tree


def test_what_a_killed_pull_fetched_is_not_fetched_again(
    server: Server, bucket: tuple[Any, str], tmp_path: Path
) -> None:
    target, body = tmp_path / "target", noise(1, 6 * PART)
    put_in_parts(bucket, "exp/large", body, 5 * MIB)
    with FaultProxy(server.endpoint, record=True) as proxy:
        last = f"bytes={5 * PART}-{6 * PART - 1}"
        hold = proxy.inject(
            Fault(
                FaultKind.HOLD,
                operation="GetObject",
                when=lambda request: request.headers.get("range") == last,
            )
        )
        process = start(bucket, target, proxy)
        hold.wait_fired(timeout=60)
        partial = target / ".bucketboard-pull"
        while not (partial.exists() and sum(each.stat().st_size for each in partial.iterdir()) == 5 * PART):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.wait()
        hold.remove()
        before = len(proxy.requests)
        report = bucketboard.pull(f"s3://{bucket[1]}/exp", target, endpoint_url=proxy.url)
        gets = [each for each in proxy.requests[before:] if each.operation == "GetObject"]
    assert [each.headers["range"] for each in gets if each.status == 206][-1:] == [last]
    assert sum(each.bytes_received for each in gets if each.headers["range"] != last) == 0
    assert report.complete
    assert content(target) == {"large": body}
    assert os.listdir(target) == ["large"]
