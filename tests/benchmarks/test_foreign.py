"""Packages of other people: the list, one local "package" that is measured from beginning to end, and the table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from attnlab.attention import ATTENTIONS
from benchmarks import foreign
from benchmarks.foreign_speed import row
from benchmarks.packages import measure
from benchmarks.packages.case import Case, Equal, Package, Packages, read_packages
from benchmarks.packages.child import measure_all
from benchmarks.packages.environment import environment, installed
from benchmarks.packages.speed import times
from benchmarks.packages.table import leak, table

MODULES = '''
"""Mixers: one that is causal, one that sees later tokens and wants whole blocks, one that ends the process."""
import os

import torch
from torch import nn


class Mean(nn.Module):
    def __init__(self, dim, heads, dim_head):
        super().__init__()
        self.to_out = nn.Linear(dim, dim, bias=False)

    def forward(self, x):
        counts = torch.arange(1, x.shape[1] + 1, dtype=x.dtype)[:, None]
        return self.to_out(x.cumsum(1) / counts)


class Leaky(Mean):
    def forward(self, x):
        assert x.shape[1] % 32 == 0, "whole blocks only"
        return super().forward(x) + 0.01 * x.mean(1, keepdim=True)


class Ending(nn.Module):
    def __init__(self, dim):
        super().__init__()
        os._exit(3)

'''


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    package = tmp_path / "env" / "mixers==1.0"
    package.mkdir(parents=True)
    (package / "mixers.py").write_text(MODULES)
    found, reason = installed(["mixers==1.0"], tmp_path / "env")
    assert (found, reason) == ([package], "")
    return found


def test_the_list_names_exact_versions_and_classes_and_our_own_mechanisms() -> None:
    packages = read_packages()
    assert len(packages.packages) > 50
    names = [one.package for one in packages.packages]
    assert len(set(names)) == len(names)
    for package in packages.packages:
        assert all("==" in one for one in packages.requirements(package))
        assert package.cases or package.note
        assert len({case.name for case in package.cases}) == len(package.cases)
        assert all(bool(case.attention) != bool(case.code) for case in package.cases)
        assert all(case.equal is None or case.equal.ours in ATTENTIONS for case in package.cases)


def test_a_list_with_a_version_range_or_a_word_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValidationError):
        Package(package="einops>=0.8")
    with pytest.raises(ValidationError, match="extra"):
        Package.model_validate({"package": "einops==0.8.2", "versions": []})
    with pytest.raises(KeyError):
        Packages(versions={}, packages=[]).requirements(Package(package="one==1", requires=["two"]))


def test_cases_are_measured_in_a_process_that_they_may_end(places: list[Path]) -> None:
    cases = [Case(name=name, attention=f"mixers:{name}") for name in ("Mean", "Leaky", "Absent", "Ending")]
    results = {case.name: result for case, result in measure_all(cases, environment(places), 120)}
    mean, leaky = results["Mean"], results["Leaky"]
    assert (mean["type"], mean["refuses"], mean["random"], mean["vmap"]) == ("float64", {}, False, "")
    assert mean["evaluation"]["size"] == mean["training"]["size"] == 0.0
    assert mean["prefix"]["size"] < 1e-12
    assert leaky["block"] == 32
    assert 31 in leaky["refuses"]["AssertionError: whole blocks only"]
    assert leaky["evaluation"]["size"] > 1e-3
    assert leaky["evaluation"]["reach"].endswith("ahead")
    assert results["Ending"] == {"error": "the process ended with code 3"}
    assert "has no class 'Absent'" in results["Absent"]["refused"]
    late = list(measure_all(cases[:1], environment(places), 0.01))
    assert late == [(cases[0], {"error": "not done within 0.01 s"})]
    text = table({"mixers==1.0": {"note": "", "cases": results}, "other==2": {"note": "for a GPU", "cases": {}}})
    assert "| mixers 1.0 | Mean |  |  |  | yes |  |" in text
    same = {"one": mean, "two": mean | {"parameters": 0}}
    assert "| both 1 | one, two |  |  |  | yes |  |" in table({"both==1": {"note": "", "cases": same}})
    assert "| other 2 | not measured: for a GPU |" in text


@pytest.mark.filterwarnings("ignore")
def test_our_own_mechanism_with_copied_weights_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
from torch import nn
from torch.nn import functional
class Softmax(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.to_qkv = heads, nn.Linear(dim, 3 * dim, bias=False)
        self.to_out = nn.Linear(dim, dim, bias=False)
    def forward(self, x):
        q, k, v = (one.unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in self.to_qkv(x).chunk(3, -1))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.to_out(mixed.transpose(1, 2).flatten(2))
build = Softmax
"""
    monkeypatch.setattr(measure, "LENGTHS", (1, 7, 33))
    monkeypatch.setattr(measure, "LONG", (33,))
    parts = {name: f"to_qkv.weight:{index}/3" for index, name in enumerate(("query", "key", "value"))}
    copied = {f"{name}.weight": part for name, part in parts.items()} | {"out_proj.weight": "to_out.weight"}
    equal = Equal(ours="softmax", copied=copied)
    result = measure.measured(Case(name="softmax", code=code, equal=equal))
    assert result["equal"] < 1e-12
    copied["key.weight"] = "to_qkv.weight:0/3"
    wrong = measure.measured(Case(name="softmax", code=code, equal=Equal(ours="softmax", copied=copied)))
    assert wrong["equal"] > 1e-2
    del copied["key.weight"]
    missing = measure.measured(Case(name="softmax", code=code, equal=Equal(ours="softmax", copied=copied)))
    assert missing["equal"] == "ValueError: no counterpart is named for key.weight"


@pytest.mark.parametrize(
    ("evaluation", "training", "cell"),
    [
        ({"size": 1e-9, "rows": 0.0}, {"size": 0.0, "rows": 0.0}, ""),
        ({"size": 0.25, "rows": 0.0, "reach": "all"}, {"size": 0.25, "rows": 0.0, "reach": "all"}, "25 % (all)"),
        (
            {"size": 0.0, "rows": 0.0},
            {"size": 0.021, "rows": 0.5, "reach": "all"},
            "2.1 % in training only (all); 50 % ",
        ),
        ({"size": 0.0, "rows": 0.0}, {"error": "no"}, "training: no"),
        ({"size": float("nan"), "rows": 0.0}, {"size": 0.0, "rows": 0.0}, "nan % in evaluation only ()"),
    ],
)
def test_a_leak_is_told_with_its_size_its_reach_and_its_mode(
    evaluation: dict[str, Any], training: dict[str, Any], cell: str
) -> None:
    assert leak({"evaluation": evaluation, "training": training}).startswith(cell)


def test_what_is_done_is_kept_and_not_measured_again(
    tmp_path: Path, places: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listed, kept = tmp_path / "list.yaml", tmp_path / "done.json"
    case = "{name: Mean, attention: 'mixers:Mean'}"
    listed.write_text(
        f"versions: {{}}\npackages: [{{package: mixers==1.0, cases: [{case}]}}, {{package: b==2, note: old}}]"
    )
    words = ["foreign", "--list", str(listed), "--json", str(kept), "--folder", str(places[0].parent), "--only", "MIX"]
    monkeypatch.setattr(sys, "argv", words)
    measured = []

    def instead(cases: list[Case], variables: dict[str, str], seconds: float) -> list[tuple[Case, dict[str, Any]]]:
        assert str(places[0]) in variables["PYTHONPATH"]
        measured.extend(cases)
        return [(case, {"refused": "no"}) for case in cases]

    monkeypatch.setattr(foreign, "measure_all", instead)
    foreign.main()
    assert "1 of 1: mixers==1.0" in capsys.readouterr().out
    foreign.main()
    assert "1 of 1" not in capsys.readouterr().out
    assert [one.name for one in measured] == ["Mean"]
    data = json.loads(kept.read_text())
    assert data["about"]["torch"] == torch.__version__
    assert data["packages"] == {"mixers==1.0": {"note": "", "cases": {"Mean": {"refused": "no"}}}}


def test_a_package_that_cannot_be_installed_is_told_with_the_reason(tmp_path: Path) -> None:
    places, reason = installed([f"{tmp_path}/nothing-here==1"], tmp_path / "env")
    assert places == []
    assert "nothing-here==1" in reason
    assert not (tmp_path / "env" / "nothing-here==1").exists()
    text = table({"nothing-here==1": {"note": "", "not_installed": reason, "cases": {}}})
    assert f"| nothing-here 1 | not measured: {reason}" in text


def test_faster_packages_stand_out_in_the_table_of_times() -> None:
    result = {"64": [1.25, 1.2, 1.3], "256": [0.5, 0.4, 0.6], "1024": [0.96, 0.9, 1.0]}
    expected = "| some 1.0 | plain | `softmax` | 1.25 (1.20-1.30) | **0.50 (0.40-0.60)** | 0.96 (0.90-1.00) |"
    assert row("some 1.0", "plain", "softmax", result) == expected
    assert row("some 1.0", "plain", "softmax", {"error": "no such class"}).count("|") == expected.count("|")


def test_a_module_of_ones_own_is_timed_beside_ours_with_its_weights() -> None:
    code = """
import torch
class Mixer(torch.nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.q, self.k, self.v, self.o = (torch.nn.Linear(width, width, bias=False) for _ in range(4))
        self.heads = heads
    def forward(self, x):
        q, k, v = (m(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for m in (self.q, self.k, self.v))
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(y.transpose(1, 2).flatten(2))
build = Mixer
"""
    copied = {
        "query.weight": "q.weight",
        "key.weight": "k.weight",
        "value.weight": "v.weight",
        "out_proj.weight": "o.weight",
    }
    case = Case(name="own", code=code, equal=Equal(ours="softmax", copied=copied))
    found = times(case, lengths=(8, 16), rounds=1)
    assert set(found) == {"8", "16"}
    assert all(0 < low <= median <= high for median, low, high in found.values())
