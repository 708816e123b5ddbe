"""The index of what is below a prefix: a cache in Parquet, so that opening it need not read every event file.

Needs pyarrow (``pip install 'bucketboard[index]'``). docs/FORMAT.md says what lies where.
"""

from bucketboard.index.build import Report, update
from bucketboard.index.directory import Directory, local_index
from bucketboard.index.index import Covered, Index, ScalarRows, TagRows, ValueRows
from bucketboard.index.objects import BucketObjects, Objects, Source

__all__ = [
    "BucketObjects",
    "Covered",
    "Directory",
    "Index",
    "Objects",
    "Report",
    "ScalarRows",
    "Source",
    "TagRows",
    "ValueRows",
    "local_index",
    "update",
]
