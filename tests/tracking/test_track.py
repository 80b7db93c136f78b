"""``--track``, ``attnlab track`` and ``track=``, with a tracker that keeps what it is given."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import attnlab
from attnlab.tracking.base import check_trackers
from tests.cli.conftest import TINY, Command
from tests.cli.conftest import command as command
from tests.tracking.conftest import Memory

MODEL = {"layers": 1, "width": 8, "heads": 1}
FAST = {"max_steps": 12, "batch_size": 4, "validation_examples": 4, "test_examples": 4, "eval_every": 6}


def test_the_command_line_mirrors_a_training_and_a_replay_has_the_same_results(
    command: Command, memory: type[Memory]
) -> None:
    result = command("train", *TINY, "--watch", "rank", "--track", "memory", "--track", "memory")
    assert result.status == 0
    (live,) = memory.points.values()
    assert len(memory.groups) == 1
    assert any("diagnostics/" in name for _, values in live for name in values)
    there = command("track", "results", "--to", "memory")
    assert (there.status, there.out) == (0, "memory: 0 runs written; 1 was there already.\n")
    memory.points.clear()
    written = command("track", "results", "--to", "memory")
    assert written.out == "memory: 1 run written.\n"
    (replayed,) = memory.points.values()
    assert replayed[-1] == live[-1]
    assert [step for step, _ in replayed] == sorted(step for step, _ in replayed)


def test_a_tracker_that_fails_is_told_with_quiet_too(command: Command, memory: type[Memory]) -> None:
    memory.fail_in = "start"
    result = command("train", *TINY, "--track", "memory", "--quiet")
    assert result.status == 0
    assert result.error.count("memory failed: OSError: [Errno 28] No space left on device.") == 1
    replayed = command("track", "results", "--to", "memory")
    assert replayed.status == 2
    assert "memory failed: OSError" in replayed.error


@pytest.mark.parametrize("words", [("train", *TINY), ("sweep", *TINY), ("track", "results")])
def test_an_unknown_tracker_is_refused_before_anything_is_written(command: Command, words: tuple[str, ...]) -> None:
    option = "--to" if words[0] == "track" else "--track"
    result = command(*words, option, "tensorbord")
    assert result.status == 2
    assert re.match(
        rf"attnlab: {option}\n  There is no tracker 'tensorbord'; did you mean 'tensorboard'\?\n", result.error
    )
    assert list(Path().iterdir()) == []


def test_a_folder_without_runs_is_refused(command: Command, tmp_path: Path, memory: type[Memory]) -> None:
    assert command("track", "nowhere", "--to", "memory").status == 2
    (tmp_path / "empty").mkdir()
    result = command("track", "empty", "--to", "memory")
    assert result.status == 2
    assert "It has no finished runs." in result.error
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_sweep_is_one_group(tmp_path: Path, memory: type[Memory]) -> None:
    how = {"model": MODEL, "train": FAST, "executor": "inline", "device": "cpu", "track": ["memory"]}
    records = attnlab.sweep("copy", "softmax", complexity=[2, 4], seeds=1, store=tmp_path / "s", **how)  # type: ignore[arg-type]
    assert {record.id for record in records} == memory.points.keys()
    assert {run.config["group"] for run in memory.runs.values()} == {"copy"}
    assert len({run.name for run in memory.runs.values()}) == 2


def test_a_tracker_changes_no_number(tmp_path: Path, memory: type[Memory]) -> None:
    (plain,) = attnlab.train("copy", model=MODEL, train=FAST, store=tmp_path / "a", device="cpu")
    (mirrored,) = attnlab.train("copy", model=MODEL, train=FAST, store=tmp_path / "b", device="cpu", track=["memory"])
    assert plain.numbers() == mirrored.numbers()


def test_python_warns_of_a_tracker_that_fails(tmp_path: Path, memory: type[Memory]) -> None:
    memory.fail_in = "log"
    with pytest.warns(UserWarning, match="memory failed: OSError") as warned:
        (record,) = attnlab.train("copy", model=MODEL, train=FAST, store=tmp_path, device="cpu", track=["memory"])
    assert record.status == "done"
    assert len(warned) == 1


def test_python_refuses_what_cannot_be_tracked(tmp_path: Path) -> None:
    with pytest.raises(attnlab.AttnlabError, match="A tracker mirrors a store, and there is none"):
        attnlab.train("copy", store=None, track=["tensorboard"])
    with pytest.raises(attnlab.AttnlabError, match="is one word, and trackers are listed"):
        attnlab.train("copy", store=tmp_path, track="tensorboard")
    with pytest.raises(attnlab.AttnlabError, match="There is no tracker 'nothing'"):
        attnlab.sweep("copy", store=tmp_path, track=["nothing"])
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_that_is_named_twice_counts_once() -> None:
    assert check_trackers(["tensorboard", "tensorboard"], True, "--track") == ("tensorboard",)


def test_runs_whose_words_differ_in_punctuation_have_names_of_their_own() -> None:
    from attnlab.specs import RunSpec, TaskSpec
    from attnlab.tracking.points import tracked_run

    tasks = [TaskSpec(name=name) for name in ("copy:1", "copy/1", "../copy 1" + "x" * 300)]
    names = [tracked_run(RunSpec(task=task)).name for task in tasks]
    assert len(set(names)) == 3
    assert all(re.fullmatch(r"[0-9A-Za-z_][0-9A-Za-z_.=-]{1,200}", name) for name in names)
