"""The index of what is below a prefix: a cache in Parquet, so that opening it need not read every event file.

Needs pyarrow (``pip install 'bucketboard[index]'``). docs/FORMAT.md says what lies where.
"""

from bucketboard.index.build import Report, look, update
from bucketboard.index.directory import Directory, local_index
from bucketboard.index.index import Covered, Index, ScalarRows, ValueRows
from bucketboard.index.objects import BucketObjects, Objects, Source
from bucketboard.index.parts import Part, RunFile, Tag

__all__ = [
    "BucketObjects",
    "Covered",
    "Directory",
    "Index",
    "Objects",
    "Part",
    "Report",
    "RunFile",
    "ScalarRows",
    "Source",
    "Tag",
    "ValueRows",
    "local_index",
    "look",
    "update",
]
