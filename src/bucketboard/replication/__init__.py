"""The event log and its replica in S3: whatever was logged, the object is a whole-record prefix of it."""
