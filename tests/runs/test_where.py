"""Conditions on runs: what they mean, and what is said of those that can't be read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketboard.errors import InvalidError
from bucketboard.runs.where import Condition


class Run:
    """Values by name; those of hyperparameters and tags apart."""

    def __init__(self, **places: dict[str, Any]) -> None:
        self.places = places

    def value(self, name: str, where: str = "") -> Any:
        for place, known in self.places.items():
            if where in ("", place) and name in known:
                return known[name]
        return None


RUN = Run(
    label={"status": "good", "lr": "label"},
    metadata={"team": "vision", "n": "12", "größe x": "ü", "debug": "True", "git.commit": "abc"},
    hparam={"lr": 0.001, "layers": 4, "bias": True, "optimizer.name": "adam"},
    tag={"train/loss": 0.25, "acc": float("nan")},
)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('team == "vision"', True),
        ("team == 'vision' and layers < 5", True),
        ("team == 'nlp' or not layers > 4", True),
        ('hparam("lr") < 0.01', True),
        ('lr == "label"', True),
        ("hparam('lr') <= 1e-3 < layers", True),
        ("n == 12", True),
        ("n == 12.0", True),
        ("n > 9", True),  # as numbers: "12" > "9" does not hold for text
        ("n < 9", False),
        ('layers == "4"', True),
        ("debug == True", True),
        ("bias", True),
        ("missing < 1", False),
        ("not missing < 1", True),
        ("missing == missing", False),
        ("missing == None", True),
        ("missing != None", False),
        ("team != None", True),
        ("missing != 3", False),
        ("team != 'nlp'", True),
        ("team < 3", False),
        ('"is" in team', True),
        ("team in ['nlp', 'vision']", True),
        ("n in (11, 12)", True),
        ("n not in {11, 13}", True),
        ("missing not in [1]", False),
        ("`train/loss` * 4 == 1", True),
        ('tag("train/loss") / 0 < 1', False),
        ("team * 2 == 1", False),
        ("-layers == -4", True),
        ("`größe x` == 'ü'", True),
        ("git.commit == 'abc' and optimizer.name == 'adam'", True),
        ("acc == acc", False),
        ("'`train/loss`' == '`train/loss`'", True),
        ("  team == 'vision'\n", True),
        ("(team == 'vision'\n and layers == 4)", True),
    ],
)
def test_what_a_condition_means(text: str, holds: bool) -> None:
    assert Condition(text)(RUN) is holds


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("lr = 3", 4, "=="),
        ("lr <", 5, "invalid syntax"),
        ("  lr < f(1)", 8, "Call"),
        ("lr < __import__('os').system('x')", 6, "Call"),
        ("team == 'ö' and `ä b`.x[3]", 17, "Subscript"),
        ("größe < (lambda: 1)", 10, "Lambda"),
        ("lr is None", 7, "write =="),
        ("[x for x in y]", 1, "ListComp"),
        ("2 ** 99999999 > lr", 1, "BinOp"),
        ("lr < 1 and tag(name)", 12, "Call"),
        ("lr < 1 and tag('a', 'b')", 12, "Call"),
        ("lr < 1j", 6, "Constant"),
        ("f'{lr}' == 1", 1, "JoinedStr"),
        ("(x := 3) < 4", 2, "NamedExpr"),
        ("(1).real < 2", 2, "only names"),
    ],
)
def test_an_error_shows_where(text: str, column: int, said: str) -> None:
    with pytest.raises(InvalidError, match=f"at column {column}:.*{said}") as caught:
        Condition(text)
    _, shown, mark = caught.value.message.split("\n")
    assert shown[2:] == text
    assert mark.index("^") - 2 == column - 1


@pytest.mark.parametrize("text", ["", "\0", "(" * 3000, "not " * 900 + "lr", "x" * 5000, "-" * 3000 + "1"])
def test_what_is_monstrous_is_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        Condition(text)


@given(st.text(st.sampled_from("ab`'\"()[]{}<>=!.,+-*/ \n1ö#\\"), max_size=40))
def test_any_text_is_a_condition_or_is_refused(text: str) -> None:
    try:
        condition = Condition(text)
    except InvalidError:
        return
    assert condition(RUN) in (True, False)
