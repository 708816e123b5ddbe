"""botocore clients, which are what boto3 gives, one per process and settings.

A client is costly (a quarter of a second and megabytes of service model for the first), so writers share
it. It is never handed to a forked child: connections and locks in it belong to the parent.
"""

from __future__ import annotations

import datetime
import functools
import os
import threading
import time
import urllib.parse
from typing import Any

from bucketboard.store.listing import read_contents_fast
from bucketboard.store.settings import Settings

__all__ = ["forget", "is_aws", "method_name", "new_session", "s3_client", "share_data"]

_RENEW_EVERY = 2.0
"""Seconds that a client is kept at least: one made for each refusal of many writers would cost training."""

_clients: dict[tuple[object, ...], Any] = {}
_made: dict[tuple[object, ...], float] = {}
_lock = threading.Lock()


def _forget_parent() -> None:
    global _lock
    _lock = threading.Lock()
    _clients.clear()


os.register_at_fork(after_in_child=_forget_parent)


def method_name(operation: str) -> str:
    """What boto3 calls an operation of S3: ``put_object`` for ``PutObject``."""
    from botocore import xform_name

    return str(xform_name(operation))


def s3_client(settings: Settings, *, attempts: int = 1) -> Any:
    """The process's S3 client for ``settings``; ``attempts`` > 1 lets botocore repeat failed requests.

    Raises:
        Exception: botocore's own, for a profile or CA bundle that does not exist; callers translate it.
    """
    endpoint = settings.endpoint()
    connection = (*_connection(settings, endpoint), attempts)
    with _lock:
        client = _clients.get(connection)
        if client is None:
            client = _clients[connection] = _new_client(settings, endpoint, attempts)
            _made[connection] = time.monotonic()
        return client


def forget(settings: Settings) -> None:
    """Have the next client for ``settings`` made anew, with the credentials as they are then.

    botocore reads a credentials file, a profile or the environment once, and goes on with what has expired.
    """
    connection = _connection(settings, settings.endpoint())
    before = time.monotonic() - _RENEW_EVERY
    with _lock:
        old = [known for known in _clients if known[:-1] == connection and _made[known] <= before]
        forgotten = [_clients.pop(known) for known in old]
    for client in forgotten:
        client.close()  # its idle connections; requests of others under way end in peace


def _connection(settings: Settings, endpoint: str | None) -> tuple[object, ...]:
    return (
        endpoint,
        settings.region,
        settings.profile,
        settings.path_style,
        settings.ca_bundle,
        settings.unsigned,
        settings.timeout,
    )


def _new_client(settings: Settings, endpoint: str | None, attempts: int) -> Any:
    import botocore
    from botocore.config import Config

    options: dict[str, Any] = {
        "connect_timeout": min(10.0, settings.timeout),
        "read_timeout": settings.timeout,
        "retries": {"total_max_attempts": attempts, "mode": "standard"},
        "max_pool_connections": 32,
        "tcp_keepalive": True,
        "user_agent_extra": "bucketboard",
        # Our uploads carry CRC32C values of their own; botocore's defaults break S3-compatible stores.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    if settings.unsigned:
        options["signature_version"] = botocore.UNSIGNED
    if settings.path_style is not None:  # else in the path where there is an endpoint, as botocore does it
        options["s3"] = {"addressing_style": "path" if settings.path_style else "virtual"}
    session = new_session(settings)
    region = session.get_config_variable("region")
    if region is None and endpoint is not None:
        region = "us-east-1"  # S3-compatible servers want a region in the signature, seldom a certain one
    client = session.create_client(
        "s3",
        region_name=region,
        endpoint_url=endpoint,
        verify=settings.ca_bundle,
        config=Config(**options),
    )
    read_contents_fast(client, _timestamp)
    return client


def new_session(settings: Settings) -> Any:
    """A session with the profile and region of ``settings``; botocore's, as boto3 takes long to import."""
    import botocore.session

    session = botocore.session.get_session()
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_timestamp)
    if settings.profile is not None:
        session.set_config_variable("profile", settings.profile)
    if settings.region is not None:
        session.set_config_variable("region", settings.region)
    share_data(session)
    return session


def share_data(core: Any) -> None:
    """Let a botocore session use what others in this process have read of botocore's data files.

    They are 12 MB and a tenth of a second for each session otherwise. With boto3, call it when that has added
    to the paths where its session looks, so that it does not add to those of all.
    """
    core.register_component("data_loader", _loader(core.get_config_variable("data_path")))


@functools.cache
def _loader(data_path: str | None) -> Any:
    from botocore.loaders import create_loader

    return create_loader(data_path)


def _timestamp(text: Any) -> datetime.datetime:
    """A time in an answer. Half of what a listing takes is botocore's own way of reading these."""
    try:
        return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except (AttributeError, ValueError):
        from botocore.utils import parse_timestamp

        found: datetime.datetime = parse_timestamp(text)
        return found


def is_aws(client: Any) -> bool:
    """Whether the client talks to AWS itself, whose abilities are known."""
    host = urllib.parse.urlsplit(client.meta.endpoint_url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))
