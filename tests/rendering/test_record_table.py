from __future__ import annotations

from attnlab.rendering.record_table import OVER_QUESTIONS, RecordTable
from attnlab.specs import ModelSpec, RunSpec
from tests.rendering.capture import drawn
from tests.rendering.samples import record, spec


def test_one_record_is_one_line_under_its_level() -> None:
    lines = drawn(RecordTable([record(spec(), 995)]))
    assert lines[0] == "recall, pairs 4 (chance 25.0 %)"
    assert lines[2].split() == ["exact"]
    assert lines[3].split() == ["variant", "seed", "accuracy", "95", "%", "match", "steps", "time"]
    assert lines[5].split() == ["softmax", "0", "99.5", "%", "98.8-99.8", "79.6", "%", "1,200", "1:15", "min", "solved"]
    assert [line.strip() for line in lines[6:] if line] == [spec().id]


def test_on_a_wide_screen_the_id_has_a_column() -> None:
    lines = drawn(RecordTable([record(spec(), 995)]), width=100)
    assert lines[5].split()[:3] == [spec().id, "softmax", "0"]
    assert [line for line in lines[6:] if line] == []


def test_whatever_varies_stands_in_the_label() -> None:
    runs = [record(wired(width=width, heads=heads)) for width in (32, 64) for heads in (2, 4)]
    lines = " ".join(drawn(RecordTable(runs), width=120))
    for width, heads in ((32, 2), (32, 4), (64, 2), (64, 4)):
        assert f"softmax · width={width} · heads={heads} " in lines


def test_statuses() -> None:
    runs = [
        record(spec(seed=0), 990),
        record(spec(seed=1), 989),
        record(spec(seed=2), 1000, status="diverged", reason="the loss was nan"),
    ]
    text = [line.split()[-1] for line in drawn(RecordTable(runs)) if line.startswith(" softmax")]
    assert text == ["solved", "unsolved", "diverged"]


def test_positions_are_named_where_they_differ() -> None:
    same = drawn(RecordTable([record(spec(seed=0)), record(spec(seed=1))]))
    mixed = " ".join(drawn(RecordTable([record(spec()), record(spec(position="alibi"))]), width=100))
    assert not any("fourier" in line for line in same)
    assert "softmax · fourier " in mixed
    assert "softmax · alibi " in mixed


def test_each_level_has_its_table_in_the_order_of_the_ladder() -> None:
    runs = [record(spec(pairs=pairs, seed=seed)) for seed in (0, 1) for pairs in (16, 4)]
    lines = drawn(RecordTable(runs))
    heads = [line for line in lines if "chance" in line]
    assert heads == ["recall, pairs 4 (chance 25.0 %)", "recall, pairs 16 (chance 25.0 %)"]
    assert sum(line.startswith(" softmax") for line in lines) == 4


def test_a_long_variant_is_folded_and_its_numbers_are_not() -> None:
    run = spec(attention="gpam", lambdas="trainable-untied", plus=0.25, minus=0.75, layers=2)
    lines = drawn(RecordTable([record(run, 995)]))
    assert "".join(line[:16].strip() for line in lines[5:]).replace(" ", "").startswith("gpam:lambdas")
    assert "98.8-99.8" in lines[5]
    assert "solved" in lines[5]


def test_no_records_give_no_lines() -> None:
    assert [line for line in drawn(RecordTable([])) if line] == []


def test_subtasks_of_a_mixture_are_named() -> None:
    one = record(spec())
    options = {"level": 0, "tasks": [{"name": "copy"}, {"name": "recall"}]}
    task = one.spec.task.model_copy(update={"name": "mixture", "options": options, "complexity": "level"})
    mixture = one.model_copy(update={"spec": one.spec.model_copy(update={"task": task})})
    assert "tasks copy,recall" in "\n".join(drawn(RecordTable([mixture])))


def test_empty_options_are_left_out_and_a_digest_is_short() -> None:
    one = record(spec())
    options = {
        "level": 0,
        "count": None,
        "weights": (),
        "token": True,
        "lags": (1, 2),
        "digest": "0123456789abcdef" * 4,
    }
    task = one.spec.task.model_copy(update={"name": "mixture", "options": options, "complexity": "level"})
    mixture = one.model_copy(update={"spec": one.spec.model_copy(update={"task": task})})
    assert "token true, lags 1,2, digest 0123456789ab" in drawn(RecordTable([mixture]))


def test_an_interval_over_questions_of_an_old_record_is_told() -> None:
    new = record(spec(), 990)
    old = new.model_copy(update={"accuracy": new.accuracy.model_copy(update={"sequences": None})})
    note = " ".join(OVER_QUESTIONS.split())
    assert note in " ".join(" ".join(drawn(RecordTable([new, old]))).split())
    assert note not in " ".join(" ".join(drawn(RecordTable([new]))).split())


def wired(**fields: object) -> RunSpec:
    data = {**spec().model.model_dump(), **fields}
    return spec().model_copy(update={"model": ModelSpec.model_validate(data)})


def test_what_all_runs_have_other_than_the_defaults_stands_below_the_table() -> None:
    run = wired(mlp={"name": "swiglu"}, block={"name": "parallel"}, position={"name": "alibi"}, residual=False)
    lines = [line.rstrip() for line in drawn(RecordTable([record(run)]), width=120)]
    assert "All transformers here: position alibi, MLP swiglu, block parallel, no residual." in lines


def test_runs_that_differ_in_their_wiring_are_told_apart() -> None:
    runs = [record(wired(mlp={"name": "swiglu"})), record(spec()), record(wired(mlp_ratio=0.0))]
    lines = " ".join(drawn(RecordTable(runs), width=120))
    for label in ("softmax · MLP swiglu ", "softmax · MLP gelu ", "softmax · no MLP "):
        assert label in lines
    assert "All transformers here" not in lines


def test_what_chance_is_stands_above_the_runs() -> None:
    told = record(spec(), 12).model_copy(update={"vocabulary": 128, "chance_guess": "a guess among the values"})
    lines = drawn(RecordTable([told, record(spec(seed=1), 12)]))
    assert "chance: a guess among the values; a guess among all 128 tokens: 0.8 %" in lines
    assert not any("a guess among" in line for line in drawn(RecordTable([record(spec(), 12)])))
