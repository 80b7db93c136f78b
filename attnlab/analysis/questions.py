"""An experiment that is to be decided -> what is asked of its comparisons.

The search that chooses runs and every report about them count the same comparisons and the same levels, those of the
plan: otherwise a report would decide what the search did not, or ask for runs that no search adds.
"""

from __future__ import annotations

from collections.abc import Callable

from attnlab.analysis.comparisons import Question
from attnlab.config.experiment import Experiment, LadderLevels, full_key
from attnlab.errors import AttnlabError
from attnlab.tasks.io.ladder_training import shares_training
from attnlab.tasks.io.ladders import find_ladder
from attnlab.tasks.io.levels_to_run import levels_to_run, trained_ladder

ATTENTION = "model.attention"
"""The key of variants in a grid."""


def questions_of(experiment: Experiment) -> Callable[[str], Question]:
    """Tell what is asked on each ladder.

    Args:
        experiment: The experiment.

    Returns:
        A function of the name of a ladder. Its question has all comparisons of the experiment, and the levels of that
        ladder; where a ladder is not found any more, the most of any.
    """
    levels: dict[str, int] = {}
    for entry in experiment.ladders:
        levels[entry.ladder] = max(levels.get(entry.ladder, 1), _num_levels(entry))
    comparisons, most = num_comparisons(experiment), max(levels.values())

    def question(ladder: str) -> Question:
        return Question(equal=experiment.equal, comparisons=comparisons, levels=levels.get(ladder, most))

    return question


def _num_levels(entry: LadderLevels) -> int:
    """Count the levels that are compared; those that are written where the ladder is not found any more."""
    try:
        ladder = trained_ladder(entry, find_ladder(entry.ladder))
    except AttnlabError:
        return len(entry.levels or ())
    runs = list(levels_to_run(entry, ladder))
    return 1 + len(runs[0][1] or ()) if shares_training(ladder) else len(runs)


def num_comparisons(experiment: Experiment) -> int:
    """Count the comparisons of an experiment: every variant with the first, in each setting of what varies besides.

    >>> num_comparisons(Experiment(name="a", question="", ladders=("copy",), grid={"attention": ["softmax", "gpam"]}))
    1

    Args:
        experiment: The experiment.

    Returns:
        The number; where one variant is alone, that of its settings with the first of them, and at least 1.
    """
    variants, settings = 1, 1
    for group in (*({key: values} for key, values in experiment.grid.items()), *experiment.zip):
        size = len(next(iter(group.values())))
        if ATTENTION in map(full_key, group):
            variants *= size
        else:
            settings *= size
    each = settings * (variants - 1) if variants > 1 else settings - 1
    return len(experiment.ladders) * max(1, each)
