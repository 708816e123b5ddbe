"""Each test runs on every server; at the end it is made sure that each of them did run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matrix import SERVERS, table
from sites import Site

from promised import Place

_ran: set[str] = set()
_found: dict[str, dict[str, str]] = {}


@pytest.fixture(params=list(SERVERS))
def site(
    request: pytest.FixtureRequest,
    new_place: Callable[..., Place],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> Site:
    made = Site(new_place(request.param, record=True), tmp_path)
    record_property("server", request.param)
    return made


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    known = dict(report.user_properties)
    if report.when == "call" and not report.skipped and "server" in known:
        _ran.add(str(known["server"]))
        if "matrix" in known:
            _found[str(known["server"])] = known["matrix"]  # type: ignore[assignment]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A server that did not run is a failure, whatever the reason. (Not for a part of the tests.)"""
    option = session.config.option
    is_worker = hasattr(session.config, "workerinput")
    chosen = option.keyword or option.lf or "not conformance" in option.markexpr
    partial = is_worker or chosen or option.collectonly
    missing = sorted(set(SERVERS) - _ran)
    if missing and not partial:
        session.config.stash[_MISSING] = missing
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


_MISSING: pytest.StashKey[list[str]] = pytest.StashKey()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if _found:
        terminalreporter.section("what the servers support")
        terminalreporter.write_line(table(_found))
    if missing := config.stash.get(_MISSING, []):
        terminalreporter.write_line(f"FAILED: these servers did not run: {', '.join(missing)}", red=True)
