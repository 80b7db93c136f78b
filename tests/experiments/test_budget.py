"""Two variants with one budget."""

from __future__ import annotations

import pytest

from attnlab.attention.ops import loops
from attnlab.choices import Budget
from attnlab.errors import InvalidValueError
from attnlab.experiments import _budget as budget
from attnlab.experiments.plan import plan
from attnlab.experiments.request import Request
from attnlab.model.transformer import build
from attnlab.specs import Part, TaskSpec
from attnlab.tasks.io.streams import Source

SMALL = {"model": {"width": 16, "layers": 1}, "train": {"max_steps": 1}}


def request(match: Budget | None, *names: str, **model: object) -> Request:
    variants = [(Part(name=name),) for name in names]
    settings = {**SMALL, "model": {**SMALL["model"], **model}}
    return Request(task=Part(name="copy", options={"symbols": 3}), attentions=variants, match=match, settings=settings)


@pytest.mark.parametrize("match", ["parameters", "flops", "state"])
def test_the_second_variant_has_the_budget_of_the_first(match: Budget) -> None:
    first, second = plan(request(match, "softmax", "gpam"))
    source = Source(first.task, 0)
    sizes = []
    for spec in (first, second):
        model = build(spec.model, vocabulary=source.vocabulary, length=source.length, seed=0)
        sizes.append(budget.MEASURES[match](model, source))
    assert abs(sizes[1] - sizes[0]) <= 0.02 * sizes[0]
    assert first.model.matched == ""
    assert second.model.matched == f"{match} of softmax: {sizes[0]:,}, here {sizes[1]:,}"


def test_without_match_sizes_stay() -> None:
    first, second = plan(request(None, "softmax", "gpam"))
    assert first.model.model_dump(exclude={"attention"}) == second.model.model_dump(exclude={"attention"})


def test_a_budget_that_no_mlp_can_meet_is_refused() -> None:
    with pytest.raises(InvalidValueError) as caught:
        plan(request("parameters", "softmax", "gpam", mlp_ratio=0))
    assert caught.value.where == "gpam"
    assert caught.value.problem.startswith("No size gives it the ")
    assert "parameters of softmax; the closest has " in caught.value.problem
    assert "compare without --match" in caught.value.hint


def test_a_budget_that_a_variant_does_not_have_is_refused_with_the_reason() -> None:
    with pytest.raises(InvalidValueError, match="declares no state"):
        plan(request("state", "softmax", "torch.nn:GRU"))


def test_more_operations_cost_more_flops() -> None:
    (spec,) = plan(request(None, "softmax"))
    source = Source(spec.task, 0)
    counted = [
        budget.flops(build(spec.model.model_copy(update=more), vocabulary=17, length=6, seed=0), source)
        for more in ({}, {"mlp_ratio": 8.0}, {"layers": 2})
    ]
    assert counted[0] < counted[1] < counted[2]
    per_token_mlp = 2 * 2 * 16 * 64
    assert counted[1] - counted[0] == 6 * per_token_mlp


def test_flops_count_every_token_through_every_block_whatever_the_query_positions() -> None:
    options = {"length": 32, "vocabulary": 16}
    sources = [Source(TaskSpec(name="recall", options={**options, "pairs": pairs}), 0) for pairs in (2, 7)]
    spec = plan(request(None, "softmax"))[0].model
    counted = [budget.flops(build(spec, vocabulary=16, length=32, seed=0), source) for source in sources]
    assert counted[1] - counted[0] == (7 - 2) * 2 * 16 * 16  # the output layer alone, at five more query positions


@pytest.mark.parametrize("name", ["delta", "gla", "linear", "mamba2", "wall", "deltaformer", "expressive"])
def test_flops_of_compiled_loops_are_counted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (spec,) = plan(request(None, name))
    source = Source(spec.task, 0)

    def count() -> int:
        return budget.flops(build(spec.model, vocabulary=source.vocabulary, length=source.length, seed=0), source)

    counted = count()
    monkeypatch.setattr(loops, "works", lambda: False)
    assert counted == count()


def test_latent_has_a_smaller_state_than_softmax_until_it_is_matched() -> None:
    source = Source(TaskSpec(name="copy", options={"symbols": 3}), 0)
    sizes = {}
    for match in (None, "state"):
        softmax, latent = (
            build(spec.model, vocabulary=source.vocabulary, length=source.length, seed=0)
            for spec in plan(request(match, "softmax", "latent", layers=2))
        )
        sizes[match] = [budget.state(model, source) for model in (softmax, latent)]
    tokens, layers, width = source.length // 2, 2, 16
    rank, turned = width // 2, width // 2 // 4 * 2
    assert sizes[None] == [layers * tokens * 2 * width, layers * tokens * (rank + turned)]
    assert sizes["state"][0] == sizes[None][0]
    assert abs(sizes["state"][1] - sizes["state"][0]) <= 0.1 * sizes["state"][0]


def test_a_short_convolution_is_part_of_the_state() -> None:
    source = Source(TaskSpec(name="copy", options={"symbols": 3}), 0)
    counted = [
        budget.state(build(spec.model, vocabulary=9, length=source.length, seed=0), source)
        for taps in (0, 3)
        for spec in plan(request(None, "linear", modifiers={"short_conv": taps}))
    ]
    assert counted[1] - counted[0] == 2 * 16
