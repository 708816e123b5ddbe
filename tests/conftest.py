"""Shared by all tests: an environment without surprises, real S3 servers, a bucket for each test."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import hypothesis
import pytest
from botocore.exceptions import ClientError

from bucketboard.testing import Server, juicefs, moto, rclone, seaweedfs
from promised import Place, place

# Time limits are pytest-timeout's; a database of old failures would make runs differ from each other.
hypothesis.settings.register_profile("bucketboard", deadline=None, database=None, print_blob=True)
hypothesis.settings.load_profile("bucketboard")

# Started in the background of a shell, this process ignores SIGINT and SIGQUIT, and so would the commands
# that the tests start and interrupt.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, usual)

_FOREIGN = ("AWS_", "BUCKETBOARD_", "S3_")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Dummy credentials (those of the test servers), none of the machine's configuration, a spool apart."""
    for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "bucketboard",
        "AWS_SECRET_ACCESS_KEY": "bucketboard-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "BUCKETBOARD_SPOOL": str(tmp_path / "spool"),
        "NO_PROXY": "127.0.0.1,localhost",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def moto_server() -> Iterator[Server]:
    """moto: believes any signature, ignores checksums and the conditions of multipart uploads."""
    with moto() as server:
        yield server


@pytest.fixture(scope="session")
def seaweed_server() -> Iterator[Server]:
    """SeaweedFS: verifies signatures, conditions and checksums, and knows identities that may do less."""
    identities = {"writer": ["Write"], "writelist": ["Write", "List"], "reader": ["Read", "List"]}
    with seaweedfs(identities=identities) as server:
        yield server


@pytest.fixture(scope="session")
def juicefs_server() -> Iterator[Server]:
    """JuiceFS's gateway: MinIO's front end, without conditional writes."""
    with juicefs() as server:
        yield server


@pytest.fixture(scope="session")
def rclone_server() -> Iterator[Server]:
    """rclone: no conditions, no part copy."""
    with rclone() as server:
        yield server


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Server:
    """SeaweedFS, or the server that the test asks for by ``parametrize("server", [...], indirect=True)``."""
    name = getattr(request, "param", "seaweed")
    return request.getfixturevalue(f"{name}_server")  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def clients() -> Iterator[dict[str, Any]]:
    """The boto3 client of each server: making one costs a third of a second."""
    clients: dict[str, Any] = {}
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture
def bucket(server: Server, clients: dict[str, Any]) -> Iterator[tuple[Any, str]]:
    """A boto3 client of ``server`` and the name of a new bucket there."""
    if server.endpoint not in clients:
        clients[server.endpoint] = server.client()
    client = clients[server.endpoint]
    name = f"test-{uuid4().hex}"
    client.create_bucket(Bucket=name)
    yield client, name
    with contextlib.suppress(ClientError):  # SeaweedFS wants its volumes back, moto keeps what is not empty
        client.delete_bucket(Bucket=name)


@pytest.fixture
def new_place(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Place]]:
    """``new_place("moto", versioned=True)``: a bucket and a proxy for this test."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "BUCKETBOARD_", "S3_")):
            monkeypatch.delenv(name)
    with contextlib.ExitStack() as stack:

        def make(name: str = "seaweedfs", *, identity: str | None = None, **options: Any) -> Place:
            short = "seaweed" if name == "seaweedfs" else name
            server = request.getfixturevalue(f"{short}_server")
            made = stack.enter_context(place(server, **options))
            if identity:
                made.server = server.as_identity(identity)
            for key, value in made.server.environ().items():
                if key != "AWS_ENDPOINT_URL_S3":
                    monkeypatch.setenv(key, value)
            return made

        yield make
