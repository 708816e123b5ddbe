"""TensorBoard on a prefix of a bucket, or on a directory.

::

    from bucketboard.serve import serve

    with serve("s3://bucket/experiments") as board:
        print(board.url)
        board.wait()
"""

from bucketboard.serve.server import TensorBoardServer, serve
from bucketboard.serve.stub import avoid_tensorflow

__all__ = ["TensorBoardServer", "avoid_tensorflow", "serve"]
