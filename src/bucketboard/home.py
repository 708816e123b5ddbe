"""The user's own directories. Not everybody has a home: in a container a process may run as any number."""

from __future__ import annotations

from pathlib import Path

__all__ = ["cache_directory", "state_directory"]


def state_directory() -> Path:
    """For what must outlive a process; on Linux ``~/.local/state/bucketboard``.

    Raises:
        OSError: the user has no home, and the environment names none.
    """
    import platformdirs

    try:
        return _absolute(platformdirs.user_state_dir("bucketboard", appauthor=False))
    except RuntimeError as error:
        raise FileNotFoundError(str(error)) from error


def cache_directory() -> Path:
    """For what may be deleted at any time; on Linux ``~/.cache/bucketboard``.

    Raises:
        OSError: as for `state_directory`.
    """
    import platformdirs

    try:
        return _absolute(platformdirs.user_cache_dir("bucketboard", appauthor=False))
    except RuntimeError as error:
        raise FileNotFoundError(str(error)) from error


def _absolute(path: str) -> Path:
    if not Path(path).is_absolute():  # how older versions say that there is none
        raise RuntimeError("the user has no home directory: set HOME")
    return Path(path)
