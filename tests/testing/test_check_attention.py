"""The checks pass attentions that satisfy the contract, and report each violation with its evidence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from attnlab.attention import ATTENTIONS
from attnlab.errors import UnknownNameError
from attnlab.specs import Part
from attnlab.testing.check_attention import CHECKS, check_attention, subject_of
from attnlab.testing.finding import Finding
from tests.testing.conftest import HEAD, Write

pytestmark = pytest.mark.usefixtures("short")

UNTIMED = [name for name in CHECKS if name != "cost"]

CORRECT = """
def score(self, qkv):
    return 2.0 * super().score(qkv)
"""

LEAK = """
def normalize(self, scores, mask, qkv):
    return scores.softmax(-1)
"""

LENGTH_LEAK = """
def score(self, qkv):
    return super().score(qkv) * qkv.keys_BHSC.shape[-2]
"""

QUIET_LEAK = """
def add_bias(self, scores, bias, qkv):
    scores = scores if bias is None else scores + bias
    return scores - 1e-3 * scores.mean(-1, keepdim=True) * scores
"""

NAN_ROWS = """
def mask(self, qkv):
    queries, keys = qkv.queries_BHTC.shape[-2], qkv.keys_BHSC.shape[-2]
    return torch.ones(queries, keys, dtype=torch.bool).tril(qkv.start - 1)

def normalize(self, scores, mask, qkv):
    return scores.masked_fill(~mask, -torch.inf).softmax(-1)
"""

UNDECLARED = """
def __init__(self, context):
    super().__init__(context)
    self.gain = context.normal(context.width, std=1.0)

def output(self, attended_BHTC, x_BTD):
    return self.gain * super().output(attended_BHTC, x_BTD)
"""

RAISING = """
def score(self, qkv):
    return qkv.queries_BHTC @ qkv.keys_BHSC
"""

FROM_TORCH = """
def __init__(self, context):
    super().__init__(context)
    self.query = torch.nn.Linear(context.width, context.width, bias=False)
"""

FROM_NUMPY = """
def __init__(self, context):
    import numpy
    super().__init__(context)
    self.query.weight.data.mul_(numpy.random.default_rng().random())
"""

BRANCHING = """
def score(self, qkv):
    scores = super().score(qkv)
    if scores.sum() > 0:
        return 1.0 * scores
    return scores
"""

BROKEN_ROWS = """
def normalize(self, scores, mask, qkv):
    return scores.sigmoid().masked_fill(~mask, 0.0)
"""

DIVIDING = """
def normalize(self, scores, mask, qkv):
    weights = super().normalize(scores, mask, qkv)
    return weights * weights.detach() / weights.detach()
"""

NEIGHBORS = """
def score(self, qkv):
    return super().score(qkv) - qkv.queries_BHTC.mean(0, keepdim=True) @ qkv.keys_BHSC.mT
"""

NONLINEAR = """
def attend(self, qkv, position):
    return super().attend(qkv._replace(values_BHSC=qkv.values_BHSC.tanh()), position)
"""

INEXACT_FAST_PATH = """
def attend(self, qkv, position):
    attended = super().attend(qkv, position)
    return 1.001 * attended if self.fast else attended
"""

LATE_CUMSUM = """
sdpa_compatible = True

def output(self, attended_BHTC, x_BTD):
    return super().output(attended_BHTC, x_BTD) + x_BTD.cumsum(-2)
"""

FIRST_LAYER_LEAK = """
def project(self, x_BTD, layer_inputs):
    qkv = super().project(x_BTD, layer_inputs)
    if not layer_inputs.first_layer:
        return qkv
    below = layer_inputs.first_layer[0].values_BHSC
    return qkv._replace(values_BHSC=qkv.values_BHSC + below.mean(-2, keepdim=True))
"""

WIDER_SECOND_LAYER = """
def __init__(self, context):
    super().__init__(context)
    if context.layer:
        self.value = context.linear(context.width + 1, context.width)
"""

DEMANDING = """
def __init__(self, context, *, window: int = 300, groups: int = 4):
    super().__init__(context)
    from attnlab.errors import InvalidValueError
    if window > context.length:
        raise InvalidValueError(f"A window of {window} is longer than {context.length}.", "Use less.")
    if context.heads % groups:
        raise InvalidValueError(f"{context.heads} heads are not {groups} groups.", "Use fewer.")
"""


def findings(path: Path) -> dict[str, str]:
    """Evidence of the failed checks of the user's class, by the name of the check."""
    report = check_attention(subject_of(f"{path}:Mine"), UNTIMED)
    assert [finding.check for finding in report.findings] == UNTIMED
    failed = {finding.check: finding.evidence for finding in report.findings if finding.outcome == "fail"}
    assert report.passed == (not failed)
    return failed


def test_softmax_passes_and_shows_its_evidence() -> None:
    report = check_attention(Part(name="softmax"), UNTIMED)
    assert report.passed
    evidence = {finding.check: finding.evidence for finding in report.findings}
    assert evidence["row constraint"].startswith("non-negative, sum to one: sums 1.0000 to 1.0000")
    assert evidence["declared parameters"] == "counted 1,024, declared 1,024 at D = 16, H = 4"
    assert evidence["long sequences"].endswith("numbers at T = 1,024, against T x T = 1,048,576")
    assert evidence["decode state"].startswith("declared 64, 128 and 8,192 numbers after 4, 8 and 512 tokens, D = 8; ")
    assert evidence["decode state"].endswith("outputs depend on 32 to 64 of 4 tokens, and 64 to 128 of 8")
    assert evidence["lengths"] == "T = 1, 2, 13, 64, 131, 256"


@pytest.mark.parametrize("name", ["path", "sea", "selective", "zeta", "multi-token"])
def test_scores_in_blocks_of_queries_form_no_square_matrix(name: str) -> None:
    (blocks,) = check_attention(Part(name=name), ["long sequences"]).findings
    assert blocks.outcome == "pass"


HEADWISE = """
def project(self, x_BTD, layer_inputs):
    qkv = super().project(x_BTD, layer_inputs)
    return qkv._replace(extra=(qkv.values_BHSC[..., :1, :].square(),))

def add_bias(self, scores, bias, qkv):
    return super().add_bias(scores, bias, qkv) + qkv.extra[0].mean(-1, keepdim=True)
"""


def test_what_is_not_attended_in_blocks_says_why(write: Write) -> None:
    (headwise,) = check_attention(subject_of(f"{write(HEADWISE)}:Mine"), ["long sequences"]).findings
    assert headwise.outcome == "info"
    assert headwise.evidence == (
        "forms a T x T matrix: queries are attended in blocks only where each extra tensor is ... x T x C; "
        "these are 1 x 1 x 1 x 8"
    )
    (learned,) = check_attention(Part(name="easy"), ["long sequences"]).findings
    assert learned.outcome == "info"
    assert learned.evidence.startswith("forms a T x T matrix: ")
    assert "numbers at T = 1,024" in learned.evidence


def test_a_chunked_scan_forms_no_square_matrix_and_its_state_does_not_grow() -> None:
    report = check_attention(Part(name="linear"), ["long sequences", "decode state"])
    scan, memory = report.findings
    assert scan.outcome == "pass"
    assert scan.evidence.endswith("against T x T = 4,194,304")
    assert memory.evidence.startswith("declared 40, 40 and 40 numbers after 4, 8 and 512 tokens")
    assert memory.evidence.endswith("and 40 to 40 of 8")


def test_the_time_is_reported_without_a_criterion() -> None:
    (cost,) = check_attention(Part(name="softmax"), ["cost"]).findings
    assert cost.outcome == "info"
    assert re.fullmatch(r"[\d., ]+ us per token at T = 256, 512, 1024: T\^\d\.\d \(at best T\^2 D\)", cost.evidence)


def test_a_correct_file_passes(write: Write) -> None:
    assert findings(write(CORRECT)) == {}


BLOCKS = {"fast path equals plain"}
"""What reads later keys differs in blocks of queries, which have none."""


@pytest.mark.parametrize(
    ("body", "failed", "message"),
    [
        (
            LEAK,
            {*BLOCKS, "future never seen", "prefix equals whole", "repeated tokens", "row constraint", "second layer"},
            r"largest (change|gradient) .* token \d+ of \d+ tokens, evaluation mode, .*, position \w+",
        ),
        (
            QUIET_LEAK,
            {*BLOCKS, "future never seen", "prefix equals whole", "repeated tokens", "second layer"},
            r"largest (change|gradient) .*e-\d\d .* token \d+ of \d+ tokens, .*, position \w+",
        ),
        (
            LENGTH_LEAK,
            {*BLOCKS, "prefix equals whole", "repeated tokens", "second layer"},
            r"largest difference .* at length \d+, .*, position \w+",
        ),
        (UNDECLARED, {"declared parameters"}, "counted 1,040, declared 1,024 at D = 16, H = 4"),
        # A row that reads the other rows sees their later tokens too.
        (NEIGHBORS, {"batch independence", "future never seen"}, r"largest difference \d\.\d.*"),
        (FIRST_LAYER_LEAK, {"second layer"}, r"largest difference .*: a (later token|prefix) .*, position \w+.*"),
        (
            NONLINEAR,
            {"row constraint", "linear in the values", "second layer"},
            "matrix times values differs from the attention output by .*",
        ),
        (
            INEXACT_FAST_PATH,
            {"row constraint", "fast path equals plain", "second layer"},
            r"largest relative difference 2\.0e-03 (in 3 blocks of queries )?at T = \d+, "
            r"where a rounding of the inputs changes \d\.\de-0[67]",
        ),
        (LATE_CUMSUM, {"query subset"}, r"largest difference \d.*"),
        (BROKEN_ROWS, {"row constraint"}, r"non-negative, sum to one: sums 0\.1\d* to 11\..*, smallest entry 0"),
    ],
    ids=["leak", "quiet leak", "length", "weights", "batch", "second layer", "values", "fast path", "late", "rows"],
)
def test_a_violation_is_reported(body: str, failed: set[str], message: str, write: Write) -> None:
    result = findings(write(body))
    assert set(result) == failed
    assert any(re.fullmatch(message, evidence) for evidence in result.values()), result


def test_paths_may_differ_by_what_a_rounding_of_the_inputs_changes_and_no_more(write: Write) -> None:
    """Mamba-2 normalizes a nearly empty output of one token: there its gradient changes by 1.7e-5 with the inputs."""
    (finding,) = check_attention(Part(name="mamba2"), ["fast path equals plain"]).findings
    assert finding.outcome == "pass"
    slight = INEXACT_FAST_PATH.replace("1.001", "1.00002")
    assert slight != INEXACT_FAST_PATH
    assert "fast path equals plain" in findings(write(slight))


def test_layers_of_torch_are_a_function_of_the_seed_as_they_are_in_a_model(write: Write) -> None:
    assert findings(write(FROM_TORCH)) == {}


def test_weights_that_no_seed_sets_are_reported(write: Write) -> None:
    result = findings(write(FROM_NUMPY))  # checks that compare two builds fail as well, since the weights differ
    assert result["determinism"] == (
        "the weights are not a function of the seed: "
        "draw weights with context.linear, context.normal or context.uniform"
    )


@pytest.mark.parametrize("body", [NAN_ROWS, DIVIDING], ids=["masked with infinity", "zero over zero"])
def test_rows_that_are_not_finite_are_reported(body: str, write: Write) -> None:
    result = findings(write(body))
    assert result["row constraint"] == "the effective matrix has values that are not finite"
    extremes = [f"forward at {name}" for name in ("zeros", "one token repeated", "tiny, 1e-6", "huge, 1e4")]
    assert result["finite at extremes"] == f"not finite: {', '.join(extremes)}"
    assert result["determinism"] == "in evaluation mode its outputs are not finite"
    assert result["lengths"].startswith("wrong at ")
    assert "checking" not in "".join(result.values())


def test_an_exception_is_reported_with_the_line_of_the_file(write: Write) -> None:
    path = write(RAISING)
    (finding,) = check_attention(subject_of(f"{path}:Mine")).findings
    line = path.read_text().splitlines().index("        return qkv.queries_BHTC @ qkv.keys_BHSC") + 1
    message, location, advice = finding.evidence.splitlines()
    assert advice == "Correct this line, and run the command again."
    assert (finding.check, finding.outcome) == ("usable", "fail")
    assert message.startswith("RuntimeError: Expected size for first two dimensions")
    assert location == f"at {path}:{line}: return qkv.queries_BHTC @ qkv.keys_BHSC"


OLD_ARGUMENTS = """
@classmethod
def num_parameters(cls, width, heads, length, **options):
    return 4 * width**2
"""


def test_a_formula_of_too_few_arguments_is_one_line(write: Write) -> None:
    (finding,) = check_attention(subject_of(f"{write(OLD_ARGUMENTS)}:Mine"), ["declared parameters"]).findings
    assert finding.evidence == (
        "num_parameters takes (width, heads, length, **options), and not what it is given (too many positional "
        "arguments); write def num_parameters(cls, width, heads, length, layer=0, biased=False, /, **options)"
    )


def test_a_branch_on_a_value_cannot_run_under_vmap(write: Write) -> None:
    path = write(BRANCHING)
    result = findings(path)
    assert set(result) == {"vmap"}
    assert "data-dependent control flow" in result["vmap"]
    line = path.read_text().splitlines().index("        if scores.sum() > 0:") + 1
    assert result["vmap"].endswith(f"\nat {path}:{line}: if scores.sum() > 0:")


def test_a_refused_option_is_reported_with_its_hint(write: Write) -> None:
    refusing = """
def __init__(self, context):
    from attnlab.errors import InvalidValueError
    super().__init__(context)
    raise InvalidValueError("Too few qkv.", "Use eight.")
"""
    (finding,) = check_attention(subject_of(f"{write(refusing)}:Mine")).findings
    assert finding == Finding("usable", "fail", "Too few qkv.\nUse eight.")


def test_an_exception_of_the_second_layer_is_reported(write: Write) -> None:
    result = findings(write(WIDER_SECOND_LAYER))
    assert set(result) == {"second layer", "declared parameters"}
    assert result["second layer"].startswith("RuntimeError: ")


def test_checks_use_the_sizes_that_options_need(write: Write) -> None:
    path = write(DEMANDING)
    assert findings(path) == {}
    report = check_attention(Part(name="mine", options={"window": 5000}), ["gradients", "second layer"])
    assert report.findings == [Finding("usable", "fail", "A window of 5000 is longer than 256.\nUse less.")]


@pytest.mark.parametrize("word", ["window:window=16", "window:window=300", "grouped:groups=4", "latent:turned=2"])
def test_explicit_sizes_are_checked_with_a_context_that_accepts_them(word: str) -> None:
    names = ["gradients", "declared parameters", "decode state", "lengths", "second layer"]
    failed = [finding for finding in check_attention(subject_of(word), names).findings if finding.outcome == "fail"]
    assert failed == []


def test_a_name_or_a_file_names_an_attention(write: Write) -> None:
    assert subject_of("dape:kernel=3") == Part(name="dape", options={"kernel": 3})
    assert subject_of(f"{write(CORRECT)}:Mine") == Part(name="mine")
    assert ATTENTIONS.entry("mine").cls.__name__ == "Mine"


def test_an_unknown_class_is_refused(write: Write) -> None:
    path = write(CORRECT)
    with pytest.raises(UnknownNameError) as caught:
        subject_of(f"{path}:Mien")
    assert str(caught.value) == (
        f"{path}:Mien\n  {path} has no class 'Mien'; did you mean 'Mine'?\n  Classes of modules there: Mine."
    )


def test_a_file_without_an_attention_is_refused(write: Write) -> None:
    path = write("").with_name("no_attention.py")
    path.write_text(HEAD.split("@register")[0])
    with pytest.raises(UnknownNameError) as nothing:
        subject_of(f"{path}:Mine")
    assert str(nothing.value) == f"{path}:Mine\n  {path} has no class 'Mine'.\n  Classes of modules there: none."
