"""docs/SEMANTICS.md names a test for each promise, and each test that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "SEMANTICS.md").read_text()
TITLE = "Where each promise is held"


def test_each_section_has_tests_that_hold_it() -> None:
    headings = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    assert headings[-1] == TITLE
    table = TEXT.partition(f"## {TITLE}")[2]
    sections = re.split(r"^\| \*\*(.+?)\*\* \| \|$", table, flags=re.MULTILINE)[1:]
    rows = dict(zip(sections[::2], sections[1::2], strict=True))
    assert list(rows) == headings[:-1]
    for heading, text in rows.items():
        lines = [line for line in text.splitlines() if line.startswith("| ")]
        assert lines, heading
        assert all(re.search(r"\]\(\.\./tests/\S+\.py#test_\w+\)", line) for line in lines), heading


def test_each_test_that_is_named_exists() -> None:
    links = re.findall(r"\]\(\.\./(tests/\S+?\.py)#(test_\w+)\)", TEXT)
    assert len(links) > 50
    for path, name in links:
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path}: {name}"


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#)([^)\s#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
