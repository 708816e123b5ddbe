"""The index of what is below a prefix: a cache in Parquet, so that opening it need not read every event file.

Needs pyarrow (``pip install 'bucketboard[index]'``). docs/FORMAT.md says what lies where.
"""

from bucketboard.index.build import Look, Report, Scan, look, update
from bucketboard.index.directory import Directory, local_index
from bucketboard.index.index import Covered, Index, ScalarRows, ValueRows
from bucketboard.index.objects import BucketObjects, Objects, Source
from bucketboard.index.parts import Head, Part, RunFile, Tag
from bucketboard.index.share import Share, ShareRead, look_share, read_share

__all__ = [
    "BucketObjects",
    "Covered",
    "Directory",
    "Head",
    "Index",
    "Look",
    "Objects",
    "Part",
    "Report",
    "RunFile",
    "ScalarRows",
    "Scan",
    "Share",
    "ShareRead",
    "Source",
    "Tag",
    "ValueRows",
    "local_index",
    "look",
    "look_share",
    "read_share",
    "update",
]
