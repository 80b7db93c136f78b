"""The index of a large journal: what listings and reports need of each line, as columns of numbers.

A line has 2 KB and takes 30 microseconds to check; its row in the index has 150 bytes and takes 4. The journal stays
the truth. The index says how many bytes of the journal it covers, with their SHA-256, and counts only if these bytes
are the same; lines that follow are read as without it. It was written by the same source code, whose digest it has too:
what a line means may be another thing in the next version. Whatever is wrong with it, it is left out and made again.

A row whose line was written in another way than attnlab writes it has its place alone; the line is read.
Whoever reads a journal writes the index, where the folder can be written: whole or not at all, as any file.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import VERSION
from pydantic_core import from_json

from attnlab.errors import AttnlabError
from attnlab.records import LARGEST, RUN_ID, Record, Score
from attnlab.specs import ModelSpec, RunSpec, Section, TaskSpec, TrainSpec
from attnlab.storage import weights
from attnlab.storage.stored_record import LARGE_FIELDS, Lines, StoredRecord, bare_score, bare_spec, stored

NAME = "records.index"
"""The file, beside the journal."""
SHARE = 16
"""The index is written again once the lines after it are this part of the journal."""
SOURCES = (
    *("attnlab.errors", "attnlab.choices", "attnlab.sizes", "attnlab.specs", "attnlab.records"),
    *("attnlab.storage._plain_data", "attnlab.storage.stored_record", "attnlab.storage.journal"),
    __name__,
)
"""Modules that decide what a line is read as."""
SECTIONS: Mapping[str, type[Section]] = {"task": TaskSpec, "model": ModelSpec, "train": TrainSpec}
SUMS = ("count", "correct_squared", "correct_questions", "questions_squared")
COUNTS = ("start", "size", "seed", "steps", "parameters", "correct", "total", *SUMS)
FLOATS = ("chance", "loss", "initial_loss", "last")
CODES = ("kind", "sums", "task", "model", "train", "common", "loss_is", "initial_loss_is", "last_is")
WHOLE, ABSENT, NONE, NUMBER = 1, 0, 1, 2
"""Kind of a row whose line is read; what a number that may be missing is."""
CHUNK = 2**20

SectionOf = Callable[[type[Section], bytes], Any]


@dataclass
class JournalIndex:
    """What is known of the first lines of a journal.

    Args:
        records: By id, in the order in which the runs were finished.
        places: Where the lines of those records begin that are not stored records, and how long they are.
        newer: Number of each line that a newer attnlab wrote -> the fields that are not known.
        damaged: Number of each line that is no record -> why.
        lines: How many lines there are.
        end: How many bytes they have.
        digest: The SHA-256 of these bytes, so far.
    """

    records: dict[str, Record]
    places: dict[str, tuple[int, int]]
    newer: dict[int, list[str]]
    damaged: dict[int, str]
    lines: int
    end: int
    digest: Any


def empty_index() -> JournalIndex:
    """An index of nothing."""
    return JournalIndex({}, {}, {}, {}, 0, 0, hashlib.sha256())


def load_index(journal: Path, lines: Lines, section: SectionOf) -> JournalIndex:
    """Load the index of a journal.

    Args:
        journal: The journal.
        lines: Its lines.
        section: Reads a section of a spec, or finds one that was read before.

    Returns:
        The index; one of nothing where there is none, or it does not fit the journal.
    """
    path = journal.with_name(NAME)
    try:
        if not path.is_file():
            return empty_index()
        columns, about = weights.read(path)
        text = from_json(columns["text"].tobytes())
        if about["reader"] != reader() or not isinstance(text, dict):
            return empty_index()
        digest = _digest_of(lines, about["end"])
        if digest.hexdigest() != about["digest"]:
            return empty_index()
        return _rows(columns, text, about, digest, lines, section)
    except (AttnlabError, OSError, ValueError, KeyError, TypeError, IndexError, OverflowError):
        return empty_index()


def save_index(journal: Path, index: JournalIndex, texts: Mapping[int, bytes]) -> None:
    """Write the index of a journal, unless the folder cannot be written.

    Args:
        journal: The journal.
        index: What is known of it.
        texts: Id of each section that its specs share -> its text.
    """
    with suppress(AttnlabError, OSError, ValueError, KeyError, OverflowError):
        columns, text = _columns(index, texts)
        columns["text"] = np.frombuffer(json.dumps(text, separators=(",", ":")).encode(), np.uint8)
        about = {"reader": reader(), "digest": index.digest.hexdigest(), "end": index.end, "lines": index.lines}
        weights.write(journal.with_name(NAME), columns, about)


@cache
def reader() -> str:
    """A digest of what decides how lines are read: the versions that check them, and the source of the modules."""
    digest = hashlib.sha256(f"{VERSION} {sys.version_info[:2]}".encode())
    for name in SOURCES:
        digest.update(Path(str(sys.modules[name].__file__)).read_bytes())
    return digest.hexdigest()


def _digest_of(lines: Lines, end: int) -> Any:
    digest = hashlib.sha256()
    with lines.opened() as file:
        while end > 0 and (block := file.read(min(end, CHUNK))):
            digest.update(block)
            end -= len(block)
    return digest


def _columns(index: JournalIndex, texts: Mapping[int, bytes]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The rows of the records as columns, and the values that many rows share."""
    shared: dict[str, dict[Any, int]] = {name: {} for name in (*SECTIONS, "common")}
    alike: dict[Any, int] = {}
    counts: list[Any] = []
    floats: list[Any] = []
    codes: list[Any] = []
    for run, record in index.records.items():
        if run in index.places:
            counts.append((*index.places[run], *[0] * (len(COUNTS) - 2)))
            floats.append([0.0] * len(FLOATS))
            codes.append((WHOLE, *[0] * (len(CODES) - 1)))
            continue
        assert isinstance(record, StoredRecord)
        data, private = record.kept().__dict__, record.__pydantic_private__
        assert private is not None
        spec, score = data["spec"].__dict__, data["accuracy"].__dict__
        own = score["sequences"]
        sums = tuple(own.__dict__[name] for name in SUMS) if own is not None else (0, 0, 0, 0)
        _, start, size = private["_place"]
        steps, parameters = data["steps"], data.get("parameters", -1)
        counts.append((start, size, spec["seed"], steps, parameters, score["correct"], score["total"], *sums))
        numbers = [_number(data, "loss"), _number(data, "initial_loss"), _number(private, "_last")]
        floats.append((score["chance"], *(number for number, _ in numbers)))
        common = _common(data, alike, shared["common"])
        sections = [spec[name] for name in SECTIONS]
        known = [(shared[name], texts[id(one)]) for name, one in zip(SECTIONS, sections, strict=True)]
        of = [own_texts.setdefault(one, len(own_texts)) for own_texts, one in known]
        codes.append((0, int(own is not None), *of, common, *(kind for _, kind in numbers)))
    columns: dict[str, NDArray[Any]] = {"id": _id_column([*index.records])}
    for names, rows, kind in ((COUNTS, counts, np.int64), (FLOATS, floats, np.float64), (CODES, codes, np.int32)):
        table = np.array(rows, dtype=kind).reshape(len(rows), len(names))
        columns |= {name: np.ascontiguousarray(table[:, place]) for place, name in enumerate(names)}
    text = {name: [one.decode() for one in shared[name]] for name in SECTIONS}
    more = {"newer": [*index.newer.items()], "damaged": [*index.damaged.items()]}
    return columns, {**text, "common": [json.loads(one) for one in shared["common"]], **more}


def _number(data: Mapping[str, Any], name: str) -> tuple[float, int]:
    """A number, and whether it is one, none or absent."""
    if name not in data:
        return 0.0, ABSENT
    return (0.0, NONE) if data[name] is None else (data[name], NUMBER)


def _common(data: Mapping[str, Any], alike: dict[Any, int], known: dict[str, int]) -> int:
    """The number of the mapping of all other fields, which many records share."""
    rest = {name: value for name, value in data.items() if name not in OWN}
    key: Any = None
    if "environment" not in rest:
        key = tuple((name, value if name not in LARGE_FIELDS else None) for name, value in rest.items())
        if key in alike:
            return alike[key]
    found = known.setdefault(json.dumps(rest), len(known))
    if key is not None:
        alike[key] = found
    return found


OWN = frozenset(("id", "spec", "accuracy", "steps", "parameters", "loss", "initial_loss"))
"""Fields of a record that have columns of their own."""


def _id_column(ids: list[str]) -> NDArray[Any]:
    words = np.array([run.encode() for run in ids])
    return words.view(np.uint8).reshape(len(ids), -1) if ids else np.zeros((0, 1), np.uint8)


def _rows(
    columns: Mapping[str, NDArray[Any]],
    text: Mapping[str, Any],
    about: Mapping[str, Any],
    digest: Any,
    lines: Lines,
    section: SectionOf,
) -> JournalIndex:
    """The records of the rows, checked as those of lines are.

    Raises:
        ValueError: They are no records.
    """
    ids = np.ascontiguousarray(columns["id"]).view(f"S{columns['id'].shape[1]}").ravel().astype(str).tolist()
    _check(columns, ids, about["end"])
    rows = _Rows(lines, columns, [_common_values(one) for one in text["common"]], text, section)
    records: dict[str, Record] = {}
    places: dict[str, tuple[int, int]] = {}
    for row, run, kind, status in zip(range(len(ids)), ids, columns["kind"].tolist(), rows.statuses(), strict=True):
        if kind == WHOLE:
            places[run] = rows.place(row)
            records[run] = lines.at(*rows.place(row), run, history=False)
        else:
            place = {"_row": (rows, row), "_place": None, "_last": None}
            records[run] = stored({"id": run, "status": status}, place)
    if len(records) != len(ids):
        raise ValueError("a run has two rows")
    newer = dict(text["newer"])
    damaged = dict(text["damaged"])
    return JournalIndex(records, places, newer, damaged, about["lines"], about["end"], digest)


class _Rows:
    """The columns of an index, of which each becomes a list when it is first used."""

    def __init__(
        self, lines: Lines, columns: Mapping[str, NDArray[Any]], common: list[dict[str, Any]], text: Any, section: Any
    ) -> None:
        self.lines, self._columns, self._common, self._lists = lines, columns, common, dict[str, list[Any]]()
        self._sections = [[section(kind, one.encode()) for one in text[name]] for name, kind in SECTIONS.items()]
        for place, name in enumerate(SECTIONS):
            if len(columns[name]) and columns[name].max() >= max(1, len(self._sections[place])):
                raise ValueError("a section is missing")
        self._environments = [one.get("environment", {}) for one in common]
        self._no_environment = not any(self._environments)
        self._equal_scores: dict[Any, Score] = {}
        """One object for all equal scores: a cell of thousands of seeds has some hundreds of them."""

    def statuses(self) -> list[str]:
        """The status of every row."""
        known = [one["status"] for one in self._common] or [""]
        return [known[place] for place in self._list("common")]

    def place(self, row: int) -> tuple[int, int]:
        return self._list("start")[row], self._list("size")[row]

    def last(self, row: int) -> float | None:
        return self._list("last")[row] if self._list("last_is")[row] == NUMBER else None

    def field(self, row: int, name: str) -> Any:
        common = self._common[self._list("common")[row]]
        if name in common:
            return common[name]
        if name == "accuracy":
            return self._accuracy(row)
        return self._spec(row) if name == "spec" else self.others(row)[name]

    def _spec(self, row: int) -> RunSpec:
        tasks, models, trains = self._sections
        task, model, train, seed = self._specs[row]
        return bare_spec({"task": tasks[task], "model": models[model], "train": trains[train], "seed": seed})

    def fill(self, row: int, own: dict[str, Any]) -> None:
        own["spec"], own["accuracy"] = self._spec(row), self._accuracy(row)
        common = self.common(row)
        if "evaluations" in common:
            own["evaluations"] = common["evaluations"]

    def common(self, row: int) -> dict[str, Any]:
        return self._common[self._list("common")[row]]

    def _accuracy(self, row: int) -> Score:
        key = self._scores[row]
        score = self._equal_scores.get(key)
        if score is None:
            has_sums, correct, total, chance, *sums = key
            score = self._equal_scores[key] = bare_score(correct, total, chance, sums if has_sums else None)
        return score

    @cached_property
    def _scores(self) -> list[Any]:
        names = ("sums", "correct", "total", "chance", *SUMS)
        return list(zip(*(self._list(name) for name in names), strict=True))

    @cached_property
    def _specs(self) -> list[Any]:
        return list(zip(*(self._list(name) for name in (*SECTIONS, "seed")), strict=True))

    def others(self, row: int) -> dict[str, Any]:
        data = {**self._common[self._list("common")[row]], "steps": self._list("steps")[row]}
        if (parameters := self._list("parameters")[row]) >= 0:
            data["parameters"] = parameters
        for name in ("loss", "initial_loss"):
            if kind := self._list(f"{name}_is")[row]:
                data[name] = self._list(name)[row] if kind == NUMBER else None
        return data

    def environment(self, row: int) -> Mapping[str, Any]:
        return {} if self._no_environment else self._environments[self._list("common")[row]]

    def _list(self, name: str) -> list[Any]:
        try:
            return self._lists[name]
        except KeyError:
            return self._lists.setdefault(name, self._columns[name].tolist())


def _common_values(data: dict[str, Any]) -> dict[str, Any]:
    """The fields that records share: checked, as values."""
    for name in ("evaluations", "history", "diagnostics_history"):
        if name in data:
            data[name] = tuple(data[name])
    if data.keys() & OWN or not data.keys() <= Record.model_fields.keys() or any(data.get(one) for one in LARGE_FIELDS):
        raise ValueError("other fields than those that records share")
    score = {"correct": 0, "total": 0, "chance": 0.0}
    Record.model_validate({"id": "0", "spec": RunSpec(task=TaskSpec(name="")), "steps": 0, "accuracy": score,
                           "exact_match": score, **data})  # fmt: skip
    return data


def _check(columns: Mapping[str, NDArray[Any]], ids: list[str], end: int) -> None:
    """Check numbers as the fields of records do; words and sections are checked where they are read."""
    rows = len(ids)
    kinds = {**dict.fromkeys(COUNTS, np.int64), **dict.fromkeys(FLOATS, np.float64), **dict.fromkeys(CODES, np.int32)}
    if any(columns[name].dtype != kind or columns[name].shape != (rows,) for name, kind in kinds.items()):
        raise ValueError("a column has another type or length")
    own = columns["kind"] == 0
    get = {name: columns[name][own] for name in kinds}
    start, size = columns["start"], columns["size"]
    sums = get["sums"] == 1
    correct, total, count = (np.where(sums, get[name], 0) for name in ("correct", "total", "count"))
    good = [
        ((start >= 0) & (size > 0) & (start + size <= end)).all(),
        ((get["seed"] >= 0) & (get["steps"] >= 0) & (get["parameters"] >= -1) & (get["correct"] >= 0)).all(),
        all((get[name] <= LARGEST).all() for name in ("steps", "parameters", "correct", "total", *SUMS)),
        (get["correct"] <= get["total"]).all(),
        (np.isnan(get["chance"]) | ((get["chance"] >= 0) & (get["chance"] <= 1))).all(),
        (((count > 0) & (count <= total)) | ((total == 0) & (count == 0))).all(),
        (correct <= np.where(sums, get["correct_squared"], 0)).all(),
        (get["correct_squared"] <= get["correct_questions"]).all(),
        (get["correct_questions"] <= get["questions_squared"]).all(),
        (total <= np.where(sums, get["questions_squared"], total)).all(),
        (own | (columns["kind"] == WHOLE)).all(),
        all((columns[name] >= 0).all() for name in CODES),
    ]
    if not all(good) or not re.fullmatch(rf"(?:{RUN_ID.strip('^$')}\n)*", "".join(f"{run}\n" for run in ids)):
        raise ValueError("a row is no record")
