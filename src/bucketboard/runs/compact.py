"""Compacting a run: its many small event files become few, with the same bytes in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from bucketboard.errors import BucketboardError, CorruptDataError, InvalidError
from bucketboard.events.scanner import record_ends
from bucketboard.journal import Journal, Move, journal_key, new_id
from bucketboard.replication.metadata import ObjectMetadata
from bucketboard.runs.change import abandon, carry_out
from bucketboard.runs.choice import refuse_live
from bucketboard.runs.listing import RunObjects
from bucketboard.runs.rewriting import NewFile
from bucketboard.runs.trash import Trash
from bucketboard.store.bucket import Bucket, ObjectInfo
from bucketboard.store.url import S3Url

__all__ = ["Compacted", "compact_run", "groups"]

MOST = 256 << 20
"""Bytes of a joined file, as of one where a writer begins the next."""
_SUFFIX = ".compacted"
_READERS = 16


@dataclass(frozen=True, slots=True)
class Compacted:
    """What became of a run: event files before and after, bytes that were joined; why it was left, or ""."""

    run: str
    before: int
    after: int
    bytes: int
    error: str = ""


def compact_run(
    bucket: Bucket, place: S3Url, url: S3Url, run: RunObjects, *, dry_run: bool = False, force: bool = False
) -> Compacted:
    """Join the event files of one run below ``url``, whose trash and journals are at ``place``.

    A joined file has the bytes of the originals, one behind the other in the order of their names. It is read
    back, then they go to the trash. Readers see the run as before or as after. A run that is being written
    (unless ``force``) or that has damaged files is left. Errors are in the result, which is never tried again
    here: what was begun and could not be undone is the next command's to bring to its end.
    """
    before = after = len(run.event_files)
    joined = 0
    try:
        wanted = groups(run.event_files)
        if wanted and not force:
            refuse_live(bucket, [run])
        for group in wanted:
            if not dry_run:
                _join(bucket, place, url, run, group)
            after -= len(group) - 1
            joined += sum(info.size for info in group)
    except BucketboardError as error:
        return Compacted(run.name, before, after, joined, error.message)
    return Compacted(run.name, before, after, joined)


def groups(files: Sequence[ObjectInfo], most: int = MOST) -> list[list[ObjectInfo]]:
    """What is joined: neighbours that together have at most ``most`` bytes, two or more."""
    found: list[list[ObjectInfo]] = [[]]
    size = 0
    for info in files:
        if found[-1] and size + info.size > most:
            found.append([])
            size = 0
        found[-1].append(info)
        size += info.size
    return [group for group in found if len(group) > 1]


def _join(bucket: Bucket, place: S3Url, url: S3Url, run: RunObjects, group: Sequence[ObjectInfo]) -> None:
    change, trash = new_id(), Trash(place)
    key = group[0].key + _SUFFIX
    _check_place(key, run.event_files, group)
    moves = tuple(
        Move(run.name, info.key, info.etag, info.size, trash.key(change, info.key)) for info in group
    )
    with NewFile() as new:
        user = _gather(bucket, group, new)
        tags = bucket.tags(group[-1].key) or bucket.settings.tags
        journal = Journal(change, "compact", str(url), journal_key(place, change), moves=moves, made=(key,))
        journal = journal.begin(bucket)
        try:
            writer = Bucket(bucket.name, replace(bucket.settings, tags=tags))
            new.store(writer, key, user, None)
        except BaseException:
            abandon(bucket, journal)
            raise
    left = carry_out(bucket, journal, fresh=True).left
    if left:
        raise InvalidError(f"{run.name}: {next(iter(left.values()))}")


def _check_place(key: str, files: Sequence[ObjectInfo], group: Sequence[ObjectInfo]) -> None:
    """The joined file has to stand where the originals do."""
    names = sorted(info.key for info in files)
    behind = names[names.index(group[-1].key) + 1 :]
    if key in names or (behind and key > behind[0]):
        raise InvalidError(f"{key} would not stand in the place of the files that it joins")


def _gather(bucket: Bucket, group: Sequence[ObjectInfo], new: NewFile) -> dict[str, str]:
    """Read the files and add them up; gives the user's metadata of the last one that has any."""
    user: dict[str, str] = {}

    def read(info: ObjectInfo) -> tuple[bytes, ObjectInfo]:
        return bucket.get(info.key, if_match=info.etag)

    with ThreadPoolExecutor(_READERS, "bucketboard-compact") as pool:
        for info, (data, found) in zip(group, pool.map(read, group), strict=True):
            end, count, damage = record_ends(data)
            if damage or end != len(data):
                raise CorruptDataError(
                    f"s3://{bucket.name}/{info.key} is damaged", hint="bucketboard verify --repair mends it"
                )
            metadata = ObjectMetadata.parse(found.metadata)
            user = dict(metadata.user) if metadata and metadata.user else user
            if data:
                new.append(data, count)
    return user
