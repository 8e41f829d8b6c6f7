"""The grammar of requirements, as a tree.

Owns tokens, precedence, and pointing at what cannot be read. Parsed here and never evaluated as
code: an expression may come from somebody else's configuration. What a name means is
requirements.py's.

    either   = both ("or" both)*
    both     = single ("and" single)*
    single   = "not" single | "(" either ")" | anywhere | operand COMPARISON operand
    anywhere = "any" "(" (NAME | TEXT) "," either ")"
    operand  = NUMBER | TEXT | NAME | NAME "(" [argument ("," argument)*] ")"
    argument = operand | either
"""

import operator
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from pipeline.errors import ConfigError
from pipeline.rendering.escaping import plain

TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?[kMB%]?(?![\w.%])|-\d+(?:\.\d*)?(?:[eE][+-]?\d+)?%?(?![\w.%]))
    | (?P<text>"[^"]*"|'[^']*')
    | (?P<name>[^\W\d][\w.]*)
    | (?P<sign><=|>=|==|!=|<|>|[(),])
    )""",
    re.VERBOSE,
)
SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
OTHER_SIGNS = {"=": "equality is ==", "&": "write and", "|": "write or", "!": "write not"}
"""What stands here for signs of other languages."""
SUFFIXES = {"k": 1e3, "M": 1e6, "B": 1e9, "%": 0.01}
NUMBERS = "numbers are like 200, 1.5, 1e-3, 10k, 2M, 1B, 5%"
DEEPEST = 50
"""Greatest depth of nested parentheses and nots."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number, its suffix applied."""

    value: float
    start: int
    """Where the number begins in the source; every node has this field."""


@dataclass(frozen=True, slots=True)
class Text:
    """A quoted text."""

    value: str
    start: int


@dataclass(frozen=True, slots=True)
class Name:
    """A column, or a figure without an argument."""

    value: str
    start: int


@dataclass(frozen=True, slots=True)
class Call:
    """A figure with arguments in parentheses."""

    name: str
    arguments: "tuple[Argument, ...]"
    start: int
    source: str
    """The whole call, as it was written."""


Operand = Number | Text | Name | Call


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two operands and what must hold between them."""

    left: Operand
    sign: str
    right: Operand


@dataclass(frozen=True, slots=True)
class Junction:
    """Conditions of which all, or one, must hold."""

    word: Literal["and", "or"]
    parts: tuple["Tree", ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """A condition that must not hold."""

    part: "Tree"


@dataclass(frozen=True, slots=True)
class Anywhere:
    """A condition on figures that is true if it is true of any group of a column."""

    column: Name | Text
    part: "Tree"


Tree = Comparison | Junction | Negation | Anywhere
Argument = Operand | Tree


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


def fail(source: str, start: int, what: str, *, hint: str | None = None) -> NoReturn:
    """Raise ConfigError with the place marked."""
    line = f"cannot read the expression at character {start + 1}: {plain(what)}"
    raise ConfigError(f"{line}\n  {plain(source)}\n  {' ' * start}^", hint=hint)


def parse(source: str) -> Tree:
    """The tree of an expression. Raises ConfigError, pointing at the place."""
    return _Parser(source).whole()


class _Parser:
    def __init__(self, source: str) -> None:
        self.source = source
        self.tokens = _tokens(source)
        self.at = 0
        self.depth = 0

    def whole(self) -> Tree:
        tree = self.either()
        if (token := self.peek()).kind != "end":
            self.fail(token, f"expected 'and', 'or' or the end, found {token.text!r}")
        return tree

    def either(self, left: Operand | None = None) -> Tree:
        """`left`, if given, is its first operand, read already; so below."""
        parts = [self.both(left)]
        while self.skip("or"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else Junction("or", tuple(parts))

    def both(self, left: Operand | None = None) -> Tree:
        parts = [self.single(left)]
        while self.skip("and"):
            parts.append(self.single())
        return parts[0] if len(parts) == 1 else Junction("and", tuple(parts))

    def single(self, left: Operand | None = None) -> Tree:
        if left is not None:
            return self.comparison(left)
        with self.deeper():
            if self.skip("not"):
                return Negation(self.single())
            if self.skip("("):
                tree = self.either()
                self.expect(")")
                return tree
            if self.is_anywhere():
                return self.anywhere()
            return self.comparison(self.operand())

    def is_anywhere(self) -> bool:
        return self.peek().text == "any" and self.peek(1).text == "("

    def anywhere(self) -> Anywhere:
        self.at += 2
        column = self.operand()
        if not isinstance(column, Name | Text):
            fail(self.source, column.start, "any takes a column and a condition: any(source, ...)")
        self.expect(",")
        part = self.either()
        self.expect(")")
        return Anywhere(column, part)

    def comparison(self, left: Operand) -> Tree:
        token = self.peek()
        if token.text not in SIGNS:
            name = left.value if isinstance(left, Name) else None
            hint = name and f"as in {name} > 10; or {name} == true, if it is true or false"
            what = f"expected a comparison ({' '.join(SIGNS)})"
            fail(self.source, token.start, what, hint=hint)
        self.at += 1
        return Comparison(left, token.text, self.operand())

    def operand(self) -> Operand:
        token = self.peek()
        self.at += 1
        match token.kind:
            case "number":
                factor = SUFFIXES.get(token.text[-1])
                digits = token.text if factor is None else token.text[:-1]
                return Number(float(digits) * (factor or 1.0), token.start)
            case "text":
                return Text(token.text[1:-1], token.start)
            case "name" if token.text not in ("and", "or", "not"):
                return self.call(token) if self.skip("(") else Name(token.text, token.start)
        found = f", found {token.text!r}" if token.text else ""
        self.fail(token, f"expected a figure or a number{found}")

    def call(self, name: _Token) -> Call:
        arguments: list[Argument] = []
        with self.deeper():
            while self.peek().text != ")" or arguments:
                arguments.append(self.argument())
                if not self.skip(","):
                    break
        end = self.expect(")").end
        return Call(name.text, tuple(arguments), name.start, self.source[name.start : end])

    def argument(self) -> Argument:
        if self.peek().text in ("not", "(") or self.is_anywhere():
            return self.either()
        operand = self.operand()
        return self.either(operand) if self.peek().text in SIGNS else operand

    @contextmanager
    def deeper(self) -> Iterator[None]:
        if self.depth == DEEPEST:
            self.fail(self.peek(), f"more than {DEEPEST} levels deep")
        self.depth += 1
        yield
        self.depth -= 1

    def peek(self, ahead: int = 0) -> _Token:
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)]

    def skip(self, text: str) -> bool:
        token = self.peek()
        found = token.kind in ("name", "sign") and token.text == text
        self.at += found
        return found

    def expect(self, text: str) -> _Token:
        token = self.peek()
        if not self.skip(text):
            self.fail(token, f"expected '{text}'")
        return token

    def fail(self, token: _Token, what: str) -> NoReturn:
        fail(self.source, token.start, what)


def _tokens(source: str) -> list[_Token]:
    tokens, at, end = [], 0, len(source.rstrip())
    while at < end:
        match = TOKEN.match(source, at)
        if match is None:
            start = at + len(source[at:]) - len(source[at:].lstrip())
            if source[start] in "\"'":
                fail(source, start, "a string without a closing quote")
            if source[start].isdecimal():
                number = re.match(r"[\w.%]+", source[start:])
                fail(source, start, f"{number and number[0]!r} is not a number", hint=NUMBERS)
            said = f"{source[start]!r} is not part of an expression"
            fail(source, start, said, hint=OTHER_SIGNS.get(source[start]))
        kind = str(match.lastgroup)
        tokens.append(_Token(kind, match[kind], match.start(kind), match.end()))
        at = match.end()
    return [*tokens, _Token("end", "", end, end)]
