"""What a writer and a viewer cost a month in requests, at most, at the settings that they have by default."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bucketboard.replication.cadence import EVERY_OLD

__all__ = ["PRICES", "Cost", "Prices", "monthly"]

_SECONDS = 730 * 3600.0
_GROWN_REQUESTS = 4
"""Of one upload to an object of 5 MiB or more: create, copy, part, complete."""
_VIEWER_EVERY = 5.0
_PAGE = 1000


@dataclass(frozen=True)
class Prices:
    """Dollars: for a thousand PUT, POST and LIST, for a thousand GET, for a GB a month."""

    put: float
    get: float
    storage: float
    source: str


PRICES = Prices(0.005, 0.0004, 0.023, "list price of us-east-1, S3 Standard, as of 2025")


@dataclass(frozen=True)
class Cost:
    """Dollars a month, and how they come about."""

    writer: float
    watched: float
    idle: float
    formula: str


def monthly(objects: int, prices: Prices = PRICES) -> Cost:
    """For one writer that logs without a pause and a viewer of a prefix with so many objects."""
    uploads = _SECONDS / EVERY_OLD
    pages = max(math.ceil(objects / _PAGE), 1)
    lists = _SECONDS / _VIEWER_EVERY * pages
    formula = (
        f"writer: {uploads:,.0f} uploads x {_GROWN_REQUESTS} requests x ${prices.put}/1000; "
        f"watched: {lists:,.0f} LISTs ({pages} each {_VIEWER_EVERY:.0f} s) x ${prices.put}/1000 "
        f"+ {uploads:,.0f} GETs of a live run x ${prices.get}/1000; storage: ${prices.storage}/GB; "
        f"{prices.source}"
    )
    return Cost(
        writer=uploads * _GROWN_REQUESTS * prices.put / 1000,
        watched=lists * prices.put / 1000 + uploads * prices.get / 1000,
        idle=0.0,
        formula=formula,
    )
