"""The attention maps of finished runs, of every layer and head, as a report shows them."""

from __future__ import annotations

from pathlib import Path

from attnlab.diagnosis._attention_maps import attention_map_of, labeled_map_of
from attnlab.diagnosis._labeled_matrices import headless_layers, labeled_matrices, merge_matrices
from attnlab.diagnosis.result import AttentionMap
from attnlab.diagnosis.run_subject import run_subject
from attnlab.diagnosis.whole_models import WholeModelSubject


def run_maps(run: str, store: Path, *, most: int, command: str = "attnlab report") -> tuple[AttentionMap, ...]:
    """Compute the attention maps of a finished run on its first validation sequence.

    Args:
        run: The id of the run.
        store: The folder of results that holds it.
        most: How many maps to return; of more heads, the first of each layer come first.
        command: The command line that asks for the maps, for a message.

    Returns:
        The maps by layer and head; of layers without heads, the matrix that stands for their attention.

    Raises:
        UnknownNameError: No run has the id.
        InvalidValueError: The model has no matrix.
        StoreError: The weights were not kept or do not fit.
    """
    record, subject = run_subject(run, store, command=command, batch=1)
    if isinstance(subject, WholeModelSubject):
        return (subject.attention_map("attention", "1.1"),)
    trace = subject.trace()
    layers = headless_layers(subject.model, trace)
    matrices, labels = merge_matrices(
        trace.weights_BHTS, labeled_matrices(layers, "attention")[0] if any(layers) else []
    )
    heads = [
        (head, layer)
        for layer, own in enumerate(matrices, 1)
        for head in range(1, 1 + (own[0].shape[-3] if own else 0))
    ]
    chosen = sorted((layer, head) for head, layer in sorted(heads)[:most])
    variant = record.spec.variant
    if not chosen:
        return (attention_map_of(trace, variant, "1.1"),)  # raises: there is no matrix
    return tuple(labeled_map_of(trace, matrices, labels, variant, f"{layer}.{head}") for layer, head in chosen)
