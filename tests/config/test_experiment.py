"""Experiment files: what they say, their budgets, and every slip told with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attnlab.config.experiment import Experiment, experiment, full_key, read_experiment, stored_experiment
from attnlab.errors import AttnlabError, InvalidFileError, InvalidValueError, UnknownNameError

BASE = """\
name: mine
question: Does it?
ladders: [{ladder: copy, levels: [1, 2]}]
grid: {attention: [softmax, gpam], lr: [1e-3, 3e-3]}
seeds: 2
model: {width: 8}
"""


def written(folder: Path, *more: str, without: str = "") -> Path:
    path = folder / "mine.yaml"
    lines = [line for line in BASE.splitlines() if not without or not line.startswith(f"{without}:")]
    path.write_text("\n".join([*lines, *more]) + "\n")
    return path


def test_it_says_what_the_file_says(tmp_path: Path) -> None:
    experiment = read_experiment(written(tmp_path, "zip: [{width: [8, 16], max_steps: [3, 6]}]"))
    assert (experiment.name, experiment.seeds, experiment.ladders[0].levels) == ("mine", 2, (1, 2))
    assert experiment.grid == {"attention": ("softmax", "gpam"), "lr": (0.001, 0.003)}
    assert experiment.zip == ({"width": (8, 16), "max_steps": (3, 6)},)
    assert experiment.where("grid", "lr").endswith("mine.yaml:4: grid.lr")


def test_a_ladder_may_be_a_bare_name(tmp_path: Path) -> None:
    experiment = read_experiment(written(tmp_path, "ladders: [recall, copy]", without="ladders"))
    assert [entry.ladder for entry in experiment.ladders] == ["recall", "copy"]
    assert experiment.ladders[0].levels is None


@pytest.mark.parametrize(
    ("line", "tuned"),
    [
        ("notes: all", ("train.lr", "train.weight_decay")),
        ("tune: []", ()),
        ("tune: [lr]", ("train.lr",)),
        ("tune: [attention]", ("model.attention",)),
    ],
)
def test_what_is_tuned(line: str, tuned: tuple[str, ...], tmp_path: Path) -> None:
    assert read_experiment(written(tmp_path, "zip: [{weight_decay: [0.1, 0.0]}]", line)).tuned == tuned


@pytest.mark.parametrize("field", ["train_examples", "validation_examples", "test_examples", "eval_every"])
def test_what_is_learned_from_and_what_is_measured_is_not_tuned(field: str, tmp_path: Path) -> None:
    zipped = f"zip: [{{{field}: [8, 16], weight_decay: [0.1, 0.0]}}]"
    assert f"train.{field}" not in read_experiment(written(tmp_path, zipped)).tuned
    assert f"train.{field}" in read_experiment(written(tmp_path, zipped, f"tune: [{field}]")).tuned


def test_short_names_have_their_section() -> None:
    names = ("lr", "width", "attention", "task.length", "train.lr")
    assert [full_key(name) for name in names] == [
        "train.lr",
        "model.width",
        "model.attention",
        "task.length",
        "train.lr",
    ]


def test_a_scale_changes_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    claims = "claims: [{says: x, of: {attention: gpam}, expect: greater, bound: 0.5}]"
    small = "  smoke: {grid: {lr: [1e-2]}, seeds: 1, train: {max_steps: 3}, claims: false}"
    experiment = read_experiment(
        written(tmp_path, "train: {batch_size: 4}", claims, "presets:", small, "  paper: {seeds: 9}")
    )
    smoke = experiment.with_preset("smoke")
    assert smoke.grid == {"attention": ("softmax", "gpam"), "lr": (0.01,)}
    assert (smoke.seeds, smoke.train, smoke.model, smoke.claims) == (
        1,
        {"batch_size": 4, "max_steps": 3},
        {"width": 8},
        (),
    )
    assert experiment.with_preset("paper").claims == experiment.claims
    assert experiment.with_preset(None) is experiment
    assert smoke.where("seeds").endswith("mine.yaml:5: seeds")
    with pytest.raises(UnknownNameError, match="'mine' has no preset 'paper'"):
        read_experiment(written(tmp_path, "presets: {smoke: {seeds: 1}}")).with_preset("paper")


def test_as_it_is_written_is_the_scale_of_a_laptop(tmp_path: Path) -> None:
    experiment = read_experiment(written(tmp_path, "expected_steps: 0.5", "presets: {smoke: {seeds: 1}}"))
    assert experiment.with_preset("laptop") is experiment.with_preset(None) is experiment
    assert experiment.with_preset("smoke").expected_steps is None


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("sead: 3", "mine.yaml:7: sead\n  There is no key 'sead'; did you mean 'seed'?"),
        ("claims: [{says: x, off: {}, expect: greater}]", "mine.yaml:7: claims[0].off\n  There is no key 'off'"),
        ("match: parametres", "mine.yaml:7: match\n  It cannot be 'parametres'."),
        ("claims: [{says: x, of: {}, expect: more}]", "mine.yaml:7: claims[0].expect\n  It cannot be 'more'."),
        ("report: {idex: [lr]}", "mine.yaml:7: report.idex\n  There is no key 'idex'; did you mean 'index'?"),
        (
            "zip: [{max_steps: [1, 2], batch_size: [8]}]",
            "mine.yaml:7: zip[0]\n  Zipped lists must be equally long; these are: ",
        ),
        ("zip: [{}]", "mine.yaml:7: zip[0]\n  This zip is empty."),
        ("zip: [{max_steps: []}]", "mine.yaml:7: zip[0].max_steps\n  It cannot be []."),
        ("zip: [{train.lr: [1e-3]}]", "mine.yaml:7: zip[0].train.lr\n  'train.lr' is varied twice.\n  It is in grid"),
        (
            "zip: [{max_steps: [1]}, {max_steps: [2]}]",
            "mine.yaml:7: zip[1].max_steps\n  'max_steps' is varied twice.\n  It is in",
        ),
        ("zip: [{stps: [1]}]", "mine.yaml:7: zip[0].stps\n  There is no key 'stps'; did you mean 'max_steps'?"),
        ("zip: [{task: [1]}]", "mine.yaml:7: zip[0].task\n  There is no key 'task'"),
        ("tune: [weight_decay]", "mine.yaml:7: tune\n  There is no varied key 'weight_decay'."),
        (
            "presets: {smoke: {seed: 1}}",
            "mine.yaml:7: presets.smoke.seed\n  There is no key 'seed'; did you mean 'seeds",
        ),
        ("presets: {tiny: {}}", "mine.yaml:7: presets.tiny\n"),
        (
            "presets: {smoke: {grid: {rl: [1]}}}",
            "mine.yaml:7: presets.smoke.grid.rl\n  There is no key 'rl'; did you me",
        ),
        (
            "presets: {smoke: {grid: {train.lr: [1]}}}",
            "mine.yaml:7: presets.smoke.grid.train.lr\n  'train.lr' is varied",
        ),
    ],
)
def test_a_slip_is_told_with_its_line(line: str, told: str, tmp_path: Path) -> None:
    path = written(tmp_path, line)
    with pytest.raises(AttnlabError) as caught:
        read_experiment(path)
    assert str(caught.value).startswith(f"{tmp_path}/{told}")


@pytest.mark.parametrize(
    ("without", "line", "told"),
    [
        ("grid", "grid: {lr: []}", "mine.yaml:6: grid.lr\n  It cannot be []."),
        ("grid", "grid: {lr: 1e-3}", "mine.yaml:6: grid.lr\n  It cannot be 0.001."),
        ("grid", "grid: {lrr: [1e-3]}", "mine.yaml:6: grid.lrr\n  There is no key 'lrr'; did you mean 'lr'?"),
        ("seeds", "seeds: 0", "mine.yaml:6: seeds\n  It cannot be 0."),
        ("seeds", "seeds: two", "mine.yaml:6: seeds\n  It cannot be 'two'."),
        ("ladders", "ladders: []", "mine.yaml:6: ladders\n  It cannot be []."),
        ("ladders", "ladders: [{ladder: copy, levels: []}]", "mine.yaml:6: ladders[0].levels\n  It cannot be []."),
        ("ladders", "", "mine.yaml:1\n  'ladders' is missing."),
    ],
)
def test_an_empty_grid_is_told_with_its_line(without: str, line: str, told: str, tmp_path: Path) -> None:
    path = written(tmp_path, line, without=without)
    with pytest.raises(AttnlabError) as caught:
        read_experiment(path)
    assert str(caught.value).startswith(f"{tmp_path}/{told}")


def test_an_unknown_name_and_a_missing_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="There is no experiment 'nosuch'"):
        experiment("nosuch")
    with pytest.raises(InvalidFileError, match="There is no such file"):
        experiment(str(tmp_path / "absent.yaml"))


def test_it_comes_back_from_its_store(tmp_path: Path) -> None:
    more: Any = ("zip: [{width: [8], norm: [pre]}]", "claims: [{says: x, of: {}, expect: equal}]")
    experiment = read_experiment(written(tmp_path, *more))
    assert stored_experiment(tmp_path) is None
    (tmp_path / "experiment.json").write_text(experiment.model_dump_json())
    saved = stored_experiment(tmp_path)
    assert isinstance(saved, Experiment)
    assert saved.model_dump() == Experiment.model_validate_json(experiment.model_dump_json()).model_dump()
    assert saved.model_dump_json() == experiment.model_dump_json()
    (tmp_path / "experiment.json").write_text("{}")
    with pytest.raises(InvalidFileError) as caught:
        stored_experiment(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/experiment.json\n  This is no experiment of attnlab.\n"
        "  Move it away; the next sweep writes it anew."
    )


@pytest.mark.parametrize("name", ["../mine", "a/b", "..", '"a\\\\b"', '"a\\tb"', '""'])
def test_a_name_is_that_of_a_folder(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, f"name: {name}", without="name")
    with pytest.raises(InvalidValueError, match=r"Use the name of a folder in results/") as caught:
        read_experiment(path)
    assert caught.value.where == f"{path}:6: name"
