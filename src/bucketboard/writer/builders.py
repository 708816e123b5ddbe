"""Summary builders: torch's where the program uses torch, tensorboardX's otherwise.

A builder turns an image, a histogram, … into a ``Summary`` message. Both libraries have the same set; this
table gives them one interface, with torch's argument shapes and tags. The summaries differ in detail:
tensorboardX takes stereo sound too and encodes it with soundfile, stores bools of hyperparameters as bools,
does not clip images to [0, 1] and leaves the components out of a mesh's metadata.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bucketboard.errors import InvalidError

__all__ = ["Builders", "builders", "histogram_edges", "tensorboardx_builders", "torch_builders"]

Builder = Callable[..., Any]


@dataclass(frozen=True)
class Builders:
    """One library's builders. Each returns a Summary of that library's message classes, unless noted."""

    library: str
    audio: Builder
    custom_scalars: Builder
    histogram: Builder
    histogram_raw: Builder
    hparams: Builder
    """Three summaries: experiment, session start, session end."""
    image: Builder
    image_boxes: Builder
    mesh: Builder
    pr_curve: Builder
    pr_curve_raw: Builder
    scalar: Builder
    """A scalar as a tensor (TensorBoard's newer style)."""
    tensor: Builder
    text: Builder
    video: Builder
    array: Builder
    """A tensor of that library's world as a numpy array."""
    figure: Builder
    """Matplotlib figures as an array: one (C, H, W), a list (N, C, H, W)."""
    onnx_graph: Builder
    """A GraphDef."""
    embedding: Builder
    """Writes the projector's files into a local directory."""


@functools.cache
def builders() -> Builders:
    """The builders of this process, chosen at the first use.

    torch's if torch is imported by then and its TensorBoard support works. Never changes afterwards:
    tensorboardX imports torch where it is installed, and a run should not change its builders half way.
    """
    if "torch" in sys.modules:
        try:
            return torch_builders()
        except Exception:  # noqa: S110  whatever keeps torch's from working, tensorboardX's do
            pass
    return tensorboardx_builders()


@functools.cache
def torch_builders() -> Builders:
    """torch's builders, with tensorboardX's video: torch's logs nothing with moviepy 2."""
    from torch.utils.tensorboard import SummaryWriter, summary
    from torch.utils.tensorboard._convert_np import make_np
    from torch.utils.tensorboard._onnx_graph import load_onnx_graph
    from torch.utils.tensorboard._utils import figure_to_image

    def scalar(tag: str, value: float, double_precision: bool) -> Any:
        return summary.scalar(tag, value, new_style=True, double_precision=double_precision)

    def embedding(directory: str, *args: Any, **options: Any) -> None:
        with SummaryWriter(directory) as writer:
            writer.add_embedding(*args, **options)

    return Builders(
        library="torch",
        audio=summary.audio,
        custom_scalars=summary.custom_scalars,
        histogram=summary.histogram,
        histogram_raw=summary.histogram_raw,
        hparams=summary.hparams,
        image=summary.image,
        image_boxes=summary.image_boxes,
        mesh=summary.mesh,
        pr_curve=summary.pr_curve,
        pr_curve_raw=summary.pr_curve_raw,
        scalar=scalar,
        tensor=summary.tensor_proto,
        text=summary.text,
        video=_video,
        array=make_np,
        figure=figure_to_image,
        onnx_graph=load_onnx_graph,
        embedding=embedding,
    )


@functools.cache
def tensorboardx_builders() -> Builders:
    """tensorboardX's builders, with torch's tags and shapes, and torch's own for what tensorboardX lacks."""
    from tensorboardX import SummaryWriter, summary
    from tensorboardX.onnx_graph import load_onnx_graph
    from tensorboardX.utils import figure_to_image
    from tensorboardX.x2num import make_np

    def audio(tag: str, samples: Any, sample_rate: int) -> Any:
        samples = make_np(samples)
        if samples.ndim == 2 and len(samples) == 1:  # torch's (1, L); tensorboardX's are (L,), (L, channels)
            samples = samples[0]
        return summary.audio(tag, samples, sample_rate=sample_rate)

    def hparams(hparam_dict: dict[str, Any], metric_dict: dict[str, Any], domain_discrete: Any) -> Any:
        if domain_discrete:
            return _only_torch("hparam_domain_discrete").hparams(hparam_dict, metric_dict, domain_discrete)
        return summary.hparams(hparam_dict, metric_dict)

    def mesh(tag: str, vertices: Any, colors: Any, faces: Any, config: dict[str, Any] | None) -> Any:
        built = summary.mesh(tag, vertices, colors, faces, config or {})
        for value in built.value:
            value.tag = tag + {"1": "_VERTEX", "2": "_FACE", "3": "_COLOR"}[value.tag[-1]]
        return built

    def tensor(tag: str, values: Any) -> Any:
        return _only_torch("add_tensor").tensor(tag, values)

    def embedding(directory: str, *args: Any, **options: Any) -> None:
        with SummaryWriter(directory, write_to_disk=False) as writer:  # the projector's files, no event file
            writer.add_embedding(*args, **options)

    return Builders(
        library="tensorboardX",
        audio=audio,
        custom_scalars=summary.custom_scalars,
        histogram=_exact_tag(summary.histogram),
        histogram_raw=summary.histogram_raw,
        hparams=hparams,
        image=_exact_tag(summary.image),
        image_boxes=summary.image_boxes,
        mesh=mesh,
        pr_curve=summary.pr_curve,
        pr_curve_raw=summary.pr_curve_raw,
        scalar=_tensor_scalar,
        tensor=tensor,
        text=summary.text,
        video=_video,
        array=make_np,
        figure=figure_to_image,
        onnx_graph=load_onnx_graph,
        embedding=embedding,
    )


def _only_torch(feature: str) -> Builders:
    if "torch" not in sys.modules:
        raise InvalidError(f"{feature} needs torch", hint="import torch before logging it")
    return torch_builders()


def _exact_tag(build: Builder) -> Builder:
    """tensorboardX replaces characters in the tags of some kinds; torch logs every tag as it is."""

    def exact(tag: str, *args: Any, **options: Any) -> Any:
        built = build(tag, *args, **options)
        for value in built.value:
            value.tag = tag
        return built

    return exact


def _video(tag: str, frames: Any, fps: float) -> Any:
    from tensorboardX import summary

    built = _exact_tag(summary.video)(tag, frames, fps)
    if not built.value[0].HasField("image"):  # tensorboardX only logs why
        raise InvalidError("no video was encoded", hint="pip install 'bucketboard[video]'")
    return built


def _tensor_scalar(tag: str, value: float, double_precision: bool) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto

    if double_precision:
        tensor = TensorProto(dtype="DT_DOUBLE", double_val=[value])
    else:
        tensor = TensorProto(dtype="DT_FLOAT", float_val=[value])
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
    return Summary(value=[Summary.Value(tag=tag, tensor=tensor, metadata=metadata)])


@functools.cache
def histogram_edges() -> list[float]:
    """The bins named "tensorflow": zero and ±1e-12 · 1.1ⁿ up to 1e20."""
    edges = [1e-12]
    while (edge := edges[-1] * 1.1) < 1e20:
        edges.append(edge)
    return [-edge for edge in reversed(edges)] + [0.0] + edges
