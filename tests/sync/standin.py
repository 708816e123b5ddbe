"""A replicator that uploads whole files, to drive a supervised run by: ``python standin.py run ...``."""

from __future__ import annotations

import sys
import threading
import time
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import boto3
from botocore.config import Config

from bucketboard.store.settings import Settings
from bucketboard.store.url import S3Url


class SyncOptions:
    pass


@dataclass
class SyncReport:
    complete: bool = True
    files: int = 0
    bytes: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


class Replicator:
    def __init__(
        self,
        directory: Path,
        url: S3Url,
        options: SyncOptions,
        settings: Settings,
        *,
        report: Callable[..., None],
    ) -> None:
        self._directory, self._url, self._settings = directory, url, settings
        self._sizes: dict[Path, int] = {}
        self._stopped = threading.Event()
        self._ending = threading.Event()
        self._lock = threading.Lock()

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while not self._ending.wait(0.1):
            self._all()

    def _all(self) -> dict[str, str]:
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=self._settings.endpoint(),
            verify=self._settings.ca_bundle,
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )
        failed = {}
        with self._lock:
            for path in sorted(self._directory.rglob("*")):
                if self._stopped.is_set():
                    failed[str(path)] = "stopped"
                elif path.is_file() and self._sizes.get(path) != path.stat().st_size:
                    data = path.read_bytes()
                    try:
                        key = f"{self._url.prefix}{path.relative_to(self._directory)}"
                        client.put_object(Bucket=self._url.bucket, Key=key, Body=data)
                        self._sizes[path] = len(data)
                    except Exception as error:
                        failed[str(path.relative_to(self._directory))] = str(error)
        return failed

    def finish(self, timeout: float | None) -> SyncReport:
        self._ending.set()
        deadline = time.monotonic() + (timeout or 300)
        while (failed := self._all()) and time.monotonic() < min(deadline, deadline - (timeout or 300) + 2):
            if self._stopped.wait(0.2):
                break
        return SyncReport(not failed, len(self._sizes), sum(self._sizes.values()), list(failed.items()))

    def stop(self) -> None:
        self._ending.set()
        self._stopped.set()


if __name__ == "__main__":
    module = types.ModuleType("bucketboard.sync.replicator")
    module.__dict__.update(Replicator=Replicator, SyncOptions=SyncOptions, SyncReport=SyncReport)
    sys.modules[module.__name__] = module
    from bucketboard.cli.main import main

    sys.exit(main())
