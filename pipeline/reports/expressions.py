"""The grammar of requirements, as a tree.

Owns tokens, precedence, and pointing at what cannot be read. Parsed here and never evaluated as
code: an expression may come from somebody else's configuration. What a name means is
requirements.py's.

    either  = both ("or" both)*
    both    = single ("and" single)*
    single  = "not" single | "(" either ")" | operand COMPARISON operand
    operand = NUMBER | TEXT | NAME | NAME "(" [either | NAME] ")"
"""

import re
from dataclasses import dataclass
from typing import Literal, NoReturn

from pipeline.errors import ConfigError
from pipeline.rendering.escaping import plain

TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?[kMB%]?(?![\w.%])|-\d+(?:\.\d*)?(?:[eE][+-]?\d+)?(?![\w.%]))
    | (?P<text>"[^"]*"|'[^']*')
    | (?P<name>[^\W\d][\w.]*)
    | (?P<sign><=|>=|==|!=|<|>|\(|\))
    )""",
    re.VERBOSE,
)
COMPARISONS = ("<=", ">=", "==", "!=", "<", ">")
SUFFIXES = {"k": 1e3, "M": 1e6, "B": 1e9, "%": 0.01}
NUMBERS = "numbers are like 200, 1.5, 1e-3, 10k, 2M, 1B, 5%"
DEEPEST = 50
"""Parentheses and nots inside of each other."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number, its suffix applied."""

    value: float
    start: int
    """Where it begins in the source; so in every node."""


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
    """A figure with an argument in parentheses."""

    name: str
    argument: "Name | Tree | None"
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


Tree = Comparison | Junction | Negation


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int


def fail(source: str, start: int, what: str, *, hint: str | None = None) -> NoReturn:
    """Raise ConfigError with the place marked."""
    line = f"cannot read the requirement at character {start + 1}: {plain(what)}"
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

    def either(self) -> Tree:
        parts = [self.both()]
        while self.skip("or"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else Junction("or", tuple(parts))

    def both(self) -> Tree:
        parts = [self.single()]
        while self.skip("and"):
            parts.append(self.single())
        return parts[0] if len(parts) == 1 else Junction("and", tuple(parts))

    def single(self) -> Tree:
        token = self.peek()
        if self.depth == DEEPEST:
            self.fail(token, f"more than {DEEPEST} levels deep")
        self.depth += 1
        try:
            if self.skip("not"):
                return Negation(self.single())
            if self.skip("("):
                tree = self.either()
                self.expect(")")
                return tree
            return self.comparison()
        finally:
            self.depth -= 1

    def comparison(self) -> Tree:
        left = self.operand()
        token = self.peek()
        if token.text not in COMPARISONS:
            self.fail(token, f"expected a comparison ({' '.join(COMPARISONS)})")
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
        argument: Name | Tree | None = None
        token, after = self.tokens[self.at], self.tokens[min(self.at + 1, len(self.tokens) - 1)]
        if token.kind == "name" and after.text == ")":
            argument = Name(token.text, token.start)
            self.at += 1
        elif token.text != ")":
            argument = self.either()
        end = self.expect(")").end
        return Call(name.text, argument, name.start, self.source[name.start : end])

    def peek(self) -> _Token:
        return self.tokens[self.at]

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
                fail(source, start, "a text that does not end")
            if source[start].isdecimal():
                number = re.match(r"[\w.%]+", source[start:])
                fail(source, start, f"{number and number[0]!r} is not a number", hint=NUMBERS)
            hint = "equality is ==" if source[start] == "=" else None
            fail(source, start, f"{source[start]!r} is not part of an expression", hint=hint)
        kind = str(match.lastgroup)
        tokens.append(_Token(kind, match[kind], match.start(kind), match.end()))
        at = match.end()
    return [*tokens, _Token("end", "", end, end)]
