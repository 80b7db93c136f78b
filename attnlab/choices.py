"""Every closed list of words that a user may write, once. It is quick to import, as the help needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

Budget = Literal["parameters", "flops", "state"]
"""What several variants can be given equal amounts of."""
Compile = Literal["auto", "never", "always"]
"""Whether training steps are compiled."""
DeviceName = Literal["auto", "cpu", "cuda", "mps"]
"""Where models are trained."""
AttentionLike = str | type | Callable[..., Any]
"""An attention, in Python: a word, a class of modules, or a function that makes one."""
ModelLike = str | type | Callable[..., Any]
"""A whole model, in Python: a word, a class of modules, or a function that makes one."""
DiagnosisKind = Literal["rank-collapse", "gradients", "attention", "tokens", "reach"]
"""What ``attnlab diagnose`` measures."""
DiagnosticsKind = Literal["rank", "gradients", "attention"]
"""Diagnostics that can be logged during training."""
DIAGNOSED_SEQUENCES = 16
"""Sequences that a model is diagnosed on, in training and by ``attnlab diagnose``: norms of gradients depend on it."""
ExtrapolationMode = Literal["trained", "interpolated", "yarn", "randomized"]
"""How positions are extended beyond the trained length."""
ListKind = Literal[
    "tasks",
    "attention",
    "position",
    "norm",
    "mlp",
    "block",
    "residual-stream",
    "scorer",
    "experiments",
    "metrics",
    "recipes",
    "results",
]
"""What ``attnlab ls`` lists."""
NormPlace = Literal["pre", "post", "none"]
"""Where the norms stand: before each branch, after each sum, or nowhere."""
LAYERS, WIDTH, HEADS = 2, 64, 2
"""The sizes of a model that nothing else sets: neither the user nor the ladder."""
MAX_STEPS, BATCH_SIZE, LR = 2000, 64, 3e-3
"""The budget of a training that nothing else sets, and its peak learning rate."""
Optimizer = Literal["adamw", "muon"]
Precision = Literal["float32", "tf32", "bf16"]
"""The number format in which training steps are computed."""
PresetName = Literal["smoke", "laptop", "paper"]
"""The budgets of an experiment."""
Schedule = Literal["cosine", "constant"]
SplitName = Literal["training", "validation", "test"]
IgnoreIndex = Literal["-100", "null"]
"""What stands in a file where nothing is asked."""
"""The splits of a task's data, as users write them."""
Scoring = Literal["rollout", "teacher forcing", "teacher forcing only", "independent"]
SCORED: dict[Scoring, str] = {
    "rollout": "Scored by rollout: the model's own earlier answers are inputs.",
    "teacher forcing": "Scored given the right earlier answers (teacher forcing); --rollout gives the model's own.",
    "teacher forcing only": "Scored given the right earlier answers (teacher forcing); generated ones have no score.",
    "independent": "No answer is an input of a later question: rollout and teacher forcing are the same.",
}
"""The ways in which a task is scored, and what they mean."""
