"""What fuzzing has found stays mended, and its targets hold on real files."""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tensorboard.compat.proto import event_pb2, summary_pb2, types_pb2

from bucketboard.events.record import frame
from bucketboard.index import Index
from bucketboard.index.manifest import Manifest, Segment
from bucketboard.index.parquet import RUNS, write
from bucketboard.serve.catalog import Catalog
from bucketboard.serve.compat import metadata_of, tensor_of
from bucketboard.serve.mount import Mount
from bucketboard.source import DirectorySource

FUZZ = Path(__file__).parents[2] / "fuzz"


def load_targets() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_targets", FUZZ / "targets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


targets = load_targets()

FOUND = {
    "events": [
        # A metadata field that is no SummaryMetadata.
        bytes.fromhex(
            "0904c7de73c5c1da412a210a1f0a046c6f7373420a080112002204000000004a0b0e090a077363616c617273"
        ),
    ],
    "manifest": [
        b'{"format": Infinity}',
        b"[" * 100_000,
        b'{"format": 1, "segments": [], "retired": {"../x": 1}}',
    ],
    "spool": [
        b"[" * 100_000 + b"\nlog",
        targets._HEADER + b"\n" + targets._LOG,
        targets._OTHER.replace(b'"sequence": 0', b'"sequence": "0"') + b"\n" + targets._LOG,
        targets._OTHER.replace(b"endpoint_url", b"endpoint") + b"\n" + targets._LOG,
        targets._OTHER.replace(b'"http://127.0.0.1:9000"', b"9000") + b"\n" + targets._LOG,
        targets._OTHER.replace(b'"vision"', b"null") + b"\n" + targets._LOG,
    ],
    "http": [
        b"'\n\n\xb5",
        b"$\nlocalhost\n\xff\xfe=1\n\n\n\n",
        b",\nlocalhost\n\n\n\n\nrequests=" + b"[" * 100_000,
        b"&\nlocalhost\nrequests=" + b"[" * 100_000 + b"\n\n\n\n",
    ],
}


@pytest.mark.parametrize("name", sorted(targets.TARGETS))
def test_a_target_of_the_fuzzer_holds_on_its_seeds_and_on_what_was_found(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what TensorBoard's own modules warn of when they are imported
        for seed in [*targets.seeds(name), *FOUND.get(name, ())]:
            targets.TARGETS[name](seed)


def value(tag: str, **fields: Any) -> bytes:
    made = summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=tag, **fields)])
    return event_pb2.Event(wall_time=1.0, step=1, summary=made).SerializeToString()


def test_metadata_that_is_none_hides_no_other_series(tmp_path: Path) -> None:
    broken = value("broken", simple_value=1.0, metadata={"display_name": "x" * 7}).replace(
        b"x" * 7, b"\xff" * 7
    )
    body = b"".join(map(frame, [value("a", simple_value=1.0), broken, value("z", simple_value=2.0)]))
    (tmp_path / "events.out.tfevents.1.host").write_bytes(body)
    catalog = Catalog([Mount(DirectorySource(tmp_path))])
    catalog.refresh()
    assert sorted(catalog.runs["."].series) == ["a", "broken", "z"]
    assert metadata_of(0, b"\xff") == metadata_of(0, b"")
    catalog.close()


def test_a_few_bytes_do_not_become_a_tensor_of_many_elements() -> None:
    tensor = {"dtype": types_pb2.DT_FLOAT, "float_val": [1.0]}
    dims = [{"size": 1 << 20}, {"size": 1 << 20}]
    with pytest.raises(ValueError, match="1099511627776 elements"):
        tensor_of(value("t", tensor={**tensor, "tensor_shape": {"dim": dims}}), 0)
    few = value("t", tensor={**tensor, "tensor_shape": {"dim": [{"size": 1000}]}})
    np.testing.assert_array_equal(tensor_of(few, 0), np.ones(1000, np.float32))


def segment(objects: Any, **columns: Any) -> None:
    """An index of one segment whose head has one row, of a file, with nulls where nothing is given."""
    names = {"what": ["file"], "run": ["a"], "file": ["events.out.tfevents.1"], "etag": ["e"], "tail": [b""]}
    numbers = {"begin": [0], "end": [8], "looked": [8], "count": [1], "wall_time": [1.0]}
    given = {**names, **numbers, **columns}
    arrays = [
        pa.array(given.get(field.name, [None]), pa.string()).dictionary_encode()
        if pa.types.is_dictionary(field.type)
        else pa.array(given.get(field.name, [None]), field.type)
        for field in RUNS
    ]
    head = pa.Table.from_arrays(arrays, schema=RUNS)
    piece = write(objects, "runs/one.parquet", head, head.slice(0, 0))
    objects.put("manifest.json", Manifest((Segment(piece, None),)).encode())


@pytest.mark.parametrize(
    "columns",
    [
        {"wall_time": [None]},
        {"run": [None]},
        {"begin": [None]},
        {"end": [None]},
        {"tail": [None]},
        {"what": ["tag"]},
        {"what": [None]},
    ],
)
def test_an_index_with_rows_that_lack_something_covers_nothing(
    columns: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    objects = targets._Objects({})
    segment(objects)
    assert list(Index.open(objects).files) == ["a/events.out.tfevents.1"]
    segment(objects, **columns)
    index = Index.open(objects)
    assert index.files == {}
    assert index.scalars() == index.values() == {}


@pytest.mark.parametrize(
    "name", ["../../run/x.parquet", "runs/../x.parquet", "/etc/passwd", "runs/x", 5, None]
)
def test_a_manifest_names_nothing_but_files_of_an_index(name: object) -> None:
    piece = {"name": name, "bytes": 100, "footer": 8, "rows": 1, "head": 0, "tags": ["", ""]}
    body = json.dumps({"format": 1, "segments": [{"runs": piece, "scalars": None}], "retired": {}})
    index = Index.open(targets._Objects({"manifest.json": body.encode()}))
    assert "is not one" in index.trouble
    assert index.manifest.segments == ()
