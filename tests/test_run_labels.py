from __future__ import annotations

from typing import Any

import pytest

from attnlab.run_labels import RunLabels, labels_of
from attnlab.specs import ModelSpec, RunSpec, TaskSpec, TrainSpec


def spec(*, level: int = 4, task: str = "recall", seed: int = 0, **fields: Any) -> RunSpec:
    """A run with some fields of its model, its training (``train_``) or its task (``task_``)."""
    sections: dict[str, dict[str, Any]] = {"model": {}, "train": {}, "task": {}}
    for name, value in fields.items():
        section, _, rest = name.partition("_")
        sections[section if section in sections else "model"][rest if section in sections else name] = value
    return RunSpec(
        task=TaskSpec(name=task, options={"pairs": level, **sections["task"]}, complexity="pairs", version=1),
        model=ModelSpec(**sections["model"]),
        train=TrainSpec(**sections["train"]),
        seed=seed,
    )


VARIED: list[tuple[list[RunSpec], list[str]]] = [
    ([spec(width=16), spec(width=32)], ["width=16 · seed 0", "width=32 · seed 0"]),
    ([spec(train_lr=0.01), spec(train_lr=0.003)], ["lr=0.01 · seed 0", "lr=0.003 · seed 0"]),
    ([spec(task_length=32), spec(task_length=64)], ["task.length=32 · seed 0", "task.length=64 · seed 0"]),
    ([spec(train_grad_clip=None), spec()], ["grad_clip=none · seed 0", "grad_clip=1.0 · seed 0"]),
    (
        [spec(modifiers={"qk_norm": True}), spec()],
        ["qk_norm · seed 0", "no qk_norm · seed 0"],
    ),
    ([spec(mlp_ratio=0.0), spec()], ["no MLP · seed 0", "MLP gelu · mlp_ratio=4.0 · seed 0"]),
    ([spec(seed=0), spec(seed=1)], ["seed 0", "seed 1"]),
]


@pytest.mark.parametrize(("specs", "ends"), VARIED)
def test_whatever_varies_stands_in_the_label(specs: list[RunSpec], ends: list[str]) -> None:
    assert labels_of(specs) == [f"recall pairs=4 · softmax · fourier · {end}" for end in ends]


def test_the_label_of_a_single_run_is_its_summary() -> None:
    assert labels_of([spec(width=16)]) == [spec(width=16).summary]


def test_what_is_the_same_in_all_runs_stands_in_no_label() -> None:
    specs = [spec(width=16, train_lr=0.01), spec(width=32, train_lr=0.01)]
    assert not any("lr" in label for label in labels_of(specs))


def test_options_of_one_task_are_not_compared_with_those_of_another() -> None:
    specs = [spec(task_length=32), spec(task="copy")]
    assert labels_of(specs) == [one.summary for one in specs]


def test_runs_that_differ_in_a_version_alone_are_told_apart_by_their_ids() -> None:
    one = spec()
    other = one.model_copy(update={"task": one.task.model_copy(update={"version": 2})})
    assert labels_of([one, other]) == [f"{run.summary} · run {run.id[:6]}" for run in (one, other)]


def test_a_run_that_continues_another_says_so() -> None:
    one = spec()
    more = one.model_copy(update={"continue_from": one.id, "train": TrainSpec(max_steps=9000)})
    assert labels_of([one, more]) == [
        "recall pairs=4 · softmax · fourier · max_steps=2000 · seed 0",
        f"recall pairs=4 · softmax · fourier · max_steps=9000 · seed 0 · continues {one.id}",
    ]


def test_a_training_level_other_than_the_own_is_told() -> None:
    one = spec(level=40)
    ranged = one.model_copy(update={"task": one.task.model_copy(update={"train": {"pairs": "2..40"}})})
    assert labels_of([one, ranged])[1] == "recall pairs=40 · softmax · fourier · trained on pairs=2..40 · seed 0"


def test_a_short_label_has_what_varies_alone() -> None:
    specs = [spec(width=width, seed=seed) for width in (16, 32) for seed in (0, 1)]
    labels = RunLabels(specs)
    assert [labels.of(one).short for one in specs] == [f"width={w} · seed {s}" for w in (16, 32) for s in (0, 1)]
    assert RunLabels(specs[:1]).of(specs[0]).short == "softmax · seed 0"


def test_a_whole_model_beside_transformers_has_no_position_to_differ_in() -> None:
    whole = spec(module={"name": "my.py:Lstm"})
    labels = RunLabels([spec(), spec(attention="gpam"), whole])
    assert [labels.of(one).within_level for one in (spec(), whole)] == ["softmax", "my.py:Lstm"]
    assert [labels.of(one).short for one in (spec(), whole)] == ["softmax", "my.py:Lstm"]
    assert str(labels.of(whole)) == "recall pairs=4 · my.py:Lstm · seed 0"


def test_runs_of_one_program_have_a_label_in_common() -> None:
    specs = [spec(width=width, train_lr=lr) for width in (16, 32) for lr in (0.01, 0.003)]
    labels = RunLabels(specs)
    assert labels.of_group(specs[:2]) == "recall pairs=4 · softmax · fourier · width=16 · 2 values of lr"
    assert labels.of_group(specs[:1]) == "recall pairs=4 · softmax · fourier · width=16 · lr=0.01"


def test_different_runs_never_have_equal_labels() -> None:
    axes: list[dict[str, Any]] = [
        {"width": 16}, {"norm": "post"}, {"residual": False}, {"init_scale": 0.5}, {"train_betas": (0.9, 0.99)},
        {"matched": "parameters of softmax: 10, here 10"}, {"train_log_diagnostics": ("rank",)}, {"allow_leak": True},
    ]  # fmt: skip
    specs = [spec(), *(spec(**axis) for axis in axes), spec(level=8), spec(seed=1)]
    assert len(set(labels_of(specs))) == len(specs)
