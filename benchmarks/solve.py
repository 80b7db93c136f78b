"""Seconds of training until recall over 8,192 ids reaches 99 % accuracy on new sequences, by recipe.

    python -m benchmarks.solve                              # the recipes below, one seed
    python -m benchmarks.solve --seeds 3 muon               # one of them
    python -m benchmarks.solve published --rate 1e-2 --seconds 400

Four pairs, T = 64, width 64, two layers, on all threads. Only training counts as time, not the evaluation on new
sequences every 1,600. The first evaluation with an accuracy of at least 99 % counts; the accuracy is printed
with its interval. ``published`` is the setup as first published, with logits of every position
(benchmarks/published.py); the drawing of its 100,000 examples counts as time too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

from attnlab.records import Score
from attnlab.specs import ModelSpec, RunSpec, TaskSpec, TrainSpec
from attnlab.tasks import Split
from attnlab.tasks.io.streams import Source
from attnlab.training.schedule import learning_rate
from attnlab.training.scoring import score as score_predictions
from attnlab.training.stepper import SingleStepper
from benchmarks.published import BATCH, LEARNING_RATES, count_correct, examples, training

RECALL_MODEL: dict[str, Any] = {"tie_embeddings": True, "position": "rotary", "modifiers": {"qk_norm": True}}
"""The output projection is the embedding, so that a copied value maps to its own id; rotary positions; qk_norm."""
ADAMW: dict[str, Any] = {"lr": 3e-3}
MUON: dict[str, Any] = {"lr": 1e-2, "optimizer": "muon"}
RECIPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "muon": (RECALL_MODEL, MUON),
    "muon, no MLP": ({**RECALL_MODEL, "mlp": {"name": "none"}}, MUON),
    "adamw": (RECALL_MODEL, ADAMW),
    "muon, learned positions": ({**RECALL_MODEL, "position": "learned"}, MUON),
    "muon, fourier positions": ({**RECALL_MODEL, "position": "fourier"}, MUON),
    "muon, no qk_norm": ({**RECALL_MODEL, "modifiers": {}}, MUON),
    "muon, untied embeddings": ({**RECALL_MODEL, "tie_embeddings": False}, MUON),
    "muon, the default model": ({}, MUON),
    "adamw, the default model": ({}, ADAMW),
}
"""Model and training, where they differ from the defaults."""
TEST_EXAMPLES, EVERY, MAX_SEQUENCES = 2048, 1_600, 102_400
"""Sequences: of an evaluation, between two evaluations, and of the longest training."""


def ours(recipe: str, seed: int, filler: str, most: int) -> tuple[float, int, Score]:
    """Train ours: seconds and sequences until the first evaluation at 99 %, and its score; or until the limit."""
    model, train = RECIPES[recipe]
    task = TaskSpec(name="recall", options={"vocabulary": 8192, "length": 64, "pairs": 4, "filler": filler})
    plan = TrainSpec.model_validate({"max_steps": most // TrainSpec().batch_size, **train}, strict=False)
    spec = RunSpec(task=task, model=ModelSpec.model_validate(model, strict=False), train=plan, seed=seed)
    source = Source(spec.task, seed)
    stepper = SingleStepper(spec, source, torch.device("cpu"))
    batches = source.held_out(Split.TEST, TEST_EXAMPLES, 256)

    def evaluate() -> Score:
        stepper.losses()  # frees the losses of the steps
        predictions = stepper.predict(0, batches)
        return score_predictions(batches, [one.tokens_N for one in predictions], source.task.chance).accuracy

    def step(index: int) -> None:
        stepper.step({0: source.training(index, plan.batch_size)}, {0: learning_rate(plan, index)})

    return timed(step, evaluate, plan.batch_size, 0.0, most=most)


def published(learning_rate: float, seed: int, seconds: float) -> tuple[float, int, Score]:
    """Train the published setup: the same numbers, or until the limit of seconds."""
    start = time.perf_counter()
    model, step = training(learning_rate, seed)
    drawing = time.perf_counter() - start
    test = examples(seed + 10_000, TEST_EXAMPLES)

    def evaluate() -> Score:
        correct, total = count_correct(model, *test)
        return Score(correct=correct, total=total, chance=0.25)

    return timed(lambda _: step(), evaluate, BATCH, drawing, seconds=seconds)


def timed(
    step: Callable[[int], object],
    evaluate: Callable[[], Score],
    batch: int,
    spent: float,
    most: int = 10**9,
    seconds: float = 1e9,
) -> tuple[float, int, Score]:
    """Take steps until an evaluation reaches 99 %, or until a limit."""
    sequences, score = 0, Score(correct=0, total=1, chance=0.25)
    while sequences < most and spent < seconds and score.mean < 0.99:
        start = time.perf_counter()
        step(sequences // batch)
        spent += time.perf_counter() - start
        sequences += batch
        if sequences % EVERY < batch or sequences >= most or spent >= seconds:
            score = evaluate()
    return spent, sequences, score


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds until recall over 8,192 ids reaches 99 %.")
    parser.add_argument("recipes", nargs="*", default=["muon", "adamw"], help=f"published, {', '.join(RECIPES)}")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--filler", default="distinct", help="filler of the task; zeros, as first published")
    parser.add_argument("--most", type=int, default=MAX_SEQUENCES, help="sequences of the longest training")
    parser.add_argument("--rate", type=float, default=LEARNING_RATES[2], help="learning rate of the published recipe")
    parser.add_argument("--seconds", type=float, default=600.0, help="most seconds of the published recipe")
    args = parser.parse_args()
    if unknown := set(args.recipes) - {"published", *RECIPES}:
        parser.error(f"unknown recipe: {'; '.join(sorted(unknown))}; known: {'; '.join(['published', *RECIPES])}")
    print("| recipe | seed | seconds | sequences | accuracy |\n|---|---|---|---|---|")
    for name in args.recipes:
        for seed in range(args.seeds):
            if name == "published":
                seconds, sequences, score = published(args.rate, seed, args.seconds)
            else:
                seconds, sequences, score = ours(name, seed, args.filler, args.most)
            low, high = score.interval
            accuracy = f"{100 * score.mean:.1f} % ({100 * low:.1f}-{100 * high:.1f})"
            print(f"| {name} | {seed} | {seconds:.0f} | {sequences:,} | {accuracy} |", flush=True)


if __name__ == "__main__":
    main()
