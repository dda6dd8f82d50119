"""The little language of configs: calls joined by `|`, such as `2 * (conv(64, 3) | relu) | flatten | dense(classes)`.

A text becomes frozen records in two steps. `Parser` reads it, by Python's own syntax tree, into calls: numbers are
computed, repetitions written out, and a name that stands for a text is read in its place. `build` then makes the
records: names are looked up among the kinds, arguments are bound to fields and checked by their annotations. Nothing is
executed. Whatever is wrong is an `ExpressionError` with a caret under the place, so every part of a call remembers its
span of the text; and limits keep a short text from becoming a huge network.

A text may begin with parameters and a colon, `w, s=1: conv(w, 3, strides=s) | relu`. Where its name is `block`,
`block(64)` and `block(64, s=2)` stand for the calls in it.
"""

import ast
import dataclasses
import operator
import re
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from cnn import fields, registry

Span = tuple[int, int]
"""Where a part was written: the first character, and the one behind the last."""
MAX_CHARACTERS = 10_000
MAX_CALLS = 1_000
MAX_NESTING = 20
MAX_NAMES_DEEP = 10
"""How far a name may stand for a text whose names stand for texts, and so on."""
_QUOTED = re.compile(r"""'[^'\n]*'|"[^"\n]*"|#[^\n]*""")
"""Texts and comments, whose parentheses do not count."""
_ARITHMETIC = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


class ExpressionError(ValueError):
    """A wrong expression; its text ends with the line at fault and a caret under the place.

    Attributes:
      message: what is wrong.
      span: of the text; `None` where no part of it is at fault, or several are.
      each: an error for each mistake; the error itself where there is one.
    """

    def __init__(self, message: str, text: str = "", span: Span | None = None) -> None:
        self.message = message
        self.span = span
        self.each: tuple[ExpressionError, ...] = (self,)
        super().__init__(message if span is None else f"{message}\n{point_at(text, span)}")

    @classmethod
    def of(cls, errors: Sequence["ExpressionError"]) -> "ExpressionError":
        """Returns one error for all of these, of which those that say the same count once."""
        each = tuple({str(error): error for error in errors}.values())
        if len(each) == 1:
            return each[0]
        together = cls("\n".join(map(str, each)))
        together.each = each
        return together


def point_at(text: str, span: Span) -> str:
    """Returns the line of `text` that holds the span, cut to a readable width, with carets under the span."""
    start, end = span
    first = text.rfind("\n", 0, start) + 1
    last = text.find("\n", start)
    line = text[first : last if last >= 0 else len(text)]
    left = max(0, start - first - 40)
    shown = "".join(letter if letter.isprintable() else "?" for letter in line[left : left + 100])
    column = start - first - left
    width = max(1, min(end, first + len(line)) - start)
    return f"    {shown}\n    {' ' * column}{'^' * min(width, 100 - column)}"


_GAP = re.compile(r"[\w)\]]\s+(?=\w)")
"""Where two parts stand side by side."""


class Head(NamedTuple):
    """The parameters of a piece, what is written before its colon."""

    text: str
    defaults: dict[str, str | None]
    """By the name of the parameter, in order, as written; `None` where there is none."""
    end: int
    """Where the body begins."""


class Text:
    """What was written; it is parsed inside one pair of parentheses, so that it may span lines."""

    def __init__(self, text: str) -> None:
        self.text = text.replace("\r\n", "\n").replace("\r", "\n")
        self.body = self.text

    def head(self) -> Head:
        """Returns the parameters that the text begins with, none where no colon ends them, and parses what is behind.

        Raises:
          ExpressionError: what stands before the colon are no parameters.
        """
        depth, end = 0, 0
        for position, letter in enumerate(_masked(self.text)):
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(letter, 0)
            if letter == ":" and not depth:
                end = position + 1
                break
        if not end:
            return Head("", {}, 0)
        written = self.text[: end - 1]
        source = f"(lambda {written}: 0)"
        try:
            parsed = ast.parse(source, mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            parsed = None
        given = parsed.args if isinstance(parsed, ast.Lambda) else None
        names = [argument.arg for argument in given.args] if given is not None else []
        if given is None or ast.dump(given) != ast.dump(_plain_arguments(given)) or len(set(names)) < len(names):
            self.fail("before the colon there must be parameters, such as w, s=1: conv(w, 3, strides=s)", (0, end))
        texts = [ast.get_source_segment(source, default) for default in given.defaults]
        self.body = "".join(letter if letter == "\n" else " " for letter in self.text[:end]) + self.text[end:]
        return Head(
            " ".join(written.split()), dict(zip(names, [None] * (len(names) - len(texts)) + texts, strict=True)), end
        )

    def fail(self, message: str, span: Span) -> NoReturn:
        raise ExpressionError(message, self.text, span)

    def parse(self) -> ast.expr | None:
        """Returns the tree, `None` for an empty text."""
        if not self.body.strip():
            return None
        if len(self.text) > MAX_CHARACTERS:
            raise ExpressionError(f"longer than {MAX_CHARACTERS} characters. Use repetition: 3 * (a | b)")
        self._check_parentheses()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(f"({self.body}\n)", mode="eval").body
        except SyntaxError as error:
            start = self._offset(error.lineno or 1, (error.offset or 1) - 1, in_bytes=False)
            start = min(start, max(0, len(self.text.rstrip()) - 1))
            gap = _GAP.search(_masked(self.text), start) if "forgot a comma" in error.msg else None
            if gap is not None:
                missing = "something is missing before this: a bar joins layers and the like, a comma options"
                self.fail(missing, (gap.end(), gap.end() + 1))
            self.fail(f"not an expression: {error.msg}", (start, start + 1))
        except (ValueError, MemoryError, RecursionError):
            raise ExpressionError("not an expression: unreadable characters, or nested too deeply") from None
        if isinstance(tree, ast.Tuple) and tree.elts and isinstance(tree.elts[0], ast.Call):
            end = self.span(tree.elts[0])[1]
            self.fail("layers and the like are joined by a bar, as in conv(8, 3) | relu, got a comma", (end, end + 1))
        return tree

    def span(self, node: ast.expr | ast.keyword) -> Span:
        """Returns where a node was written, in characters of the text."""
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset + 1
        return self._offset(node.lineno, node.col_offset), self._offset(end_line, end_column)

    def _check_parentheses(self) -> None:
        opened: list[int] = []
        for position, letter in enumerate(_masked(self.text)):
            if letter == "(":
                opened.append(position)
            elif letter == ")" and not opened:
                self.fail("unmatched ')'", (position, position + 1))
            elif letter == ")":
                opened.pop()
        if opened:
            self.fail("'(' was never closed", (opened[-1], opened[-1] + 1))

    def _offset(self, line: int, column: int, *, in_bytes: bool = True) -> int:
        """Returns the index into the text of a place in the parsed source, which has one parenthesis in front."""
        lines = f"({self.body}\n)".split("\n")
        line = min(line, len(lines))
        before = sum(len(earlier) + 1 for earlier in lines[: line - 1])
        characters = len(lines[line - 1].encode()[:column].decode(errors="ignore")) if in_bytes else column
        return min(max(0, before + characters - 1), len(self.text))


def _masked(text: str) -> str:
    """Returns a text with blanks for its quoted texts and comments."""
    return _QUOTED.sub(lambda quoted: " " * len(quoted.group()), text)


def _plain_arguments(given: ast.arguments) -> ast.arguments:
    """Returns arguments without what only Python has: stars, slashes."""
    return ast.arguments([], given.args, None, [], [], None, given.defaults)


def parameters(text: str) -> tuple[str, ...]:
    """Returns the names of a piece's parameters; none where its text has no head, or a wrong one."""
    try:
        return tuple(Text(text).head().defaults)
    except ExpressionError:
        return ()


class Call(NamedTuple):
    """One call or bare name: what was written, before it is known what it means."""

    name: str
    args: tuple["Value | tuple[Call, ...]", ...]
    kwargs: tuple[tuple[str, "Value | tuple[Call, ...]"], ...]
    span: Span


class Value(NamedTuple):
    """A literal, or what a name stands for."""

    value: Any
    span: Span
    name: str = ""
    inside: tuple[str, ...] = ()
    """The fields whose texts the name was written in, outermost first."""


class Parser:
    """Reads a text into calls; keeps the text for the carets, and which names were used."""

    def __init__(
        self,
        text: str,
        names: Mapping[str, Any],
        inside: tuple[str, ...] = (),
        read: "list[None] | None" = None,
    ) -> None:
        self.source = Text(text)
        self.names = names
        self.bound: dict[str, Value | tuple[Call, ...]] = {}
        """What the parameters of a piece stand for."""
        self.used: set[str] = set()
        self.inside = inside
        self.calls = 0
        self._read: list[None] = [] if read is None else read
        """An entry for each call that was read, in the texts of names too."""

    def fail(self, message: str, span: Span) -> NoReturn:
        self.source.fail(message, span)

    def count(self, chain: tuple[Call, ...]) -> None:
        """Counts the calls of a chain, those inside calls included, and refuses too many."""
        self.calls += len(chain)
        if self.calls > MAX_CALLS:
            self.fail(f"more than {MAX_CALLS} calls", chain[0].span)

    def read(self) -> tuple[Call, ...]:
        tree = self.source.parse()
        if tree is None:
            return ()
        return self._limited(self.chain(self._evaluate(tree, 0)), tree)

    def chain(self, result: Value | tuple[Call, ...]) -> tuple[Call, ...]:
        """Returns calls; a name that stands for a text is an expression of its own, read in its place."""
        if not isinstance(result, Value):
            return result
        if not result.name or not isinstance(result.value, str):
            self.fail(f"expected calls joined by '|', got {result.value!r}", result.span)
        return self._piece(result, (), {})

    def _piece(
        self, piece: Value, args: "tuple[Value | tuple[Call, ...], ...]", kwargs: "dict[str, Value | tuple[Call, ...]]"
    ) -> tuple[Call, ...]:
        """Returns the calls of a name's text, with these arguments for its parameters."""
        name, span = piece.name, piece.span
        if name in piece.inside:
            self.fail(f"{name!r} contains itself", span)
        if len(piece.inside) >= MAX_NAMES_DEEP:
            self.fail(f"names stand for names more than {MAX_NAMES_DEEP} deep", span)
        parser = Parser(piece.value, self.names, (*piece.inside, name), self._read)
        try:
            head = parser.source.head()
        except ExpressionError as error:
            raise ExpressionError(f"in {name!r}: {error}") from None
        given = _matched(Call(name, args, tuple(kwargs.items()), span), self, list(head.defaults))
        if missing := [each for each, default in head.defaults.items() if default is None and each not in given]:
            self.fail(f"{name} needs {' and '.join(missing)}: {name}({head.text})", span)
        try:
            for each, default in head.defaults.items():
                if each not in given and default is not None:
                    given[each] = parser.default(default)
            parser.bound = given
            calls = parser.read()
        except ExpressionError as error:
            raise ExpressionError(f"in {name!r}: {error}") from None
        self.used |= parser.used
        return _written_at(calls, span, {})

    def default(self, text: str) -> "Value | tuple[Call, ...]":
        """Returns what the default of a parameter stands for."""
        parser = Parser(text, self.names, self.inside, self._read)
        tree = parser.source.parse()
        assert tree is not None
        value = parser._evaluate(tree, 0)
        self.used |= parser.used
        return value

    def _evaluate(self, node: ast.expr, depth: int) -> Value | tuple[Call, ...]:
        if depth > MAX_NESTING:
            self.fail(f"nested more than {MAX_NESTING} deep", self.source.span(node))
        match node:
            case ast.BinOp(op=ast.BitOr()):
                return self._chain(node, depth)
            case ast.BinOp():
                return self._arithmetic(node, depth)
            case ast.Call():
                return self._call(node, depth)
            case ast.Name():
                return self._name(node)
            case ast.Attribute() if (name := _dotted(node)) is not None:
                return (Call(name, (), (), self.source.span(node)),)
            case ast.Tuple() | ast.List():
                return Value(tuple(self._value(item, depth) for item in node.elts), self.source.span(node))
            case ast.UnaryOp(op=ast.USub()):
                number = self._value(node.operand, depth)
                if isinstance(number, (int, float)) and not isinstance(number, bool):
                    return Value(-number, self.source.span(node))
            case ast.Constant():
                return self._constant(node)
        return self.fail(
            "only calls, names, numbers, texts, tuples and + - * // | may stand here", self.source.span(node)
        )

    def _constant(self, node: ast.Constant) -> Value:
        if not isinstance(node.value, (bool, int, float, str)):
            self.fail(f"{node.value!r} may not stand here. Leave an optional argument out", self.source.span(node))
        if isinstance(node.value, int) and node.value > fields.MAX_INTEGER:
            self.fail(f"integers go up to {fields.MAX_INTEGER}", self.source.span(node))
        return Value(node.value, self.source.span(node))

    def _name(self, node: ast.Name) -> Value | tuple[Call, ...]:
        if node.id in self.bound:
            return _written_at(self.bound[node.id], self.source.span(node), {})
        if node.id in self.names:
            self.used.add(node.id)
            return Value(self.names[node.id], self.source.span(node), node.id, self.inside)
        return (Call(node.id, (), (), self.source.span(node)),)

    def _value(self, node: ast.expr, depth: int) -> Any:
        result = self._evaluate(node, depth + 1)
        if not isinstance(result, Value):
            self.unknown_value(result, self.source.span(node))
        return result.value

    def unknown_value(self, chain: tuple[Call, ...], span: Span) -> NoReturn:
        if len(chain) == 1 and not chain[0].args and not chain[0].kwargs:
            known = fields.did_you_mean(chain[0].name, self.names) if self.names else "No names are defined here."
            self.fail(f"unknown name {chain[0].name!r}. {known}", chain[0].span)
        self.fail("expected a value, got a call", chain[0].span if chain else span)

    def _chain(self, node: ast.expr, depth: int) -> tuple[Call, ...]:
        links: list[ast.expr] = []
        while isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            links.append(node.right)
            node = node.left
        calls: list[Call] = []
        for link in [node, *reversed(links)]:
            calls.extend(self.chain(self._evaluate(link, depth + 1)))
        return self._limited(tuple(calls), node)

    def _arithmetic(self, node: ast.BinOp, depth: int) -> Value | tuple[Call, ...]:
        left, right = self._evaluate(node.left, depth + 1), self._evaluate(node.right, depth + 1)
        is_chain = not isinstance(right, Value) or isinstance(right.value, str)
        if isinstance(left, Value) and is_chain and isinstance(node.op, ast.Mult):
            return self._repeat(left, self.chain(right), node)
        if isinstance(right, Value) and not isinstance(left, Value) and isinstance(node.op, ast.Mult):
            self.fail("the number of repetitions comes first: 2 * relu", right.span)
        for side in (left, right):
            if not isinstance(side, Value):
                self.unknown_value(side, self.source.span(node))
            if type(side.value) is not int:
                self.fail(f"arithmetic takes integers, got {side.value!r}", side.span)
        operation = _ARITHMETIC.get(type(node.op))
        if operation is None:
            self.fail("only + - * // and | are understood", self.source.span(node))
        assert isinstance(left, Value) and isinstance(right, Value)
        if operation is operator.floordiv and right.value == 0:
            self.fail("division by zero", right.span)
        number = operation(left.value, right.value)
        if abs(number) > fields.MAX_INTEGER:
            self.fail(f"integers go up to {fields.MAX_INTEGER}", self.source.span(node))
        return Value(number, self.source.span(node))

    def _repeat(self, times: Value, chain: tuple[Call, ...], node: ast.expr) -> tuple[Call, ...]:
        if type(times.value) is not int or times.value < 1:
            self.fail(f"a repetition must be an integer of at least 1, got {times.value!r}", times.span)
        if times.value * len(chain) > MAX_CALLS:
            self.fail(f"more than {MAX_CALLS} calls", self.source.span(node))
        return chain * times.value

    def _limited(self, calls: tuple[Call, ...], node: ast.expr) -> tuple[Call, ...]:
        if len(calls) > MAX_CALLS:
            self.fail(f"more than {MAX_CALLS} calls", self.source.span(node))
        return calls

    def _call(self, node: ast.Call, depth: int) -> tuple[Call, ...]:
        name, span = _dotted(node.func), self.source.span(node)
        if name is None:
            self.fail("only a plain name can be called", self.source.span(node.func))
        if name in self.bound or (name in self.names and not isinstance(self.names[name], str)):
            self.fail(f"{name} is no layer and no text, so it cannot be called", self.source.span(node.func))
        self._read.append(None)
        if len(self._read) > MAX_CALLS:
            self.fail(f"more than {MAX_CALLS} calls", span)
        args = []
        for item in node.args:
            if isinstance(item, ast.Starred):
                self.fail("'*' cannot unpack arguments here", self.source.span(item))
            args.append(self._evaluate(item, depth + 1))
        kwargs: dict[str, Value | tuple[Call, ...]] = {}
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg in kwargs:
                self.fail("'**' and repeated arguments are not understood", self.source.span(keyword))
            kwargs[keyword.arg] = self._evaluate(keyword.value, depth + 1)
        if name in self.names:
            self.used.add(name)
            return self._piece(Value(self.names[name], span, name, self.inside), tuple(args), kwargs)
        return (Call(name, tuple(args), tuple(kwargs.items()), span),)


def _dotted(node: ast.expr) -> str | None:
    """Returns the name that a node is, such as `relu` or `optax.adam`; `None` for anything else."""
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)) is not None:
        return f"{before}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else None


def _written_at(part: Any, span: Span, done: dict[int, Call]) -> Any:
    """Returns a value or a chain as if written at `span`; `done` keeps repeated calls one object and the work small."""
    if isinstance(part, Value):
        return part._replace(span=span)
    for call in part:
        if id(call) not in done:
            args = tuple(_written_at(item, span, done) for item in call.args)
            kwargs = tuple((name, _written_at(item, span, done)) for name, item in call.kwargs)
            done[id(call)] = Call(call.name, args, kwargs, span)
    return tuple(done[id(call)] for call in part)


class Built(NamedTuple):
    """The records of a chain, where each was written, and the chains inside each by the name of their field."""

    items: tuple[Any, ...]
    spans: tuple[Span, ...]
    inner: tuple[dict[str, "Built"], ...]
    used: frozenset[str]

    def span(self, position: tuple[int | str, ...]) -> Span:
        """Returns where the record at `position` was written; (2, "body", 0) is the first of the third's body."""
        if len(position) == 1:
            return self.spans[int(position[0])]
        return self.inner[int(position[0])][str(position[1])].span(position[2:])


class StandIn:
    """What stands for a user's own class or function in a config that is only read.

    Attributes:
      name: its name in the config.
      text: the call as it is written.
    """

    name: str
    text: str


class Recorded(dict[str, type]):
    """Kinds to read an expression with that a run recorded: what stands for a name that is not among them is made."""

    def __init__(self, kinds: Mapping[str, type], stand_in: Callable[[str, str], Any]) -> None:
        """Takes the kinds that there are, and what makes a stand-in of a call's name and its text."""
        super().__init__(kinds)
        self.stand_in = stand_in


def build(text: str, kinds: Mapping[str, type], names: Mapping[str, Any] | None = None) -> Built:
    """Reads `text` into frozen records.

    Args:
      text: the expression; empty text is an empty chain.
      kinds: the dataclass behind each name that may be called.
      names: what a bare name among the arguments stands for.

    Raises:
      ExpressionError: the text is no such expression; the message says where and what would be right.
    """
    parser = Parser(text, names or {})
    return _build_chain(parser.read(), parser, kinds, depth=0)


def build_one(text: str, kinds: Mapping[str, type], names: Mapping[str, Any] | None = None) -> Any:
    """Reads `text` into exactly one record.

    Raises:
      ExpressionError: as `build`, and when the text is empty or a chain.
    """
    built = build(text, kinds, names)
    if len(built.items) != 1:
        raise ExpressionError(f"expected one of {', '.join(kinds)}, got {len(built.items)} of them")
    return built.items[0]


def _build_chain(chain: tuple[Call, ...], parser: Parser, kinds: Mapping[str, type], depth: int) -> Built:
    parser.count(chain)
    built, wrong = list[tuple[Any, dict[str, Built]]](), list[ExpressionError]()
    for call in chain:
        try:
            built.append(_build_call(call, parser, kinds, depth))
        except ExpressionError as error:
            wrong += error.each
    if wrong:
        raise ExpressionError.of(wrong)
    # Only now is known which names the texts inside used.
    return Built(
        tuple(item for item, _ in built),
        tuple(call.span for call in chain),
        tuple(inner for _, inner in built),
        frozenset(parser.used),
    )


def _build_call(call: Call, parser: Parser, kinds: Mapping[str, type], depth: int) -> tuple[Any, dict[str, Built]]:
    if depth > MAX_NESTING:
        parser.fail(f"nested more than {MAX_NESTING} deep", call.span)
    try:
        kind = registry.find(kinds, call.name)
    except ValueError as error:
        parser.fail(str(error), call.span)
    if kind is None and isinstance(kinds, Recorded):
        return kinds.stand_in(call.name, parser.source.text[slice(*call.span)]), {}
    if kind is None:
        texts = [name for name, value in parser.names.items() if isinstance(value, str)]
        suggestion = fields.suggestion(call.name, [*kinds, *texts])
        parser.fail(f"unknown name {call.name!r}. {suggestion}Known: {', '.join(kinds)}.", call.span)
    annotations, defaults = fields.options(kind), fields.defaults(kind)
    arguments = _bind(call, parser, annotations)
    values: dict[str, object] = {}
    inner: dict[str, Built] = {}
    for name, argument in arguments.items():
        mark = fields.nested(annotations[name])
        if mark is not None and mark.many:
            chains = {
                branch_name(number): _build_chain(parser.chain(branch), parser, kinds, depth + 1)
                for number, branch in enumerate(argument, 1)
            }
            inner |= chains
            values[name] = tuple(built.items for built in chains.values())
            continue
        if mark is not None:
            inner[name] = _build_chain(parser.chain(argument), parser, kinds, depth + 1)
            values[name] = inner[name].items
            continue
        if (language := fields.language(annotations[name])) is not None:
            inner_kinds = language.kinds
            if isinstance(kinds, Recorded) and isinstance(inner_kinds, registry.Table) and inner_kinds.recorded:
                inner_kinds = Recorded(registry.of_package(inner_kinds), inner_kinds.recorded)
            values[name] = _build_record(argument, parser, inner_kinds, f"{call.name}: {name}", depth)
            continue
        if not isinstance(argument, Value) and _is_choice(argument, annotations[name]):
            argument = Value(argument[0].name, argument[0].span)
        if not isinstance(argument, Value):
            parser.unknown_value(argument, call.span)
        try:
            values[name] = fields.parse(annotations[name], argument.value)
        except ValueError as error:
            parser.fail(f"{call.name}: {name} {error}", argument.span)
    missing = [name for name, default in defaults.items() if default is fields.REQUIRED and name not in values]
    if missing:
        parser.fail(f"{call.name} needs {' and '.join(missing)}: {signature(call.name, kind)}", call.span)
    return kind(**values), inner


def _build_record(argument: Any, parser: Parser, kinds: Mapping[str, type], what: str, depth: int) -> Any:
    """Returns the one record of another language that an argument is: a call, its name, or a text of it."""
    if isinstance(argument, Value) and isinstance(argument.value, str) and not argument.name:
        try:
            return build_one(argument.value, kinds, parser.names)
        except ExpressionError as error:
            parser.fail(f"{what}: {error.message}", argument.span)
    built = _build_chain(parser.chain(argument), parser, kinds, depth + 1)
    if len(built.items) != 1:
        parser.fail(f"{what} must be one of {', '.join(kinds)}, got {len(built.items)} of them", built.spans[0])
    return built.items[0]


def _is_choice(chain: tuple[Call, ...], annotation: object) -> bool:
    """Tells whether a bare name is one of the texts that a field may hold: `init=zeros`."""
    base, _ = fields.split(annotation)
    bare = len(chain) == 1 and not chain[0].args and not chain[0].kwargs
    return bare and typing.get_origin(base) is typing.Literal and chain[0].name in typing.get_args(base)


def branch_name(number: int) -> str:
    """Returns what one of many chains is called, counted from 1."""
    return f"branch{number}"


def _bind(call: Call, parser: Parser, annotations: Mapping[str, object]) -> Mapping[str, Any]:
    """Returns the arguments of a call by the names of the fields; of a field that takes all of them, their tuple."""
    names = list(annotations)
    if len(names) == 1 and (mark := fields.nested(annotations[names[0]])) and mark.many:
        if call.kwargs:
            given = call.kwargs[0][0]
            parser.fail(f"{call.name} takes chains without names, got {given}. Write {call.name}(a, b)", call.span)
        return {names[0]: call.args}
    return _matched(call, parser, names)


def _matched(call: Call, parser: Parser, names: list[str]) -> dict[str, Value | tuple[Call, ...]]:
    """Returns the arguments of a call by the names of what they are given to."""
    if len(call.args) > len(names):
        parser.fail(f"{call.name} takes at most {len(names)} arguments, got {len(call.args)}", call.span)
    arguments = dict(zip(names, call.args, strict=False))
    for name, argument in call.kwargs:
        if name in arguments:
            parser.fail(f"{call.name} got {name} twice", call.span)
        if name not in names:
            known = fields.did_you_mean(name, names) if names else "It takes none."
            parser.fail(f"{call.name} has no argument {name!r}. {known}", call.span)
        arguments[name] = argument
    return arguments


def signature(name: str, kind: type) -> str:
    """Returns how a kind is called, with its defaults: `max_pool(window, strides=window)`."""
    shown = []
    annotations = fields.options(kind)
    for field in dataclasses.fields(kind):
        if (mark := fields.nested(annotations[field.name])) and mark.many:
            shown.append("a, b, ...")
            continue
        default = written(field.default) if dataclasses.is_dataclass(field.default) else repr(field.default)
        shown.append(field.name if field.default is dataclasses.MISSING else f"{field.name}={default}")
    return f"{name}({', '.join(shown)})" if shown else name


def written(record: Any) -> str:
    """Returns a record as it stands in an expression, defaults left out: `conv(64, 3)`."""
    if isinstance(record, StandIn):
        return record.text
    annotations, defaults = fields.options(type(record)), fields.defaults(type(record))
    required = {name: getattr(record, name) for name, default in defaults.items() if default is fields.REQUIRED}
    plain = type(record)(**required)  # a default may follow from another field: the strides of a pooling
    shown: list[str] = []
    for name, annotation in annotations.items():
        value = getattr(record, name)
        if fields.is_nested(annotation):
            continue
        if name in required:
            shown.append(_short(value))
        elif value != getattr(plain, name):
            shown.append(f"{name}={_short(value)}")
    return f"{record.kind}({', '.join(shown)})" if shown else record.kind


def _short(value: Any) -> str:
    if dataclasses.is_dataclass(value):
        return written(value)
    if isinstance(value, tuple) and value and all(isinstance(side, tuple) for side in value):
        if any(len(set(side)) != 1 for side in value):
            return str(value)
        value = tuple(side[0] for side in value)
    if isinstance(value, tuple) and len(set(value)) == 1:
        return str(value[0])
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)  # so that it reads back as the same number
    return f'"{value}"' if isinstance(value, str) else str(value)
