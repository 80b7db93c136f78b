"""A rehearsal: every variant takes one forward and one backward pass before anything is started or written."""

from __future__ import annotations

import traceback
from pathlib import Path

import torch

from attnlab.errors import AttnlabError, PluginError
from attnlab.model.transformer import Transformer, build
from attnlab.registry import describe_exception
from attnlab.specs import ModelSpec
from attnlab.tasks.io.streams import Source
from attnlab.training.denormals import flush_denormals

HOUSE = str(Path(__file__).resolve().parent.parent)


@flush_denormals()  # may start torch's threads, which keep the setting they start with
def preflight(model: ModelSpec, source: Source) -> Transformer:
    """The model, after it has answered one sequence and taken its gradient.

    Raises:
        PluginError: a user's part raised; carries the user's own file and line.
        AttnlabError: sizes or options that do not fit.
    """
    stack = "+".join(str(part) for part in model.attention)
    try:
        built = build(model, vocabulary=source.vocabulary, length=source.length, seed=0)
        batch = source.training(0, 1)
        answer = built(torch.from_numpy(batch.inputs_BT.copy()), torch.from_numpy(batch.query_positions()))
        (answer.logits_NV.sum() + answer.auxiliary).backward()
    except AttnlabError:
        raise
    except Exception as error:
        frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        if all(name.startswith(HOUSE) or "site-packages" in name for name in frames):
            raise  # a fault of ours: the whole traceback is wanted
        head, _, place = describe_exception(error).partition("\n")
        raise PluginError(head, place, where=f"model.attention: {stack}") from error
    return built
