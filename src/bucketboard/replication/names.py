"""Names of the event files that a writer stores in a run."""

from __future__ import annotations

import time

from bucketboard.errors import BucketboardError, Reason
from bucketboard.events.filename import PREFIX, EventFileName, newest_time
from bucketboard.store.bucket import Bucket

__all__ = ["RunNames"]


class RunNames:
    """Names for the event files of one run, each sorting behind all that are there.

    One LIST, when the first name is needed, finds the newest; where listing is denied the clock decides.
    """

    def __init__(self, bucket: Bucket, prefix: str, suffix: str) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._suffix = suffix
        self._newest: int | None = None
        self.blind = False
        """Whether listing was denied, so that reading may be too."""

    def next(self) -> str:
        """The next name: its time field is the later of now and one past the newest."""
        if self._newest is None:
            try:
                listing = self._bucket.list(f"{self._prefix}{PREFIX}", delimiter="/")
                self._newest = newest_time(info.key for info in listing.objects)
            except BucketboardError as error:
                if error.reason is not Reason.DENIED:
                    raise
                self._newest = -1
                self.blind = True
        self._newest = max(int(time.time()), self._newest + 1)
        return str(EventFileName.new(self._newest, self._suffix))
