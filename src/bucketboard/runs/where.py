"""Conditions on runs, such as ``lr < 0.01 and team == "vision"``: Python's grammar, and very little of it.

A name is a field of the run, a label, a metadata key, a hyperparameter or a tag (its last value), the first
of these that there is. Names that are no identifiers stand in backticks; ``tag("a b")``, ``hparam(…)``,
``metadata(…)`` and ``label(…)`` say where to look. What a run does not have is None: no comparison with it
holds but ``== None``. Text that reads as a number is compared with numbers as one.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from bucketboard.errors import InvalidError

__all__ = ["Condition", "Named"]

_LONGEST = 4096
_DEEPEST = 50
_QUOTED = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|`([^`]+)`""")
_KNOWN = (
    "and, or, not, comparisons, in, arithmetic, names, `names in backticks`, "
    "tag(), hparam(), metadata() and label()"
)
_WHERE = ("tag", "hparam", "metadata", "label")
_ORDER: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class Named(Protocol):
    """What a condition is asked of."""

    def value(self, name: str, where: str = "") -> Any:
        """What ``name`` is, anywhere or among "tag", "hparam", "metadata" or "label"; None: there is none."""


_Get = Callable[[Named], Any]


class Condition:
    """A condition that was read.

    Raises:
        InvalidError: it can't be read; the message shows where.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.names: list[tuple[str, str]] = []
        """The names in it, each with where to look for it ("": anywhere)."""
        self._backticked: dict[int, str] = {}
        if len(text) > _LONGEST:
            raise InvalidError(f"a condition has at most {_LONGEST:,} characters, not {len(text):,}")
        source = _QUOTED.sub(self._plain, text.rstrip())
        source, self._skipped = source.lstrip(), len(source) - len(source.lstrip())
        try:
            tree = ast.parse(source, mode="eval")
        except SyntaxError as error:
            said = error.msg
            if re.search(r"(?<![=<>!])=(?!=)", source):
                said += " (equality is written ==)"
            before = sum(map(len, source.splitlines(True)[: (error.lineno or 1) - 1]))
            at = before + error.offset - 1 if error.offset else len(source)
            raise self._error(said, at + self._skipped) from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise self._error(f"{error or 'too deep'}", 0) from None
        self._source = source.encode()
        self._get = self._read(tree.body, 0)

    def __call__(self, run: Named) -> bool:
        """Whether the run meets it."""
        return bool(self._get(run))

    def _plain(self, found: re.Match[str]) -> str:
        """A name in backticks as an identifier that takes up as much."""
        if found[1]:
            return found[0]
        self._backticked[found.start()] = found[2]
        return "_" * len(found[0])

    def _error(self, message: str, at: int) -> InvalidError:
        line = self.text.replace("\n", " ")
        return InvalidError(
            f"the condition can't be read at column {at + 1}: {message}\n  {line}\n  {' ' * at}^",
            hint=f"it may have {_KNOWN}",
        )

    def _at(self, node: ast.AST) -> int:
        """Where in the text it begins: the tree counts bytes."""
        line: int = getattr(node, "lineno", 1)
        offset: int = getattr(node, "col_offset", 0)
        offset += sum(len(each) for each in self._source.splitlines(True)[: line - 1])
        return len(self._source[:offset].decode()) + self._skipped

    def _read(self, node: ast.expr, depth: int) -> _Get:
        if depth > _DEEPEST:
            raise self._error("it is nested too deeply", self._at(node))
        match node:
            case ast.Constant(value=value) if value is None or isinstance(value, str | int | float):
                return lambda run: value
            case ast.Name() | ast.Attribute():
                return self._named(self._name(node), "")
            case ast.Call(func=ast.Name(id=where), args=[ast.Constant(value=str(name))], keywords=[]):
                if where in _WHERE:
                    return self._named(name, where)
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
                gets = [self._read(part, depth + 1) for part in parts]
                return lambda run: [get(run) for get in gets]
            case ast.BoolOp(op=op, values=parts):
                gets = [self._read(part, depth + 1) for part in parts]
                every = all if isinstance(op, ast.And) else any
                return lambda run: every(get(run) for get in gets)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                get = self._read(operand, depth + 1)
                return lambda run: not get(run)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                get = self._read(operand, depth + 1)
                return lambda run: _calculated(operator.sub, 0, get(run))
            case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _ARITHMETIC:
                calculate = _ARITHMETIC[type(operation)]
                one, other = self._read(left, depth + 1), self._read(right, depth + 1)
                return lambda run: _calculated(calculate, one(run), other(run))
            case ast.Compare(left=left, ops=ops, comparators=others):
                return self._comparison([left, *others], ops, depth)
        raise self._error(f"{type(node).__name__} is not among what a condition may have", self._at(node))

    def _comparison(self, parts: list[ast.expr], ops: list[ast.cmpop], depth: int) -> _Get:
        for op, part in zip(ops, parts[1:], strict=True):
            if type(op) not in _COMPARE:
                raise self._error("`is` compares identities, write ==", self._at(part))
        gets = [self._read(part, depth + 1) for part in parts]
        compare = [
            _COMPARE[type(op)] if _is_none(one) or _is_none(other) else _of_what_is_there(_COMPARE[type(op)])
            for op, one, other in zip(ops, parts, parts[1:], strict=False)
        ]

        def holds(run: Named) -> bool:
            values = [get(run) for get in gets]
            return all(
                each(one, other) for each, one, other in zip(compare, values, values[1:], strict=False)
            )

        return holds

    def _name(self, node: ast.expr) -> str:
        match node:
            case ast.Name(id=name):
                return self._backticked.get(self._at(node), name)
            case ast.Attribute(value=value, attr=attribute):
                return f"{self._name(value)}.{attribute}"
        raise self._error("only names have parts", self._at(node))

    def _named(self, name: str, where: str) -> _Get:
        self.names.append((name, where))
        return lambda run: run.value(name, where)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _of_what_is_there(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda one, other: one is not None and other is not None and compare(one, other)


def _number(value: Any) -> Any:
    """Text that reads as a number, or as true or false, as that; anything else as it is."""
    if isinstance(value, str):
        if value.lower() in ("true", "false"):
            return value.lower() == "true"
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _alike(one: Any, other: Any) -> tuple[Any, Any]:
    """Two values as they are compared: text and a number as numbers, if the text is one."""
    if isinstance(one, str) != isinstance(other, str):
        return _number(one), _number(other)
    return one, other


def _equal(one: Any, other: Any) -> bool:
    one, other = _alike(one, other)
    return bool(one == other)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def holds(one: Any, other: Any) -> bool:
        one, other = _alike(one, other)
        try:
            return compare(one, other)
        except TypeError:
            return False

    return holds


def _contained(one: Any, other: Any) -> bool:
    if isinstance(other, str):
        return isinstance(one, str) and one in other
    return isinstance(other, list) and any(_equal(one, each) for each in other)


def _calculated(calculate: Callable[[Any, Any], Any], one: Any, other: Any) -> Any:
    one, other = _number(one), _number(other)
    if not (isinstance(one, int | float) and isinstance(other, int | float)):
        return None
    try:
        return calculate(one, other)
    except (ZeroDivisionError, OverflowError):
        return None


_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    **{kind: _ordered(compare) for kind, compare in _ORDER.items()},
    ast.Eq: _equal,
    ast.NotEq: lambda one, other: not _equal(one, other),
    ast.In: _contained,
    ast.NotIn: lambda one, other: not _contained(one, other),
}
