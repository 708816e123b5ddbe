"""The experiment's description: what writers say of their runs."""

from __future__ import annotations

from collections.abc import Sequence

from bucketboard.serve.run import Run

__all__ = ["description"]

_MOST_RUNS = 100


def description(runs: Sequence[Run]) -> str:
    """What all runs have in common in one line, then a line for each run with the rest; "" without any.

    TensorBoard has one description for everything it shows and none for a run.
    """
    said = {run.name: run.numbered[-1].said.items() for run in runs if run.numbered}
    common = set.intersection(*map(set, said.values())) if len(said) > 1 else set()
    lines = []
    if common:
        first = next(iter(said.values()))
        lines.append(_line("all runs", [pair for pair in first if pair in common]))
    for run in sorted(said)[:_MOST_RUNS]:
        if rest := [pair for pair in said[run] if pair not in common]:
            lines.append(_line(run, rest))
    return "\n".join(lines)


def _line(what: str, pairs: Sequence[tuple[str, str]]) -> str:
    return f"{what}: {', '.join(f'{key}={value}' for key, value in pairs)}"
