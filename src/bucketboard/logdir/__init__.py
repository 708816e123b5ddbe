"""Local log directories and the bucket: what any framework writes, replicated there and fetched back."""
