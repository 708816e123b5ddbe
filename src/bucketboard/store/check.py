"""What is found when a bucket is examined."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bucketboard.errors import BucketboardError, Reason

__all__ = ["Check", "attempt"]

_UNTOLD = {Reason.DENIED, Reason.UNSUPPORTED}


@dataclass(frozen=True)
class Check:
    """One thing looked at. ``ok``: True, False, or None where it could not be told."""

    name: str
    ok: bool | None
    detail: str
    data: Mapping[str, object] = field(default_factory=dict)
    """The same for programs: counts, answers, a rule to add."""


def attempt(name: str, action: Callable[[], Check | str], *, optional: bool = False) -> Check:
    """The check that ``action`` makes, or that its words are the detail of; an error of ours is its failure.

    Of what is ``optional``, a refusal to tell is no failure.
    """
    try:
        made = action()
    except BucketboardError as error:
        return Check(name, None if optional and error.reason in _UNTOLD else False, str(error))
    return made if isinstance(made, Check) else Check(name, True, made)
