"""A door whose framework is not installed says so in one sentence, and what installs it."""

from __future__ import annotations

import importlib
import sys

import pytest

from bucketboard.errors import InvalidError


@pytest.mark.parametrize(
    ("door", "missing", "sentence"),
    [
        ("tensorflow", "tensorflow", "TensorFlow is not installed: pip install 'bucketboard[tensorflow]'"),
        ("keras", "keras", "Keras is not installed: pip install 'bucketboard[keras]'"),
    ],
)
def test_one_sentence_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, door: str, missing: str, sentence: str
) -> None:
    for name in (f"bucketboard.{door}", f"bucketboard.integrations.{door}"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, missing, None)  # what an import of it then finds
    with pytest.raises(InvalidError) as raised:
        importlib.import_module(f"bucketboard.{door}")
    assert str(raised.value) == sentence
    assert isinstance(raised.value, ImportError)
