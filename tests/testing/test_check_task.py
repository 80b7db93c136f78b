"""The audit passes tasks without a fault, and detects each fault with a sentence that describes it."""

from __future__ import annotations

import re

import pytest

from attnlab.errors import InvalidValueError
from attnlab.rendering.audit import AuditTable
from attnlab.tasks import Task
from attnlab.tasks.io.ladders import find_ladder
from attnlab.tasks.parity import Parity
from attnlab.testing.check_task import check_task, share
from tests.rendering.capture import drawn
from tests.testing import faulty_tasks
from tests.testing.faulty_tasks import Ambiguous, Intended, Noisy, Sums, audited, outcomes


def test_a_task_without_a_fault_passes_without_findings() -> None:
    report = audited(Sums)
    assert report.passed
    (one,) = report.levels
    assert one.findings == []
    level = one.level_audit
    assert (level.labels.sequences, level.labels.targets, level.labels.agreed) == (2048, 2048, 2048)
    assert level.repeats.repeated < 40
    assert max(score.mean for score in level.shortcuts.values()) < 0.2
    low, high = level.baselines["any answer"].interval
    assert low < 0.125 < high


@pytest.mark.parametrize(
    ("cls", "check", "sentence"),
    [
        (
            faulty_tasks.Leaking,
            "leak",
            r"Training data leak into the test: \d\d of 2,048 test sequences occur in the training sample; "
            r"chance explains \d+\.\d\.",
        ),
        (
            faulty_tasks.WrongSolver,
            "labels",
            r"The solver agrees with 1\d\.\d % of the targets: at position 5 of test sequence \d+ the target is \d, "
            r"the solver gives \d\.",
        ),
        (
            faulty_tasks.RaisingSolver,
            "labels",
            r"The solver fails with IndexError: no such letter at .*faulty_tasks\.py:\d+: .*",
        ),
        (faulty_tasks.Outside, "labels", r"The token 7 is outside the vocabulary of size 7\."),
        (
            faulty_tasks.HighChance,
            "chance",
            r"Chance is declared too high, at 50\.0 %: no chance baseline has an accuracy above 1\d\.\d %\.",
        ),
        (
            faulty_tasks.LowChance,
            "chance",
            r"Chance is declared too low, at 1\.0 %: the blind guess '[a-z ]+' has an accuracy of 1\d\.\d % "
            r"\(\d+\.\d % to \d+\.\d %\)\. Without a declared chance it is measured\.",
        ),
        (
            faulty_tasks.OwnBaseline,
            "chance",
            r"Chance is declared as 50\.0 %, but the task's own baseline has an accuracy of 1\d\.\d %\.",
        ),
        (faulty_tasks.Shortcut, "shortcut", r"The shortcut 'bigram' solves the level, with an accuracy of 100\.0 %\."),
        (
            faulty_tasks.HighBestAccuracy,
            "best accuracy",
            r"The solver has an accuracy of 9\d\.\d %, but the best achievable accuracy is declared as 99\.0 %\.",
        ),
    ],
)
def test_a_fault_is_detected(cls: type[Task], check: str, sentence: str) -> None:
    report = audited(cls)
    assert not report.passed
    (one,) = report.levels
    assert outcomes(one).keys() == {check}
    outcome, evidence = outcomes(one)[check]
    assert outcome == "fail"
    assert re.fullmatch(sentence, evidence), evidence


def test_ambiguous_targets_are_detected_with_the_solver_and_by_comparison() -> None:
    (one,) = audited(Ambiguous, 2).levels
    first, second = (finding.evidence for finding in one.findings if finding.outcome == "fail")
    assert re.match(r"The solver agrees with 9\d\.\d % of the targets: at position 1 of test sequence \d+ the", first)
    assert re.fullmatch(r"Targets are ambiguous: \d\d prefixes occur with different targets\.", second)


def test_ambiguous_targets_are_detected_without_a_solver() -> None:
    (one,) = audited(faulty_tasks.Unsolved, 2).levels
    assert [(finding.check, finding.outcome) for finding in one.findings if finding.check == "labels"] == [
        ("labels", "info"),
        ("labels", "fail"),
    ]
    assert "different targets" in " ".join(finding.evidence for finding in one.findings)


def test_random_targets_agree_with_the_best_achievable_accuracy() -> None:
    (one,) = audited(Noisy).levels
    assert one.findings == []
    assert 0.93 < one.level_audit.labels.agreement < 0.97


def test_an_exceeded_best_accuracy_is_detected() -> None:
    (one,) = audited(faulty_tasks.LowBestAccuracy).levels
    assert [finding.evidence for finding in one.findings] == [
        "The solver has an accuracy of 100.0 %, but the best achievable accuracy is declared as 50.0 %.",
        "'bigram' has an accuracy of 100.0 %, above the declared best achievable accuracy of 50.0 %.",
    ]
    assert not one.passed


def test_an_unknown_best_accuracy_is_reported() -> None:
    (one,) = audited(faulty_tasks.UnknownBestAccuracy).levels
    assert one.passed
    outcome, evidence = outcomes(one)["best accuracy"]
    assert outcome == "info"
    assert re.fullmatch(
        r"The best achievable accuracy is not known; the solver agrees with 9\d\.\d % of the targets\.", evidence
    )


def test_the_intended_shortcut_is_marked_and_not_flagged() -> None:
    report = audited(Intended)
    assert report.passed
    assert "bigram 100.0*" in "\n".join(drawn(AuditTable(report)))
    assert "* The intended shortcut of the task." in "\n".join(drawn(AuditTable(report)))


def test_a_covered_space_is_reported_and_is_no_leak() -> None:
    """With one letter there are eight sequences, and any table solves them."""
    report = audited(Sums, 1, 6)
    assert report.passed
    small, large = report.levels
    assert small.level_audit.repeats.repeated == small.level_audit.repeats.sequences
    assert small.level_audit.repeats.expected == pytest.approx(small.level_audit.repeats.sequences)
    assert [finding.check for finding in small.findings] == ["leak", "chance", "shortcut"]
    assert all(finding.outcome == "info" for finding in small.findings)
    assert (
        outcomes(small)["leak"][1]
        == "A sample covers all sequences, so that test sequences occur in training by chance."
    )
    assert (
        outcomes(small)["shortcut"][1] == "'last value' solves the level, as does any table that covers all sequences."
    )
    assert large.findings == []


def test_a_task_without_targets_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="No position has a target"):
        audited(faulty_tasks.Unlabeled)


def test_random_filler_of_recall_is_reported() -> None:
    report = check_task(find_ladder("recall"), {"filler": "random"}, 4, samples=256)
    assert not report.passed
    (one,) = report.levels
    assert one.level_audit.labels.agreement == 1
    outcome, evidence = outcomes(one)["missing targets"]
    assert outcome == "fail"
    assert re.fullmatch(
        r"A query without a target occurs \d+ times, the known defect of random filler: at position \d+ of test "
        r"sequence \d+ the token is k\d+, for which the solver gives v\d+\.",
        evidence,
    )
    assert "unlabeled" in "\n".join(drawn(AuditTable(report)))


@pytest.mark.parametrize("name", ["copy", "delay", "parity", "parity-last", "recall"])
def test_unlabeled_positions_and_best_accuracy_are_optional_columns(name: str) -> None:
    report = check_task(find_ladder(name), {}, samples=512)
    assert report.passed
    assert "unlabeled" not in "\n".join(drawn(AuditTable(report)))
    assert "best acc." not in drawn(AuditTable(report))[2]


def test_the_table_has_a_row_for_each_level_and_fits_a_terminal() -> None:
    report = check_task(find_ladder("parity"), {}, samples=512)
    lines = drawn(AuditTable(report))
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines if line.rstrip().endswith("pass")]
    levels = [(bits, share(Parity(bits=bits).chance).removesuffix(" %")) for bits in (2, 4, 8, 16, 32, 64)]
    assert [row[:4] for row in rows] == [[str(bits), str(bits), "2", chance] for bits, chance in levels]
    (sentence,) = [line for line in lines if "covers all sequences," in line]
    assert sentence.startswith("note: bits 2, 4")


def test_data_is_plain_and_complete() -> None:
    data = audited(faulty_tasks.UnknownBestAccuracy, 1, 6).data()
    assert (data["ladder"], data["complexity"], data["passed"]) == ("faulty", "letters", True)
    first, second = data["levels"]
    assert (first["complexity"], second["complexity"]) == (1, 6)
    assert second["best_accuracy"] is None
    assert second["labels"]["targets"] == 2048
    assert set(second["shortcuts"]) == {"majority", "position", "last value", "unigram", "bigram", "nearest context"}
    assert second["findings"][0].keys() == {"check", "outcome", "evidence"}


def test_equal_seeds_audit_equally_and_others_do_not() -> None:
    first, again, other = (check_task(find_ladder("copy"), {}, 8, samples=128, seed=seed).data() for seed in (0, 0, 1))
    assert first == again
    assert first["levels"] != other["levels"]


def test_levels_of_the_evaluation_are_audited_too() -> None:
    ladder = find_ladder("parity").model_copy(update={"levels": (4, 8), "evaluate": (8, 16)})
    assert [one.level_audit.level for one in check_task(ladder, {}, samples=64).levels] == [4, 8, 16]
    assert [one.level_audit.level for one in check_task(ladder, {"bits": 3}, samples=64).levels] == [3]
    assert [one.level_audit.level for one in check_task(ladder, {}, 5, samples=64).levels] == [5]


def test_each_subtask_of_a_mixture_is_audited() -> None:
    report = check_task(find_ladder("mixture"), {}, 1, samples=128)
    assert [one.level_audit.name for one in report.levels] == ["1 copy", "1 recall", "1 parity"]
    assert all(one.level_audit.labels.agreement == 1 for one in report.levels)
