"""Credentials change faster here than in life."""

from __future__ import annotations

import pytest

from bucketboard.store import client


@pytest.fixture(autouse=True)
def clients_are_renewed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_RENEW_EVERY", 0.0)
