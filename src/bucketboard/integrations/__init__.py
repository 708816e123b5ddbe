"""The doors for frameworks; each is imported only when its framework is."""
