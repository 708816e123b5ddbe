"""TensorBoard on a prefix of a bucket, or on a directory.

::

    from bucketboard.serve import serve

    with serve("s3://bucket/experiments") as board:
        print(board.link)
        board.wait()
"""

from bucketboard.serve.server import TensorBoardServer, parse_samples, serve
from bucketboard.serve.stub import avoid_tensorflow
from bucketboard.serve.targets import parse_logdir_spec

__all__ = ["TensorBoardServer", "avoid_tensorflow", "parse_logdir_spec", "parse_samples", "serve"]
