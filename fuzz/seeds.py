"""Writes seeds for fuzz/scan_fuzz.c into a directory: events of all kinds, framed and as payloads."""

from __future__ import annotations

import sys
from pathlib import Path

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.util import tensor_util

from bucketboard.events.event import ScalarEncoder, file_version_event
from bucketboard.events.record import HEADER_BYTES, frame


def _events() -> list[bytes]:
    metadata = summary_pb2.SummaryMetadata(plugin_data={"plugin_name": "scalars", "content": b"x"})
    contents: list[dict[str, object]] = [
        {"tensor": tensor_util.make_tensor_proto(value)}
        for value in (1.5, [1, 2], b"text", [b"a", b"b"], True, [[3.0]])
    ]
    contents += [{"simple_value": 1.0}, {"image": {"width": 3}}, {"audio": {"sample_rate": 1.0}}]
    contents += [{"histo": {"bucket": [1.0]}}, {"obsolete_old_style_histogram": b"x"}, {}]
    for name in ("half_val", "int_val", "int64_val", "bool_val", "uint32_val", "uint64_val", "double_val"):
        contents += [{"tensor": {"dtype": kind, name: [1]}} for kind in (2, 3, 9, 10, 14, 19, 22, 23)]
    contents += [{"tensor": {"dtype": kind, "tensor_content": bytes(8)}} for kind in range(24)]
    summaries = [
        event_pb2.Event(
            wall_time=i, step=i, summary={"value": [{"tag": f"tag{i % 3}", "metadata": metadata, **content}]}
        )
        for i, content in enumerate(contents)
    ]
    others = [
        event_pb2.Event(graph_def=b"graph"),
        event_pb2.Event(meta_graph_def=b"meta"),
        event_pb2.Event(session_log={"status": 1}),
        event_pb2.Event(tagged_run_metadata={"tag": "t", "run_metadata": b"x"}),
        event_pb2.Event(log_message={"message": "m"}),
    ]
    scalar = ScalarEncoder().record("loss", 0.5, 3, 1.7e9)[HEADER_BYTES:-4]
    return [file_version_event(1.0), scalar, *(event.SerializeToString() for event in summaries + others)]


def main() -> None:
    """Write them."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    events = [event for event in _events() if len(event) < 128]
    groups = [[event] for event in events] + [events[at : at + 8] for at in range(0, len(events), 8)]
    for number, group in enumerate(groups):
        framed = b"\x00\x20\x00" + b"".join(map(frame, group))
        payloads = b"\x01\x20\x00" + b"".join(bytes([len(event)]) + event for event in group)
        (directory / f"file{number}").write_bytes(framed)
        (directory / f"payloads{number}").write_bytes(payloads)


if __name__ == "__main__":
    main()
