"""tensorboardX: its ``SummaryWriter`` on our event files."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Mapping
from typing import Any

from bucketboard.events.event import file_version_event, session_start_event
from bucketboard.integrations.missing import needs
from bucketboard.integrations.written import writer_options
from bucketboard.replication.position import Position
from bucketboard.writer.builders import tensorboardx_builders
from bucketboard.writer.event_file_writer import EventFileWriter
from bucketboard.writer.projector import Projector
from bucketboard.writer.runs import Runs

with needs("tensorboardX", "tensorboardx"):
    import tensorboardX
    from tensorboardX.summary import hparams, scalar
    from tensorboardX.writer import FileWriter as StockFileWriter

__all__ = ["FileWriter", "SummaryWriter"]


class FileWriter(StockFileWriter):  # type: ignore[misc]
    """tensorboardX's ``FileWriter``, which puts messages into events, on an event file writer of ours."""

    def __init__(self, event_writer: EventFileWriter) -> None:
        self.event_writer = event_writer
        self._default_metadata: dict[str, Any] = {}


class SummaryWriter(tensorboardX.SummaryWriter):  # type: ignore[misc]
    """``tensorboardX.SummaryWriter``; ``options`` are those of `bucketboard.SummaryWriter`.

    In a distributed training rank 0 alone writes, unless ``rank_zero_only=False``.

    Raises:
        InvalidError: an option or the URL is not valid.
    """

    def __init__(
        self,
        logdir: str | os.PathLike[str] | None = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: int = 120,
        filename_suffix: str = "",
        write_to_disk: bool = True,
        log_dir: str | os.PathLike[str] | None = None,
        comet_config: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self._options = writer_options(options)
        self._runs: Runs | None = None
        self._projector = Projector()
        self.file_writer: FileWriter | None
        self.all_writers: dict[str, FileWriter] | None
        comet = {"disabled": True} if comet_config is None else comet_config
        super().__init__(
            logdir, comment, purge_step, max_queue, flush_secs, filename_suffix, write_to_disk, log_dir, comet
        )

    def _get_file_writer(self) -> Any:
        if not self._write_to_disk:
            return super()._get_file_writer()
        if self.all_writers is None or self.file_writer is None:
            events = EventFileWriter(self.logdir, filename_suffix=self._filename_suffix, **self._options)
            self._runs = Runs(events)
            if self.purge_step is not None:
                now = time.time()
                events.add_event(file_version_event(now, self.purge_step))
                events.add_event(session_start_event(self.purge_step, now))
            self.file_writer = FileWriter(events)
            self.all_writers = {events.get_logdir(): self.file_writer}
        return self.file_writer

    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: Mapping[str, Any],
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """One number for each of several sub-runs ``<main_tag>/<tag>``."""
        directory = self._get_file_writer().get_logdir()
        if self._runs is not None and self.all_writers is not None:
            for tag in tag_scalar_dict:
                path = os.path.join(directory, main_tag, tag)
                if path not in self.all_writers:
                    self.all_writers[path] = FileWriter(self._runs.child(f"{main_tag}/{tag}"))
        super().add_scalars(main_tag, tag_scalar_dict, global_step, walltime)

    def add_hparams(
        self,
        hparam_dict: dict[str, Any],
        metric_dict: dict[str, float],
        name: str | None = None,
        global_step: int | None = None,
    ) -> None:
        """Hyperparameters and the metrics they led to, in the sub-run ``name`` (by default, the time)."""
        if type(hparam_dict) is not dict or type(metric_dict) is not dict:
            raise TypeError("hparam_dict and metric_dict must be dictionaries")
        self._get_file_writer()
        if self._runs is not None:
            name = name or str(time.time())
            run = FileWriter(self._runs.child(name))
            for summary in hparams(hparam_dict, metric_dict):
                run.add_summary(summary)
            for tag, value in metric_dict.items():
                run.add_summary(scalar(tag, value), global_step)
            self._runs.finish(name)
        self._get_comet_logger().log_parameters(hparam_dict, step=global_step)

    def add_embedding(
        self,
        mat: Any,
        metadata: Any = None,
        label_img: Any = None,
        global_step: int | None = None,
        tag: str = "default",
        metadata_header: Any = None,
    ) -> None:
        """Points (N, D) for the projector, with N labels and images ``label_img`` (N, C, H, W)."""
        events = getattr(self._get_file_writer(), "event_writer", None)
        if events is None:
            return  # write_to_disk=False
        write = functools.partial(
            tensorboardx_builders().embedding,
            mat=mat,
            metadata=metadata,
            label_img=label_img,
            global_step=global_step,
            tag=tag,
            metadata_header=metadata_header,
        )
        self._projector.add(write, events.add_file)

    @property
    def position(self) -> Position:
        """How much was appended, logged and stored, sub-runs included."""
        if self._runs is None:
            raise AttributeError("nothing is written with write_to_disk=False")
        return self._runs.position

    def sync(self, timeout: float | None = None) -> Position:
        """Wait until S3 has everything added so far, at most ``timeout`` seconds.

        Raises:
            UnavailableError: not within ``timeout``.
        """
        if self._runs is not None:
            self._runs.sync(timeout)
        return self.position

    def close(self) -> None:
        """Store everything added, waiting at most ``close_timeout`` seconds."""
        if self._runs is not None:
            self._runs.close()
        super().close()
