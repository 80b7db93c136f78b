"""``attnlab diagnose``, and metrics in ``attnlab show`` and ``attnlab ls``."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.cli.conftest import TINY, Command

SMALL = ("--layers", "2", "--width", "8", "--seeds", "2", "--sequences", "2", "--task", "copy", "--pos", "none")


@pytest.mark.parametrize("kind", ["rank-collapse", "gradients", "attention", "tokens", "reach"])
@pytest.mark.parametrize("attn", ["softmax,dagpam", "delta,sparse:window=2"])
def test_every_diagnosis_is_drawn_in_80_columns(kind: str, attn: str, command: Command) -> None:
    result = command("diagnose", kind, "--attn", attn, *SMALL)
    assert (result.status, result.error) == (0, "")
    assert result.out.startswith(f"{kind}  random initialization, 2 layers, width 8")
    assert max(map(len, result.out.splitlines())) <= 80
    assert "nan" not in result.out


def test_the_title_names_the_position_and_what_is_added(command: Command) -> None:
    words = ("diagnose", "rank-collapse", "--only", "cosine", "--layers", "1", "--width", "8", "--sequences", "2")
    titles = [
        command(*words, *more, "--json").out for more in ((), ("--recipe", "plain"), ("--recipe", "muon-qk-norm"))
    ]
    for title, named in zip(titles, ("position fourier", "position learned", "position fourier"), strict=True):
        assert named in json.loads(title)["subject"]
    assert ["qk_norm" in json.loads(title)["subject"] for title in titles] == [False, False, True]


def test_the_table_has_the_numbers_of_the_json(command: Command) -> None:
    words = ("diagnose", "rank-collapse", "--attn", "softmax", "--only", "cosine", *SMALL)
    (panel,) = json.loads(command(*words, "--json").out)["panels"]
    row = next(line for line in command(*words).out.splitlines() if line.startswith("softmax"))
    assert row.split()[1:4] == [f"{value:.3f}" for value in panel["variants"][0]["mean"]]


def test_csv_is_written_and_nothing_printed(command: Command, tmp_path: Path) -> None:
    result = command("diagnose", "attention", "--only", "entropy", "--csv", "diagnosis.csv", *SMALL)
    assert (result.status, result.out) == (0, "")
    rows = list(csv.DictReader((tmp_path / "diagnosis.csv").read_text().splitlines()))
    assert {row["metric"] for row in rows} == {"entropy"}
    assert len(rows) == 2 * (2 + 2)  # layers, seeds, heads


def test_a_map_is_drawn_and_plotted(command: Command, tmp_path: Path) -> None:
    words = ("diagnose", "attention", "--only", "entropy", "--attn", "softmax", "--attention-map", "2.1", *SMALL)
    result = command(*words)
    assert "softmax  layer 2, head 1: queries down, keys across" in result.out
    pytest.importorskip("altair")
    assert command(*words, "--plot", "map.svg").status == 0
    assert (tmp_path / "map.svg").read_text().startswith("<svg")


def test_a_run_is_diagnosed_from_its_weights(command: Command) -> None:
    (line,) = command("train", *TINY, "--quiet", "--json").out.splitlines()
    record = json.loads(line)
    result = command("diagnose", "rank-collapse", "--run", record["id"][:6], "--only", "residual")
    assert (result.status, result.error) == (0, "")
    assert result.out.startswith(f"rank-collapse  run {record['id']}, copy symbols=2")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--attn", "sofmax"), "attnlab: model.attention: sofmax\n  There is no attention 'sofmax'; did you mean"),
        (
            ("--attention-map", "9.1"),
            "attnlab: --attention-map 9.1\n  'softmax' has no head 1 in layer 9.\n  Layers are 1 to 2, heads 1 to 2",
        ),
        (
            ("--only", "residul"),
            "attnlab: --only\n  The diagnosis 'rank-collapse' has no metric 'residul'; did you mean",
        ),
        (("--set", "modle.norm=pre"), "attnlab: --set modle\n  There is no section 'modle'; did you mean 'model'?"),
        (("--set", "model.nrm=pre"), "attnlab: model.nrm\n  There is no key 'nrm'; did you mean 'norm'?"),
        (
            ("--pos", "auto"),
            "attnlab: --pos\n  'auto' chooses among the runs of a sweep.\n  Sweep with it (attnlab sweep), or name one",
        ),
        (("--attn", "delta", "--pos", "alibi"), "attnlab: model.position\n  'delta' has no attention scores"),
        (
            ("--length", "9"),
            "attnlab: --length\n  'copy' has no option length: its length follows from its",
        ),
        (
            ("--input", "gaussian"),
            "attnlab: --input gaussian\n  Noise has no task: --input replaces the task.",
        ),
        (("--plot", "map.png"), "attnlab: --plot\n  There is no map to plot.\n  Choose a head: --attention-map 1.1."),
        (("--run", "abc"), "attnlab: --pos\n  A finished run has its own variant, sizes and task."),
    ],
)
def test_a_mistake_gives_one_message(words: tuple[str, ...], message: str, command: Command, tmp_path: Path) -> None:
    result = command("diagnose", "rank-collapse", *SMALL, *words)
    assert (result.status, result.out) == (2, "")
    assert result.error.startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_not_there(command: Command) -> None:
    result = command("diagnose", "attention", "--run", "abc")
    assert (result.status, result.out) == (2, "")
    assert result.error.startswith("attnlab: run abc\n  There are no results in results/ yet.")


def test_the_gradient_at_missing_scores_is_refused(command: Command) -> None:
    result = command("diagnose", "gradients", "--attn", "delta", "--only", "query-gradient,scores-gradient", *SMALL)
    assert result.status == 2
    assert "'delta' has no attention scores, so there is no gradient at them." in result.error


def test_every_metric_has_a_card(command: Command) -> None:
    listed = json.loads(command("ls", "metrics", "--json").out)
    assert len(listed) > 30
    for row in listed:
        card = json.loads(command("show", f"metric:{row['metric']}", "--json").out)
        assert all(card[key] for key in ("formula", "source", "point", "collapse", "summary")), row["metric"]


def test_show_prints_formula_source_point_and_the_signs_of_collapse(command: Command) -> None:
    result = command("show", "residual")
    for phrase in (
        "Formula              ||X - 1 m^T||_F / ||X||_F",
        "Measured             the residual stream after each block",
        "arXiv:2103.03404",
    ):
        assert phrase in result.out
    assert "Under rank collapse  falls towards 0" in result.out
    assert max(map(len, result.out.splitlines())) <= 80


def test_a_metric_that_is_not_there(command: Command) -> None:
    result = command("show", "metric:residul")
    assert result.status == 2
    assert result.error.startswith("attnlab: There is no metric 'residul'; did you mean 'residual'?")
