"""The replica: makes one object in S3 equal to the first *n* bytes of one log file, over and over.

Its state is the ETag of the last write that S3 acknowledged. Any failure forgets it, and the next attempt
asks S3 what is there: a prefix of this very log is adopted, whatever else means that somebody else wrote.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from bucketboard.errors import BucketboardError, FencedError, InvalidError, Reason, UnavailableError
from bucketboard.events.record import crc32c
from bucketboard.replication.log import LogFile, State
from bucketboard.replication.metadata import ObjectMetadata
from bucketboard.replication.names import RunNames
from bucketboard.replication.plan import MAX_TAIL, MIN_PART, Append, Put, plan
from bucketboard.replication.position import Boundary
from bucketboard.store.bucket import Bucket, Content, ObjectInfo, Part
from bucketboard.store.capabilities import FALSE_ETAG, Capabilities

__all__ = ["PARTS_AT_ONCE", "LogChanged", "NameTaken", "ObjectGone", "Replica", "SegmentsNeeded"]

CONTENT_TYPE = "application/octet-stream"
PARTS_AT_ONCE = 4
"""Parts of one object that are copied or sent side by side."""
_STRAY_TRIES = 3
_REFUSALS = (Reason.PRECONDITION, Reason.CONFLICT, Reason.NOT_FOUND, Reason.NO_SUCH_UPLOAD)


_In = TypeVar("_In")
_Out = TypeVar("_Out")


def _side_by_side(action: Callable[[_In], _Out], items: Iterable[_In]) -> list[_Out]:
    """``action`` of each item, a few at a time; items are taken only as they are needed."""
    coming = iter(items)
    first = list(itertools.islice(coming, 2))
    if len(first) < 2:  # nothing to be gained by a thread
        return [action(item) for item in first]
    results: list[_Out] = []
    running: deque[Future[_Out]] = deque()
    with ThreadPoolExecutor(PARTS_AT_ONCE) as pool:
        for item in itertools.chain(first, coming):
            try:
                running.append(pool.submit(action, item))
            except RuntimeError:  # the interpreter is ending, and starts no more threads
                results += [future.result() for future in running]
                running.clear()
                results.append(action(item))
                continue
            if len(running) == PARTS_AT_ONCE:
                results.append(running.popleft().result())
        return results + [future.result() for future in running]


class SegmentsNeeded(Exception):
    """The object can't grow here, and why; what is new has to go to objects of its own."""


class ObjectGone(Exception):
    """The object was deleted and its beginning is no longer at hand."""


class NameTaken(Exception):
    """Before our first write there is an object of this name that is no prefix of the log."""


class LogChanged(Exception):
    """What the log holds is not what it held when it was measured."""


class Replica:
    """One object that follows one log file. Used by one thread.

    ``prefix`` is the run's, with a slash behind; ``names`` gives names for a file that has none yet (None:
    its name is its own). ``sent`` is given for a file found in the spool: the bytes its writer knew S3 to
    have. ``most`` bytes, as far as records allow, are added by one upload.
    """

    def __init__(
        self,
        bucket: Bucket,
        prefix: str,
        file: LogFile,
        capabilities: Capabilities,
        names: RunNames | None,
        user: Mapping[str, str],
        gathered: Mapping[str, str] | None = None,
        *,
        sent: int | None = None,
        most: int = MAX_TAIL,
    ) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._file = file
        self._can = capabilities
        self._names = names
        self._user = user
        self._gathered = gathered or {}
        self._etag: str | None = None
        self._known = sent is None or not file.name  # what never had a name was never sent
        self._began = bool(sent)
        self._attempted: deque[Boundary] = deque(maxlen=16)
        self._uncertain: Boundary | None = None
        self._state = State.LIVE
        self._strays = sent is not None
        self._most = most

    def resume(self, etag: str, state: State, *, ours: bool) -> None:
        """Begin where an earlier replica stopped: the object with this ETag is the file's stored part.

        ``ours``: we wrote it, so that whoever writes to it now is another writer.
        """
        self._etag, self._state, self._known, self._began = etag, state, True, ours

    @property
    def etag(self) -> str | None:
        """Of the object as we last knew it."""
        return self._etag

    @property
    def state(self) -> State:
        """What the object's metadata says of it."""
        return self._state

    @property
    def key(self) -> str:
        """The object's key, once it is settled."""
        return f"{self._prefix}{self._file.name}"

    @property
    def complete(self) -> bool:
        """Whether the file is sealed and S3 has all of it, marked as finished."""
        file = self._file
        return file.sealed and file.stored.bytes == file.end.bytes and self._state is file.state

    @property
    def resent(self) -> int:
        """The bytes of the next upload that are stored already."""
        stored = self._file.stored.bytes
        return stored if stored < MIN_PART else 0

    def advance(self) -> bool:
        """Send what is new, one upload's worth. False when there is nothing to send.

        Raises:
            SegmentsNeeded, ObjectGone, NameTaken, LogChanged: it can't go on so; the caller rearranges.
            FencedError: somebody else wrote to the object.
            BucketboardError: it did not work this time.
        """
        file = self._file
        if not file.name:
            self._rename()
        if not self._known:
            self._look()
        target = file.next_boundary(self._most)
        final = file.sealed and target.bytes == file.end.bytes
        state = file.state if final else State.LIVE
        least = 0 if final else file.begin.bytes  # the first record alone is not worth an object
        if target.bytes <= max(file.stored.bytes, least) and state is self._state:
            return False
        self._send(target, state)
        return True

    def put_whole(self) -> None:
        """Send a sealed file as an object that is written once and never replaced."""
        file = self._file
        if not file.name:
            self._rename()
        if not self._known:
            self._look()
            if self.complete:
                return
        if file.stored.bytes:
            raise SegmentsNeeded("a part of the file was stored before")
        self._attempted.append(file.end)
        try:
            info = self._put(self._body(file.end), file.end, file.state, None)
            self._acknowledge(info, file.end, file.state)
        except BucketboardError as error:
            self._failed(error)

    def settle(self) -> None:
        """Make sure of what the object holds, before it is left as it is and the rest goes elsewhere.

        Raises:
            ObjectGone: it holds nothing any more, and its beginning is no longer at hand.
            FencedError: somebody else wrote to it.
            BucketboardError: it did not work this time.
        """
        if not self._known:
            self._see()
        self.drop_strays()

    def drop_strays(self) -> None:
        """Abort what failed attempts of ours left of multipart uploads on this very key.

        Tried a few times: what is left is billed until a lifecycle rule removes it, and nobody else will.
        """
        if not self._strays or not self._file.name:
            return
        for _ in range(_STRAY_TRIES):
            try:
                for upload_id, _started in list(self._bucket.uploads(self.key)):
                    self._bucket.abort_upload(self.key, upload_id)
            except UnavailableError:
                continue
            except BucketboardError:  # not permitted, or not known here
                return
            self._strays = False
            return

    def _rename(self) -> None:
        if self._names is None:
            raise NameTaken(f"s3://{self._bucket.name}/{self.key} holds something else")
        self._file.name = self._names.next()
        self._file.storage.note(name=self._file.name)

    def _send(self, target: Boundary, state: State) -> None:
        file = self._file
        self._attempted.append(target)
        try:
            if self._can.put_conditions is None:
                self._probe(file.begin if file.stored.bytes <= file.begin.bytes else target)
            step = plan(file.stored.bytes, target.bytes, first=file.storage.first)
            if self._etag is not None and self._conditions_missing(step):
                self._verify()
                if file.stored.bytes > target.bytes:
                    return  # an earlier attempt arrived after all
                step = plan(file.stored.bytes, target.bytes, first=file.storage.first)
            if isinstance(step, Put):
                info = self._put(self._body(target), target, state, self._etag)
            else:
                info = self._append(step, target, state)
        except BucketboardError as error:
            self._failed(error)
        else:
            first = not self._began
            self._acknowledge(info, target, state)
            if first and self._names and self._names.blind:
                self._look_once()

    def _body(self, boundary: Boundary) -> bytes:
        """Everything before ``boundary``."""
        body = self._file.storage.read(0, boundary.bytes)
        if crc32c(body) != boundary.crc:
            raise LogChanged(self._file.name)
        return body

    def _look_once(self) -> None:
        """Find out early whether what is written may be read, as growing an object needs."""
        try:
            self._bucket.head(self.key)
        except BucketboardError as error:
            if error.reason is Reason.DENIED:
                raise SegmentsNeeded(f"this identity can write but not read ({error.message})") from error

    def _conditions_missing(self, step: Put | Append) -> bool:
        if isinstance(step, Put):
            return self._can.put_conditions is False
        return not self._can.complete_conditions

    def _probe(self, boundary: Boundary) -> None:
        """Learn whether the server heeds conditions, by a PUT of the first bytes under a false one.

        If it does not, they are stored: the bytes are right either way.
        """
        if not 0 < boundary.bytes <= MIN_PART:
            return
        body = self._body(boundary)
        content = self._content(boundary, State.LIVE)
        try:
            info = self._bucket.put(self.key, body, content, crc=boundary.crc, if_match=FALSE_ETAG)
        except BucketboardError as error:
            if error.reason in (Reason.PRECONDITION, Reason.NOT_FOUND):
                self._can.put_conditions = True
            elif error.reason is Reason.UNSUPPORTED:
                self._can.put_conditions = False
            elif error.reason is not Reason.DENIED:
                raise
        else:
            self._can.put_conditions = False
            self._acknowledge(info, boundary, State.LIVE)

    def _put(self, body: bytes, target: Boundary, state: State, etag: str | None) -> ObjectInfo:
        conditional = self._can.put_conditions is not False
        return self._bucket.put(
            self.key,
            body,
            self._content(target, state),
            crc=target.crc,
            if_match=etag if conditional else None,
            if_none_match=conditional and etag is None,
        )

    def _append(self, step: Append, target: Boundary, state: State) -> ObjectInfo:
        if step.copies and self._can.part_copy is False:
            raise SegmentsNeeded("the server can't copy parts of objects")
        strays, self._strays = self._strays, True  # until S3 has acknowledged the end of this upload
        upload_id = self._bucket.create_upload(self.key, self._content(target, state))
        try:
            parts = self._copy(step, upload_id) + self._upload_tail(step, upload_id, target)
            info = self._complete(upload_id, parts, target)
        except BaseException as error:
            unknown = isinstance(error, BucketboardError) and error.reason is Reason.OUTCOME_UNKNOWN
            if not unknown:
                with contextlib.suppress(BucketboardError):
                    self._bucket.abort_upload(self.key, upload_id)
                    self._strays = strays
            raise
        self._strays = strays
        return info

    def _upload_tail(self, step: Append, upload_id: str, target: Boundary) -> list[Part]:
        stored = self._file.stored if step.copies else Boundary()

        def bodies() -> Iterator[tuple[int, bytes]]:
            crc = stored.crc
            for number, (start, stop) in enumerate(step.tails, len(step.copies) + 1):
                body = self._file.storage.read(start, stop)
                # The few bytes that equal ranges leave of what is stored are sent again.
                crc = crc32c(body[stored.bytes - start :] if start < stored.bytes else body, crc)
                yield number, body
            if crc != target.crc:
                raise LogChanged(self._file.name)

        def upload(numbered: tuple[int, bytes]) -> Part:
            number, body = numbered
            return self._bucket.upload_part(self.key, upload_id, number, body, crc32c(body))

        return _side_by_side(upload, bodies())

    def _copy(self, step: Append, upload_id: str) -> list[Part]:
        etag = self._etag or ""

        def copy(numbered: tuple[int, tuple[int, int]]) -> Part:
            number, (start, stop) = numbered
            return self._bucket.copy_part(self.key, upload_id, number, start, stop, etag)

        if not step.copies:
            return []
        try:
            parts = _side_by_side(copy, enumerate(step.copies, 1))
        except InvalidError as error:
            if error.reason in (Reason.NO_SUCH_BUCKET, Reason.IDENTITY):
                raise
            if error.reason not in (Reason.DENIED, Reason.INVALID_STATE):
                self._can.part_copy = False
            raise SegmentsNeeded(f"copying parts is refused ({error.message})") from error
        self._can.part_copy = True
        return parts

    def _complete(self, upload_id: str, parts: list[Part], target: Boundary) -> ObjectInfo:
        def complete(etag: str | None) -> ObjectInfo:
            return self._bucket.complete_upload(
                self.key,
                upload_id,
                parts,
                size=target.bytes,
                crc=target.crc,
                if_match=etag,
                if_none_match=conditional and etag is None,
            )

        conditional = self._can.complete_conditions is not False
        if self._can.complete_conditions is None:
            try:
                info = complete(FALSE_ETAG)
            except BucketboardError as error:
                if error.reason not in (Reason.PRECONDITION, Reason.NOT_FOUND):
                    raise
                self._can.complete_conditions = True
            else:
                self._can.complete_conditions = False
                return info
        return complete(self._etag if self._can.complete_conditions else None)

    def _content(self, target: Boundary, state: State) -> Content:
        damaged = self._file.damaged
        metadata = ObjectMetadata(
            self._file.log_id,
            secrets.token_hex(8),
            target.bytes,
            target.crc,
            state,
            self._user,
            damaged if damaged is not None and damaged < target.bytes else None,
            self._gathered,
        )
        return Content(CONTENT_TYPE, metadata.headers(), final=state is not State.LIVE)

    def _acknowledge(self, info: ObjectInfo, target: Boundary, state: State) -> None:
        self._etag = info.etag
        self._uncertain = None
        if info.version_id is not None:
            self._can.versioned = True
        self._known = True
        self._began = True
        self._state = state
        self._file.acknowledge(target, keep=MIN_PART)
        self._file.storage.note(sent=target.bytes)

    def _failed(self, error: BucketboardError) -> None:
        """Forget what was known; find out at once what a refused condition means, else leave it for later."""
        if error.reason is Reason.DENIED and self._etag is not None:  # the object is what it was
            raise SegmentsNeeded(f"replacing the object is refused ({error.message})") from error
        before = (self._etag, self._file.name)
        self._known = False
        if error.reason is Reason.OUTCOME_UNKNOWN:
            self._uncertain = self._attempted[-1] if self._attempted else None
        if error.reason not in _REFUSALS:
            raise error
        self._look(refused=error.reason is Reason.PRECONDITION)
        if error.reason is Reason.CONFLICT or before == (self._etag, self._file.name):
            raise error  # nothing changed that the next attempt could build on: wait before it

    def _verify(self) -> None:
        """For a server without conditions: look whether the object is still the one we wrote."""
        info = self._bucket.head(self.key)
        if info.etag != self._etag:
            self._adopt(info)

    def _look(self, *, refused: bool = False) -> None:
        """Find out what is stored, as far as looking is permitted."""
        try:
            self._see()
        except BucketboardError as error:
            if error.reason is not Reason.DENIED:
                raise
            self._look_blind(error, refused)

    def _see(self) -> None:
        """Find out what is stored, and adopt it if it is a prefix of this log."""
        try:
            info = self._bucket.head(self.key)
        except BucketboardError as error:
            if error.reason is not Reason.NOT_FOUND:
                raise
            self._gone()
        else:
            self._adopt(info)

    def _adopt(self, info: ObjectInfo) -> None:
        metadata = ObjectMetadata.parse(info.metadata)
        if metadata is None or metadata.log_id != self._file.log_id or metadata.length != info.size:
            self._foreign(info)
            return
        candidates = (*self._attempted, self._file.boundary_at(metadata.length))
        for boundary in candidates:
            if boundary and (boundary.bytes, boundary.crc) == (metadata.length, metadata.crc32c):
                break
        else:
            self._foreign(info)
            return
        if boundary.bytes < self._file.storage.first:
            raise ObjectGone(f"s3://{self._bucket.name}/{self.key} is back at an earlier state")
        self._acknowledge(info, boundary, metadata.state)

    def _foreign(self, info: ObjectInfo) -> None:
        """Somebody else's object: before our first write its name is taken, after it we are fenced."""
        if not self._began and self._file.stored.bytes == 0:
            self._rename()
            self._known, self._etag = True, None
            return
        raise FencedError(
            f"s3://{self._bucket.name}/{self.key} was changed by somebody else; "
            "this writer stopped and left it alone",
            hint="give each writer a run of its own; a spool, if there is one, keeps what was logged since",
            reason=Reason.PRECONDITION,
        )

    def _gone(self) -> None:
        if self._began and self._file.storage.first > 0:
            raise ObjectGone(f"s3://{self._bucket.name}/{self.key} was deleted")
        self._known, self._etag, self._state = True, None, State.LIVE
        self._file.acknowledge(Boundary(), keep=MIN_PART)

    def _look_blind(self, error: BucketboardError, refused: bool) -> None:
        """Go on without permission to look.

        A name that is taken after an attempt of unknown outcome was taken by that attempt; taken at the
        first attempt, it is somebody else's.
        """
        if not refused:
            self._known = True  # try again under the same condition, and learn from its refusal
        elif self._uncertain is not None:
            state = self._file.state if self._uncertain == self._file.end else State.LIVE
            self._acknowledge(ObjectInfo(self.key, self._uncertain.bytes, ""), self._uncertain, state)
            if state is State.LIVE:
                raise SegmentsNeeded(f"this identity can write but not read ({error.message})") from error
        elif self._began:
            self._foreign(ObjectInfo(self.key, 0, ""))
        else:
            self._rename()
            self._known = True
