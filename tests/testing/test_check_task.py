"""The audit passes what is sound and catches what is not, each time with the sentence that helps."""

from __future__ import annotations

import re

import pytest

from attnlab.errors import InvalidValueError
from attnlab.tasks import Task
from attnlab.tasks.io.ladders import find_ladder
from attnlab.testing.check_task import check_task
from tests.rendering.capture import drawn
from tests.testing import faulty_tasks
from tests.testing.faulty_tasks import Ambiguous, Meant, Noisy, Sums, audited, found


def test_a_sound_task_passes_without_a_word() -> None:
    report = audited(Sums)
    assert report.passed
    (one,) = report.levels
    assert one.findings == []
    level = one.level_audit
    assert (level.labels.sequences, level.labels.asked, level.labels.agreed) == (2048, 2048, 2048)
    assert level.repeats.found < 40
    assert max(score.mean for score in level.shortcuts.values()) < 0.2
    low, high = level.baselines["any answer"].interval
    assert low < 0.125 < high


@pytest.mark.parametrize(
    ("kind", "check", "sentence"),
    [
        (
            faulty_tasks.Leaking,
            "leak",
            r"Training leaks into the test: \d\d of 2,048 test sequences stand in the training sample, where chance "
            r"puts \d+\.\d\.",
        ),
        (
            faulty_tasks.WrongSolver,
            "labels",
            r"The solver agrees with 1\d\.\d % of the labels: at position 5 of test sequence \d+ the label is \d, "
            r"the solver says \d\.",
        ),
        (
            faulty_tasks.RaisingSolver,
            "labels",
            r"The solver fails with IndexError: no such letter at .*faulty_tasks\.py:\d+: .*",
        ),
        (faulty_tasks.Outside, "labels", r"The token 7 stands outside a vocabulary of 7\."),
        (
            faulty_tasks.HighChance,
            "chance",
            r"Chance is declared too high, at 50\.0 %: no blind guess is right at more than 1\d\.\d %\.",
        ),
        (
            faulty_tasks.LowChance,
            "chance",
            r"Chance is declared too low, at 1\.0 %: a uniform guess at all answers is right at 1\d\.\d %\.",
        ),
        (
            faulty_tasks.OwnGuess,
            "chance",
            r"Chance is declared as 50\.0 %, and the task's own guess is right at 1\d\.\d %\.",
        ),
        (faulty_tasks.Shortcut, "shortcut", r"The shortcut 'bigram' solves it: 100\.0 % right\."),
        (
            faulty_tasks.HighCeiling,
            "ceiling",
            r"The solver is right at 9\d\.\d %, where the ceiling is declared as 99\.0 %\.",
        ),
    ],
)
def test_what_is_wrong_is_caught(kind: type[Task], check: str, sentence: str) -> None:
    report = audited(kind)
    assert not report.passed
    (one,) = report.levels
    assert found(one).keys() == {check}
    outcome, evidence = found(one)[check]
    assert outcome == "fail"
    assert re.fullmatch(sentence, evidence), evidence


def test_ambiguous_labels_are_caught_by_the_solver_and_by_one_another() -> None:
    (one,) = audited(Ambiguous, 2).levels
    first, second = (finding.evidence for finding in one.findings if finding.outcome == "fail")
    assert re.match(r"The solver agrees with 9\d\.\d % of the labels: at position 1 of test sequence \d+ the", first)
    assert re.fullmatch(r"Labels are ambiguous: \d\d pasts stand with different answers\.", second)


def test_ambiguous_labels_are_caught_without_a_solver() -> None:
    (one,) = audited(faulty_tasks.Unsolved, 2).levels
    assert [(finding.check, finding.outcome) for finding in one.findings if finding.check == "labels"] == [
        ("labels", "told"),
        ("labels", "fail"),
    ]
    assert "different answers" in " ".join(finding.evidence for finding in one.findings)


def test_labels_that_are_partly_chance_are_held_to_their_ceiling() -> None:
    (one,) = audited(Noisy).levels
    assert one.findings == []
    assert 0.93 < one.level_audit.labels.share < 0.97


def test_a_ceiling_that_is_surpassed_is_caught() -> None:
    (one,) = audited(faulty_tasks.LowCeiling).levels
    assert [finding.evidence for finding in one.findings] == [
        "The solver is right at 100.0 %, where the ceiling is declared as 50.0 %.",
        "'bigram' is right at 100.0 %, above the declared ceiling of 50.0 %.",
    ]
    assert not one.passed


def test_a_ceiling_nobody_knows_is_told_in_words() -> None:
    (one,) = audited(faulty_tasks.UnknownCeiling).levels
    assert one.passed
    outcome, evidence = found(one)["ceiling"]
    assert outcome == "told"
    assert re.fullmatch(r"The ceiling is not known; the solver agrees with 9\d\.\d %\.", evidence)


def test_the_intended_shortcut_is_marked_and_not_flagged() -> None:
    report = audited(Meant)
    assert report.passed
    assert "bigram 100.0*" in "\n".join(drawn(report))
    assert "* The shortcut that is the point of the task." in "\n".join(drawn(report))


def test_a_space_that_is_covered_is_told_and_no_leak() -> None:
    """One letter: eight sequences are all there is, and any table solves them."""
    report = audited(Sums, 1, 6)
    assert report.passed
    small, large = report.levels
    assert small.level_audit.repeats.found == small.level_audit.repeats.sequences
    assert small.level_audit.repeats.expected == pytest.approx(small.level_audit.repeats.sequences)
    assert [finding.outcome for finding in small.findings] == ["told", "told"]
    assert (
        found(small)["leak"][1] == "A sample covers the whole space: that test sequences stand in training is chance."
    )
    assert found(small)["shortcut"][1] == "'last value' solves it, as any table does that covers the whole space."
    assert large.findings == []


def test_a_task_that_asks_nothing_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="It asks nothing"):
        audited(faulty_tasks.Silent)


def test_random_filler_of_recall_is_reported() -> None:
    report = check_task(find_ladder("recall"), {"filler": "random"}, 4, samples=256)
    assert not report.passed
    (one,) = report.levels
    assert one.level_audit.labels.share == 1
    outcome, evidence = found(one)["questions"]
    assert outcome == "fail"
    assert re.fullmatch(
        r"A question stands unanswered \d+ times, the known defect of random fillers: at position \d+ of test "
        r"sequence \d+ stands k\d+, which would be answered by v\d+\.",
        evidence,
    )
    assert "unasked" in "\n".join(drawn(report))


@pytest.mark.parametrize("name", ["copy", "delay", "parity", "parity-last", "recall"])
def test_unasked_answers_and_ceilings_are_columns_only_where_there_are_any(name: str) -> None:
    report = check_task(find_ladder(name), {}, samples=512)
    assert report.passed
    assert "unasked" not in "\n".join(drawn(report))
    assert "ceiling " not in drawn(report)[2]


def test_the_table_has_a_row_for_each_rung_and_fits_a_terminal() -> None:
    report = check_task(find_ladder("parity"), {}, samples=512)
    lines = drawn(report)
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines if line.rstrip().endswith("pass")]
    assert [row[:4] for row in rows] == [[str(bits), str(bits), "2", "50.0"] for bits in (2, 4, 8, 16, 32, 64)]
    (told,) = [line for line in lines if "covers the whole space:" in line]
    assert told.startswith("bits 2, 4")


def test_data_is_plain_and_complete() -> None:
    data = audited(faulty_tasks.UnknownCeiling, 1, 6).data()
    assert (data["ladder"], data["complexity"], data["passed"]) == ("spoiled", "letters", True)
    first, second = data["levels"]
    assert (first["complexity"], second["complexity"]) == (1, 6)
    assert second["ceiling"] is None
    assert second["labels"]["asked"] == 2048
    assert set(second["shortcuts"]) == {"majority", "position", "last value", "unigram", "bigram", "nearest context"}
    assert second["findings"][0].keys() == {"check", "outcome", "evidence"}


def test_equal_seeds_audit_equally_and_others_do_not() -> None:
    first, again, other = (check_task(find_ladder("copy"), {}, 8, samples=128, seed=seed).data() for seed in (0, 0, 1))
    assert first == again
    assert first["levels"] != other["levels"]


def test_rungs_of_the_evaluation_are_audited_too() -> None:
    ladder = find_ladder("parity").model_copy(update={"levels": (4, 8), "evaluate": (8, 16)})
    assert [one.level_audit.level for one in check_task(ladder, {}, samples=64).levels] == [4, 8, 16]
    assert [one.level_audit.level for one in check_task(ladder, {"bits": 3}, samples=64).levels] == [3]
    assert [one.level_audit.level for one in check_task(ladder, {}, 5, samples=64).levels] == [5]


def test_members_of_a_medley_are_audited_each() -> None:
    report = check_task(find_ladder("mixture"), {}, 1, samples=128)
    assert [one.level_audit.name for one in report.levels] == ["1 copy", "1 recall", "1 parity"]
    assert all(one.level_audit.labels.share == 1 for one in report.levels)
