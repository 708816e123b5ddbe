"""TensorFlow into S3: `create_file_writer` (``tf.summary``) and `FileWriter` (``tf.compat.v1.summary``)."""

from bucketboard.integrations.tensorflow import FileWriter, create_file_writer

__all__ = ["FileWriter", "create_file_writer"]
