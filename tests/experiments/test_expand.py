"""An experiment to its runs: combinations, zips, levels, and errors that are raised before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attnlab.analysis._observations import observations
from attnlab.config.experiment import Experiment, read_experiment
from attnlab.config.inline_experiment import inline_experiment
from attnlab.errors import AttnlabError
from attnlab.experiments._report_checks import _tested_at
from attnlab.experiments.expand import expand
from attnlab.specs import RunSpec
from tests.experiments.sweeps import TINY, planned, shown

BASE = """\
name: mine
question: Does it?
ladders: [{ladder: copy, levels: [1, 2], options: {alphabet: 3}, evaluate: [4]}]
grid: {attention: [softmax, gpam], position: [none]}
seeds: 2
model: {width: 8, layers: 1, mlp_ratio: 1.0}
train: {max_steps: 3, batch_size: 4}
"""


def written(folder: Path, *more: str, changed: tuple[str, str] = ("", "")) -> Path:
    path = folder / "mine.yaml"
    assert changed[0] in BASE
    path.write_text(BASE.replace(*changed) + "".join(f"{line}\n" for line in more))
    return path


def message_of(path: Path) -> str:
    with pytest.raises(AttnlabError) as caught:
        expand(read_experiment(path))
    return str(caught.value).removeprefix(f"{path.parent}/")


def coordinates(spec: RunSpec) -> tuple[Any, ...]:
    return spec.task.level, spec.variant, spec.train.lr, spec.seed


def test_every_combination_comes_once_levels_slowest_seeds_fastest() -> None:
    experiment = inline_experiment(
        "copy", attention="softmax,gpam", complexity=[1, 2], grid={"lr": [1e-3, 3e-3]}, seeds=2, settings=TINY
    )
    wanted = [
        (level, name, lr, seed)
        for level in (1, 2)
        for name in ("softmax", "gpam")
        for lr in (1e-3, 3e-3)
        for seed in (0, 1)
    ]
    assert [coordinates(spec) for spec in expand(experiment)] == wanted


def test_seeds_are_counted_up_from_the_first() -> None:
    experiment = inline_experiment("copy", complexity=[1], seed=7, seeds=2, settings=TINY)
    assert [spec.seed for spec in expand(experiment)] == [7, 8]


def test_a_claim_about_a_seed_that_is_planned_is_accepted(tmp_path: Path) -> None:
    where = "{seed: SEED, attention: gpam, level: 4, trained: 2}"
    claim = f"claims: [{{says: It learns., of: {where}, expect: at least, bound: 0.5}}]"
    planned_runs = expand(read_experiment(written(tmp_path, "seed: 7", claim.replace("SEED", "8"))))
    assert {spec.seed for spec in planned_runs} == {7, 8}
    assert "No run of this sweep has seed '0'." in message_of(written(tmp_path, "seed: 7", claim.replace("SEED", "0")))


def test_zipped_keys_change_together() -> None:
    zipped: Any = ({"width": (8, 16), "train.max_steps": (3, 6)},)
    experiment = inline_experiment("copy", complexity=[1], seeds=1, settings=TINY).model_copy(update={"zip": zipped})
    assert [(spec.model.width, spec.train.max_steps) for spec in expand(experiment)] == [(8, 3), (16, 6)]


def test_a_run_of_two_combinations_is_planned_once() -> None:
    assert len(planned("softmax", "softmax", "gpam", "dagpam", levels=(1, 1), seeds=1)) == 2


def test_levels_are_planned_in_the_order_of_the_ladder() -> None:
    assert [spec.task.level for spec in planned(levels=(4, 1, 3), seeds=1)] == [1, 3, 4]


def test_any_field_may_vary(tmp_path: Path) -> None:
    grid = "grid: {task.alphabet: [3, 4], model.modifiers.short_conv: [0, 2], betas: [[0.9, 0.95]]}"
    result = expand(
        read_experiment(written(tmp_path, changed=("grid: {attention: [softmax, gpam], position: [none]}", grid)))
    )
    values = {(s.task.options["alphabet"], s.model.modifiers.short_conv, s.train.betas) for s in result}
    assert values == {(alphabet, taps, (0.9, 0.95)) for alphabet in (3, 4) for taps in (0, 2)}


def test_variants_may_be_words_mappings_and_stacks(tmp_path: Path) -> None:
    path = written(tmp_path, changed=("[softmax, gpam]", "['dape:kernel=3', {name: dape, kernel: 5}, [softmax, gpam]]"))
    path.write_text(path.read_text().replace("layers: 1", "layers: 2"))
    assert [spec.variant for spec in expand(read_experiment(path))[::2]][:3] == [
        "dape:kernel=3",
        "dape:kernel=5",
        "softmax+gpam",
    ]


@pytest.mark.parametrize(("top", "own", "others"), [(4, 4, (2, 3, 6)), (5, 3, (2, 4, 6))])
def test_a_ladder_that_trains_on_a_range_of_levels_is_trained_once(
    top: int, own: int, others: tuple[int, ...], tmp_path: Path
) -> None:
    (tmp_path / "range.yaml").write_text(
        "name: range\nsummary: s\ntask: copy\ncomplexity: symbols\nlevels: [2, 3, 4]\ndefault: 3\n"
        f"options: {{alphabet: 3}}\ntraining: {{symbols: 1..{top}}}\nevaluate: [6]\nsource: me\n"
    )
    result = expand(
        inline_experiment(str(tmp_path / "range.yaml"), seeds=2, settings={k: TINY[k] for k in ("model", "train")})
    )
    assert [(spec.task.level, spec.task.evaluate, spec.seed) for spec in result] == [
        (own, others, 0),
        (own, others, 1),
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "gpam]",
            "gppam]",
            "mine.yaml:4: grid.attention: gppam\n  There is no attention 'gppam'; did you mean 'gpam'?",
        ),
        (
            "gpam]",
            "'softmax,gpam']",
            "mine.yaml:4: grid\n  'softmax,gpam' is 2 variants.",
        ),
        ("gpam]", "3]", "mine.yaml:4: grid\n  It cannot be 3.\n  Write a name, or {name: dape, kernel: 3}."),
        (
            "[none]",
            "[none+learned]",
            "mine.yaml:4: grid.position\n  'none+learned' is a pattern of 2 layers, and the model has 1.",
        ),
        ("[none]", "[alibi], attention.x: [1]", "mine.yaml:4: grid.attention.x\n  There is no key 'attention.x'"),
        (
            "[none]",
            "[none], lr: [-1.0]",
            "mine.yaml:4: grid.lr\n  It cannot be -1.0.\n  Input should be greater than 0.",
        ),
        ("width: 8", "widht: 8", "mine.yaml:6: model.widht\n  There is no key 'widht'; did you mean 'width'?"),
        ("width: 8", "width: 7", "model.heads\n  A width of 7 does not divide into 2 heads."),
        ("max_steps: 3", "max_steps: 0", "mine.yaml:7: train.max_steps\n  It cannot be 0."),
        (
            "ladder: copy",
            "ladder: copi",
            "mine.yaml:3: ladders[0].ladder\n  There is no task 'copi'; did you mean 'copy'?",
        ),
        (
            "alphabet: 3",
            "alphabt: 3",
            "mine.yaml:3: ladders[0].ladder\n  'copy' has no option 'alphabt'; did you",
        ),
        ("[1, 2]", "[1, two]", "mine.yaml:3: ladders[0].ladder\n  Option 'symbols' cannot be 'two'."),
    ],
)
def test_an_error_is_located_by_its_line(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert message_of(written(tmp_path, changed=(old, new))).startswith(message)


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (
            "{attention: gpm}",
            "mine.yaml:8: claims[0].of.attention\n  No run of this sweep has attention 'gpm'; did you mean ",
        ),
        (
            "{attenton: gpam}",
            "mine.yaml:8: claims[0].of.attenton\n  There is no field 'attenton'; did you mean 'attention'",
        ),
        (
            "{level: 3}",
            "mine.yaml:8: claims[0].of.level\n  No run of this sweep has level '3'.\n  Its values: 1, 4",
        ),
        (
            "{task.train.symbols: 1..4}",
            "mine.yaml:8: claims[0].of.task.train.symbols\n  There is no field 'task.train.symbols'.\n  Name trained: ",
        ),
        ("{seed: 2}", "mine.yaml:8: claims[0].of.seed\n  No run of this sweep has seed '2'.\n  Its values: 0, 1."),
        ("{}, than: {width: 16}", "mine.yaml:8: claims[0].than.width\n  No run of this sweep has width '16'."),
    ],
)
def test_a_claim_about_runs_that_are_not_planned_is_refused(claim: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, f"claims: [{{says: x, expect: greater, bound: 0.1, of: {claim}}}]")
    assert message_of(path).startswith(message)


def test_a_claim_that_no_single_run_matches_is_refused(tmp_path: Path) -> None:
    zipped = "zip: [{width: [8, 16], max_steps: [3, 6]}]"
    path = written(
        tmp_path,
        zipped,
        "claims: [{says: x, expect: greater, of: {width: 8, max_steps: 6}}]",
        changed=("max_steps: 3, ", ""),
    )
    assert message_of(path) == (
        "mine.yaml:9: claims[0].of\n  No run of this sweep is width 8, max_steps 6.\n"
        "  Each of these is in some run; no run has all of them."
    )


@pytest.mark.parametrize(
    "claim",
    [
        "{attention: gpam, level: [1, 2]}, than: {attention: softmax}",
        "{model.width: 8, train.max_steps: 3, trained: 2, attention: gpam}",
        "{level: 4, trained: 1, seed: 1, task.alphabet: 3, attention: gpam}",
        "{level: [1, 9], lr: '0.003', attention: gpam}",
    ],
)
def test_a_claim_about_planned_runs_is_accepted(claim: str, tmp_path: Path) -> None:
    path = written(tmp_path, f"claims: [{{says: x, expect: greater, bound: 0.1, of: {claim}}}]")
    assert len(expand(read_experiment(path))) == 8


def test_claims_name_runs_that_are_trained_up_to_their_level_by_the_level(tmp_path: Path) -> None:
    """Other runs are tested on level 4 too, and trained elsewhere."""
    claims = """claims:
  - {says: x, of: {attention: gpam, level: 4}, than: {attention: softmax}, expect: greater}
  - {says: y, of: {attention: gpam, level: [1, 2, 4]}, than: {attention: softmax}, slope: true, expect: greater}"""
    ladder = "training: {symbols: 1..level}, levels: [1, 2, 4], options: {alphabet: 3}, evaluate: [4, 9]"
    path = written(tmp_path, claims, changed=("levels: [1, 2], options: {alphabet: 3}, evaluate: [4]", ladder))
    assert len(expand(read_experiment(path))) == 12


REPORT_MISTAKES = [
    (
        "claims: [{says: x, of: {attention: gpam, width: 8, level: 4}, slope: true, bound: 0.5, expect: greater}]",
        "8: claims[0]\n  attention gpam, width 8, level 4: this matches more than one variant.\n  Name trained too: ",
    ),
    (
        "claims: [{says: x, of: {attention: gpam, width: 8, level: 1}, slope: true, bound: 0.5, expect: greater}]",
        "8: claims[0]\n  'x': a slope is over several levels, and these runs are of one: 1.\n  List several: ",
    ),
    (
        "claims: [{says: x, of: {attention: gpam, width: 8, level: [1, 16]}, slope: true, bound: 0, expect: greater}]",
        "8: claims[0]\n  'x': no run is on level '16'.\n  Levels that are run: ",
    ),
    (
        "claims: [{says: x, of: {attention: gpam, width: 8, level: 4}, bound: 0.5, expect: greater}]",
        "8: claims[0]\n  attention gpam, width 8, level 4: this matches more than one variant.\n  Name trained too: ",
    ),
    (
        "claims: [{says: x, of: {level: 1}, than: {level: 1}, expect: greater}]",
        "8: claims[0].than\n  'x' compares runs with themselves.",
    ),
    ("claims: [{says: x, of: {level: 1}, expect: greater}]", "8: claims[0]\n  'x' compares with nothing."),
    (
        "claims: [{says: x, of: {attention: gpam, level: 1}, bound: 0.5, expect: greater}]",
        "8: claims[0]\n  attention gpam, level 1: this matches more than one variant.\n  Name width too: ",
    ),
    (
        "claims: [{says: x, of: {attention: gpam, width: 8}, bound: 0.5, expect: greater, metric: acuracy}]",
        "8: claims[0].metric\n  There is no metric 'acuracy'; did you mean 'accuracy'?",
    ),
    ("report: {index: [attention, widht]}", "8: report.index[1]\n  There is no field 'widht'; did you mean 'width'?"),
    (
        "report: {index: [recipe]}",
        "8: report.index[0]\n  A run has the settings of a recipe, and not its name.\n"
        "  Name what the recipes set: position, modifiers.qk_norm, optimizer, lr.",
    ),
    ("report: {columns: leve}", "8: report.columns\n  There is no field 'leve'; did you mean 'level'?"),
    ("report: {metric: acc}", "8: report.metric\n  There is no metric 'acc'; did you mean 'accuracy'?"),
    ("report: {metric: residual.last}", "8: report.metric\n  There is no metric 'residual.last'"),
]


@pytest.mark.parametrize(("line", "message"), REPORT_MISTAKES)
def test_what_the_report_could_not_make_is_refused_by_the_plan(line: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, line, changed=("grid: {", "grid: {width: [8, 16], "))
    assert message_of(path).startswith(f"mine.yaml:{message}")


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("report: {metric: perplexity}", "report.metric"),
        ("claims: [{says: x, of: {level: 1}, bound: 9, expect: less, metric: perplexity}]", "claims[0]"),
    ],
)
def test_the_perplexity_of_numbers_is_refused_by_the_plan(line: str, place: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    head = "name: x\nquestion: y\nladders: [{ladder: in-context-regression, levels: [1]}]\n"
    path.write_text(f"{head}model: {{width: 8, layers: 1}}\ntrain: {{max_steps: 3}}\n{line}\n")
    assert message_of(path).startswith(f"mine.yaml:6: {place}\n  Perplexity is of guesses among tokens; here answers")


def test_a_claim_that_names_no_variant_takes_a_single_variant(tmp_path: Path) -> None:
    claim = "claims: [{says: x, of: {level: [1, 2]}, expect: greater, bound: 0.1}]"
    assert message_of(written(tmp_path, claim)).endswith(
        "claims[0]\n  level [1, 2]: this matches more than one variant.\n"
        "  Name attention too: each level needs one run for each seed."
    )
    assert expand(read_experiment(written(tmp_path, claim, changed=("softmax, gpam", "gpam"))))


def test_diagnostics_that_runs_log_are_metrics_of_claims_and_reports(tmp_path: Path) -> None:
    logs = ("train: {", "train: {log_diagnostics: [rank, gradients], ")
    claim = "{says: x, of: {attention: gpam, level: 2}, expect: less, bound: 0.1, metric: query-gradient.first}"
    path = written(tmp_path, "report: {metric: residual.last}", f"claims: [{claim}]", changed=logs)
    assert expand(read_experiment(path))


def test_a_claim_has_the_fields_of_the_report() -> None:
    experiment = inline_experiment(
        "copy,recall", attention="dape:kernel=3", position="none", complexity=[1], seeds=1, settings=None
    )
    for spec in expand(Experiment.model_validate({**experiment.model_dump(), "model": {"width": 8, "layers": 1}})):
        (observed,) = observations([shown(spec)])
        assert {name: values[0] for name, values in _tested_at(spec, range(1)).items()} == {
            name: observed.get(name) for name in (*observed.settings, "subtask", "level", "trained", "seed")
        }


def test_finished_variants_are_listed_but_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = inline_experiment("copy", attention="softmax,gpam", complexity=[1, 2], seeds=2, settings=TINY)
    tried: list[tuple[Any, str]] = []
    monkeypatch.setattr(
        "attnlab.experiments.plan.try_run", lambda spec, _: tried.append((spec.task.level, spec.variant))
    )
    whole = expand(experiment)
    assert tried == [(1, "softmax"), (1, "gpam"), (2, "softmax"), (2, "gpam")]
    tried.clear()
    finished = {spec.id for spec in whole if coordinates(spec)[:2] != (2, "gpam")}
    finished.add(next(spec.id for spec in whole if coordinates(spec)[:2] == (2, "gpam")))  # one seed of two
    assert expand(experiment, finished=finished) == whole
    assert tried == [(2, "gpam")]
    tried.clear()
    assert [spec.id for spec in expand(experiment, finished={spec.id for spec in whole})] == [one.id for one in whole]
    assert tried == []
