"""Code of a long session: modules that are edited, loaded again, or given other values, and functions replaced by hand.

Each case is a module of its own, imported as a user imports it.
"""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from attnlab.attention import ATTENTIONS
from attnlab.errors import PluginError
from attnlab.part_code import code_now
from attnlab.registry import Entry

HELPER = """
SCALE = 2.0
TABLE = [1, 2, 3]
CACHE = {"calls": 0}
COUNT = 0

def score(x):
    global COUNT
    COUNT += 1
    CACHE["calls"] += 1
    return SCALE * x

class Base:
    gain = 1

    def double(self, x):
        return 2 * x
"""
PART = """
import HELPER
from HELPER import CACHE, SCALE, Base, score as scored
from attnlab import Attention, register_attention

@register_attention("NAME", source="tests")
class Mine(Attention, Base):
    def score(self, qkv):
        return HELPER.score(scored(super().score(qkv)))
"""
NUMBERS = itertools.count()


class Session(NamedTuple):
    """A registered part and the helper that it imports."""

    entry: Entry[Any]
    part: ModuleType
    helper: ModuleType
    file: Path

    def edit(self, text: str) -> None:
        """Write the helper; the compiled file of the same second and size would be taken for it."""
        self.file.write_text(text)
        Path(importlib.util.cache_from_source(str(self.file))).unlink(missing_ok=True)

    @property
    def digest(self) -> str:
        return self.entry_now.code_to_plan.digest

    @property
    def entry_now(self) -> Entry[Any]:
        return ATTENTIONS.entry(self.entry.name)


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    number = next(NUMBERS)
    helper, part, name = f"helper_{number}", f"part_{number}", f"session-{number}"
    (tmp_path / f"{helper}.py").write_text(HELPER)
    (tmp_path / f"{part}.py").write_text(PART.replace("HELPER", helper).replace("NAME", name))
    monkeypatch.syspath_prepend(tmp_path)
    entries = dict(ATTENTIONS._entries)
    loaded = importlib.import_module(part)
    yield Session(ATTENTIONS.entry(name), loaded, sys.modules[helper], tmp_path / f"{helper}.py")
    ATTENTIONS._entries.clear()
    ATTENTIONS._entries.update(entries)


def test_an_edited_helper_is_other_code_once_it_is_loaded_again(session: Session) -> None:
    first = session.digest
    session.edit(HELPER.replace("SCALE * x", "SCALE + x"))
    with pytest.raises(PluginError) as caught:
        _ = session.digest
    assert caught.value.where == str(session.file)
    assert "edited after it was loaded" in caught.value.problem
    assert f"importlib.reload({session.helper.__name__})" in caught.value.hint
    assert session.entry.code.digest == first, "a run that was planned goes on with the code that is loaded"
    importlib.reload(session.helper)
    importlib.reload(session.part)
    assert session.digest not in ("", first)
    session.edit(HELPER)
    importlib.reload(session.helper)
    importlib.reload(session.part)
    assert session.digest == first


def test_a_function_that_another_module_still_has_from_before_is_refused(session: Session) -> None:
    _ = session.digest
    session.edit(HELPER.replace("SCALE * x", "SCALE + x"))
    importlib.reload(session.helper)
    with pytest.raises(PluginError, match=r"'scored' in .*part_\d+.py is not what .*helper_\d+.py says now"):
        _ = session.digest


def test_an_edit_that_no_function_shows_is_refused_too(session: Session) -> None:
    _ = session.digest
    session.edit(HELPER + "\nPOWERS = [2**k for k in range(4)]\n")
    with pytest.raises(PluginError, match="edited after it was loaded"):
        _ = session.digest


def test_comments_and_docstrings_may_be_edited(session: Session) -> None:
    first = session.digest
    session.edit('"""Of tests."""\n# A comment.\n' + HELPER.replace("    global", '    """Score."""\n    global'))
    assert session.digest == first
    importlib.reload(session.helper)
    importlib.reload(session.part)
    assert session.digest == first


def test_a_file_that_is_gone_is_named(session: Session) -> None:
    _ = session.digest
    session.file.unlink()
    with pytest.raises(PluginError, match="removed after it was loaded") as caught:
        _ = session.digest
    assert caught.value.where == str(session.file)


@pytest.mark.parametrize(
    ("change", "name", "value"),
    [
        (lambda one: setattr(one.helper, "SCALE", 3.0), "SCALE", "3.0"),
        (lambda one: setattr(one.helper, "SCALE", 2), "SCALE", "2"),
        (lambda one: one.helper.TABLE.append(4), "TABLE", "list['1', '2', '3', '4']"),
        (lambda one: setattr(one.helper.Base, "gain", 5), "Base.gain", "5"),
        (lambda one: delattr(one.helper, "SCALE"), "SCALE", "(gone)"),
    ],
)
def test_a_constant_that_is_set_is_part_of_the_code(
    change: Callable[[Session], None], name: str, value: str, session: Session
) -> None:
    first = session.digest
    change(session)
    code = session.entry.code_to_plan
    assert code.digest not in ("", first)
    assert dict(code.values) == {f"{session.file.name}: {name}": value}
    assert code_now(code.path, code.root, code.values).digest == code.digest


def test_a_constant_that_is_imported_by_name_counts_where_it_is_used(session: Session) -> None:
    first = session.digest
    session.part.SCALE = 3.0  # type: ignore[attr-defined]
    code = session.entry.code_to_plan
    assert (code.digest != first, dict(code.values)) == (True, {f"{session.part.__name__}.py: SCALE": "3.0"})


def test_what_the_code_changes_itself_is_not_its_identity(session: Session) -> None:
    first = session.digest
    session.helper.score(1.0)
    assert (session.helper.COUNT, session.helper.CACHE) == (1, {"calls": 1})
    assert session.digest == first


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda one: setattr(one.helper, "score", lambda x: -x), "score"),
        (lambda one: setattr(one.helper.Base, "double", lambda self, x: x), "Base.double"),
        (lambda one: setattr(one.part.Mine, "score", lambda self, qkv: 0), "Mine.score"),
        (lambda one: setattr(one.helper, "Base", int), "Base"),
        (lambda one: setattr(one.helper.score, "__code__", _other_code(3.0)), "score"),
    ],
)
def test_a_function_that_is_replaced_is_refused(change: Callable[[Session], None], name: str, session: Session) -> None:
    _ = session.digest
    change(session)
    with pytest.raises(PluginError, match=rf"'{name}'.* is not") as caught:
        _ = session.digest
    assert "restart Python" in caught.value.hint


def test_a_folder_of_the_user_may_have_the_name_of_the_package(session: Session, tmp_path: Path) -> None:
    other = tmp_path / "attnlab" / "mine.py"
    other.parent.mkdir()
    other.write_text("def score(x):\n    return -x\n")
    space: dict[str, Any] = {}
    exec(compile(other.read_text(), str(other), "exec"), space)
    _ = session.digest
    session.helper.score = space["score"]  # type: ignore[attr-defined]
    with pytest.raises(PluginError, match=r"'score'.* is not"):
        _ = session.digest


def _other_code(factor: float) -> Any:
    def score(x: float) -> float:
        return x * 3.0

    return score.__code__


UNUSUAL = '''
from __future__ import annotations
import abc, contextlib, dataclasses, enum, functools, typing
from typing import Generic, NamedTuple, Protocol, TypeVar, TYPE_CHECKING, overload
import torch
from torch import nn
from torch.nn import functional as F
from attnlab import Attention, register_attention

T = TypeVar("T")
MODE = "a"
MODE += "b"
LIMIT: int = 3
EMPTY: dict = {}
if TYPE_CHECKING:
    from nowhere import Nothing
try:
    from nowhere import fast
except ImportError:
    def fast(x):
        return x
FLAG = True
if FLAG:
    def branch(): return 1
else:
    def branch(): return 2

@dataclasses.dataclass(frozen=True, slots=True)
class Data:
    """A data class."""
    x: int = 3
    y: list = dataclasses.field(default_factory=list)
    def double(self):
        return Data(self.x * 2)

@dataclasses.dataclass
class Plain:
    x: int = 3
    tags: tuple = ()
    def __post_init__(self):
        self.x += 1

class Color(enum.Enum):
    RED = 1
    BLUE = 2
    def other(self): return Color.RED

class Number(enum.IntEnum):
    ONE = 1

class Point(NamedTuple):
    x: int = 0
    y: int = 0
    def norm(self): return self.x + self.y

class Has(Protocol):
    value: int = 3
    def get(self) -> int: ...

class Box(Generic[T]):
    item: T
    def __init__(self, item: T): self.item = item
    def __class_getitem__(cls, item): return super().__class_getitem__(item)
    def __init_subclass__(cls, **words): super().__init_subclass__(**words)

class Abstract(abc.ABC):
    __slots__ = ("a",)
    @abc.abstractmethod
    def run(self): ...
    @property
    def one(self): return 1
    @one.setter
    def one(self, value): ...
    @functools.cached_property
    def two(self): return 2
    @staticmethod
    def three(): return 3
    @classmethod
    def four(cls): return 4
    class Inner:
        depth = 1
        def deep(self): return 1

class Private:
    __limit = 3
    def __hidden(self): return 1

class Renamed:
    def run(self): return 1
Renamed.__module__ = "elsewhere"

class Exp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x); return x
    @staticmethod
    def backward(ctx, g): return g

def twice(function):
    def wrapper(*args): return function(*args) * 2
    return wrapper

def kept(function):
    @functools.wraps(function)
    def wrapper(*args): return function(*args)
    return wrapper

@twice
def first(x): return x
@kept
def second(x): return x
@functools.lru_cache
def third(x): return x
@functools.singledispatch
def fourth(x): return x
@fourth.register
def _(x: int): return x
@contextlib.contextmanager
def fifth():
    yield
@torch.no_grad()
def sixth(x): return x
@overload
def seventh(x: int) -> int: ...
@overload
def seventh(x: str) -> str: ...
def seventh(x): return x
def eighth(x): return x
eighth = twice(eighth)
def ninth(x): return x
del ninth
half = lambda x: x / 2
tenth = functools.partial(first, 1)
TABLE = torch.arange(3)
SET = {1, 2, 3} | {4}
WORDS = frozenset({"a", "b"})
async def eleventh(): yield 1

class Layer(nn.Module):
    dropout: float = 0.0
    training = True
    names: typing.ClassVar[list] = ["a"]
    def __init__(self, dim=3):
        super().__init__()
        self.dropout = 0.5
        self.names.append("b")
    def forward(self, x):
        return F.relu(x)

Layer()

@register_attention("NAME", source="tests")
class Mine(Attention):
    factor = 2.0
    def score(self, qkv):
        return [self.factor * x for x in [super().score(qkv)]][0] if "a" in {"a", "b"} else {k: 1 for k in ()}
'''


@pytest.mark.filterwarnings("ignore")
def test_what_modules_usually_hold_is_not_refused_and_has_no_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = next(NUMBERS)
    (tmp_path / f"unusual_{number}.py").write_text(UNUSUAL.replace("NAME", f"unusual-{number}"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(ATTENTIONS, "_entries", dict(ATTENTIONS._entries))
    module = importlib.import_module(f"unusual_{number}")
    for _ in range(2):
        code = ATTENTIONS.entry(f"unusual-{number}").code_to_plan
        assert (code.values, code.edited) == ((), ())
        module = importlib.reload(module)  # with a compiled file this time
