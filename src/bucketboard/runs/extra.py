"""Libraries that are imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from bucketboard.errors import InvalidError

__all__ = ["extra"]


def extra(module: str, package: str) -> Any:
    """The module, imported.

    Raises:
        InvalidError: it is not installed; says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InvalidError(
            f"{module} is needed for this and is not installed", hint=f"pip install '{package}'"
        ) from error
