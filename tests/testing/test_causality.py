"""Leaks of every kind are found: far out, in one place, in one mode, on one path, without a gradient."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from attnlab.specs import Part
from attnlab.testing import _causality
from attnlab.testing._paths import paired_positions
from attnlab.testing.check_attention import check_attention, subject_of
from attnlab.testing.finding import Finding
from tests.testing.conftest import Write

Check = Callable[[str], Finding]

LATE = """
def output(self, mixed_BHTC, x_BTD):
    tokens = x_BTD.shape[1]
    if tokens > 100:
        late = torch.arange(tokens)[:, None] > 100
        x_BTD = x_BTD + 1e-6 * late * x_BTD.mean(1, keepdim=True)
    return super().output(mixed_BHTC, x_BTD) + x_BTD
"""

ONE_POSITION = """
def output(self, mixed_BHTC, x_BTD):
    update = super().output(mixed_BHTC, x_BTD)
    if x_BTD.shape[1] < 200:
        return update
    at_150 = (torch.arange(x_BTD.shape[1]) == 150)[:, None]
    return update + at_150 * 1e-6 * x_BTD[:, 151:152]
"""

IN_TRAINING = """
def output(self, mixed_BHTC, x_BTD):
    update = super().output(mixed_BHTC, x_BTD)
    return update + 1e-6 * x_BTD.roll(-1, 1) if self.training else update
"""

VMAPPED = """
def output(self, mixed_BHTC, x_BTD):
    update = super().output(mixed_BHTC, x_BTD)
    vmapped = torch._C._functorch.is_batchedtensor(x_BTD)
    return update + 1e-3 * x_BTD.roll(-1, 1) if vmapped else update
"""

DETACHED = """
def output(self, mixed_BHTC, x_BTD):
    return super().output(mixed_BHTC, x_BTD) + 1e-3 * x_BTD.detach().amax(1, keepdim=True)
"""

ARGMAX = """
def output(self, mixed_BHTC, x_BTD):
    largest = x_BTD[..., 0].argmax(-1, keepdim=True)
    behind = torch.arange(x_BTD.shape[1]) < largest
    return super().output(mixed_BHTC, x_BTD) + 1e-3 * behind[..., None]
"""

STRAIGHT_THROUGH = """
def output(self, mixed_BHTC, x_BTD):
    later = 1e-3 * x_BTD.roll(-1, 1)
    return super().output(mixed_BHTC, x_BTD) + later - later.detach()
"""

NORMALIZER = """
def normalize(self, scores, mask, qkv):
    weights = super().normalize(scores, mask, qkv)
    return weights / (1 + 1e-6 * scores.exp().sum(-1, keepdim=True))
"""

VALUES = """
def project(self, x_BTD, layer_inputs):
    qkv = super().project(x_BTD, layer_inputs)
    return qkv._replace(values_BHSC=qkv.values_BHSC + 1e-6 * qkv.values_BHSC.mean(-2, keepdim=True))
"""

BATCH_STATISTICS = """
def __init__(self, context):
    super().__init__(context)
    self.norm = torch.nn.BatchNorm1d(context.width)

def output(self, mixed_BHTC, x_BTD):
    return self.norm(super().output(mixed_BHTC, x_BTD).mT).mT
"""

LONGER_THAN_256 = """
def output(self, mixed_BHTC, x_BTD):
    longer = x_BTD.shape[1] > 256
    return super().output(mixed_BHTC, x_BTD) + 1e-6 * longer * self.training * x_BTD.roll(-1, 1)
"""

EQUAL_TOKENS = """
def output(self, mixed_BHTC, x_BTD):
    equal = (x_BTD[:, :, None] == x_BTD[:, None]).all(-1).to(x_BTD.dtype)
    return super().output(mixed_BHTC, x_BTD) + 1e-6 * (equal @ x_BTD)
"""

ASLEEP = """
def __init__(self, context):
    super().__init__(context)
    self.scale = torch.nn.Parameter(torch.zeros(context.width))

def output(self, mixed_BHTC, x_BTD):
    return super().output(mixed_BHTC, x_BTD) + self.scale * x_BTD.roll(-1, 1)
"""

QUERY_SUBSET = """
sdpa_compatible = True

def attend_queries(self, qkv, position, query_positions_BP):
    mixed = super().attend_queries(qkv, position, query_positions_BP)
    return mixed + 1e-3 * qkv.values_BHSC.mean(-2, keepdim=True)
"""


@pytest.fixture
def check(write: Write) -> Check:
    """Check the causality of a class with this body."""

    def checked(body: str) -> Finding:
        (finding,) = check_attention(subject_of(f"{write(body)}:Mine"), ["future never seen"]).findings
        return finding

    return checked


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (LATE, r"token 1\d\d, by (the tokens after )?token 1\d\d of (128|131|200) tokens, "),
        (ONE_POSITION, r"token 151, by (the tokens after token 151|token 152) of 200 tokens, "),
    ],
    ids=["past 100", "one position"],
)
def test_a_leak_far_out_is_found_and_placed(
    body: str, where: str, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_causality, "LENGTHS", [tokens for tokens in _causality.LENGTHS if 100 < tokens <= 200])
    finding = check(body)
    assert finding.outcome == "fail"
    assert re.search(where, finding.evidence), finding.evidence


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    ("body", "where"),
    [
        (IN_TRAINING, "training mode"),
        (BATCH_STATISTICS, "training mode"),
        (VMAPPED, "mode, vmapped"),
        (DETACHED, "largest change .* evaluation mode"),
        (ARGMAX, "largest change .* evaluation mode"),
        (STRAIGHT_THROUGH, "largest gradient .* evaluation mode"),
        (NORMALIZER, "evaluation mode"),
        (VALUES, "evaluation mode"),
        (QUERY_SUBSET, "evaluation mode, fast path, query subset"),
        (LONGER_THAN_256, r"token \d+ of 300 tokens, training mode"),
        (EQUAL_TOKENS, r"token \d+ of \d+ repeated tokens, evaluation mode"),
        (ASLEEP, "evaluation mode"),
    ],
)
def test_a_leak_of_any_kind_is_found_and_placed(
    body: str, where: str, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_causality, "paired_positions", paired_positions)  # one of them shows where a choice leaks
    finding = check(body)
    assert finding.outcome == "fail"
    assert re.search(where, finding.evidence), finding.evidence


def test_softmax_sees_no_later_token_at_any_length() -> None:
    (finding,) = check_attention(Part(name="softmax"), ["future never seen"]).findings
    assert finding.outcome == "pass"
    assert finding.evidence.endswith(
        "at every token of T = 1, 2, 31, 64, 65, 128, 131, 200, 257, and two of T = 512, 1024; longer ones were not "
        "tried"
    )
