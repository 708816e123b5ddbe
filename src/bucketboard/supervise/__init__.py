"""Replication beside a training: a command under supervision, a process behind a ``with`` block."""
