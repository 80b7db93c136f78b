"""Published values in a report: on 80 columns, in Markdown, in JSON, on the page, in a notebook, and on the card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attnlab.config.experiment import Experiment, LadderLevels
from attnlab.config.published_values import PublishedTable
from attnlab.records import Record
from attnlab.rendering.experiment_card import ExperimentCard
from attnlab.rendering.export import FORMATS, as_markdown
from attnlab.rendering.html import html_page
from attnlab.rendering.report import Report, needs_history, report
from tests.rendering.capture import drawn
from tests.rendering.fake_runs import seeds

WHY = "Theirs has two layers of width 128 and was trained for 50,000 steps on 3 to 40 bits; ours has one layer."
TABLE: dict[str, Any] = {
    "table": "Table 3",
    "quantity": "scaled accuracy, best of 3 seeds",
    "metric": "normalized_accuracy",
    "values": [
        {"of": {"attention": "softmax", "level": 4}, "value": 0.022, "as": "Transformer"},
        {"of": {"attention": "gpam", "level": 4}, "value": 1.0},
        {"of": {"attention": "dape", "level": 4}, "value": 0.5},
    ],
    "differs": WHY,
}
RECORDS = seeds([0.25, 0.625, 1.0]) + seeds([0.625], attention="gpam")


def experiment(**changed: Any) -> Experiment:
    table = PublishedTable.model_validate({**TABLE, **changed})
    ladders = (LadderLevels(ladder="recall"),)
    return Experiment(name="x", question="Which?", source="arXiv:1", ladders=ladders, published=(table,))


def shown(records: list[Record] = RECORDS, **changed: Any) -> Report:
    return report(records, experiment(**changed))


def test_on_80_columns() -> None:
    lines = drawn(shown())
    first = lines.index("published values  arXiv:1, Table 3: scaled accuracy, best of 3 seeds")
    ends = "-".join(f"{100 * end:.1f}" for end in shown().published[0].rows[0].interval)
    assert lines[first + 1 : first + 9] == [
        "ours: normalized accuracy in %, level 4",
        "variant                published  ours (mean)      95 %  best seed  seeds",
        "─────────────────────────────────────────────────────────────────────────",
        f"softmax (Transformer)        2.2         50.0  {ends:>8}      100.0      3",
        "gpam                       100.0         50.0         -       50.0      1",
        "dape                        50.0            -         -          -      -",
        "",
        "Why they differ: Theirs has two layers of width 128 and was trained for 50,000",
    ]


def test_words_stand_in_place_of_a_number() -> None:
    values = [{"of": {"attention": "softmax", "level": 4}, "value": "does not converge", "as": "Transformer"}]
    result = shown(values=values)
    assert any(line.startswith("softmax, level 4          does not converge         50.0") for line in drawn(result))
    assert json.loads(FORMATS["json"](result))["published_values"][0]["values"][0]["published"] == ("does not converge")


def test_a_published_value_beyond_the_interval_has_no_outcome() -> None:
    result = shown()
    assert result.claims_hold
    assert not result.claims
    assert not any(word in "\n".join(drawn(result)) for word in ("holds", "fails", "undecided"))


def test_a_long_name_is_folded_beside_its_numbers() -> None:
    long = "mLSTM with a very long name in the source"
    values = [{"of": {"attention": "softmax", "level": 4}, "value": 0.022, "as": long}]
    lines = drawn(shown(values=values))
    (line,) = [line for line in lines if line.startswith("softmax, level 4 ") and "2.2" in line]
    assert line.endswith("3")


def test_without_runs_the_published_values_are_shown() -> None:
    text = "\n".join(drawn(shown([])))
    assert "softmax (Transformer)        2.2            -     -          -      -" in text


def test_markdown() -> None:
    text = as_markdown(shown()).decode()
    title = (
        "Published values, arXiv:1, Table 3: scaled accuracy, best of 3 seeds; ours: normalized accuracy in %, level 4"
    )
    assert f"{title}\n\n| variant | published | ours (mean) | 95 % | best seed | seeds |\n" in text
    assert "| gpam | 100.0 | 50.0 | - | 50.0 | 1 |\n| dape | 50.0 | - | - | - | - |\n\nWhy they differ: Theirs" in text


def test_json() -> None:
    (table,) = json.loads(FORMATS["json"](shown()))["published_values"]
    assert {name: table[name] for name in ("table", "source", "quantity", "metric", "differs")} == {
        "table": "Table 3",
        "source": "arXiv:1",
        "quantity": "scaled accuracy, best of 3 seeds",
        "metric": "normalized_accuracy",
        "differs": WHY,
    }
    first, second, third = table["values"]
    interval = first.pop("interval")
    assert interval[0] < 0.5 < interval[1]
    assert first == {
        "of": {"attention": "softmax", "level": 4},
        "as": "Transformer",
        "published": 0.022,
        "mean": 0.5,
        "best": 1.0,
        "worst": 0.0,
        "seeds": 3,
    }
    assert (second["interval"], second["seeds"]) == ([None, None], 1)
    assert (third["mean"], third["best"], third["seeds"]) == (None, None, 0)


def test_a_report_without_any_says_so_in_json_alone() -> None:
    plain = report(RECORDS)
    assert json.loads(FORMATS["json"](plain))["published_values"] == []
    assert "ublished" not in as_markdown(plain).decode()
    assert "ublished" not in "\n".join(drawn(plain))


def test_the_page() -> None:
    page = html_page(shown(values=[{**TABLE["values"][0], "as": "<b>T</b>"}]), command="").decode()
    assert '<a href="#published">Published values</a>' in page
    assert "<h3>arXiv:1, Table 3: scaled accuracy, best of 3 seeds</h3>" in page
    assert "softmax, level 4 (&lt;b&gt;T&lt;/b&gt;)" in page
    assert f"Why they differ: {WHY}" in page
    assert 'href="#published"' not in html_page(report(RECORDS), command="").decode()


def test_a_notebook() -> None:
    html = shown()._repr_html_()
    assert "published values" in html
    assert "Why they differ" in html


def test_the_card_names_the_tables() -> None:
    text = "\n".join(drawn(ExperimentCard(experiment(), Path("x.yaml")), width=120))
    assert "Published values: arXiv:1, Table 3: scaled accuracy, best of 3 seeds (3 values)" in text
    data = ExperimentCard(experiment(), Path("x.yaml")).data()
    assert data["published"][0]["values"][0]["as"] == "Transformer"


def test_a_published_time_to_solve_needs_the_histories() -> None:
    assert needs_history(None, experiment(metric="time_to_solve"))
    assert not needs_history(None, experiment())
