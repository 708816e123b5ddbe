"""Bytes of event files: TFRecord framing, CRC32C and the Event wire format. Knows nothing of S3."""
