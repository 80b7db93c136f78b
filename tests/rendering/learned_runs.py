"""Records as a sweep of runs that learn writes them: whole histories, diagnostics, environments; made by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

from attnlab.records import DiagnosticsPoint, HistoryPoint, Record
from tests.rendering.fake_runs import CHANCE, run

REACH = {"softmax": 48.0, "linear": 6.0, "delta": 24.0, "gla": 12.0, "mamba2": 9.0}
"""The level at which each attention is half-way to perfect."""
ENVIRONMENT = {"attnlab": "0.1.0", "python": "3.11.7", "torch": "2.13.0+cpu", "system": "Linux", "device": "cpu"}


def learned_run(attention: str, pairs: int, seed: int, *, validations: int = 20, layers: int = 2) -> Record:
    """A run whose accuracy rises along a sigmoid, the later the harder its level is; drawn without a generator."""
    noise = math.sin(1 + 7 * seed + 3 * pairs + len(attention)) / 2
    reach = REACH.get(attention, 10.0) * (1 + 0.25 * noise)
    best = CHANCE + (1 - CHANCE) / (1 + (pairs / reach) ** 4)
    half = 300 + 90 * math.log2(pairs) + 120 * noise
    history = []
    for index in range(1, validations + 1):
        step = round(index * 1200 / validations)
        share = 1 / (1 + math.exp(-(step - half) / 70))
        accuracy = CHANCE + (best - CHANCE) * share
        loss = max(0.004, -math.log(accuracy) * 1.2)
        history.append(HistoryPoint(step=step, loss=loss * 1.05, accuracy=accuracy, validation_loss=loss))
    diagnostics = tuple(
        DiagnosticsPoint(
            step=step,
            values={
                "residual": tuple(1 - 0.03 * layer * math.log2(step + 1) / 4 for layer in range(layers + 1)),
                "entropy": tuple(0.95 - 0.05 * layer - 0.04 * math.log2(step) for layer in range(layers)),
                "query-gradient": tuple(0.02 * 2 ** -(math.log2(step) / 2 + layer + noise) for layer in range(layers)),
            },
        )
        for step in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1200)
    )
    environment = {**ENVIRONMENT, "seconds": 20.0 + pairs + seed, "ended": f"2026-11-{22 + seed % 5:02}T01:00:00Z"}
    return run(
        attention,
        pairs,
        seed,
        round(best, 3),
        history=tuple(history),
        loss=history[-1].loss,
        diagnostics_history=diagnostics,
        environment=environment,
    )


def learned_runs(
    attentions: Sequence[str] = ("softmax", "linear"), levels: Sequence[int] = (2, 4, 8), seeds: int = 3
) -> list[Record]:
    """One run for each attention, level and seed."""
    return [learned_run(name, pairs, seed) for name in attentions for pairs in levels for seed in range(seeds)]
