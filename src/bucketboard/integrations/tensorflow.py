"""TensorFlow's summary writers into S3: ``tf.summary.create_file_writer`` and version 1's ``FileWriter``.

The first is TensorFlow's own C++ writer, writing into a spooled log directory, so that it works in eager mode
and in a ``tf.function`` alike. The second makes its events in Python; they go to our event file writer.
"""

from __future__ import annotations

import os
import weakref
from typing import Any

from bucketboard.integrations.missing import needs
from bucketboard.store.url import is_s3_url
from bucketboard.supervise.directory import SpooledDirectory
from bucketboard.writer.event_file_writer import EventFileWriter

with needs("TensorFlow", "tensorflow"):
    import tensorflow as tf
    from tensorflow.python.ops import summary_ops_v2
    from tensorflow.python.summary import plugin_asset
    from tensorflow.python.summary.writer.event_file_writer_v2 import EventFileWriterV2
    from tensorflow.python.summary.writer.writer import SummaryToEventTransformer

__all__ = ["FileWriter", "create_file_writer"]


def create_file_writer(
    logdir: Any,
    max_queue: Any = None,
    flush_millis: Any = None,
    filename_suffix: Any = None,
    name: str | None = None,
    experimental_trackable: bool = False,
    experimental_mesh: Any = None,
    **options: Any,
) -> tf.summary.SummaryWriter:
    """``tf.summary.create_file_writer`` whose ``logdir`` may be ``s3://bucket/prefix/run``.

    The result is TensorFlow's own writer. In eager mode ``close()`` waits for S3 as that of a
    `SpooledDirectory` does; a writer that is dropped without it is sent in the background, and what is open
    when the interpreter ends is closed then. For a writer in a graph only that end counts.

    Args:
        logdir, max_queue, flush_millis, filename_suffix, name, experimental_trackable, experimental_mesh: as
            TensorFlow's.
        options: those of `SpooledDirectory`; without effect on other directories.

    Raises:
        InvalidError: the URL or an option is wrong.
    """
    arguments = (max_queue, flush_millis, filename_suffix, name, experimental_trackable, experimental_mesh)
    url = _url(logdir)
    if not url:
        return summary_ops_v2.create_file_writer_v2(logdir, *arguments)
    directory = SpooledDirectory(url, **options)
    try:
        writer = summary_ops_v2.create_file_writer_v2(str(directory.path), *arguments)
    except BaseException:
        directory.begin_close()
        raise
    writer.__class__ = _TrackableSpooledWriter if experimental_trackable else _SpooledWriter
    writer.follow(directory)
    return writer


class _Spooled:
    """What a writer of TensorFlow's has in addition when its directory is a spooled one."""

    directory: SpooledDirectory
    _eager: bool

    def follow(self, directory: SpooledDirectory) -> None:
        """Let the end of this writer be the end of ``directory``, and the other way round."""
        self.directory = directory
        with tf.init_scope():
            self._eager = tf.executing_eagerly()
        this = weakref.ref(self)

        def close() -> None:
            writer = this()
            if writer is not None:
                writer.close_file()

        directory.before_close = close

    def close_file(self) -> None:
        """Close TensorFlow's side, from wherever this is called; that of a graph its session closes."""
        if self._eager:
            with tf.init_scope():
                super().close()  # type: ignore[misc]

    def close(self) -> Any:
        """TensorFlow's ``close``; then wait for S3. In a graph only the former, as an operation."""
        done = super().close()  # type: ignore[misc]
        if tf.executing_eagerly():
            self.directory.close()
        return done

    def __del__(self) -> None:
        # A graph's operations may go on writing. In a forked child, where it is closed, let TensorFlow alone.
        if self._eager and not self.directory.closed:
            self.directory.begin_close()


class _SpooledWriter(_Spooled, summary_ops_v2._ResourceSummaryWriter):  # type: ignore[misc]
    pass


class _TrackableSpooledWriter(_Spooled, summary_ops_v2._TrackableResourceSummaryWriter):  # type: ignore[misc]
    pass


class FileWriter(tf.compat.v1.summary.FileWriter):  # type: ignore[misc]
    """``tf.compat.v1.summary.FileWriter`` into ``s3://bucket/prefix/run`` or a directory.

    Works with eager execution too. Every event goes through a bucketboard `EventFileWriter`, whose promises
    hold; with ``session`` TensorFlow's writer in that session writes into a `SpooledDirectory`.

    Args:
        logdir, graph, max_queue, flush_secs, graph_def, filename_suffix, session: as TensorFlow's.
        options: those of `EventFileWriter`, or, with ``session``, of `SpooledDirectory`.

    Raises:
        InvalidError: the URL or an option is wrong.
        OSError: the local directory can't be written.
    """

    def __init__(
        self,
        logdir: Any,
        graph: Any = None,
        max_queue: int = 10,
        flush_secs: float = 120,
        graph_def: Any = None,
        filename_suffix: str | None = None,
        session: Any = None,
        **options: Any,
    ) -> None:
        self._closed = False
        self._logdir = os.fsdecode(logdir)
        self._directory: SpooledDirectory | None = None
        if session is None:
            events: Any = EventFileWriter(
                self._logdir, max_queue, flush_secs, filename_suffix or "", **options
            )
        else:
            self._options = (session, max_queue, flush_secs, filename_suffix, options)
            events = self._in_session()
        # Not FileWriter.__init__, which refuses eager execution for the sake of its own event writer.
        SummaryToEventTransformer.__init__(self, events, graph, graph_def)

    def _in_session(self) -> Any:
        session, max_queue, flush_secs, suffix, options = self._options
        place = self._logdir
        if is_s3_url(place):
            self._directory = SpooledDirectory(place, **options)
            place = str(self._directory.path)
        events = EventFileWriterV2(session, place, max_queue, flush_secs, suffix)
        if self._directory is not None:
            this = weakref.ref(self)

            def flush() -> None:
                writer = this()
                if writer is not None and not writer._closed:
                    events.flush()

            self._directory.before_close = flush
        return events

    def get_logdir(self) -> str:
        """The directory or URL of the run."""
        return self._logdir

    def close(self) -> None:
        """Close the event file; into S3, send the rest and wait for it."""
        super().close()
        if self._directory is not None:
            self._directory.close()

    def reopen(self) -> None:
        """Accept events again after ``close``; they go to a new event file. Else does nothing."""
        if self._closed and self._directory is not None:
            self.event_writer = self._in_session()
        super().reopen()

    def _write_plugin_assets(self, graph: Any) -> None:
        if not is_s3_url(self._logdir):
            super()._write_plugin_assets(graph)
            return
        for asset in plugin_asset.get_all_plugin_assets(graph):
            for name, content in asset.assets().items():
                data = content if isinstance(content, bytes) else content.encode()
                self._add_file(f"plugins/{asset.plugin_name}/{name}", data)

    def _add_file(self, name: str, data: bytes) -> None:
        if self._directory is None:
            self.event_writer.add_file(name, data)
            return
        path = self._directory.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _url(logdir: Any) -> str:
    """``logdir`` where that is an S3 URL in whatever form, else ""."""
    if isinstance(logdir, tf.Tensor) and tf.executing_eagerly():
        logdir = logdir.numpy()
    if not isinstance(logdir, str | bytes | os.PathLike):
        return ""
    text = os.fsdecode(logdir)
    return text if is_s3_url(text) else ""
