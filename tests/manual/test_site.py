"""The site is built, every link in it resolves, and it loads nothing from elsewhere (slow)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from manual.build import build_site, write_pages


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("zensical") is None, reason="pip install 'attnlab[docs]'")
def test_the_site_is_built_without_a_broken_link(tmp_path: Path) -> None:
    assert write_pages(tmp_path) == []
    assert build_site(tmp_path) == []
    pages = {path.relative_to(tmp_path / "docs").with_suffix("") for path in (tmp_path / "docs").rglob("*.md")}
    built = {path.relative_to(tmp_path / "site").with_suffix("") for path in (tmp_path / "site").rglob("*.html")}
    assert len(pages) > 200
    assert pages - built == set()
