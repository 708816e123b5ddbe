"""One run in, one typed report out: list, look at, verify, repair, remove, move, compact, label."""
