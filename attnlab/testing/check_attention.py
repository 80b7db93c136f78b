"""The kit: every check, in the order they are told."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from attnlab.attention import ATTENTIONS, Attention
from attnlab.errors import AttnlabError, PluginError, unknown
from attnlab.registry import Entry, describe_exception, load_plugin
from attnlab.specs import Part
from attnlab.testing import _causality, _cost, _depth, _equivalence, _numerics
from attnlab.testing._subject import Subject
from attnlab.testing.finding import Conformance, Finding

Check = Callable[[Subject], Finding]

CHECKS: dict[str, Check] = {
    "future never seen": _causality.future,
    "prefix equals whole": _causality.prefix,
    "promised rows": _numerics.rows,
    "finite at extremes": _numerics.finite,
    "gradients": _numerics.gradients,
    "bfloat16": _numerics.precision,
    "lengths": _equivalence.lengths,
    "batch independence": _equivalence.batches,
    "determinism": _equivalence.determinism,
    "linear in the values": _equivalence.matrix,
    "fast path equals plain": _equivalence.fast,
    "asked tokens alone": _equivalence.few,
    "lanes": _equivalence.lanes,
    "second layer": _depth.second,
    "declared weights": _cost.weights,
    "long sequences": _cost.scan,
    "decode state": _cost.memory,
    "cost": _cost.growth,
}


def check_attention(part: Part, names: Collection[str] = tuple(CHECKS)) -> Conformance:
    """Every finding about a registered attention with its options, or those of the checks that are named.

    Raises:
        UnknownNameError: no such attention or option.
        InvalidValueError: an option the attention does not accept.
    """
    entry = ATTENTIONS.entry(part.name)
    subject = Subject(entry, entry.complete(part.options))
    return Conformance(str(part), [one(name, subject) for name, one in _safely().items() if name in names])


def subject_of(word: str) -> Part:
    """The part that ``NAME``, ``NAME:option=value`` or ``FILE.py:Class`` names; the file is run.

    Raises:
        PluginError: the file fails, or holds no attention of that name.
    """
    from attnlab.config.inline_parts import parse_part

    path, _, name = word.rpartition(":")
    if not path.endswith(".py"):
        return parse_part(word)
    load_plugin(Path(path))
    result: dict[str, Entry[Attention]] = {
        entry.cls.__name__: entry for entry in ATTENTIONS if entry.cls.__module__ == f"attnlab_with_{Path(path).stem}"
    }
    if name not in result:
        if not result:
            raise PluginError(
                "It registers no attention.", "Mark the class with @register(name, source=...).", where=word
            )
        raise unknown("attention class", name, result, where=path)
    return Part(name=result[name].name)


def _safely() -> dict[str, Callable[[str, Subject], Finding]]:
    """Each check, with an exception inside the variant told as a failure by its own file and line."""

    def guarded(one: Check) -> Callable[[str, Subject], Finding]:
        def run(name: str, subject: Subject) -> Finding:
            try:
                return one(subject)
            except AttnlabError as error:
                return Finding(name, "fail", f"{error.problem} {error.hint}")
            except Exception as error:
                return Finding(name, "fail", describe_exception(error))

        return run

    return {name: guarded(one) for name, one in CHECKS.items()}
