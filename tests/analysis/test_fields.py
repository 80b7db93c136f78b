"""When a value of a field is the one that a claim names."""

from __future__ import annotations

import pytest

from attnlab.analysis.fields import canonical_part
from attnlab.errors import InvalidValueError


@pytest.mark.parametrize("wanted", [{"x": 1}, {"name": 3}, {"name": "dape", "options": 3}, {}])
def test_a_mapping_that_names_no_part_is_refused(wanted: dict[str, object]) -> None:
    with pytest.raises(InvalidValueError, match=r"names no part\."):
        canonical_part(wanted)
