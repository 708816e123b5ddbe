"""A torch model's graph as the events that TensorBoard's graph page reads."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bucketboard.errors import InvalidError

__all__ = ["graph_event", "model_graph_events"]


def graph_event(graph: Any, wall_time: float) -> Any:
    """The event that holds a GraphDef message."""
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=wall_time, graph_def=graph.SerializeToString())


def model_graph_events(
    model: Any, inputs: Any, verbose: bool, strict: bool, wall_time: float
) -> tuple[Any, Any]:
    """Traces ``model`` with one forward pass in evaluation mode; its graph and its devices.

    The modes of all submodules and the random states are afterwards what they were.
    """
    if "torch" not in sys.modules:
        raise InvalidError("add_graph needs a torch model")
    from tensorboard.compat.proto.event_pb2 import Event, TaggedRunMetadata
    from torch.utils.tensorboard._pytorch_graph import graph

    with _same_modes(model), _same_randomness():
        definition, stats = graph(model, inputs, verbose, strict)
    devices = TaggedRunMetadata(tag="step1", run_metadata=stats.SerializeToString())
    return graph_event(definition, wall_time), Event(wall_time=wall_time, tagged_run_metadata=devices)


@contextmanager
def _same_modes(model: Any) -> Iterator[None]:
    """torch's tracing sets every submodule to the mode of the outermost; frozen ones would start to train."""
    modules = model.modules() if hasattr(model, "modules") else ()  # a scripted function has none
    modes = [(module, module.training) for module in modules]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _same_randomness() -> Iterator[None]:
    """Puts Python's, numpy's and torch's random states back."""
    import numpy as np
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
