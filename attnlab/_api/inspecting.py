"""Diagnose, evaluate, report, compare, check and audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from attnlab._api import _arguments as read
from attnlab._api import _values as values
from attnlab._api._arguments import seed_range
from attnlab._api._checked import checked
from attnlab._api._values import plain
from attnlab.choices import DIAGNOSED_SEQUENCES, AttentionLike, DeviceName, DiagnosisKind, ExtrapolationMode
from attnlab.errors import InvalidValueError

if TYPE_CHECKING:
    import torch

    from attnlab.analysis.run_comparison import RunComparison
    from attnlab.diagnosis.result import Diagnosis
    from attnlab.evaluation.level_score import LevelScore
    from attnlab.records import Record
    from attnlab.rendering.report import Report
    from attnlab.testing.check_task import Audit
    from attnlab.testing.finding import Conformance

OPTIONS = "{'length': 64}"
"""An example, for messages."""
METRICS = "It is the name of a metric, or a list of names."
FIELDS = "It is the name of a field such as 'attention', or a list of names."


@checked(
    subject=values.anything,
    given=values.anything,
    kind=values.optional(values.choice(DiagnosisKind)),
    inputs=values.anything,
    loss=values.optional(read.closure),
    targets=values.anything,
    attention=read.parts,
    position=values.words("It is the name of a position such as 'rotary', or a list of names."),
    task=values.optional(values.word(read.TASK)),
    complexity=values.anything,
    length=values.optional(values.count),
    batch=values.count,
    seed=values.natural,
    seeds=values.count,
    model=read.model,
    recipe=values.anything,
    options=values.optional(values.mapping(OPTIONS)),
    control=values.flag,
    branch_gain=values.optional(values.number),
    only=values.words(METRICS, separator=","),
    attention_map=values.optional(values.word("It is a head as text, such as '1.1': its layer and its number.")),
    store=read.folder,
)
def diagnose(
    subject: Any = None,
    *given: Any,
    kind: DiagnosisKind | None = None,
    inputs: Any = None,
    loss: Callable[..., Any] | None = None,
    targets: Any = None,
    attention: AttentionLike | Sequence[AttentionLike] | None = None,
    position: str | Sequence[str] | None = None,
    task: str | None = "recall",
    complexity: Any = None,
    length: int | None = None,
    batch: int = DIAGNOSED_SEQUENCES,
    seed: int = 0,
    seeds: int = 5,
    model: Mapping[str, Any] | None = None,
    recipe: str | None = None,
    options: Mapping[str, Any] | None = None,
    control: bool = False,
    branch_gain: float | None = None,
    only: str | Sequence[str] = (),
    attention_map: str | None = None,
    store: str | Path = "results",
) -> Diagnosis:
    """Measure what an attention does to the signal and its gradient, layer by layer.

    >>> found = diagnose(attention="softmax", seeds=1, batch=2, length=16, model={"layers": 2, "width": 8})
    >>> len(found.panel("residual").rows[0].mean)
    3

    Any module is measured on its inputs; its blocks are found by forward hooks:

    >>> import torch
    >>> layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    >>> found = diagnose(torch.nn.TransformerEncoder(layer, 4), torch.randn(2, 6, 8))
    >>> len(found.panel("residual").rows[0].mean)
    5

    Args:
        subject: Any module; a finished run, as its record, its id or the start of it; None builds fresh variants.
        *given: The inputs of a module, and the kind, in any order: ``diagnose(model, tokens, "gradients")``.
        kind: What is measured: ``rank-collapse`` if it is left out.
        inputs: The inputs of a module: tokens B x T, embeddings B x T x D, or a tuple or mapping of arguments.
        loss: For the gradients of a module: a closure that runs it, or a function of its output, that returns a
            scalar; None takes the cross-entropy of the next token.
        targets: For the gradients of a module: the classes B x T of its logits, -100 where there is none.
        attention: Fresh variants, as ``"softmax,dagpam"``, or classes of modules; None takes softmax.
        position: Their positions, likewise; None takes learned.
        task: The task whose sequences are the inputs of fresh variants; None takes noise.
        complexity: The level; None takes the ladder's default.
        length: Tokens of a sequence; None leaves it to the task.
        batch: Number of sequences.
        seed: The first seed.
        seeds: Number of fresh models of each variant.
        model: Fields of the model; 12 layers unless it says otherwise. ``module`` is a whole model, as a class or
            ``FILE.py:Class``; it is measured beside the attentions, or alone.
        recipe: Named settings below those of the task's ladder, of which those of the model count; None is the default.
        options: Options of the task.
        control: Whether a softmax with the same branch gain is measured beside each other variant.
        branch_gain: Scale of the output of every branch, with weights of variance ``1 / inputs``; None keeps the
            model's.
        only: Metrics to measure, or one; empty measures all of the kind.
        attention_map: A head whose effective matrix is kept, as ``"LAYER.HEAD"``; None keeps none.
        store: The folder of results in which a run is looked up.

    Returns:
        Panels of numbers; ``.rows()`` lists them, ``.data()`` nests them.

    Raises:
        attnlab.errors.AttnlabError: Something that is named does not exist, or cannot be measured.
    """
    from attnlab._api.running import modules_of
    from attnlab.attention.named import attention_words
    from attnlab.diagnosis.custom_modules import diagnose_module
    from attnlab.diagnosis.diagnose import diagnose as measure
    from attnlab.diagnosis.subjects import diagnosis_request

    kind, inputs = _kind_and_inputs(given, kind, inputs)
    is_module = hasattr(subject, "named_modules")  # a module may have an attribute `id` of its own
    run = subject if is_module else getattr(subject, "id", subject)
    if subject is not None and not isinstance(run, str):
        more: dict[str, Any] = {"loss": loss, "targets": targets, "only": only, "attention_map": attention_map or ""}
        return diagnose_module(subject, kind, inputs, **more)
    _refuse_given(inputs=inputs, loss=loss, targets=targets)
    modules, fields = modules_of(model)
    request = diagnosis_request(
        ",".join(attention_words(attention)) or None,
        ",".join([position] if isinstance(position, str) else position or ()) or None,
        modules=modules,
        task=task,
        complexity=plain(complexity),
        length=length,
        batch=batch,
        seeds=seed_range(seed, seeds),
        settings={"model": {"layers": 12, **plain(fields or {})}, "task": plain(dict(options or {}))},
        control=control,
        branch_gain=branch_gain,
        recipe=recipe,
    )
    runs = [run] if run else ()
    return measure(kind, request, runs=runs, store=Path(store), only=only, attention_map=attention_map or "")


def _kind_and_inputs(given: Sequence[Any], kind: DiagnosisKind | None, inputs: Any) -> tuple[DiagnosisKind, Any]:
    """Tell the kind from the inputs among arguments by position."""
    for one in given:
        if isinstance(one, str):
            if kind is not None:
                raise InvalidValueError(f"There are two kinds: '{kind}' and '{one}'.", "Leave one out.", where="kind")
            kind = cast("DiagnosisKind", one)
        else:
            if inputs is not None:
                raise InvalidValueError("There are two inputs.", "Give one tensor, or a tuple.", where="inputs")
            inputs = one
    return kind or "rank-collapse", inputs


def _refuse_given(**given: Any) -> None:
    """Refuse what runs and fresh variants have of their own."""
    if name := next((name for name, one in given.items() if one is not None), None):
        problem = "Runs and fresh variants have inputs and a loss of their own."
        raise InvalidValueError(problem, "Leave it out, or give a module.", where=name)


@checked(
    run=read.run_id,
    length=read.lengths,
    complexity=read.levels,
    extrapolation=values.choice(ExtrapolationMode),
    sequences=values.optional(values.count),
    rollout=values.optional(values.flag),
    store=read.folder,
    device=read.device,
)
def evaluate(
    run: str | Record,
    *,
    length: int | Sequence[int] = (),
    complexity: Any = None,
    extrapolation: ExtrapolationMode = "trained",
    sequences: int | None = None,
    rollout: bool | None = None,
    store: str | Path = "results",
    device: DeviceName | torch.device = "auto",
) -> list[LevelScore]:
    """Test a finished run on other lengths or levels than its own.

    >>> import tempfile, attnlab
    >>> fast = {"max_steps": 2, "batch_size": 4, "validation_examples": 4, "test_examples": 4}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (record,) = attnlab.train("copy", model={"width": 8}, train=fast, store=folder, device="cpu")
    ...     scores = evaluate(record, complexity=[2, 4], store=folder, device="cpu")
    >>> [(score.level, score.accuracy.total) for score in scores]
    [(2, 8), (4, 16)]

    Args:
        run: The run, as its record, its id or the start of it.
        length: One or several lengths, in tokens.
        complexity: One or several levels; without lengths and levels the run's own level is tested.
        extrapolation: How positions are extended beyond the trained length.
        sequences: Test sequences of each; None takes as many as the run's own test had.
        rollout: Whether each question is asked given the answers that the model generated before it, greedily, instead
            of the right ones (teacher forcing); None does as the run's own test. Exact match is the same both ways.
        store: The folder of results in which the run is looked up.
        device: Where to compute: ``auto``, ``cpu``, ``cuda``, ``mps``, or a ``torch.device``.

    Returns:
        One score for each length or level.

    Raises:
        attnlab.errors.AttnlabError: The run or its weights are not there, or the task or the model does not accept a
            length or level.
    """
    from attnlab.evaluation.evaluate import evaluate as measure

    how: dict[str, Any] = {"mode": extrapolation, "sequences": sequences, "rollout": rollout, "device_name": device}
    _, scores = measure(
        cast("str", run), Path(store), lengths=cast("list[int]", length), levels=complexity or (), **how
    )
    return scores


@checked(
    results=read.results,
    published=values.flag,
    metric=values.optional(values.word("It is the name of one metric, such as 'accuracy'.")),
    index=values.words(FIELDS, separator=","),
    columns=values.optional(values.word("It is the name of one field, such as 'level'.")),
)
def report(
    results: str | Path | Sequence[Record] = "results",
    *,
    published: bool = False,
    metric: str | None = None,
    index: str | Sequence[str] = (),
    columns: str | None = None,
) -> Report:
    """Report metrics against complexity, with intervals over seeds, ranks and claims.

    >>> import attnlab
    >>> fast = {"max_steps": 2, "batch_size": 4, "validation_examples": 4, "test_examples": 4}
    >>> records = attnlab.train("copy", model={"width": 8}, train=fast, store=None, device="cpu")
    >>> report(records, metric="steps").panels[0].metric
    'steps'

    Args:
        results: A store, or records, of which those of one id are one run; the name of a built-in experiment, where
            its published records are reported.
        published: Whether ``results`` names an experiment whose published records are reported, without a run.
        metric: What stands in the cells; None takes the experiment's, or accuracy.
        index: Fields that name a row, or one; empty takes the experiment's, or those in which the runs differ.
        columns: The field of the columns; None takes the experiment's, or the level.

    Returns:
        The report, a rich renderable.

    Raises:
        attnlab.errors.AttnlabError: There is no such store, metric or field, or no records of it are published.
        attnlab.errors.InvalidValueError: ``published`` is given together with records.
    """
    from attnlab.analysis.records import records as read_records
    from attnlab.config.experiment import stored_experiment
    from attnlab.rendering.report import needs_history
    from attnlab.rendering.report import report as make_report
    from attnlab.storage.published import read_published

    if published:
        if not isinstance(results, str | Path):
            hint = "Name a built-in experiment, or leave 'published' out."
            raise InvalidValueError("Records are given, not a name.", hint, where="published")
        source = read_published(str(results))
        return make_report(source.records, source.experiment, metric=metric, index=index, columns=columns)
    if isinstance(results, str | Path):
        folder = Path(results)
        if not folder.is_dir():
            hint = "Give the folder of a sweep or of other runs, or their records."
            raise InvalidValueError("There is no such folder of results.", hint, where=str(results))
        experiment = stored_experiment(folder)
        found = read_records(folder, history=needs_history(metric, experiment))
        return make_report(found, experiment, metric=metric, index=index, columns=columns)
    return make_report(results, metric=metric, index=index, columns=columns)


@checked(attention=read.parts)
def check(attention: AttentionLike) -> Conformance:
    """Check that an attention keeps its contract: causality, gradients, equality of paths, state and cost.

    >>> check("softmax").passed
    True

    Args:
        attention: A registered name, ``FILE.py:Class`` or ``package.module:Class`` with inline options, or a class of
            modules.

    Returns:
        One finding for each check, with its evidence.

    Raises:
        attnlab.errors.AttnlabError: There is no such attention.
        attnlab.errors.InvalidValueError: None is given, or several.
    """
    from attnlab.attention.named import attention_words
    from attnlab.testing.check_attention import check_attention, subject_of

    words = attention_words(attention)
    if len(words) != 1:
        hint = "Name one: 'softmax', 'FILE.py:Class', or a class of modules."
        raise InvalidValueError(f"{len(words)} attentions are given.", hint, where="attention")
    return check_attention(subject_of(words[0]))


@checked(
    task=values.word(read.TASK),
    complexity=values.anything,
    options=values.optional(values.mapping(OPTIONS)),
    samples=values.count,
    seed=values.natural,
)
def audit(
    task: str, *, complexity: Any = None, options: Mapping[str, Any] | None = None, samples: int = 2048, seed: int = 0
) -> Audit:
    """Audit a task without a model: labels, leaks, chance accuracy, best achievable accuracy and shortcuts.

    >>> audit("copy", complexity=4, samples=256).passed
    True

    Args:
        task: A ladder's name or file, or a registered task; with inline options.
        complexity: The level; None audits all levels of the ladder.
        options: Options of the task.
        samples: Sequences of each split.
        seed: The seed of the samples.

    Returns:
        One result for each level.

    Raises:
        attnlab.errors.AttnlabError: There is no such task or option.
    """
    from attnlab.config.inline_parts import parse_part
    from attnlab.tasks.io.ladders import find_ladder
    from attnlab.testing.check_task import check_task

    part = parse_part(task)
    given = {**part.options, **(options or {})}
    return check_task(find_ladder(part.name), plain(given), plain(complexity), samples=samples, seed=seed)


@checked(runs=read.run_ids, store=read.folder)
def compare(*runs: str | Record | Sequence[str | Record], store: str | Path = "results") -> RunComparison:
    """Compare finished runs: what differs, and the accuracies paired over the seeds that their variants share.

    >>> import tempfile, attnlab
    >>> fast = {"max_steps": 2, "batch_size": 4, "validation_examples": 4, "test_examples": 4}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for width in (8, 16):
    ...         one = attnlab.train("copy", model={"width": width}, train=fast, seeds=2, store=folder, device="cpu")
    ...     first, second = (attnlab.load_records(folder)[index] for index in (0, 2))
    ...     found = compare(first, second, store=folder)
    >>> found.fields, found.pairs[0].seeds
    ({'width': (8, 16)}, (0, 1))

    Args:
        *runs: The runs, as their records, their ids or the beginnings of these; or a list of them.
        store: A store, or a folder of stores.

    Returns:
        The fields in which they differ, their results, and the paired difference of each to the first, as shares of 1.

    Raises:
        attnlab.errors.AttnlabError: A run does not exist, or fewer than two are named.
    """
    from attnlab.analysis.run_comparison import compare_stored

    return compare_stored(cast("Sequence[str]", runs), Path(store))
