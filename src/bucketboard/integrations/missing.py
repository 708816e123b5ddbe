"""What is said when the framework of a door is not installed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bucketboard.errors import InvalidError

__all__ = ["MissingError", "needs"]


class MissingError(InvalidError, ImportError):
    """A framework is not installed; the message names the extra that has it. An ImportError too."""


@contextlib.contextmanager
def needs(framework: str, extra: str) -> Iterator[None]:
    """Around the imports of a door: ``with needs("torch", "torch"): from torch... import ...``.

    Raises:
        MissingError: a module that these imports need is not there.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        wanted = (error.name or framework).partition(".")[0]
        because = "" if wanted.lower() == framework.lower() else f" ({wanted} is missing)"
        raise MissingError(
            f"{framework} is not installed{because}: pip install 'bucketboard[{extra}]'"
        ) from error
