"""The follower: makes one object follow one local file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from bucketboard.errors import BucketboardError, FencedError, Reason
from bucketboard.events.filename import is_event_file
from bucketboard.logdir.cache import Row
from bucketboard.logdir.compare import Stored, compare
from bucketboard.logdir.options import SyncOptions
from bucketboard.logdir.source import Source, SourceFile
from bucketboard.logdir.tree import Found
from bucketboard.replication.log import State
from bucketboard.replication.plan import MIN_PART, Append, plan
from bucketboard.replication.position import Boundary
from bucketboard.replication.replica import LogChanged, NameTaken, Replica, SegmentsNeeded
from bucketboard.replication.uploader import Target
from bucketboard.store.bucket import ObjectInfo
from bucketboard.store.capabilities import Capabilities

__all__ = ["CANT_LIST_UPLOADS", "Follower", "Outcome"]

CANT_LIST_UPLOADS = (Reason.DENIED, Reason.UNSUPPORTED, Reason.NO_SUCH_UPLOAD)
"""Why uploads that were left behind can't be found; rclone gives the last of these."""
_TRIES = 4
_REMEMBERED_END = 4096
_CLOCK_TICK_NS = 1_000_000_000
"""A file may change within one tick of its modification time, unseen; file systems tell at least seconds."""


@dataclass(frozen=True)
class Outcome:
    """What one pass over a file did.

    ``sent``: there was something to send, ``bytes`` of it, and it was sent unless the run is dry.
    ``complete``: the bucket has all of the file as it was found. ``damage``: what is wrong behind its last
    whole record. ``replaced``: why nothing of the object could stay.
    """

    sent: bool
    bytes: int
    complete: bool
    damage: str = ""
    replaced: str = ""


class Follower:
    """One file's replication. Between passes it remembers a row; used by one thread at a time.

    ``listed`` is the object as the listing showed it, None where it showed none. ``remember`` is called with
    the row when what is known changes, and (second argument) before what could leave something behind.
    """

    def __init__(
        self,
        target: Target,
        options: SyncOptions,
        can: Capabilities,
        row: Row | None,
        listed: ObjectInfo | None,
        remember: Callable[[Row, bool], None],
    ) -> None:
        self._target = target
        self._options = options
        self._can = can
        self._row = row or Row()
        self._listed = listed
        self._remember = remember
        # The listing confirms what the cache says, or there is nothing to confirm.
        confirmed = listed is not None and bool(listed.etag) and listed.etag == self._row.etag
        self._known = confirmed and not options.checksum
        self._unseen: BucketboardError | None = None
        """Why the object could not be looked at, where it could not."""
        self._began = False
        self._end = b""
        """The last bytes of what this process has stored of an event file."""
        self.whole = "as asked" if options.append == "whole" else ""
        """Why the object can't grow and the file is sent whole, "" while it can."""
        self.source: Source | None = None
        """What is being read right now."""

    @property
    def resent(self) -> int:
        """The bytes of the next upload that are stored already."""
        return self._row.length if self.whole or self._row.length < MIN_PART else 0

    @property
    def stored(self) -> int:
        """The bytes that the object held when it was last seen."""
        return self._row.length

    @property
    def live(self) -> bool:
        """Whether this process left the object marked as one that may still grow."""
        return self._began and self._row.state == State.LIVE.value

    def unchanged(self, found: Found) -> bool:
        """Whether it is known without a look that the object has all of the file."""
        row = self._row
        same = (row.inode, row.size, row.mtime_ns, row.length) == (
            found.inode,
            found.size,
            found.mtime_ns,
            found.size,
        )
        return self._known and same and not row.strays

    def advance(self, source: Source, *, final: bool) -> Outcome:
        """Send what is new of the file; ``final``: also what is torn, and mark the object as finished.

        Raises:
            LogChanged: the file changed under our hands, and wants to be looked at again.
            FencedError: somebody else writes to the object.
            BucketboardError: it did not work this time.
        """
        with source:
            self.source = source
            try:
                return self._advance(source, final)
            finally:
                self.source = None

    def _advance(self, source: Source, final: bool) -> Outcome:
        if self._row.strays and not self._options.dry_run:
            self._drop_strays(source.found)
        for _ in range(_TRIES):
            stored = self._stored_of(source)
            try:
                return self._send(source, stored, final)
            except NameTaken:  # the object is younger than the listing
                if self._unseen is not None:
                    raise self._unseen from None
                self._forget()
            except FencedError:
                self._forget()
                if self._began:
                    raise
                # Changed since the listing, or a refusal that meant something else: look at it.
            except SegmentsNeeded as reason:
                if self.whole and isinstance(reason.__cause__, BucketboardError):
                    raise reason.__cause__ from None  # whole files are refused as well
                self.whole = str(reason)
            except BaseException:
                self._forget()
                raise
        raise LogChanged(f"{self._target}/{source.found.path} keeps changing")

    def _key(self, found: Found) -> str:
        return f"{self._target.prefix}{found.path}"

    def _forget(self) -> None:
        """Whether the object is what it was is not known: look at it before the next write."""
        self._known = False
        self._end = b""
        if self._listed is None:
            self._listed = ObjectInfo("", 0, "")

    def _learn(self, row: Row) -> None:
        self._row = row
        self._known = True
        self._remember(row, False)

    def _drop_strays(self, found: Found) -> None:
        """Abort the uploads that an earlier attempt, perhaps of a killed process, left on this very key."""
        key = self._key(found)
        try:
            for upload_id, _ in list(self._target.bucket.uploads(key)):
                self._target.bucket.abort_upload(key, upload_id)
        except BucketboardError as error:
            if error.reason not in CANT_LIST_UPLOADS:
                raise
        self._row = replace(self._row, strays=False)
        self._remember(self._row, False)

    def _stored_of(self, source: Source) -> Stored:
        """What the object has of the file: by what is known of it, else by a HEAD."""
        row = self._row
        if self._known:
            boundary = Boundary(row.length, 0, row.crc)
            if self._begins_with(source, boundary):
                return Stored(row.etag, boundary, row.log_id, State(row.state))
            return Stored.nothing(row.etag, "the file does not begin with what was stored of it")
        self._unseen = None
        if self._listed is None:
            return Stored.nothing()
        try:
            info = self._target.bucket.head(self._key(source.found))
        except BucketboardError as error:
            if error.reason is Reason.DENIED and not self._began:
                self._unseen = error  # whether it is there, its creation will tell
            elif error.reason is not Reason.NOT_FOUND:
                raise
            return Stored.nothing()
        stored = compare(source, info)
        if not stored.replaces:
            self._learn(self._row_of(source, info.etag, stored.boundary, 0, stored.log_id, stored.state))
        elif self._began and stored.found_log != row.log_id:
            raise FencedError(
                f"s3://{self._target.bucket.name}/{info.key} was changed by somebody else; it was left alone",
                hint="replicate each directory to a prefix of its own",
            )
        return stored

    def _begins_with(self, source: Source, stored: Boundary) -> bool:
        if source.size < stored.bytes:
            return False
        if self._end and self._row.inode == source.found.inode:
            # An event file that grew under our eyes is not read from its beginning each time.
            return source.read(stored.bytes - len(self._end), stored.bytes) == self._end
        return source.crc(stored.bytes) == stored.crc

    def _row_of(
        self, source: Source, etag: str, stored: Boundary, whole: int, log_id: str, state: State
    ) -> Row:
        found = source.found
        settled = time.time_ns() - found.mtime_ns > _CLOCK_TICK_NS and source.unchanged
        return Row(
            found.inode,
            found.size,
            found.mtime_ns if settled else 0,
            etag,
            stored.bytes,
            stored.crc,
            whole,
            log_id,
            state.value,
        )

    def _send(self, source: Source, stored: Stored, final: bool) -> Outcome:
        events = is_event_file(source.found.path)
        base = Boundary() if self.whole else stored.boundary
        known = self._row.whole if self._known and not (self.whole or stored.replaces) else 0
        file = SourceFile(stored.log_id, source, stored=base, whole=known)
        if events:
            file.measure_records()
        if final or not events:
            file.measure_all()
            file.seal(State.CLOSED)
        if not events and not source.unchanged:
            raise LogChanged(f"{source.found.path} is being written")
        added = file.end.bytes - stored.boundary.bytes
        outcome = Outcome(True, added, file.end.bytes == source.size, file.damage, stored.replaces)
        new = file.end.bytes > stored.boundary.bytes or stored.etag is None or stored.replaces
        if not (new or (final and self.live)):
            if outcome.complete:
                self._confirm(source, file)
            return replace(outcome, sent=False, bytes=0)
        if self._options.dry_run:
            return outcome
        sent = self._write(source, stored, file)
        return replace(outcome, sent=sent, complete=file.stored.bytes == source.size)

    def _confirm(self, source: Source, file: SourceFile) -> None:
        """Remember that the file, as it was found, is what is stored: it need not be read again."""
        row = self._row
        stored = Boundary(row.length, 0, row.crc)
        now = self._row_of(source, row.etag, stored, file.whole, row.log_id, State(row.state))
        if now != row and self._known:
            self._learn(now)

    def _write(self, source: Source, stored: Stored, file: SourceFile) -> bool:
        target = self._target
        replica = Replica(target.bucket, target.prefix, file, self._can, None, target.user, most=sys.maxsize)
        if stored.etag is not None:
            replica.resume(stored.etag, stored.state, ours=self._began)
        if isinstance(plan(file.stored.bytes, file.end.bytes), Append):
            self._row = replace(self._row, strays=True)
            self._remember(self._row, True)
        sent = False
        while replica.advance():
            sent = True
        if not sent:
            return False
        self._began = True
        self._learn(
            self._row_of(source, replica.etag or "", file.stored, file.whole, file.log_id, replica.state)
        )
        if is_event_file(source.found.path):
            self._end = source.read(max(0, file.stored.bytes - _REMEMBERED_END), file.stored.bytes)
        if self._can.versioned and self._options.append == "auto":
            self.whole = "the bucket keeps every replaced version"
        return True
