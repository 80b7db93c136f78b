"""When a value of a field is the one that a claim names."""

from __future__ import annotations

import pytest

from attnlab.analysis.fields import canonical_part, unknown_field
from attnlab.errors import InvalidValueError


@pytest.mark.parametrize("wanted", [{"x": 1}, {"name": 3}, {"name": "dape", "options": 3}, {}])
def test_a_mapping_that_names_no_part_is_refused(wanted: dict[str, object]) -> None:
    with pytest.raises(InvalidValueError, match=r"names no part\."):
        canonical_part(wanted)


def test_the_training_of_a_task_is_named_trained() -> None:
    found = unknown_field("task.train.pairs", ["task.train", "trained"], "claims.0.of")
    assert (found.where, found.problem) == ("claims.0.of", "There is no field 'task.train.pairs'.")
    assert found.hint.startswith("Name trained: ")
    assert "did you mean 'width'" in unknown_field("widht", ["width"], "").problem
