"""torch: its ``SummaryWriter`` on our event files, and traces of its profiler beside them."""

from __future__ import annotations

import functools
import os
import tempfile
from pathlib import Path
from typing import Any

from bucketboard.integrations.missing import needs
from bucketboard.integrations.written import writer_options
from bucketboard.store.url import is_s3_url
from bucketboard.writer.event_file_writer import EventFileWriter
from bucketboard.writer.summary_writer import SummaryWriter as OurWriter

with needs("torch", "torch"):
    import torch
    from torch.utils.tensorboard import FileWriter as TorchFileWriter
    from torch.utils.tensorboard import SummaryWriter as TorchWriter

__all__ = ["FileWriter", "SummaryWriter", "trace_handler"]


class FileWriter(TorchFileWriter):  # type: ignore[misc]
    """torch's ``FileWriter``, which puts messages into events, on an event file writer of ours."""

    def __init__(self, event_writer: EventFileWriter) -> None:
        self.event_writer = event_writer


class SummaryWriter(OurWriter, TorchWriter):  # type: ignore[misc]
    """``torch.utils.tensorboard.SummaryWriter`` by class, `bucketboard.SummaryWriter` by what it promises.

    Arguments are those of `bucketboard.SummaryWriter`. In a distributed training rank 0 alone writes, unless
    ``rank_zero_only=False``.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: float = 120,
        filename_suffix: str = "",
        **options: Any,
    ) -> None:
        self.purge_step = None
        self.max_queue = max_queue
        self.flush_secs = flush_secs
        self.filename_suffix = filename_suffix
        super().__init__(
            log_dir, comment, purge_step, max_queue, flush_secs, filename_suffix, **writer_options(options)
        )

    @property
    def file_writer(self) -> FileWriter:
        """torch's interface to the event file."""
        return FileWriter(self._file_writer)

    @property
    def all_writers(self) -> dict[str, FileWriter]:
        """The event file's writer under its directory."""
        return {self.log_dir: self.file_writer}

    def _get_file_writer(self) -> FileWriter:
        return FileWriter(self._open())


class trace_handler:
    """For ``torch.profiler.profile(on_trace_ready=…)``: traces go into the run ``url``.

        with profile(on_trace_ready=bucketboard.torch.trace_handler("s3://bucket/exp/run1")):

    torch's ``tensorboard_trace_handler`` writes to local directories only. This one lets it do so, and sends
    what it wrote in the background; ``close``, or the end of the interpreter, waits for it. Nothing is raised
    into the training. ``options`` are those of `EventFileWriter`; every rank sends its traces.
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        worker_name: str | None = None,
        use_gzip: bool = False,
        **options: Any,
    ) -> None:
        self._url = os.fspath(url)
        self._export = functools.partial(
            torch.profiler.tensorboard_trace_handler, worker_name=worker_name, use_gzip=use_gzip
        )
        self._writer: EventFileWriter | None = None
        if is_s3_url(self._url):
            self._writer = EventFileWriter(self._url, **{"rank_zero_only": False, **options})

    def __call__(self, profiler: Any) -> None:
        """Keep the trace that ``profiler`` has ready."""
        if self._writer is None:
            self._export(self._url)(profiler)
            return
        try:
            with tempfile.TemporaryDirectory(prefix="bucketboard-") as directory:
                self._export(directory)(profiler)
                for path in sorted(Path(directory).iterdir()):
                    self._writer.add_file(path.name, path.read_bytes())
        except Exception as error:
            self._writer.report(error)

    def close(self) -> None:
        """Wait for S3, at most ``close_timeout`` seconds. Never raises."""
        if self._writer is not None:
            self._writer.close()
