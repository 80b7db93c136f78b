"""``attnlab evaluate``, ``train --watch`` and ``report --metric failure_mode`` as a user runs them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import attnlab
from attnlab.choices import SCORED
from attnlab.records import Record
from tests.cli.conftest import TINY, Command


def trained(command: Command, *more: str) -> str:
    """Train a run and return its id."""
    return Record.from_line(command("train", *TINY, "--quiet", "--json", *more).out).id


def test_a_run_is_evaluated_at_several_lengths(command: Command) -> None:
    run = trained(command, "--pos", "rotary")
    result = command("evaluate", run[:6], "--length", "4,8,64", "--sequences", "16")
    assert result.status == 0
    assert [line.split()[:2] for line in result.out.splitlines()[4:7]] == [["4", "2"], ["8", "4"], ["64", "32"]]
    assert "Trained on up to 4 tokens." in result.out
    assert len(result.error.splitlines()) == 3
    assert max(map(len, result.out.splitlines())) <= 80


def test_a_length_that_the_task_does_not_have_is_told(command: Command) -> None:
    """Sequences of copy have an even length: 7 tokens are tested on 6."""
    run = trained(command, "--pos", "rotary")
    words = ("evaluate", run, "--length", "7,8", "--sequences", "16")
    text = " ".join(command(*words).out.split())
    assert "Sequences of copy cannot have 7 tokens; 6 were taken." in text
    assert text.count("were taken") == 1
    rows = json.loads(command(*words, "--json", "--quiet").out)["rows"]
    assert [(row["asked_length"], row["length"]) for row in rows] == [(7, 6), (8, 8)]
    by_level = json.loads(command("evaluate", run, "--complexity", "3", "--json", "--quiet").out)["rows"]
    assert [(row["asked_length"], row["length"]) for row in by_level] == [(None, 6)]
    refused = command("diagnose", "rank-collapse", "--run", run, "--length", "3")
    assert refused.status == 2
    assert "--length\n  Sequences of copy cannot have 3 tokens.\n  The next shorter ones have 2." in refused.error


def test_json_is_printed_alone(command: Command) -> None:
    run = trained(command, "--pos", "rotary")
    result = command(
        "evaluate", run, "--complexity", "2,6", "--extrapolation", "yarn", "--sequences", "16", "--json", "--quiet"
    )
    data = json.loads(result.out)
    assert (data["id"], data["extrapolation"], data["trained_length"]) == (run, "yarn", 4)
    assert [row["length"] for row in data["rows"]] == [4, 12]
    assert all(row["low"] <= row["accuracy"] <= row["high"] and row["perplexity"] > 1 for row in data["rows"])
    assert result.error == ""


def test_errors_have_the_accepted_values(command: Command, tmp_path: Path) -> None:
    nothing = command("evaluate", "abc", "--length", "8")
    assert nothing.status == 2
    assert "There are no results in results/ yet." in nothing.error
    run = trained(command, "--pos", "learned")
    close = command("evaluate", f"{run[:11]}z", "--length", "8")
    assert close.status == 2
    assert f"did you mean {run}?" in close.error
    short = command("evaluate", run, "--length", "8")
    assert "Learned positions end at 4 tokens; the sequence has 8." in short.error
    assert "This run reads up to 4 tokens." in short.error
    mode = command("evaluate", run, "--length", "4", "--extrapolation", "yarn")
    assert "A run with learned positions cannot be evaluated as yarn." in mode.error
    assert "Modes that fit: trained." in mode.error
    (tmp_path / "results" / "weights" / f"{run}.safetensors").unlink()
    lost = command("evaluate", run, "--length", "4")
    assert f"Run {run} has no weights" in lost.error
    assert {result.status for result in (short, mode, lost)} == {2}


def test_a_run_of_two_stores_is_counted_and_listed_once(command: Command) -> None:
    first = trained(command)
    assert trained(command, "--store", "results/other") == first
    second = trained(command, "--seed", "1")
    result = command("evaluate", "", "--length", "4")
    assert result.status == 2
    assert "2 runs begin with ''." in result.error
    assert {line.split()[0] for line in result.error.splitlines()[-2:]} == {first, second}


def test_logged_diagnostics_are_in_the_record_and_can_be_reported(command: Command) -> None:
    words = ("--watch", "gradients,rank")
    record = Record.from_line(command("train", *TINY, "--quiet", "--json", *words).out)
    assert record.spec.train.log_diagnostics == ("rank", "gradients")
    assert [one.step for one in record.diagnostics_history] == [1, 2, 3]
    result = command("report", "--metric", "residual.last")
    assert f"{record.diagnostics['residual.last']:.4g}" in result.out
    wrong = command("train", *TINY, "--watch", "rang")
    assert wrong.status == 2
    assert "'rank', 'gradients' or 'attention'" in wrong.error


def test_failure_modes_are_counted_on_the_grid(command: Command) -> None:
    run = trained(command)
    result = command("report", "--metric", "failure_mode")
    assert result.status == 0
    assert "copy  failure mode by" in result.out
    assert "1 of 1" in result.out
    assert "Not logged: rank, gradients, attention; log them with --watch rank,gradients,attention." in " ".join(
        result.out.split()
    )
    data = json.loads(command("report", "--metric", "failure_mode", "--json").out)
    ((one,), (cell,)) = data["runs"], data["cells"]
    assert one["id"] == run
    assert one["missing_diagnostics"] == ["rank", "gradients", "attention"]
    assert (cell["failure_mode"], cell["n"], cell[one["failure_mode"]]) == (one["failure_mode"], 1, 1)


def test_failure_modes_are_written_to_files(command: Command, tmp_path: Path) -> None:
    trained(command)
    result = command("report", "--metric", "failure_mode", "--csv", "v.csv", "--markdown", "v.md")
    assert (result.status, result.out, result.error) == (0, "", "Written: v.csv\nWritten: v.md\n")
    (row,) = csv.DictReader((tmp_path / "v.csv").read_text().splitlines())
    assert (row["task"], row["level"], row["metric"], row["n"]) == ("copy", "2", "failure_mode", "1")
    assert "copy: failure mode by symbols" in (tmp_path / "v.md").read_text()
    refused = command("report", "--metric", "failure_mode", "--plot", "v.svg")
    assert refused.status == 2
    assert "Failure modes cannot be plotted.\n  " in refused.error


def test_a_text_is_reported_by_its_perplexity(command: Command, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("to be or not to be, " * 400)
    words = ("--task", "text:path=a.txt", "--complexity", "8", "--pos", "rotary", *TINY[4:])
    run = Record.from_line(command("train", *words, "--quiet", "--json").out).id
    result = command("evaluate", run, "--length", "8,64", "--sequences", "4")
    assert (result.status, [line.split()[0] for line in result.out.splitlines()[4:6]]) == (0, ["8", "64"])
    text = " ".join(result.out.split())
    data = json.loads(command("evaluate", run, "--length", "8,64", "--sequences", "4", "--json").out)["rows"]
    best = min(data, key=lambda row: float(row["perplexity"]))["length"]
    assert f"Trained on up to 8 tokens. Perplexity is lowest at {best} tokens. Intervals" in text
    assert "solved" not in text
    beyond = command("evaluate", run, "--length", "8192")
    assert beyond.status == 2
    assert "Use a length of at most 399" in beyond.error


def test_a_rollout_differs_in_accuracy_and_not_in_exact_match(command: Command) -> None:
    run = trained(command, "--pos", "rotary")
    words = ("evaluate", run, "--complexity", "8", "--json", "--quiet")
    plain, forced, rolled = (json.loads(command(*words, *more).out) for more in ((), ("--no-rollout",), ("--rollout",)))
    assert plain == forced
    (one,), (other,) = forced["rows"], rolled["rows"]
    assert (one["rollout"], other["rollout"], other["fed_back"]) == (False, True, True)
    assert other["accuracy"] != one["accuracy"]
    assert other["exact_match"] == one["exact_match"]
    assert other["loss"] is other["perplexity"] is None
    (score,) = attnlab.evaluate(run, complexity=8, rollout=True, device="cpu")
    assert (score.accuracy.mean, score.rollout) == (other["accuracy"], True)
    table = command(*words[:4], "--rollout")
    assert "extrapolation: trained, rollout" in " ".join(table.out.split())
    assert "Rollout: the model's own earlier answers are inputs" in " ".join(table.out.split())
    assert "perplexity" not in table.out
    assert max(map(len, table.out.splitlines())) <= 80


def test_a_run_that_was_tested_by_rollout_is_evaluated_so(command: Command) -> None:
    record = Record.from_line(command("train", *TINY, "--rollout", "--quiet", "--json").out)
    assert (record.rollout, record.spec.train.rollout) == (True, True)
    (row,) = json.loads(command("evaluate", record.id, "--json", "--quiet").out)["rows"]
    assert (row["rollout"], row["accuracy"]) == (True, record.accuracy.mean)
    (forced,) = json.loads(command("evaluate", record.id, "--no-rollout", "--json", "--quiet").out)["rows"]
    assert forced["rollout"] is False
    assert record.fed_back is True
    assert "Tested by rollout: the model's own earlier answers" in " ".join(command("report").out.split())


def test_a_test_by_rollout_of_single_answers_is_said_to_be_the_same(command: Command) -> None:
    words = ("train", "--task", "parity-last", "--complexity", "4", *TINY[4:], "--quiet")
    record = Record.from_line(command(*words, "--rollout", "--json").out)
    assert (record.rollout, record.fed_back) == (True, False)
    again = command(*words, "--rollout")
    assert "tested by rollout, the same as teacher forcing here" in " ".join(again.out.split())
    assert f"Tested by rollout. {SCORED['independent']}" in " ".join(command("report").out.split())
    assert Record.from_line(command(*words, "--json").out).fed_back is None


def test_where_no_answer_is_fed_back_the_table_says_that_nothing_differs(command: Command) -> None:
    words = ("--task", "parity", "--complexity", "4", *TINY[4:], "--quiet", "--json")
    run = Record.from_line(command("train", *words).out).id
    result = command("evaluate", run, "--rollout")
    assert "No answer is an input of a later question" in " ".join(result.out.split())
    forced, rolled = (
        json.loads(command("evaluate", run, way, "--json", "--quiet").out)["rows"][0]
        for way in ("--no-rollout", "--rollout")
    )
    assert forced["accuracy"] == rolled["accuracy"]
    assert rolled["fed_back"] is False


def test_generated_answers_that_have_no_score_are_refused_before_anything_is_run(command: Command) -> None:
    words = ("--task", "regular", "--complexity", "4", *TINY[4:])
    refused = command("train", *words, "--rollout")
    assert (refused.status, refused.out) == (2, "")
    assert "train.rollout\n  Several tokens are right at a question" in refused.error
    run = Record.from_line(command("train", *words, "--quiet", "--json").out).id
    beyond = command("evaluate", run, "--rollout")
    assert beyond.status == 2
    assert "--rollout\n  Several tokens are right at a question" in beyond.error


def test_a_ladder_can_ask_for_rollout_and_its_user_can_refuse(command: Command, tmp_path: Path) -> None:
    ladder = "name: mine\nsummary: s\ntask: reverse\ncomplexity: symbols\nlevels: [2]\ndefault: 2\nsource: ours\n"
    (tmp_path / "mine.yaml").write_text(f"{ladder}rollout: true\n")
    words = ("train", "--task", "./mine.yaml", *TINY[4:], "--quiet", "--json")
    assert Record.from_line(command(*words).out).rollout
    assert not Record.from_line(command(*words, "--no-rollout").out).rollout
    sweep = command("sweep", "--task", "./mine.yaml", *TINY[4:], "--seeds", "1", "--executor", "inline", "--json")
    assert Record.from_line(sweep.out).rollout
    (tmp_path / "mine.yaml").write_text(f"{ladder}rollout: maybe\n")
    wrong = command(*words)
    assert wrong.status == 2
    assert "mine.yaml:8: rollout" in wrong.error


def test_show_says_which_way_a_ladder_is_scored(command: Command) -> None:
    for task, way in [
        ("reverse", "teacher forcing"),
        ("parity", "independent"),
        ("regular", "teacher forcing only"),
    ]:
        assert set(json.loads(command("show", task, "--json").out)["scoring"]) == {way}
        assert SCORED[way] in " ".join(command("show", task).out.split())  # type: ignore[index]  # one of the ways
    assert json.loads(command("show", "softmax", "--json").out)["scoring"] == []
