from __future__ import annotations

import math
from pathlib import Path

import pytest

from attnlab.analysis.run_comparison import compare_runs, compare_stored
from attnlab.analysis.run_rows import RunRow
from attnlab.analysis.statistics import Sample, difference
from attnlab.errors import InvalidValueError
from attnlab.records import Record
from attnlab.rendering.comparison import ComparisonTable, difference_text, run_name
from attnlab.run_fields import run_fields
from attnlab.specs import ModelSpec
from attnlab.storage import Store
from tests.rendering.capture import drawn
from tests.rendering.fake_runs import run


def variant(width: int, accuracies: dict[int, float], level: int = 4) -> list[Record]:
    """Runs of one variant by seed."""
    records = [run(seed=seed, accuracy=accuracy, pairs=level) for seed, accuracy in accuracies.items()]
    specs = [record.spec.model_copy(update={"model": ModelSpec(width=width)}) for record in records]
    return [one.model_copy(update={"spec": spec, "id": spec.id}) for one, spec in zip(records, specs, strict=True)]


def rows(records: list[Record]) -> list[RunRow]:
    return [RunRow(record, Path("s"), (), stale=False, settings=run_fields(record.spec)) for record in records]


def compared(first: list[Record], other: list[Record]) -> ComparisonTable:
    both = rows([*first, *other])
    return ComparisonTable(compare_runs([both[0], both[len(first)]], both))


FIRST = {0: 0.5, 1: 0.25, 2: 0.75, 3: 0.5}
OTHER = {1: 0.5, 2: 1.0, 3: 1.0, 9: 0.25}


def test_the_difference_is_paired_over_the_seeds_that_both_have() -> None:
    table = compared(variant(16, FIRST), variant(32, OTHER))
    (pair,) = table.comparison.pairs
    assert pair.seeds == (1, 2, 3)
    assert pair.differences == (0.25, 0.25, 0.5)
    bounds = (0.25, 1.0)
    _, ends = difference([Sample([0.5, 1.0, 1.0], bounds, [1, 2, 3])], [Sample([0.25, 0.75, 0.5], bounds, [1, 2, 3])])
    assert pair.interval == pytest.approx(ends)
    assert difference_text(pair).startswith("+33.3 points, mean of 3 seeds; 95 % over seeds ")


@pytest.mark.parametrize(
    ("other", "text"),
    [
        ({1: 0.5, 2: 1.0}, "+25.0 points, mean of 2 seeds; range +25.0 to +25.0; three seeds or more give an interval"),
        ({3: 1.0}, "+50.0 points, of one seed; three seeds or more give an interval"),
        ({9: 1.0}, "no difference: they have no seed in common"),
    ],
)
def test_few_seeds_have_no_interval(other: dict[int, float], text: str) -> None:
    (pair,) = compared(variant(16, FIRST), variant(32, other)).comparison.pairs
    assert math.isnan(pair.interval[0])
    assert difference_text(pair) == text


def test_runs_that_differ_in_their_seed_alone_have_no_difference() -> None:
    both = rows(variant(16, FIRST))
    (pair,) = compare_runs(both[:2], both).pairs
    assert pair.remark == "they differ in the seed alone"


def test_the_fields_that_differ_are_told_and_no_others() -> None:
    table = compared(variant(16, FIRST), variant(32, OTHER, level=8))
    assert table.comparison.fields == {"width": (16, 32), "seed": (0, 1), "level": (4, 8), "trained": (4, 8)}
    text = "\n".join(drawn(table))
    assert "max_steps" not in text
    assert all(len(line) <= 80 for line in drawn(table))
    assert [run_name(index) for index in (0, 25, 26)] == ["A", "Z", "A1"]


def test_runs_of_a_folder_are_compared(tmp_path: Path) -> None:
    for name, records in (("a", variant(16, FIRST)), ("b", variant(32, OTHER))):
        store = Store(tmp_path / name)
        store.open()
        store.append(records)
    words = [variant(16, FIRST)[0].id[:8], variant(32, OTHER)[0].id]
    assert compare_stored(words, tmp_path).pairs[0].seeds == (1, 2, 3)
    with pytest.raises(InvalidValueError, match="needs two runs"):
        compare_stored(words[:1], tmp_path)
    data = ComparisonTable(compare_stored(words, tmp_path)).data()
    assert data["pairs"][0]["interval_95"] == list(compare_stored(words, tmp_path).pairs[0].interval)
