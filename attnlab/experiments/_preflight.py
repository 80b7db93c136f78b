"""Step 5 of a plan: every model takes one forward and one backward pass before anything is started or written."""

from __future__ import annotations

import traceback
from pathlib import Path

import torch

from attnlab.errors import AttnlabError, PluginError
from attnlab.model.transformer import Transformer, build
from attnlab.plugins import describe_exception
from attnlab.specs import ModelSpec
from attnlab.tasks.io.streams import Source
from attnlab.training.denormals import flush_denormals

LIBRARY = str(Path(__file__).resolve().parent.parent)


@flush_denormals()  # may start torch's threads, which keep the setting they start with
def preflight(model: ModelSpec, source: Source) -> Transformer:
    """Build a model, and take the gradient of its logits on one sequence.

    Args:
        model: The model.
        source: Gives the sequence.

    Returns:
        The built model.

    Raises:
        PluginError: A user's part raises an exception; the message has the user's own file and line.
        AttnlabError: Sizes or options do not fit.
    """
    variant = "+".join(str(part) for part in model.attention)
    try:
        built = build(model, vocabulary=source.vocabulary, length=source.length, seed=0)
        batch = source.training(0, 1)
        output = built(torch.from_numpy(batch.inputs_BT.copy()), torch.from_numpy(batch.query_positions()))
        (output.logits_NV.sum() + output.auxiliary).backward()
    except AttnlabError:
        raise
    except Exception as error:
        frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        if all(name.startswith(LIBRARY) or "site-packages" in name for name in frames):
            raise  # a fault of the library: its traceback is wanted
        head, _, location = describe_exception(error).partition("\n")
        raise PluginError(head, location, where=f"model.attention: {variant}") from error
    return built
