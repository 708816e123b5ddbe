"""``SummaryWriter`` with the methods of ``torch.utils.tensorboard``, on our event file writer."""

from __future__ import annotations

import functools
import inspect
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar

from bucketboard.errors import BucketboardError, InvalidError
from bucketboard.events.event import file_version_event, session_start_event
from bucketboard.writer.arguments import exact_tag, number, reject_meta_tensors, seconds, whole_step
from bucketboard.writer.builders import builders, histogram_edges
from bucketboard.writer.event_file_writer import EventFileWriter
from bucketboard.writer.graph import graph_event, model_graph_events
from bucketboard.writer.projector import Projector
from bucketboard.writer.report import OnError
from bucketboard.writer.runs import Runs

if TYPE_CHECKING:
    from typing_extensions import Self

    from bucketboard.replication.position import Position

__all__ = ["SummaryWriter"]

_P = ParamSpec("_P")
_W = TypeVar("_W", bound="SummaryWriter")
_now = time.time
_STEPS = 2**63


def _guarded(add: Callable[Concatenate[_W, _P], None]) -> Callable[Concatenate[_W, _P], None]:
    """Training comes first: whatever goes wrong in ``add`` is reported, never raised."""
    first = list(inspect.signature(add).parameters)[1]
    tagged = first in ("tag", "main_tag")

    @functools.wraps(add)
    def guarded(self: _W, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        if not self._file_writer.enabled:
            return
        subject = args[0] if args else kwargs.get(first)
        try:
            if tagged:
                exact_tag(subject)
            reject_meta_tensors(args)
            reject_meta_tensors(kwargs.values())
            add(self, *args, **kwargs)
        except Exception as error:
            self._report(add.__name__, subject if tagged else kwargs.get("tag"), error)

    return guarded


class SummaryWriter:
    """Writes what ``add_*`` is given to an event file in ``log_dir``: ``s3://bucket/prefix/run`` or local.

    Methods, arguments and results are those of ``torch.utils.tensorboard.SummaryWriter``; see there for
    what TensorBoard makes of them. Different is:

    * No ``add_*`` raises or waits for the network: what can't be logged is reported to ``on_error``.
    * torch is not needed. Scalars import nothing; for the other kinds see :mod:`bucketboard.writer.builders`.
    * ``add_hparams`` and ``add_scalars`` write sub-runs, which stay open until :meth:`close`.
    * A writer that was closed opens again, with a new event file, when something is added.

    Steps are integers; a step left out is 0. ``walltime`` is in seconds since the epoch, by default now.
    Arrays may be numpy's or torch tensors. A writer may be shared by threads.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: float = 120,
        filename_suffix: str = "",
        *,
        metadata: Mapping[str, Any] | None = None,
        spool: str | os.PathLike[str] | EllipsisType | None = ...,
        append: Literal["auto", "grow", "segments"] | None = None,
        upload_every: float | None = None,
        max_lag: float | None = None,
        roll_size: int | None = None,
        log_limit: int | None = None,
        close_timeout: float | None = None,
        on_error: OnError | None = None,
        drain_on_sigterm: bool | None = None,
        rank_zero_only: bool | None = None,
        **settings: Any,
    ) -> None:
        """No I/O on the network. An option left out comes from its ``BUCKETBOARD_*`` variable or default.

        Args:
            log_dir: default ``runs/<date>_<host><comment>``.
            comment: end of the default ``log_dir``; without effect if that is given.
            purge_step: the run continues from this step: TensorBoard hides what earlier event files of the
                run hold at this and later steps. Nothing is deleted.
            max_queue, flush_secs: accepted for compatibility; the log is written twice a second anyway.
            filename_suffix: end of the event files' names.
            metadata: your own keys and values, kept with the run: team, commit, …
            spool: directory for the log; ``None`` keeps it in memory; left out: the user's state directory.
            append: ``"grow"`` replaces the object by a longer one, ``"segments"`` only ever adds objects,
                ``"auto"`` grows where that is cheap.
            upload_every: seconds between uploads, at least.
            max_lag: the longest an event waits for its upload, in seconds.
            roll_size: bytes after which the run's next event file begins.
            log_limit: bytes that may wait for S3 before new events are dropped and counted.
            close_timeout: seconds that :meth:`close` waits for S3.
            on_error: called with every error, perhaps from another thread; by default each is logged once.
            drain_on_sigterm: upload what is left when SIGTERM arrives, then let it take its course.
            rank_zero_only: log only in the process of rank 0.
            settings: how to reach S3 and store there: ``endpoint_url``, ``region``, ``profile``, ``sse``, …

        Raises:
            InvalidError: an option is unknown or not valid.
            OSError: the local directory can't be written.
        """
        self.log_dir = os.fspath(log_dir) if log_dir else _default_log_dir(comment)
        options = {
            "metadata": metadata,
            "append": append,
            "upload_every": upload_every,
            "max_lag": max_lag,
            "roll_size": roll_size,
            "log_limit": log_limit,
            "close_timeout": close_timeout,
            "on_error": on_error,
            "drain_on_sigterm": drain_on_sigterm,
            "rank_zero_only": rank_zero_only,
            **settings,
        }
        given = {name: value for name, value in options.items() if value is not None}
        if spool is not ...:
            given["spool"] = spool
        self._file_writer = EventFileWriter(self.log_dir, max_queue, flush_secs, filename_suffix, **given)
        self._add_scalar = self._file_writer.add_scalar
        self._runs = Runs(self._file_writer)
        self._projector = Projector()
        self._closed = False
        self._reopening = threading.RLock()
        if purge_step is not None:
            step, now = whole_step(purge_step), _now()
            self._file_writer.add_event(file_version_event(now, step))
            self._file_writer.add_event(session_start_event(step, now))

    # Scalars

    def add_scalar(
        self,
        tag: str,
        scalar_value: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        new_style: bool = False,
        double_precision: bool = False,
    ) -> None:
        """One number: a float, int, bool, its text, or an array of one element.

        ``new_style`` stores it as a tensor, then with ``double_precision`` as a float64 instead of a float32.
        """
        try:
            if new_style:
                summary = builders().scalar(exact_tag(tag), number(scalar_value), double_precision)
                self._add(summary, global_step, walltime)
                return
            if type(tag) is not str:
                tag = exact_tag(tag)
            if type(scalar_value) is not float:
                scalar_value = number(scalar_value)
            if type(global_step) is not int or not -_STEPS <= global_step < _STEPS:
                global_step = whole_step(global_step)
            if self._closed:
                self._reopen()
            self._add_scalar(tag, scalar_value, global_step, _now() if walltime is None else float(walltime))
        except Exception as error:
            self._report("add_scalar", tag, error)

    @_guarded
    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: Mapping[str, Any],
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """One number for each of several sub-runs ``<main_tag>_<tag>``, so that they share a chart."""
        step, wall_time = whole_step(global_step), seconds(walltime)
        self._open()
        for tag, value in tag_scalar_dict.items():
            try:
                run = self._runs.child(f"{main_tag.replace('/', '_')}_{tag}")
                run.add_scalar(main_tag, number(value), step, wall_time)
            except Exception as error:
                self._report("add_scalars", f"{main_tag}/{tag}", error)

    # Tensors and distributions

    @_guarded
    def add_tensor(
        self, tag: str, tensor: Any, global_step: int | None = None, walltime: float | None = None
    ) -> None:
        """A torch tensor of any shape, whole."""
        self._add(builders().tensor(tag, tensor), global_step, walltime)

    @_guarded
    def add_histogram(
        self,
        tag: str,
        values: Any,
        global_step: int | None = None,
        bins: str | Sequence[float] | int = "tensorflow",
        walltime: float | None = None,
        max_bins: int | None = None,
    ) -> None:
        """The distribution of ``values`` (any shape); ``bins`` as numpy takes them, or "tensorflow"."""
        edges = histogram_edges() if isinstance(bins, str) and bins == "tensorflow" else bins
        self._add(builders().histogram(tag, values, edges, max_bins=max_bins), global_step, walltime)

    @_guarded
    def add_histogram_raw(
        self,
        tag: str,
        min: float,
        max: float,
        num: int,
        sum: float,
        sum_squares: float,
        bucket_limits: Sequence[float],
        bucket_counts: Sequence[float],
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """A histogram that was counted elsewhere; a limit is the upper end of its bucket."""
        if len(bucket_limits) != len(bucket_counts):
            raise InvalidError(f"{len(bucket_limits)} bucket limits for {len(bucket_counts)} counts")
        summary = builders().histogram_raw(tag, min, max, num, sum, sum_squares, bucket_limits, bucket_counts)
        self._add(summary, global_step, walltime)

    @_guarded
    def add_pr_curve(
        self,
        tag: str,
        labels: Any,
        predictions: Any,
        global_step: int | None = None,
        num_thresholds: int = 127,
        weights: Any = None,
        walltime: float | None = None,
    ) -> None:
        """Precision and recall over thresholds: ``labels`` (N,) 0 or 1, ``predictions`` (N,) in [0, 1]."""
        build = builders()
        truth, scores = build.array(labels), build.array(predictions)
        self._add(build.pr_curve(tag, truth, scores, num_thresholds, weights), global_step, walltime)

    @_guarded
    def add_pr_curve_raw(
        self,
        tag: str,
        true_positive_counts: Any,
        false_positive_counts: Any,
        true_negative_counts: Any,
        false_negative_counts: Any,
        precision: Any,
        recall: Any,
        global_step: int | None = None,
        num_thresholds: int = 127,
        weights: Any = None,
        walltime: float | None = None,
    ) -> None:
        """A precision-recall curve that was computed elsewhere; six arrays (num_thresholds,)."""
        counts = (true_positive_counts, false_positive_counts, true_negative_counts, false_negative_counts)
        summary = builders().pr_curve_raw(tag, *counts, precision, recall, num_thresholds, weights)
        self._add(summary, global_step, walltime)

    # Media

    @_guarded
    def add_image(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:
        """An image, (3, H, W) unless ``dataformats`` says otherwise; uint8, or float in [0, 1]."""
        self._add(builders().image(tag, img_tensor, dataformats=dataformats), global_step, walltime)

    @_guarded
    def add_images(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "NCHW",
    ) -> None:
        """A batch of images as one grid, (N, 3, H, W) unless ``dataformats`` says otherwise."""
        self._add(builders().image(tag, img_tensor, dataformats=dataformats), global_step, walltime)

    @_guarded
    def add_image_with_boxes(
        self,
        tag: str,
        img_tensor: Any,
        box_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        rescale: float = 1,
        dataformats: str = "CHW",
        labels: str | Sequence[str] | None = None,
    ) -> None:
        """An image with boxes (N, 4) drawn on it: xmin, ymin, xmax, ymax in pixels; N labels or none."""
        names = [labels] if isinstance(labels, str) else labels
        if names is not None and len(names) != len(box_tensor):
            names = None
        summary = builders().image_boxes(
            tag, img_tensor, box_tensor, rescale=rescale, dataformats=dataformats, labels=names
        )
        self._add(summary, global_step, walltime)

    @_guarded
    def add_figure(
        self,
        tag: str,
        figure: Any,
        global_step: int | None = None,
        close: bool = True,
        walltime: float | None = None,
    ) -> None:
        """A matplotlib figure or a list of figures of one size, closed afterwards if ``close``."""
        build = builders()
        dataformats = "NCHW" if isinstance(figure, list) else "CHW"
        summary = build.image(tag, build.figure(figure, close), dataformats=dataformats)
        self._add(summary, global_step, walltime)

    @_guarded
    def add_video(
        self,
        tag: str,
        vid_tensor: Any,
        global_step: int | None = None,
        fps: float = 4,
        walltime: float | None = None,
    ) -> None:
        """Videos (N, T, C, H, W) side by side; uint8, or float in [0, 1]; ``fps`` frames a second."""
        self._add(builders().video(tag, vid_tensor, fps), global_step, walltime)

    @_guarded
    def add_audio(
        self,
        tag: str,
        snd_tensor: Any,
        global_step: int | None = None,
        sample_rate: int = 44100,
        walltime: float | None = None,
    ) -> None:
        """Sound (1, L) in [-1, 1], ``sample_rate`` in Hz."""
        self._add(builders().audio(tag, snd_tensor, sample_rate=sample_rate), global_step, walltime)

    @_guarded
    def add_text(
        self, tag: str, text_string: str, global_step: int | None = None, walltime: float | None = None
    ) -> None:
        """Text, shown as Markdown."""
        self._add(builders().text(tag, text_string), global_step, walltime)

    @_guarded
    def add_mesh(
        self,
        tag: str,
        vertices: Any,
        colors: Any = None,
        faces: Any = None,
        config_dict: dict[str, Any] | None = None,
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Meshes or point clouds: ``vertices`` (B, N, 3), ``colors`` (B, N, 3), ``faces`` (B, M, 3)."""
        self._add(builders().mesh(tag, vertices, colors, faces, config_dict), global_step, walltime)

    # Models

    @_guarded
    def add_graph(
        self, model: Any, input_to_model: Any = None, verbose: bool = False, use_strict_trace: bool = True
    ) -> None:
        """The graph of a torch model, traced with one forward pass on ``input_to_model``."""
        events = model_graph_events(model, input_to_model, verbose, use_strict_trace, _now())
        for event in events:
            self._open().add_event(event)

    @_guarded
    def add_onnx_graph(self, prototxt: Any) -> None:
        """The graph of the ONNX model in the file ``prototxt``."""
        self._open().add_event(graph_event(builders().onnx_graph(prototxt), _now()))

    @_guarded
    def add_embedding(
        self,
        mat: Any,
        metadata: Sequence[Any] | None = None,
        label_img: Any = None,
        global_step: int | None = None,
        tag: str = "default",
        metadata_header: Sequence[str] | None = None,
    ) -> None:
        """Points (N, D) for the projector, with N labels and images ``label_img`` (N, C, H, W)."""
        write = functools.partial(
            builders().embedding,
            mat=mat,
            metadata=metadata,
            label_img=label_img,
            global_step=whole_step(global_step),
            tag=exact_tag(tag),
            metadata_header=metadata_header,
        )
        self._projector.add(write, self._open().add_file)

    # Hyperparameters and layout

    @_guarded
    def add_hparams(
        self,
        hparam_dict: dict[str, Any],
        metric_dict: dict[str, Any],
        hparam_domain_discrete: dict[str, list[Any]] | None = None,
        run_name: str | None = None,
        global_step: int | None = None,
    ) -> None:
        """Hyperparameters and the metrics they led to, in the sub-run ``run_name`` (by default, the time)."""
        if type(hparam_dict) is not dict or type(metric_dict) is not dict:
            raise InvalidError("hparam_dict and metric_dict must be dictionaries")
        reject_meta_tensors(hparam_dict.values())
        summaries = builders().hparams(hparam_dict, metric_dict, hparam_domain_discrete)
        metrics = {exact_tag(tag): number(value) for tag, value in metric_dict.items()}
        step, now = whole_step(global_step), _now()
        self._open()
        name = str(run_name or now)
        run = self._runs.child(name)
        for summary in summaries:
            run.add_summary(summary, step, now)
        for tag, value in metrics.items():
            run.add_scalar(tag, value, step, now)
        self._runs.finish(name)

    @_guarded
    def add_custom_scalars_multilinechart(
        self, tags: Sequence[str], category: str = "default", title: str = "untitled"
    ) -> None:
        """A chart that shows the scalars ``tags`` as lines."""
        self._add(builders().custom_scalars({category: {title: ["Multiline", tags]}}))

    @_guarded
    def add_custom_scalars_marginchart(
        self, tags: Sequence[str], category: str = "default", title: str = "untitled"
    ) -> None:
        """A chart that shows the scalars ``tags`` (three: value, lower, upper) as a line with a margin."""
        if len(tags) != 3:
            raise InvalidError(f"a margin chart has 3 tags, not {len(tags)}")
        self._add(builders().custom_scalars({category: {title: ["Margin", tags]}}))

    @_guarded
    def add_custom_scalars(self, layout: Mapping[str, Mapping[str, Sequence[Any]]]) -> None:
        """Charts ``{category: {title: ["Multiline" or "Margin", tags]}}``; a run has one layout."""
        self._add(builders().custom_scalars(layout))

    # The life of the writer

    @property
    def file_writer(self) -> EventFileWriter:
        """The writer of this run's event file."""
        return self._file_writer

    @property
    def position(self) -> Position:
        """How much was appended, logged and stored, sub-runs included."""
        return self._runs.position

    @property
    def dropped(self) -> int:
        """Events left out because the log was full, sub-runs included."""
        return self._runs.dropped

    def get_logdir(self) -> str:
        """``log_dir`` as it was given."""
        return self.log_dir

    def flush(self) -> None:
        """Everything added so far is in the log, which survives this process. No network."""
        self._runs.flush()

    def sync(self, timeout: float | None = None) -> Position:
        """Waits until S3 has everything added so far, at most ``timeout`` seconds.

        Raises:
            UnavailableError: not within ``timeout``.
        """
        return self._runs.sync(timeout)

    def close(self) -> None:
        """Stores everything added, waiting at most ``close_timeout`` seconds, and ends the event files."""
        with self._reopening:
            if self._closed:
                return
            self._closed = True
        self._runs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> EventFileWriter:
        if self._closed:
            self._reopen()
        return self._file_writer

    def _reopen(self) -> None:
        with self._reopening:
            if self._closed:
                self._file_writer.reopen()
                self._closed = False

    def _add(self, summary: Any, global_step: int | None = None, walltime: float | None = None) -> None:
        if not summary.value:
            raise InvalidError("there is nothing in it")
        step, wall_time = whole_step(global_step), seconds(walltime)
        self._open().add_summary(summary, step, wall_time)

    def _report(self, method: str, tag: Any, error: Exception) -> None:
        subject = f"{method}({tag!r})" if isinstance(tag, str) else method
        hint = error.hint if isinstance(error, BucketboardError) else ""
        if isinstance(error, ImportError) and error.name:
            hint = f"pip install {error.name.partition('.')[0]}"
        reason = error.message if isinstance(error, BucketboardError) else f"{type(error).__name__}: {error}"
        report = InvalidError(f"{subject} logged nothing: {reason}", hint=hint)
        report.__cause__ = error
        self._file_writer.report(report)


def _default_log_dir(comment: str) -> str:
    return os.path.join("runs", f"{time.strftime('%b%d_%H-%M-%S')}_{socket.gethostname()}{comment}")
