"""Torch's own layers as attentions: what applies is checked, the rest is named; dropout is tried in evaluation mode."""

from __future__ import annotations

import re

import pytest

from attnlab.testing.check_attention import check_attention, subject_of
from attnlab.testing.finding import Finding
from tests.testing.conftest import Write

pytestmark = pytest.mark.usefixtures("short")

MULTIHEAD = """
def __init__(self, context):
    torch.nn.Module.__init__(self)
    self.torch = torch.nn.MultiheadAttention(context.width, context.heads, bias=False, batch_first=True)

def forward(self, x_BTD, position, layer_inputs, trace=False):
    future = torch.ones(x_BTD.shape[1], x_BTD.shape[1], dtype=torch.bool).triu(1)
    output_BTD, _ = self.torch(x_BTD, x_BTD, x_BTD, attn_mask=future, need_weights=False)
    heads_BHTC = x_BTD.unsqueeze(1)
    return AttentionOutput(output_BTD, QKV(heads_BHTC, heads_BHTC, heads_BHTC), x_BTD.new_zeros(()))
"""

BESIDE_THE_TEMPLATE = (
    MULTIHEAD.replace("torch.nn.Module.__init__(self)", "super().__init__(context)")
    + """
@classmethod
def num_parameters(cls, width, heads, length, layer=0, biased=False, /, **options):
    return 8 * width**2
"""
)

DROPOUT = """
def __init__(self, context):
    super().__init__(context)
    self.drop = torch.nn.Dropout(0.5)

def output(self, mixed_BHTC, x_BTD):
    return self.drop(super().output(mixed_BHTC, x_BTD))
"""

ALWAYS_RANDOM = """
def output(self, mixed_BHTC, x_BTD):
    return torch.nn.functional.dropout(super().output(mixed_BHTC, x_BTD), 0.5, training=True)
"""

UNSEEDED = """
def output(self, mixed_BHTC, x_BTD):
    import random
    return super().output(mixed_BHTC, x_BTD) * (1 + random.random() * self.training)
"""


def findings(write: Write, body: str) -> dict[str, Finding]:
    """The findings about a class with this body, but for its time."""
    path = write(body)
    path.write_text(
        path.read_text().replace("import torch\n", "import torch\nfrom attnlab.tensors import AttentionOutput, QKV\n")
    )
    report = check_attention(subject_of(f"{path}:Mine"))
    return {finding.check: finding for finding in report.findings}


@pytest.mark.parametrize("body", [MULTIHEAD, BESIDE_THE_TEMPLATE], ids=["alone", "beside the template"])
def test_the_multihead_attention_of_torch_passes_what_applies(body: str, write: Write) -> None:
    found = findings(write, body)
    assert {name: finding.evidence for name, finding in found.items() if finding.outcome == "fail"} == {}
    reason = "not applicable: the output is not that of the template's queries, keys and values"
    without = {name for name, finding in found.items() if finding.evidence == reason}
    assert without == {"row constraint", "linear in the values", "decode state"}
    assert all(found[name].outcome == "info" for name in without)


def test_dropout_is_named_and_does_not_disturb(write: Write) -> None:
    found = findings(write, DROPOUT)
    assert {name: finding.evidence for name, finding in found.items() if finding.outcome == "fail"} == {}
    assert found["determinism"].evidence == (
        "equal seeds give equal weights and outputs; training is random by Dropout(0.5) 'drop', and evaluation is not"
    )


def test_dropout_of_a_layer_of_torch_is_named(write: Write) -> None:
    found = findings(write, MULTIHEAD.replace("bias=False", "bias=False, dropout=0.1"))
    assert {name: finding.evidence for name, finding in found.items() if finding.outcome == "fail"} == {}
    assert "MultiheadAttention(0.1) 'torch'" in found["determinism"].evidence


def test_randomness_outside_of_training_is_a_failure(write: Write) -> None:
    found = findings(write, ALWAYS_RANDOM)["determinism"]
    assert found.outcome == "fail"
    assert re.fullmatch(r"in evaluation mode dropout is always on, at .*mine.py:\d+: write .*", found.evidence)


def test_randomness_that_no_seed_of_torch_sets_is_a_failure(write: Write) -> None:
    found = findings(write, UNSEEDED)["determinism"]
    assert (found.outcome, found.evidence) == (
        "fail",
        "in training mode one seed gave two outputs: equal calls gave different outputs: by random numbers that are "
        "not torch's, or by state kept elsewhere",
    )
