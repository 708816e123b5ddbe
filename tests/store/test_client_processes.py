"""Clients are shared within a process and never with a forked child."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from botocore.loaders import JSONFileLoader

from bucketboard.store.bucket import Bucket, Content
from bucketboard.store.capabilities import capabilities_of
from bucketboard.store.client import forget, s3_client
from bucketboard.store.settings import Settings
from bucketboard.testing import FaultProxy, Server

PLAIN = Content("application/octet-stream", {})

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*fork.*:DeprecationWarning"
)  # to be safe for it is the point


def in_child(work: Callable[[], None]) -> int:
    """Run ``work`` in a forked child; its exit code, 0 when nothing was raised. Killed after 30 seconds."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(30)
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_client_is_shared_by_equal_settings_only() -> None:
    one = Settings(endpoint_url="http://one.example")
    assert s3_client(one) is s3_client(Settings(endpoint_url="http://one.example", acl="private"))
    others = [
        Settings(endpoint_url="http://two.example"),
        Settings(endpoint_url="http://one.example", region="eu-west-1"),
        Settings(endpoint_url="http://one.example", unsigned=True),
        Settings(endpoint_url="http://one.example", timeout=1),
        Settings(endpoint_url="http://one.example", path_style=True),
    ]
    assert len({id(s3_client(settings)) for settings in [one, *others]}) == len(others) + 1
    assert s3_client(one, attempts=5) is not s3_client(one)


def test_clients_of_other_endpoints_share_what_botocore_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    s3_client(Settings(endpoint_url="http://one.example"))
    read: list[str] = []
    load = JSONFileLoader.load_file
    monkeypatch.setattr(
        JSONFileLoader, "load_file", lambda self, path: (read.append(path), load(self, path))[1]
    )
    for number in range(3):
        s3_client(Settings(endpoint_url=f"http://other{number}.example"))
    assert read == []


def test_a_client_is_forgotten_when_it_is_old_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals that many writers are given at the same time make one new client, not one each."""
    settings = Settings(endpoint_url="http://forget.example")
    first, patient = s3_client(settings), s3_client(settings, attempts=5)
    monkeypatch.setattr("bucketboard.store.client._RENEW_EVERY", 3600.0)
    forget(settings)
    assert s3_client(settings) is first
    monkeypatch.setattr("bucketboard.store.client._RENEW_EVERY", 0.0)
    forget(settings)
    assert s3_client(settings) is not first
    assert s3_client(settings, attempts=5) is not patient


def test_threads_that_ask_at_once_get_one_client() -> None:
    settings, barrier, clients = Settings(endpoint_url="http://threads.example"), threading.Barrier(8), []

    def ask() -> None:
        barrier.wait(30)
        clients.append(s3_client(settings))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(client) for client in clients}) == 1


def test_the_endpoint_is_read_from_the_environment_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://e{number}.example")
        assert s3_client(Settings()).meta.endpoint_url == f"http://e{number}.example"


@pytest.mark.timeout(60)
def test_parent_and_forked_child_both_write(server: Server, bucket: tuple[Any, str]) -> None:
    store = Bucket(bucket[1], Settings(endpoint_url=server.endpoint))
    store.put("before", b"parent", PLAIN)
    inherited = s3_client(store.settings)

    def child() -> None:
        assert s3_client(store.settings) is not inherited
        for number in range(5):
            store.put(f"child-{number}", b"child", PLAIN)

    assert in_child(child) == 0
    assert s3_client(store.settings) is inherited
    store.put("after", b"parent", PLAIN)
    assert len(store.list("").objects) == 7


@pytest.mark.timeout(60)
def test_a_child_forked_while_the_parent_makes_a_client_is_not_blocked(
    monkeypatch: pytest.MonkeyPatch, moto_server: Server
) -> None:
    import botocore.session

    making, go_on = threading.Event(), threading.Event()
    session = botocore.session.get_session

    def slow_session(*args: Any, **kwargs: Any) -> Any:
        making.set()
        go_on.wait(30)
        return session(*args, **kwargs)

    monkeypatch.setattr(botocore.session, "get_session", slow_session)
    settings = Settings(endpoint_url=moto_server.endpoint, region="eu-north-1")
    thread = threading.Thread(target=s3_client, args=(settings,))
    thread.start()
    making.wait(30)

    def child() -> None:
        botocore.session.get_session = session
        assert s3_client(settings).meta.endpoint_url == moto_server.endpoint

    try:
        assert in_child(child) == 0
    finally:
        go_on.set()
        thread.join()


def test_what_a_server_can_is_known_per_endpoint_and_bucket() -> None:
    def known(name: str, url: str | None) -> Any:
        return capabilities_of(Bucket(name, Settings(endpoint_url=url)))

    assert known("b", "http://one.example") is known("b", "http://one.example")
    assert known("b", "http://one.example") is not known("b", "http://two.example")
    assert known("b", "http://one.example") is not known("c", "http://one.example")
    assert known("b", "http://one.example").put_conditions is None
    assert known("b", None).put_conditions is known("b", None).complete_conditions is True
    assert known("b", "https://s3.eu-west-1.amazonaws.com").put_conditions is True
    assert known("b", "https://amazonaws.com.example").put_conditions is None


def test_nothing_of_boto_is_imported_before_a_request() -> None:
    code = (
        "import sys; from bucketboard.store.bucket import Bucket;"
        "from bucketboard.store.settings import Settings; Bucket('b', Settings.resolve());"
        "sys.exit(any(name in sys.modules for name in ('boto3', 'botocore', 'obstore')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_metadata_service_or_other_host_is_asked(server: Server, bucket: tuple[Any, str]) -> None:
    with FaultProxy(server.endpoint, record=True) as proxy:
        store = Bucket(bucket[1], Settings(endpoint_url=proxy.url))
        store.put("k", b"x", PLAIN)
        store.head("k")
        assert [recorded.operation for recorded in proxy.requests] == ["PutObject", "HeadObject"]
