"""What was done and what was found: numbers only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bucketboard.testing import Injection


class Table:
    """Rows in the order in which they were first named, and what did not hold."""

    def __init__(self) -> None:
        self.rows: dict[str, float] = {}
        self.wrong: list[str] = []

    def add(self, what: str, number: float = 1) -> None:
        self.rows[what] = self.rows.get(what, 0) + number

    def most(self, what: str, number: float) -> None:
        self.rows[what] = max(self.rows.get(what, 0), number)

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            self.wrong.append(what)

    def faults(self, injected: Iterable[Injection]) -> None:
        """How often each was committed, by its kind."""
        for injection in injected:
            fault = injection.fault
            status = f" {fault.status}" if fault.kind.value == "status" else ""
            self.add(f"faults: {fault.kind.value.replace('_', ' ')}{status}", injection.fired)

    def take(self, other: Table) -> None:
        """Add the numbers of another part."""
        for what, number in other.rows.items():
            (self.most if ", ms" in what else self.add)(what, number)
        self.wrong += other.wrong

    def show(self) -> str:
        groups: dict[str, None] = dict.fromkeys(what.partition(":")[0] for what in self.rows)
        ordered = [what for group in groups for what in self.rows if what.partition(":")[0] == group]
        width = max(map(len, ordered))
        lines = [f"{what:<{width}}  {self.rows[what]:>12,.6g}" for what in ordered]
        return "\n".join([*lines, *(f"WRONG: {each}" for each in self.wrong)])

    def as_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "wrong": self.wrong}
