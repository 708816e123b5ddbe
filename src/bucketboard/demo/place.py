"""Where the demo writes: an S3 server of its own, or a bucket of the user's."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from bucketboard.errors import InvalidError
from bucketboard.store.url import S3Url

if TYPE_CHECKING:
    from bucketboard.testing import Counts

__all__ = ["Place", "embedded", "require", "users"]

_EMBEDDED = ("moto", "flask_cors", "h11")
_ALWAYS = ("sklearn", "matplotlib")


@dataclass(frozen=True)
class Place:
    """A prefix to write below, with what writing there needs."""

    url: S3Url
    writer_options: dict[str, Any] = field(default_factory=dict)
    counts: Callable[[], Counts] | None = None
    """The requests so far; None where nobody counts."""


def require(embedded: bool) -> None:
    """Check that the packages of the demo are installed.

    Raises:
        InvalidError: one is not.
    """
    for name in (*_ALWAYS, *(_EMBEDDED if embedded else ())):
        if importlib.util.find_spec(name) is None:
            raise InvalidError(f"the demo needs {name}", hint="pip install 'bucketboard[demo]'")


@contextlib.contextmanager
def embedded() -> Iterator[Place]:
    """moto's server in a process of its own, behind a proxy that counts."""
    from bucketboard.testing import FaultProxy, moto

    url = S3Url("demo", "digits")
    with (
        moto() as server,
        FaultProxy(server.endpoint) as proxy,
        # Logs for a server that is gone with the demo are not left in the user's spool.
        tempfile.TemporaryDirectory(prefix="bucketboard-demo-", ignore_cleanup_errors=True) as spool,
        _environ({**server.through(proxy.url).environ(), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}),
    ):
        client = server.client()
        client.create_bucket(Bucket=url.bucket)
        client.close()
        yield Place(url, {"spool": spool}, lambda: proxy.counts)


def users(target: str, settings: dict[str, Any]) -> Place:
    """A new prefix below ``target``, so that an earlier demo is neither changed nor compared."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    return Place(S3Url.parse(target) / f"digits-{stamp}", settings)


@contextlib.contextmanager
def _environ(values: Mapping[str, str]) -> Iterator[None]:
    """``values`` instead of whatever leads to another S3, until left."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(("AWS_", "BUCKETBOARD_", "S3_")):
            del os.environ[name]
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
