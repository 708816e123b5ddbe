"""Objects in S3: addresses, settings, clients, operations, errors. Knows nothing of events."""
