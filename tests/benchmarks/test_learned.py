"""The table of learned ladders: runs find their ladder and level, and what is not solved is in italics."""

from __future__ import annotations

from attnlab.records import Record
from attnlab.specs import ModelSpec, Part, RunSpec
from attnlab.tasks.io.ladders import find_ladder, task_spec
from benchmarks.learned import rows_of, table
from tests.rendering.fake_runs import run


def ran(ladder: str, level: int, position: str, accuracy: float, seed: int = 0) -> Record:
    model = ModelSpec(attention=(Part(name="softmax"),), position=Part(name=position))
    spec = RunSpec(task=task_spec(find_ladder(ladder), {}, level, ()), model=model, seed=seed)
    return run(accuracy=accuracy).model_copy(update={"spec": spec, "id": spec.id})


def test_runs_stand_at_their_ladder_level_and_position() -> None:
    records = [ran("reverse", 10, "learned", 1.0, seed) for seed in (1, 0)]
    records += [ran("reverse", 20, "learned", 0.875), ran("palindrome", 4, "sinusoidal", 0.5)]
    first, *_ = rows = rows_of(records)
    assert [(row.ladder.name, row.task.level) for row in rows] == [("palindrome", 4), ("reverse", 10), ("reverse", 20)]
    assert (first.is_easiest, rows[2].is_easiest) == (True, False)
    assert [record.spec.seed for record in rows[1].runs["learned"]] == [0, 1]
    lines = table(rows)
    assert lines[2].endswith("| *50.0 %* | - |")
    assert lines[3].endswith("| - | 1,200 / 1,200 |")
    assert lines[4].endswith("| - | *87.5 %* |")
    assert "\neasiest levels, sinusoidal: 0 of 1 are solved with every seed." in lines
    assert "\neasiest levels, learned: 1 of 1 are solved with every seed." in lines
    assert "\nother levels, learned: 0 of 1 are solved with every seed." in lines
