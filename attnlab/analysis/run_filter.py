"""Filters of runs, such as ``width>32 and attention=dape and not tag=bad``: parsed here, and never evaluated as code.

    filter       any of: conditions joined by ``and`` and ``or``, negated by ``not``, grouped by parentheses
    condition    FIELD OPERATOR VALUE
    operator     = (or ==)  !=  <  <=  >  >=  ~ (contains, in any case)
    value        a word, or anything in quotation marks; ``16|32`` is any of several; ``90%`` is 0.9

A part is equal to its name alone as well: ``attention=dape`` holds of ``dape:kernel=3``. A tag is equal to each of the
tags of a run. A condition on a field that a run does not have does not hold, whatever its operator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from attnlab.analysis.run_rows import SHARE_FIELDS, RunRow, check_run_field
from attnlab.config.yaml import scalar
from attnlab.errors import InvalidValueError
from attnlab.run_fields import PARTS

TOKEN = re.compile(
    r"""\s*(?: (?P<parenthesis>[()]) | (?P<operator><=|>=|!=|==|=|<|>|~)
        | (?P<quoted>"[^"]*"|'[^']*') | (?P<word>[^\s()=<>!~"']+) )""",
    re.VERBOSE,
)
VALUE = re.compile(r"""\s*(?:(?P<quoted>"[^"]*"|'[^']*')|(?P<word>[^\s()"']+))""")
"""A value may have signs of operators within it: ``attention=dape:kernel=3``."""
ORDERED: dict[str, Callable[[float, float], bool]] = {
    "<": lambda value, wanted: value < wanted,
    "<=": lambda value, wanted: value <= wanted,
    ">": lambda value, wanted: value > wanted,
    ">=": lambda value, wanted: value >= wanted,
}
EXAMPLE = "Write FIELD OPERATOR VALUE, joined by and, or, not: 'width>32 and accuracy>=90%'."
Test = Callable[[RunRow], bool]


def parse_filter(text: str, rows: Sequence[RunRow], where: str = "--where") -> Test:
    """Parse a filter.

    Args:
        text: The filter.
        rows: The runs that it will be applied to; their fields may be named.
        where: The location, for messages.

    Returns:
        A function that tells whether a run passes.

    Raises:
        InvalidValueError: It is no filter, or compares a word by size.
        UnknownNameError: No run has a field that it names.
    """
    parser = _Parser(text, rows, where)
    result = parser.alternatives()
    if parser.rest:
        parser.fail(f"'{parser.rest}' is one word too many.")
    return result


@dataclass
class _Parser:
    """A filter, and how far it has been read."""

    text: str
    rows: Sequence[RunRow]
    where: str
    position: int = 0

    @property
    def rest(self) -> str:
        """What has not been read."""
        return self.text[self.position :].strip()

    def fail(self, problem: str) -> NoReturn:
        """Raise the error for a text that is no filter."""
        raise InvalidValueError(problem, EXAMPLE, where=f"{self.where} '{self.text}'")

    def alternatives(self) -> Test:
        """Conditions with ``or`` between them."""
        tests = [self.conditions()]
        while self._take("or"):
            tests.append(self.conditions())
        return tests[0] if len(tests) == 1 else lambda row: any(test(row) for test in tests)

    def conditions(self) -> Test:
        """Conditions with ``and`` between them."""
        tests = [self.negated()]
        while self._take("and"):
            tests.append(self.negated())
        return tests[0] if len(tests) == 1 else lambda row: all(test(row) for test in tests)

    def negated(self) -> Test:
        """A condition, perhaps after ``not``, or a filter in parentheses."""
        if self._take("not"):
            inner = self.negated()
            return lambda row: not inner(row)
        if self._take("("):
            inner = self.alternatives()
            if not self._take(")"):
                self.fail("A parenthesis is not closed.")
            return inner
        return self._condition()

    def _condition(self) -> Test:
        name = self._next("word")
        if name is None:
            self.fail(f"A field is missing before '{self.rest}'." if self.rest else "A condition is missing.")
        operator = self._next("operator")
        if operator is None:
            self.fail(f"After '{name}' an operator is missing: = != < <= > >= ~.")
        found = VALUE.match(self.text, self.position)
        if found is None:
            self.fail(f"After '{name}{operator}' a value is missing.")
        self.position = found.end()
        field = check_run_field(name, self.rows, f"{self.where} '{self.text}'")
        texts = [found["quoted"][1:-1]] if found["quoted"] else found["word"].split("|")
        if operator in ORDERED:
            return self._ordered(field, operator, texts)
        wanted = [_value(text, quoted=bool(found["quoted"])) for text in texts]
        return lambda row: _holds(field, operator, row.get(field), wanted)

    def _ordered(self, field: str, operator: str, texts: Sequence[str]) -> Test:
        """A comparison by size, with one number."""
        number = _value(texts[0])
        if len(texts) > 1 or isinstance(number, bool) or not isinstance(number, int | float):
            self.fail(f"'{operator}' compares with one number, and '{'|'.join(texts)}' is none.")
        if field in SHARE_FIELDS and number > 1:
            hint = f"Write {field}{operator}{number / 100:g} or {field}{operator}{number:g}%."
            raise InvalidValueError(f"'{field}' is a share from 0 to 1.", hint, where=f"{self.where} '{self.text}'")
        words = {type(value).__name__: value for row in self.rows if isinstance(value := row.get(field), str | tuple)}
        if words and not any(isinstance(row.get(field), int | float) for row in self.rows):
            self.fail(f"'{field}' is no number: '{operator}' cannot compare it.")
        compare = ORDERED[operator]
        return lambda row: _is_number(value := row.get(field)) and compare(value, number)

    def _take(self, wanted: str) -> bool:
        """Read a certain word, if it is the next one."""
        found = TOKEN.match(self.text, self.position)
        if found is None or (found["word"] or found["parenthesis"] or "").lower() != wanted:
            return False
        self.position = found.end()
        return True

    def _next(self, kind: str) -> str | None:
        """Read the next token, if it is of a kind."""
        found = TOKEN.match(self.text, self.position)
        if found is None or found[kind] is None:
            return None
        self.position = found.end()
        return found[kind]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and value == value


def _value(text: str, *, quoted: bool = False) -> Any:
    """A value as YAML reads it; a number with a percent sign as a share."""
    if quoted:
        return text
    if re.fullmatch(r"[-+]?[0-9.]+%", text):
        return float(text[:-1]) / 100
    try:
        return scalar(text)
    except ValueError:
        return text


def _holds(field: str, operator: str, value: Any, wanted: Iterable[Any]) -> bool:
    """Whether a value is equal to one of several, is none of them, or contains one."""
    if value is None or value != value:
        return False
    values = list(value) if isinstance(value, tuple) else [value]
    if operator == "~":
        return any(str(one).lower() in str(own).lower() for one in wanted for own in values)
    equal = any(_equal(field, own, one) for one in wanted for own in values)
    return equal if operator in ("=", "==") else not equal


def _equal(field: str, value: Any, wanted: Any) -> bool:
    if field in PARTS and ":" not in str(wanted) and "+" not in str(value):
        return str(value).partition(":")[0] == str(wanted)
    if isinstance(value, int | float) and isinstance(wanted, int | float):
        return value == wanted
    return str(value) == str(wanted)
