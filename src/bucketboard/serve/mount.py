"""A place that is served, with what its last good listing showed."""

from __future__ import annotations

import time
from collections.abc import Mapping

from bucketboard.source import Source
from bucketboard.store.bucket import ObjectInfo

__all__ = ["Mount"]


class Mount:
    """With several of them each has a name, with which its runs begin."""

    def __init__(self, source: Source, name: str = "") -> None:
        self.source = source
        self.name = name
        self.files: Mapping[str, ObjectInfo] = {}
        """By path below the source."""
        self.listed: float | None = None
        """When that was, in seconds since the epoch."""
        self.changed = False
        """Whether the last good listing showed anything else than the one before."""
        self.trouble = ""
        """Why the last listing failed, "" if it did not."""

    def list(self) -> None:
        """List everything anew.

        Raises:
            BucketboardError: it can't be listed now; the last good listing is kept.
        """
        try:
            found = self.source.files()
        except Exception as error:
            self.trouble = str(error)
            raise
        self.changed, self.files = found != self.files, found
        self.listed = time.time()
        self.trouble = ""
