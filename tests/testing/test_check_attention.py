"""The kit passes what keeps the contract and catches what does not, each time with the message that helps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from attnlab.attention import ATTENTIONS
from attnlab.errors import PluginError, UnknownNameError
from attnlab.specs import Part
from attnlab.testing.check_attention import CHECKS, check_attention, subject_of
from tests.testing.conftest import HEAD, Write

UNTIMED = [name for name in CHECKS if name != "cost"]

SOUND = """
def score(self, heads):
    return 2.0 * super().score(heads)
"""

LEAK = """
def normalize(self, scores, mask, heads):
    return scores.softmax(-1)
"""

LENGTH_LEAK = """
def score(self, heads):
    return super().score(heads) * heads.keys_BHSC.shape[-2]
"""

QUIET_LEAK = """
def combine(self, scores, bias, heads):
    scores = scores if bias is None else scores + bias
    return scores - 1e-3 * scores.mean(-1, keepdim=True) * scores
"""

NAN_ROWS = """
def allow(self, heads):
    queries, keys = heads.queries_BHTC.shape[-2], heads.keys_BHSC.shape[-2]
    return torch.ones(queries, keys, dtype=torch.bool).tril(heads.start - 1)

def normalize(self, scores, mask, heads):
    return scores.masked_fill(~mask, -torch.inf).softmax(-1)
"""

UNDECLARED = """
def __init__(self, site):
    super().__init__(site)
    self.gain = site.normal(site.width, std=1.0)

def finish(self, mixed_BHTC, x_BTD):
    return self.gain * super().finish(mixed_BHTC, x_BTD)
"""

RAISING = """
def score(self, heads):
    return heads.queries_BHTC @ heads.keys_BHSC
"""

GLOBAL = """
def __init__(self, site):
    super().__init__(site)
    self.query = torch.nn.Linear(site.width, site.width, bias=False)
"""

BRANCHING = """
def score(self, heads):
    scores = super().score(heads)
    if scores.sum() > 0:
        return 1.0 * scores
    return scores
"""

BROKEN_PROMISE = """
def normalize(self, scores, mask, heads):
    return scores.sigmoid().masked_fill(~mask, 0.0)
"""

DIVIDING = """
def normalize(self, scores, mask, heads):
    weights = super().normalize(scores, mask, heads)
    return weights * weights.detach() / weights.detach()
"""

NEIGHBOURS = """
def score(self, heads):
    return super().score(heads) - heads.queries_BHTC.mean(0, keepdim=True) @ heads.keys_BHSC.mT
"""

CURVED = """
def mix(self, heads, position):
    return super().mix(heads._replace(values_BHSC=heads.values_BHSC.tanh()), position)
"""

SLOPPY = """
def mix(self, heads, position):
    mixed = super().mix(heads, position)
    return 1.001 * mixed if self.fast else mixed
"""

MIXING_LATE = """
fuses = True

def finish(self, mixed_BHTC, x_BTD):
    return super().finish(mixed_BHTC, x_BTD) + x_BTD.cumsum(-2)
"""

BENEATH = """
def project(self, x_BTD, context):
    heads = super().project(x_BTD, context)
    if not context.first:
        return heads
    below = context.first[0].values_BHSC
    return heads._replace(values_BHSC=heads.values_BHSC + below.mean(-2, keepdim=True))
"""

WIDER_BENEATH = """
def __init__(self, site):
    super().__init__(site)
    if site.layer:
        self.value = site.linear(site.width + 1, site.width)
"""

WANTING = """
def __init__(self, site, *, window: int = 300, groups: int = 4):
    super().__init__(site)
    from attnlab.errors import InvalidValueError
    if window > site.length:
        raise InvalidValueError(f"A window of {window} is longer than {site.length}.", "Use less.")
    if site.heads % groups:
        raise InvalidValueError(f"{site.heads} heads are not {groups} groups.", "Use fewer.")
"""

EVERYTHING_RUN = set(UNTIMED) - {"declared weights", "long sequences"}


def findings(path: Path) -> dict[str, str]:
    """The failed checks of the user's class, and what is said of each."""
    report = check_attention(subject_of(f"{path}:Mine"), UNTIMED)
    assert [finding.check for finding in report.findings] == UNTIMED
    failed = {finding.check: finding.evidence for finding in report.findings if finding.outcome == "fail"}
    assert report.passed == (not failed)
    return failed


def test_softmax_passes_and_shows_its_evidence() -> None:
    report = check_attention(Part(name="softmax"), UNTIMED)
    assert report.passed
    evidence = {finding.check: finding.evidence for finding in report.findings}
    assert evidence["promised rows"].startswith("non-negative, sum to one: sums 1.0000 to 1.0000")
    assert evidence["declared weights"] == "counted 1,024, declared 1,024 at D = 16, H = 4"
    assert evidence["long sequences"] == "forms a T x T matrix"
    assert evidence["decode state"].endswith("of 16 at T = 32, 32.0 of 32 at T = 64: grows with T")
    assert evidence["lengths"] == "T = 1, 2, 13, 64, 131, 256"


def test_a_scan_forms_no_square_and_its_memory_stays() -> None:
    report = check_attention(Part(name="linear"), ["long sequences", "decode state"])
    scan, memory = report.findings
    assert scan.outcome == "pass"
    assert scan.evidence.endswith("against T x T = 4,194,304")
    assert memory.evidence.endswith("does not grow")


def test_the_time_is_told_and_never_judged() -> None:
    (cost,) = check_attention(Part(name="softmax"), ["cost"]).findings
    assert cost.outcome == "told"
    assert re.fullmatch(r"[\d., ]+ us per token at T = 256, 512, 1024: T\^\d\.\d \(at best T\^2 D\)", cost.evidence)


def test_a_sound_file_passes(write: Write) -> None:
    assert findings(write(SOUND)) == {}


@pytest.mark.parametrize(
    ("body", "failed", "message"),
    [
        (
            LEAK,
            {"future never seen", "prefix equals whole", "promised rows", "second layer"},
            r"largest change .* at token \d+, position \w+",
        ),
        (
            QUIET_LEAK,
            {"future never seen", "prefix equals whole", "second layer"},
            r"largest change .*e-\d\d at token \d+, position \w+",
        ),
        (LENGTH_LEAK, {"prefix equals whole", "second layer"}, r"largest difference .* at length \d+, position \w+"),
        (UNDECLARED, {"declared weights"}, "counted 1,040, declared 1,024 at D = 16, H = 4"),
        (NEIGHBOURS, {"batch independence"}, r"largest difference \d\.\d.*"),
        (BENEATH, {"second layer"}, r"largest difference .*: a (later token|prefix) .*, position \w+.*"),
        (
            CURVED,
            {"promised rows", "linear in the values", "second layer"},
            "matrix times values differs from the mix by .*",
        ),
        (SLOPPY, {"promised rows", "fast path equals plain", "second layer"}, r"largest relative difference 2\.0e-03"),
        (MIXING_LATE, {"asked tokens alone"}, r"largest difference \d.*"),
        (BROKEN_PROMISE, {"promised rows"}, r"non-negative, sum to one: sums 0\.1\d* to 11\..*, least weight 0"),
    ],
    ids=["leak", "quiet leak", "length", "weights", "batch", "second layer", "values", "fast path", "late", "rows"],
)
def test_what_breaks_the_contract_is_caught(body: str, failed: set[str], message: str, write: Write) -> None:
    result = findings(write(body))
    assert set(result) == failed
    assert any(re.fullmatch(message, evidence) for evidence in result.values()), result


def test_weights_from_torchs_own_generator_are_caught(write: Write) -> None:
    result = findings(write(GLOBAL))  # paths compare two builds, and differ too where the weights do
    assert result["determinism"] == (
        "the weights are not a function of the seed: draw weights with site.linear, site.normal or site.uniform"
    )


@pytest.mark.parametrize("body", [NAN_ROWS, DIVIDING], ids=["masked with infinity", "zero over zero"])
def test_rows_that_are_no_numbers_are_caught(body: str, write: Write) -> None:
    result = findings(write(body))
    assert result["promised rows"] == "the effective matrix has numbers that are not finite"
    extremes = [f"forward at {name}" for name in ("zeros", "one token over and over", "tiny, 1e-6", "huge, 1e4")]
    assert result["finite at extremes"] == f"not finite: {', '.join(extremes)}"
    assert result["determinism"] == "the same weights gave two answers, or none that is finite"
    assert result["lengths"].startswith("wrong at ")
    assert "checking" not in "".join(result.values())


def test_a_file_that_raises_is_told_with_its_own_line(write: Write) -> None:
    path = write(RAISING)
    result = findings(path)
    assert set(result) == EVERYTHING_RUN
    line = path.read_text().splitlines().index("        return heads.queries_BHTC @ heads.keys_BHSC") + 1
    for evidence in result.values():
        said, place = evidence.splitlines()
        assert said.startswith("RuntimeError: Expected size for first two dimensions")
        assert place == f"at {path}:{line}: return heads.queries_BHTC @ heads.keys_BHSC"


def test_a_branch_on_a_number_cannot_run_as_lanes(write: Write) -> None:
    path = write(BRANCHING)
    result = findings(path)
    assert set(result) == {"lanes", "second layer"}
    assert "data-dependent control flow" in result["lanes"]
    line = path.read_text().splitlines().index("        if scores.sum() > 0:") + 1
    assert result["lanes"].endswith(f"\nat {path}:{line}: if scores.sum() > 0:")


def test_a_slip_in_an_option_is_told_with_its_hint(write: Write) -> None:
    refusing = """
def __init__(self, site):
    from attnlab.errors import InvalidValueError
    super().__init__(site)
    raise InvalidValueError("Too few heads.", "Use eight.")
"""
    assert set(findings(write(refusing)).values()) == {"Too few heads. Use eight."}


def test_a_second_layer_that_cannot_run_is_told_with_its_own_line(write: Write) -> None:
    result = findings(write(WIDER_BENEATH))
    assert set(result) == {"second layer"}
    assert result["second layer"].startswith("RuntimeError: ")


def test_the_kit_takes_the_sizes_that_options_ask_for(write: Write) -> None:
    path = write(WANTING)
    assert findings(path) == {}
    report = check_attention(Part(name="mine", options={"window": 5000}), ["gradients", "second layer"])
    assert {f.evidence for f in report.findings} == {
        "A window of 5000 is longer than 8. Use less.",
        "A window of 5000 is longer than 256. Use less.",
    }


@pytest.mark.parametrize("word", ["window:window=16", "window:window=300", "grouped:groups=4", "latent:turned=2"])
def test_explicit_sizes_are_checked_at_a_site_that_admits_them(word: str) -> None:
    names = ["gradients", "declared weights", "decode state", "lengths", "second layer"]
    failed = [finding for finding in check_attention(subject_of(word), names).findings if finding.outcome == "fail"]
    assert failed == []


def test_names_and_files_name_a_subject(write: Write) -> None:
    assert subject_of("dape:kernel=3") == Part(name="dape", options={"kernel": 3})
    assert subject_of(f"{write(SOUND)}:Mine") == Part(name="mine")
    assert ATTENTIONS.entry("mine").cls.__name__ == "Mine"


def test_a_class_that_is_not_there_is_refused(write: Write) -> None:
    path = write(SOUND)
    with pytest.raises(UnknownNameError) as caught:
        subject_of(f"{path}:Mien")
    assert str(caught.value).startswith(f"{path}\n  There is no attention class 'Mien'; did you mean 'Mine'?")


def test_a_file_without_an_attention_is_refused(write: Write) -> None:
    path = write("").with_name("empty_handed.py")
    path.write_text(HEAD.split("@register")[0])
    with pytest.raises(PluginError) as nothing:
        subject_of(f"{path}:Mine")
    assert str(nothing.value) == (
        f"{path}:Mine\n  It registers no attention.\n  Mark the class with @register(name, source=...)."
    )
