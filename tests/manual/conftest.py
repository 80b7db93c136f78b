"""The pages of the manual, made once."""

from __future__ import annotations

import pytest

from manual.pages import made_pages


@pytest.fixture(scope="session")
def made() -> dict[str, str]:
    """Path -> Markdown of the pages that are made from the code."""
    return made_pages()
