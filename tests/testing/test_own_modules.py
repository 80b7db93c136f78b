"""Modules of users through the checks: what does not apply says so, and a fault is told once, in the user's words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from attnlab.attention import ATTENTIONS
from attnlab.testing.check_attention import check_attention, subject_of
from attnlab.testing.finding import Finding

pytestmark = pytest.mark.usefixtures("short")

BEGIN = """
import torch
from torch import nn

class Mine(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.linear, self.calls = nn.Linear(dim, dim), 0
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.wide = nn.Linear(dim, 2 * dim)

    def count(self):
        self.calls += 1
        return self.calls

    def whole(self, x, block):
        assert x.shape[1] % block == 0, f"{x.shape[1]} tokens are no multiple of {block}"
        return self.linear(x).unflatten(1, (-1, block)).cumsum(2).flatten(1, 2)

    def mixed(self, x):
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return self.attention(x, x, x, attn_mask=hidden, need_weights=False)[0]

    def forward(self, x):
"""


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    entries = dict(ATTENTIONS._entries)
    yield
    ATTENTIONS._entries.clear()
    ATTENTIONS._entries.update(entries)


def found(folder: Path, body: str) -> dict[str, Finding]:
    """The findings but for the time."""
    (folder / "mine.py").write_text(f"{BEGIN}        return {body}\n")
    report = check_attention(subject_of(f"{folder / 'mine.py'}:Mine"))
    return {finding.check: finding for finding in report.findings if finding.check != "cost"}


def failed(findings: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.evidence for name, finding in findings.items() if finding.outcome == "fail"}


def test_the_multihead_attention_of_torch_in_a_wrapper_passes(tmp_path: Path) -> None:
    findings = found(tmp_path, "self.mixed(x)")
    assert failed(findings) == {}
    assert findings["vmap"].outcome == "pass"  # gradients are taken in training mode, as a run takes them
    assert findings["declared parameters"].evidence.startswith("counted ")
    reasons = {name: one.evidence for name, one in findings.items() if one.evidence.startswith("not applicable: ")}
    assert reasons["decode state"] == "not applicable: a module of its own declares none"
    assert reasons.keys() == {
        *("row constraint", "linear in the values", "fast path equals plain", "query subset"),
        *("long sequences", "decode state"),
    }


def test_a_module_that_cannot_be_stacked_is_trained_alone() -> None:
    report = check_attention(subject_of("torch.nn:GRU"))
    findings = {finding.check: finding for finding in report.findings}
    assert failed(findings) == {}
    assert findings["vmap"] == Finding(
        "vmap",
        "info",
        "not applicable: it cannot be vmapped, so that its runs are trained one by one: RuntimeError: Batching rule "
        "not implemented for aten::gru.input. We could not generate a fallback",
    )


@pytest.mark.parametrize(
    "body",
    [
        "nn.functional.linear(x.float(), self.linear.weight.float()).cumsum(1)",
        "self.linear(x.float()).cumsum(1).to(x.dtype)",
        "x + self.linear(x).float().cumsum(1).to(x.dtype)",
    ],
    ids=["casts weights", "casts inputs", "casts inside"],
)
def test_a_module_that_computes_in_float32_has_its_tolerance(body: str, tmp_path: Path) -> None:
    findings = found(tmp_path, body)
    assert failed(findings) == {}
    assert findings["future never seen"].evidence.endswith("; it computes in float32")
    assert findings["gradients"].evidence == (
        "not applicable: it computes in float32, and finite differences need float64"
    )


OF_ANOTHER_TYPE = """
import torch

class Mine(torch.nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(dim, dim, dtype=torch.TYPE))

    def forward(self, x):
        return (x.to(self.weight.dtype) @ self.weight).real.cumsum(1).to(x.dtype)
"""


def test_weights_in_float64_stay_so_beside_inputs_in_float32_as_in_training(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(OF_ANOTHER_TYPE.replace("TYPE", "float64"))
    report = check_attention(subject_of(f"{path}:Mine"))
    findings = {finding.check: finding for finding in report.findings}
    assert failed(findings) == {}
    assert findings["vmap"].evidence.endswith("its weights are float64, and those of the model float32")


def test_complex_weights_are_refused_as_in_training(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "mine.py"
    path.write_text(OF_ANOTHER_TYPE.replace("TYPE", "complex64"))
    (finding,) = check_attention(subject_of(f"{path}:Mine")).findings
    assert finding.check == "usable"
    assert finding.evidence.startswith("The weight 'module.weight' is complex64; the optimizers train real numbers.\n")
    assert not recwarn.list


@pytest.mark.parametrize(
    ("body", "evidence"),
    [
        (
            "self.wide(x)",
            "mine.py:Mine\nThe module cannot be used: it maps [3, 6, 16] to [3, 6, 32].\nLINE\n"
            "A module maps (batch, tokens, width) to the same shape, or to a tuple that begins with it.",
        ),
        (
            "x if x.shape[1] < 7 else x[:, 1:]",
            "It maps [2, 64, 16] to [2, 63, 16].\nLINE\n"
            "An attention maps (batch, tokens, width) to the same shape: project its output, and keep every token.",
        ),
    ],
    ids=["width", "tokens"],
)
def test_a_wrong_shape_is_told_once(body: str, evidence: str, tmp_path: Path) -> None:
    (finding,) = found(tmp_path, body).values()
    lines = (tmp_path / "mine.py").read_text().splitlines()
    number = 1 + next(index for index, line in enumerate(lines) if "def forward" in line)
    place = f"at {tmp_path / 'mine.py'}:{number}: def forward(self, x):"
    assert finding == Finding("usable", "fail", evidence.replace("LINE", place))


@pytest.mark.parametrize("block", [2, 16])
def test_whole_blocks_are_padded_and_everything_else_is_checked(block: int, tmp_path: Path) -> None:
    findings = found(tmp_path, f"self.whole(x, {block})")
    assert not failed(findings)
    assert findings["lengths"].evidence.endswith("; inputs are padded to whole blocks of 16 tokens")


def test_state_kept_between_calls_is_told_from_random_numbers(tmp_path: Path) -> None:
    findings = found(tmp_path, "self.linear(x) * self.count()")
    assert failed(findings) == {
        "determinism": "in evaluation mode its outputs depend on 'module.calls', which every forward pass changes: "
        "keep no state between calls"
    }
    assert findings["future never seen"].evidence.startswith("not applicable: equal calls give different outputs")


def test_dropout_that_is_always_on_is_named_and_does_not_hide_a_leak(tmp_path: Path) -> None:
    result = failed(found(tmp_path, "nn.functional.dropout(self.linear(x), 0.1) + 1e-6 * x.roll(-1, 1)"))
    assert result.keys() == {"determinism", "future never seen"}
    assert result["determinism"].startswith(f"in evaluation mode dropout is always on, at {tmp_path / 'mine.py'}:")


def test_equal_tokens_are_named_as_a_leak(tmp_path: Path) -> None:
    result = failed(found(tmp_path, "(x[:, :, None] == x[:, None]).all(-1).to(x.dtype) @ self.linear(x)"))
    assert "repeated tokens, evaluation mode" in result["future never seen"]
    assert result["repeated tokens"].startswith("a prefix of repeated tokens has other outputs than the whole")


def test_dropout_is_part_of_a_stacked_program(tmp_path: Path) -> None:
    assert found(tmp_path, "nn.functional.dropout(self.linear(x), 0.5, self.training)")["vmap"].outcome == "pass"
