"""A log directory that any framework writes, kept equal to a prefix of a bucket."""
