"""What a writer can be told about its log and its uploads."""

from __future__ import annotations

from dataclasses import dataclass

from bucketboard.errors import InvalidError
from bucketboard.replication.cadence import Cadence
from bucketboard.replication.plan import MIN_PART
from bucketboard.store.settings import setting

__all__ = ["AUTO", "MEMORY", "Options"]

AUTO = "auto"
MEMORY = "none"
_SPOOL_LIMIT = 2 << 30
_MEMORY_LIMIT = 48 << 20


@dataclass(frozen=True)
class Options:
    """Sizes in bytes, times in seconds. Each is also read from ``BUCKETBOARD_<NAME>``."""

    spool: str = setting(AUTO, help="directory of the spool; auto: the user's; none: keep the log in memory")
    append: str = setting(AUTO, help="grow one object, or write segments; auto: grow where it is cheap")
    upload_every: float | None = setting(None, "float", help="seconds between uploads; default 10, later 60")
    max_lag: float = setting(120.0, "float", help="the longest an event waits for its upload")
    roll_size: int = setting(256 << 20, "int", help="size at which the next event file begins")
    log_limit: int | None = setting(None, "int", help="bytes kept for S3; default 2 GiB, in memory 48 MiB")
    close_timeout: float = setting(60.0, "float", help="how long close() waits for S3")
    drain_on_sigterm: bool = setting(
        False, "bool", help="on SIGTERM upload first, then do what was done before"
    )
    gather_metadata: bool = setting(
        True, "bool", help="keep git commit, host, versions and job on the objects"
    )
    gather_command: bool = setting(
        False, "bool", help="keep the command line in bucketboard.json, without what looks like a secret"
    )
    rank_zero_only: bool = setting(False, "bool", help="write only in the process of rank 0")

    def __post_init__(self) -> None:
        if self.append not in (AUTO, "grow", "segments"):
            raise InvalidError(
                f"append={self.append!r} is not known", hint="use 'auto', 'grow' or 'segments'"
            )
        if self.upload_every is not None and not self.upload_every > 0:
            raise InvalidError(f"upload_every={self.upload_every!r} must be above 0 seconds")
        if not self.max_lag > 0:
            raise InvalidError(f"max_lag={self.max_lag!r} must be above 0 seconds")
        if self.roll_size < 1 << 16:
            raise InvalidError(f"roll_size={self.roll_size!r} must be at least 65536 bytes")
        if self.log_limit is not None and self.log_limit <= 0:
            raise InvalidError(f"log_limit={self.log_limit!r} must be above 0 bytes")
        if self.close_timeout < 0:
            raise InvalidError(f"close_timeout={self.close_timeout!r} must not be negative")

    @property
    def in_memory(self) -> bool:
        """Whether the log is kept in memory alone."""
        return self.spool == MEMORY

    def limit(self, in_memory: bool) -> int:
        """The bytes that may wait for S3."""
        if self.log_limit is not None:
            return self.log_limit
        return _MEMORY_LIMIT - MIN_PART if in_memory else _SPOOL_LIMIT

    @property
    def cadence(self) -> Cadence:
        """When uploads are due."""
        return Cadence(self.upload_every, self.max_lag)
