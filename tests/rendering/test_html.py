from __future__ import annotations

import base64
import gzip
import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from attnlab.analysis.statistics import Sample, intervals
from attnlab.config.experiment import Claim, Experiment, LadderLevels
from attnlab.diagnosis.quantities import all_metrics
from attnlab.diagnosis.result import AttentionMap
from attnlab.formatting import CONTROL, between
from attnlab.metrics.gradients import WEIGHT_KINDS
from attnlab.records import Record
from attnlab.rendering._page_diagnostics import MEANINGS
from attnlab.rendering.html import RunMaps, html_page, runs_with_maps
from attnlab.rendering.latex import report_latex
from attnlab.rendering.plot import draw
from attnlab.rendering.report import report
from attnlab.training._log_diagnostics import ATTENTION_METRICS, RANK_METRICS
from tests.rendering.fake_runs import CHANCE, run, seeds
from tests.rendering.learned_runs import learned_run, learned_runs

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Reader(HTMLParser):
    """The text of a page; asserts that all tags close, and lists what the page fetches."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.compressed = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)
        self.in_data = ("id", "data") in attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            self.compressed += data if self.in_data else ""
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def data(self) -> dict[str, Any]:
        """What the script of the page reads."""
        decoded: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(self.compressed)))
        return decoded


def read(records: list[Record], question: str = "Is a < b?", **more: Any) -> Reader:
    claim = Claim(says="It is <b>.", of={}, expect="greater", bound=0.4)
    ladder = LadderLevels(ladder="recall", levels=tuple({one.spec.task.level: None for one in records}) or None)
    claims = (claim,) if len({one.spec.variant for one in records}) == 1 else ()
    shown = report(records, Experiment(name="x", question=question, ladders=(ladder,), claims=claims))
    reader = Reader()
    reader.feed(html_page(shown, "attnlab report x --html y.html", "attnlab sweep x", **more).decode())
    return reader


def page(question: str = "Is a < b?") -> Reader:
    environment = {"torch": "2.13.0", "ended": "2026-11-22T01:00:00Z"}
    records = [
        one.model_copy(update={"environment": environment})
        for pairs in (2, 4)
        for one in seeds([0.9, 1.0, 1.0], pairs=pairs)
    ]
    return read(records, question)


def test_a_page_is_complete_and_fetches_nothing() -> None:
    pytest.importorskip("vl_convert")
    result = page()
    assert result.open == []
    assert [link for link in result.fetched if not link.startswith(("#", "data:"))] == []
    ends = between(intervals([Sample((0.9, 1.0, 1.0), (CHANCE, 1.0))])[0], "accuracy")
    for phrase in ("Is a < b?", "It is <b>.", "96.7", ends, "n=3", "2/3", "holds", "2.13.0", "attnlab sweep x"):
        assert phrase in result.text, phrase
    assert "6, 2026-11-22T01:00:00Z to 2026-11-22T01:00:00Z" in result.text
    assert "--html y.html" in result.text


def test_without_the_plotting_library_it_names_what_to_install_and_has_the_tables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from attnlab.rendering import _vega

    _vega.script.cache_clear()
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    result = page()
    assert "pip install 'attnlab[plots]'" in result.text
    assert "96.7" in result.text
    assert result.data["charts"] == {}


def test_the_script_draws_every_run_level_and_diagnostic() -> None:
    pytest.importorskip("vl_convert")
    records = learned_runs()
    data = read(records).data
    assert data["variants"] == ["softmax", "linear"]
    assert [one["id"] for one in data["runs"]] == [record.id for record in records]
    kinds = {name.split("|")[0] for name in data["charts"]}
    assert kinds == {"levels", "seeds", "curves", "along", "layers"}
    curves = data["tables"][data["curves"][0]]
    first = dict(zip(curves["columns"], curves["rows"][0], strict=True))
    assert (first["variant"], first["run"], first["step"]) == (0, 0, records[0].history[0].step)
    assert first["accuracy"] == pytest.approx(records[0].history[0].accuracy, rel=1e-4)
    assert len(curves["rows"]) == 6 * len(records[0].history)
    along = data["tables"][data["charts"]["along|0|0|1"]["table"]]
    row = dict(zip(along["columns"], along["rows"][-1], strict=True))
    assert row["seeds"] == 3
    assert row["least"] <= row["mean"] <= row["most"]
    layers = data["tables"][data["charts"]["layers|0|0"]["table"]]
    assert [one[layers["columns"].index("layer")] for one in layers["rows"][:3]] == [0, 1, 2]


def test_a_page_without_runs_curves_and_diagnostics_says_so() -> None:
    pytest.importorskip("vl_convert")
    empty = read([])
    assert "No runs yet." in empty.text
    failed = read([run(status="failed", history=(), reason="It broke.")])
    assert "No diagnostics were logged" in failed.text
    assert "No attention maps were computed." in failed.text
    assert failed.data["curves"] == []


def test_the_panel_of_a_run_has_result_settings_and_command() -> None:
    record = run("delta", 8, width=32, other_levels={16: 0.4})
    data = read([record], run_commands={record.id: "attnlab train --task recall"}).data
    (panel,) = data["runs"]
    assert ["model.width", "32"] in panel["differs"]
    assert ["model.attention", "delta"] in panel["differs"]
    assert panel["facts"][0] == ["task", "recall, pairs 8"]
    assert not any(name == "model.layers" for name, _ in panel["differs"])
    assert panel["levels"] == [["16", "8", "40.0 %", "40.0 %", "2"]]
    assert panel["commands"] == [["The command that reproduces it", "attnlab train --task recall"]]
    assert data["sections"][panel["spec"]["model"]]["width"] == 32


def test_losses_of_numbers_are_squared_errors_and_not_nats() -> None:
    pytest.importorskip("vl_convert")
    pages = {}
    for name, vocabulary in (("tokens", 16), ("numbers", 0)):
        told = {"vocabulary": vocabulary, "chance_guess": "the number 0"}
        pages[name] = read([one.model_copy(update=told) for one in learned_runs(levels=(2,), seeds=1)])
    for name, unit, loss in (("tokens", " in nats", "test loss"), ("numbers", ", squared error", "test squared error")):
        data = pages[name].data
        assert f"training loss{unit}" in pages[name].text
        assert {one["unit"] for one in data["runs"]} == {unit}
        assert loss in dict(data["runs"][0]["facts"])
        assert f"training loss{unit} by training step" in json.dumps(data)
    assert "nats" not in pages["numbers"].text + json.dumps(pages["numbers"].data)


def test_maps_are_those_of_the_hardest_level_of_each_variant() -> None:
    records = [learned_run(name, pairs, seed) for name in ("softmax", "linear") for pairs in (2, 8) for seed in (0, 1)]
    chosen = runs_with_maps(report(records), records, 4)
    assert [(one.spec.variant, one.spec.task.level) for one in chosen] == [("softmax", 8), ("linear", 8)]
    for best in chosen:
        others = [one for one in records if (one.spec.variant, one.spec.task.level) == (best.spec.variant, 8)]
        assert best.validation_accuracy == max(one.validation_accuracy for one in others)
    assert len(runs_with_maps(report(records), records, 1)) == 1


def test_a_map_keeps_weights_up_to_each_query_and_large_maps_are_pooled() -> None:
    pytest.importorskip("vl_convert")
    records = learned_runs(("softmax",), (2,), 1)
    small = tuple(tuple(float(key <= query) / (query + 1) for key in range(3)) for query in range(3))
    large = tuple(tuple(float(key == 0) for key in range(130)) for _ in range(130))
    maps = RunMaps(records[0], (AttentionMap("softmax", 1, 1, small), AttentionMap("softmax", 2, 1, large)))
    data = read(records, maps=[maps]).data
    tables = [data["tables"][data["charts"][f"map|0|{layer}.1"]["table"]] for layer in (1, 2)]
    assert tables[0] == {"weights": [[1.0], [0.5, 0.5], [0.333, 0.333, 0.333]], "size": 1}
    assert tables[1]["size"] == 3
    assert [len(row) for row in tables[1]["weights"]] == list(range(1, 45))
    assert all(row[0] == 1 for row in tables[1]["weights"])


def test_diagnostics_have_the_summaries_of_their_metrics() -> None:
    gradients = [f"{kind}-gradient" for kind in WEIGHT_KINDS if kind != "scores"]
    known = all_metrics()
    assert {name: known[name][1].summary for name in (*RANK_METRICS, *ATTENTION_METRICS, *gradients)} == MEANINGS


def test_names_are_escaped_wherever_they_stand() -> None:
    hostile = "</script><img src=x onerror=alert(1)>"
    records = [run(hostile, 2, seed, task=hostile, reason=hostile, environment={"torch": hostile}) for seed in (0, 1)]
    commands = {record.id: hostile for record in records}
    result = read(records, hostile, run_commands=commands, texts=[(hostile, hostile)], about_maps=hostile)
    assert "img" not in result.tags
    assert result.open == []
    assert result.text.count("onerror") >= 8


def test_no_name_writes_control_characters_anywhere() -> None:
    hostile = "soft\x1b[2Jmax\u202egnp"
    records = [run(hostile, 2, seed, reason=hostile, environment={"torch": hostile}) for seed in (0, 1)]
    result = read(records, hostile, texts=[(hostile, hostile)])
    decoded = json.dumps(result.data, ensure_ascii=False)
    assert "soft[2Jmaxgnp" in decoded
    assert "soft[2Jmaxgnp" in result.text
    assert not CONTROL.search(decoded)
    assert not CONTROL.search(" ".join(result.words).replace("\r", ""))
    assert not CONTROL.search(report_latex(report(records)).decode())
    assert not CONTROL.search(draw(report(records), Path("x.svg")).decode())


def test_the_same_report_is_the_same_page() -> None:
    shown = report(learned_runs(("softmax",), (2,), 2))
    assert html_page(shown, "attnlab report") == html_page(shown, "attnlab report")


def several(**fields: Any) -> list[Record]:
    return [one for name in ("softmax", "linear") for one in seeds([0.4, 0.6, 0.9], attention=name, **fields)]


@pytest.mark.parametrize(
    ("records", "options", "kinds"),
    [
        (learned_runs(), {"metric": "loss"}, {"levels", "seeds", "curves", "along", "layers"}),
        (learned_runs(), {"metric": "solved"}, {"levels", "seeds", "curves", "along", "layers"}),
        (learned_runs(), {"columns": "attention"}, {"levels", "seeds", "curves", "along", "layers"}),
        (several(pairs="easy") + several(pairs="hard"), {}, {"levels", "seeds", "curves"}),
        (several(subtasks={"copy": 0.5, "sort": 0.7}), {}, {"levels", "seeds", "curves"}),
        (several(trained="2..8", other_levels={8: 0.4, 16: 0.3}), {}, {"levels", "seeds", "curves"}),
        ([run()], {}, {"levels", "curves"}),
        ([run(status="failed", history=()), run(seed=1, status="diverged")], {}, {"levels", "curves"}),
        ([one for task in ("a", "b") for one in several(task=task)], {}, {"levels", "seeds", "curves"}),
        ([run(f"a{i}", pairs) for i in range(24) for pairs in (2, 4)], {}, {"levels", "curves"}),
    ],
)
def test_reports_of_every_shape_have_a_page(records: list[Record], options: dict[str, Any], kinds: set[str]) -> None:
    pytest.importorskip("vl_convert")
    reader = Reader()
    reader.feed(html_page(report(records, **options), "attnlab report").decode())
    assert reader.open == []
    assert {name.split("|")[0] for name in reader.data["charts"]} == kinds
    assert len(reader.data["runs"]) == len(records)


def laid_out(records: list[Record], **options: Any) -> tuple[dict[str, Any], str]:
    """The data and the text of a page."""
    pytest.importorskip("vl_convert")
    reader = Reader()
    reader.feed(html_page(report(records, **options), "attnlab report").decode())
    return reader.data, reader.text


def points_of(data: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The points of a chart, with the names of their variants."""
    table = data["tables"][data["charts"][key]["table"]]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    return [{**row, "variant": data["variants"][row["variant"]]} for row in rows]


def test_widths_are_the_axis_of_a_page_of_a_single_level() -> None:
    records = [
        run(name, width=width, seed=seed, accuracy=width / 100)
        for name in ("softmax", "linear")
        for width in (64, 16)
        for seed in range(3)
    ]
    data, text = laid_out(records)
    assert data["variants"] == ["softmax", "linear"]
    for key in ("levels|0", "seeds|0"):
        assert {(row["variant"], row["level"]) for row in points_of(data, key)} == {
            (name, width) for name in ("softmax", "linear") for width in (16, 64)
        }
    assert "Accuracy by width" in text
    assert text.index("recall, pairs 4, width 16") < text.index("recall, pairs 4, width 64")
    assert {row["run"] for row in points_of(data, "curves|0|accuracy")} == {
        index for index, record in enumerate(records) if record.spec.model.width == 16
    }
    chosen = runs_with_maps(report(records), records, 4)
    assert [one.spec.variant for one in chosen] == ["softmax", "linear"]


def test_a_single_variant_of_several_widths_is_one_line() -> None:
    data, _ = laid_out([run(width=width, seed=seed) for width in (16, 64) for seed in range(3)])
    assert data["variants"] == ["recall, pairs 4"]
    assert {row["level"] for row in points_of(data, "levels|0")} == {16, 64}


def test_attentions_are_the_axis_where_nothing_else_varies() -> None:
    data, text = laid_out([run(name, seed=seed) for name in ("softmax", "linear") for seed in range(3)])
    assert data["variants"] == ["softmax", "linear"]
    assert {(row["variant"], row["level"]) for row in points_of(data, "seeds|0")} == {
        ("softmax", "softmax"),
        ("linear", "linear"),
    }
    assert "Accuracy by attention" in text
    for key in ("levels|0", "seeds|0"):
        compiled = json.dumps(data["specs"][data["charts"][key]["spec"]])
        assert '["softmax", "linear"]' in compiled, key  # the order of the rows


def test_levels_stay_the_axis_where_there_are_several_or_tasks_differ_in_what_varies() -> None:
    ladder = [run(width=width, pairs=pairs) for width in (16, 64) for pairs in (2, 4)]
    assert laid_out(ladder)[0]["variants"] == ["16", "64"]
    tasks = [run(width=width, task="a") for width in (16, 64)] + [run(width=32, task="b")]
    assert {row["level"] for row in points_of(laid_out(tasks)[0], "levels|0")} == {4}
