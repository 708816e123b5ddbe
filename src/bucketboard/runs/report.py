"""What a command that changes runs did, or would do."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["ChangeReport", "Left"]


@dataclass(frozen=True, slots=True)
class Left:
    """A run that was left as it was, in whole or in part, and why; a key where an object is in no run."""

    run: str
    reason: str


@dataclass
class ChangeReport:
    """What a command did; with ``dry_run``, or where it was declined, what it would have done."""

    command: str
    url: str
    id: str = ""
    """Of the change; "" if nothing was begun."""
    runs: list[str] = field(default_factory=list)
    """Names below ``url``; "." is its top."""
    objects: int = 0
    bytes: int = 0
    target: str = ""
    """Where they went: the trash, another prefix; "" if they are gone for good, or where they were."""
    left: list[Left] = field(default_factory=list)
    resumed: list[str] = field(default_factory=list)
    """Interrupted commands that were brought to their end first, such as "rm s3://bucket/exp"."""
    dry_run: bool = False
    declined: bool = False

    @property
    def complete(self) -> bool:
        """Whether all was done that was asked for."""
        return not self.left and not self.declined
