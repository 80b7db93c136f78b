from __future__ import annotations

from pathlib import Path

import pytest

from attnlab.rendering.status import SHOWN, Overview
from attnlab.specs import ModelSpec
from attnlab.storage import Store
from attnlab.storage.status import store_status, write_plan
from attnlab.training._run_state import checkpoint_data
from tests.rendering.capture import drawn
from tests.rendering.fake_runs import run, seeds


def make_store(folder: Path) -> Path:
    store = Store(folder)
    store.open()
    store.append(
        [
            run(seed=0, accuracy=1.0),
            run(seed=1, status="diverged", reason="the loss was nan at step 7"),
            run(seed=2, status="failed", reason="out of memory"),
        ]
    )
    write_plan(folder, [run(seed=seed).spec for seed in range(9 + SHOWN)])
    return folder


def test_a_store_lists_done_missing_failed_and_diverged_runs_and_why(tmp_path: Path) -> None:
    lines = drawn(Overview([store_status(make_store(tmp_path))]), width=120)
    assert lines[1].split() == ["store", "done", "missing", "failed", "diverged", "stale"]
    text = "\n".join(lines)
    assert f"failed  {run(seed=2).spec.id}  recall pairs=4 · softmax · learned · seed 2  out of memory" in text
    assert f"diverged  {run(seed=1).spec.id}  recall pairs=4 · softmax · learned · seed 1  the loss was nan at" in text
    assert text.count("not started") == SHOWN
    assert f"and {9 + SHOWN - 3 - SHOWN} more" in text
    assert "recall, pairs 4 (chance 25.0 %)" in text


def test_a_run_with_a_checkpoint_resumes(tmp_path: Path) -> None:
    folder = make_store(tmp_path)
    planned, other = run(seed=3).spec, run(seed=99).spec
    for spec in (planned, other):
        about = {"id": spec.id, "step": 7, "max_steps": 90, "summary": spec.summary}
        Store(folder).save(spec.id, {}, about)
    (folder / "checkpoints" / "broken.safetensors").touch()
    text = "\n".join(drawn(Overview([store_status(folder)]), width=140))
    assert "seed 3  at step 7 of 90; it resumes from its checkpoint" in text
    assert (
        f"unfinished  {other.id}  {other.summary}  at step 7 of 90; the same sweep goes on, or train with --resume"
        in text
    )
    assert "unfinished  checkpoints/broken.safetensors  its checkpoint cannot be read; delete the file" in text


def test_checkpoints_of_runs_that_differ_in_their_width_are_told_apart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open()
    for width in (16, 32):
        spec = run().spec.model_copy(update={"model": ModelSpec(width=width)})
        store.save(spec.id, {}, checkpoint_data(spec, 7, [], []))
    text = "\n".join(drawn(Overview([store_status(tmp_path)]), width=140))
    for width in (16, 32):
        assert f"recall pairs=4 · softmax · fourier · width={width} · seed 0  at step 7 of 2000" in text


def test_each_of_several_stores_has_a_line(tmp_path: Path) -> None:
    both = [store_status(make_store(tmp_path / name)) for name in ("a", "b")]
    lines = drawn(Overview(both), width=120)
    counts = [line.split() for line in lines if line.strip().endswith("-") and "/" in line]
    assert [(row[0].endswith(("a/", "b/")), row[1:]) for row in counts] == [(True, ["1", "11", "1", "1", "-"])] * 2
    assert not any("chance" in line for line in lines)


def test_the_overview_as_data(tmp_path: Path) -> None:
    (one,) = Overview([store_status(make_store(tmp_path))]).data()
    assert one["failed"] == {run(seed=2).spec.id: "out of memory"}
    assert (len(one["done"]), len(one["missing"]), one["stale"]) == (1, 6 + SHOWN, {})


def test_seeds_of_one_level_are_in_one_table(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.open()
    store.append(seeds([1.0, 0.5]))
    assert sum("chance" in line for line in drawn(Overview([store_status(tmp_path)]))) == 1


def test_a_large_store_lists_the_latest_runs_and_says_where_the_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attnlab.rendering.status.MOST_LISTED", 3)
    monkeypatch.setattr("attnlab.rendering.status.LATEST", 2)
    store = Store(tmp_path)
    store.open()
    records = seeds([1.0, 0.5, 0.25])
    store.append(records)
    assert "Listed" not in "\n".join(drawn(Overview([store_status(tmp_path)])))
    store.append([run(seed=7)])
    text = "\n".join(drawn(Overview([store_status(tmp_path)]), width=200))
    assert f"Listed are the 2 of 4 runs that finished last. By level: attnlab report {tmp_path}." in text
    assert [one.id in text for one in (*records, run(seed=7))] == [False, False, True, True]
