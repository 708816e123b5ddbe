"""The error tree: few kinds, each telling the caller what to do.

    BucketboardError
    ├── InvalidError        the request can't work as it is: change the argument, setting or permission
    ├── UnavailableError    it may work later: retried in the background, raised only where a caller waits
    │   └── IncompleteError     of a directory not all files could be stored; has the report
    ├── CorruptDataError    stored or given bytes are not what they should be
    ├── FencedError         somebody else wrote to the object that was ours alone
    ├── DroppedError        the log limit was reached and newest events were left out
    └── ClosedError         the writer was closed

Every error names what failed and on which object, and carries a ``hint`` that says what to do about it.
Errors of other libraries are translated at the border where they arise and stay reachable as ``__cause__``.
"""

from __future__ import annotations

import enum

__all__ = [
    "BucketboardError",
    "ClosedError",
    "CorruptDataError",
    "DroppedError",
    "FencedError",
    "InvalidError",
    "Reason",
    "UnavailableError",
]


class Reason(enum.Enum):
    """Why an operation on an object failed, as far as the answer tells. For code; people read the message."""

    OTHER = enum.auto()
    PRECONDITION = enum.auto()
    """A condition (If-Match, If-None-Match) did not hold."""
    CONFLICT = enum.auto()
    """Another write to the same key was under way."""
    NOT_FOUND = enum.auto()
    NO_SUCH_UPLOAD = enum.auto()
    NO_SUCH_BUCKET = enum.auto()
    DENIED = enum.auto()
    IDENTITY = enum.auto()
    """The credentials themselves are not accepted, or there are none."""
    UNSUPPORTED = enum.auto()
    """The server does not know the operation or one of its options."""
    INVALID_STATE = enum.auto()
    """The object can't be read in its storage class."""
    OUTCOME_UNKNOWN = enum.auto()
    """No answer arrived: the operation may have taken place or not."""


class BucketboardError(Exception):
    """Root of everything bucketboard raises on purpose.

    ``message`` says what failed and on which object; ``hint`` what to do, "" where nothing can be advised.
    """

    def __init__(self, message: str, *, hint: str = "", reason: Reason = Reason.OTHER) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class InvalidError(BucketboardError, ValueError):
    """The request can't work as it is; change the argument, the setting or the permission."""


class UnavailableError(BucketboardError):
    """The other side did not do it now and may do it later."""


class CorruptDataError(BucketboardError):
    """Bytes that fail their checksum or do not parse."""


class FencedError(BucketboardError):
    """Another writer changed the object; ours stopped rather than overwrite it."""


class DroppedError(BucketboardError):
    """The log reached its limit; newest events are left out and counted."""


class ClosedError(BucketboardError):
    """An operation on a writer that was closed."""
