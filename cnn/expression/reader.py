"""From a text to calls: what was written, before it is known what it means."""

import ast
import operator
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from cnn import fields
from cnn.expression.errors import ExpressionError, Span

MAX_CHARACTERS = 10_000
MAX_CALLS = 1_000
MAX_NESTING = 20
MAX_INTEGER = 2**31 - 1


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


_ARITHMETIC = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


class Reader:
    """Turns a text into calls; holds the text for the carets and the names that were used."""

    def __init__(self, text: str, names: Mapping[str, Any], inside: tuple[str, ...] = ()) -> None:
        self.text = text.replace("\r\n", "\n").replace("\r", "\n")
        self.names = names
        self.used: set[str] = set()
        self.inside = inside
        """The fields whose texts are being read, outermost first."""

    def fail(self, message: str, span: Span) -> NoReturn:
        raise ExpressionError(message, self.text, span)

    def read(self) -> tuple[Call, ...]:
        if not self.text.strip():
            return ()
        tree = self._parse()
        return self._limited(self.chain(self._evaluate(tree, 0)), tree)

    def chain(self, result: Value | tuple[Call, ...]) -> tuple[Call, ...]:
        """Returns calls; a name that stands for a text is an expression of its own, read in its place."""
        if not isinstance(result, Value):
            return result
        if not result.name or not isinstance(result.value, str):
            self.fail(f"expected calls joined by '|', got {result.value!r}", result.span)
        if result.name in self.inside:
            self.fail(f"{result.name!r} contains itself", result.span)
        reader = Reader(result.value, self.names, (*self.inside, result.name))
        try:
            calls = reader.read()
        except ExpressionError as error:
            raise ExpressionError(f"in {result.name!r}: {error}") from None
        self.used |= reader.used
        return tuple(call._replace(span=result.span) for call in calls)

    def _parse(self) -> ast.expr:
        if len(self.text) > MAX_CHARACTERS:
            raise ExpressionError(f"longer than {MAX_CHARACTERS} characters. Use repetition: 3 * (a | b)")
        self._check_parentheses()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(f"({self.text}\n)", mode="eval").body
        except SyntaxError as error:
            start = self._offset(error.lineno or 1, (error.offset or 1) - 1, in_bytes=False)
            start = min(start, max(0, len(self.text.rstrip()) - 1))
            self.fail(f"not an expression: {error.msg}", (start, start + 1))
        except (ValueError, MemoryError, RecursionError):
            raise ExpressionError("not an expression: unreadable characters, or nested too deeply") from None

    def _check_parentheses(self) -> None:
        depth = 0
        for position, letter in enumerate(self.text):
            depth += (letter == "(") - (letter == ")")
            if depth < 0:
                self.fail("unmatched ')'", (position, position + 1))

    def _offset(self, line: int, column: int, *, in_bytes: bool = True) -> int:
        """Returns the index into the text of a place in the parsed source, which has one parenthesis in front."""
        lines = f"({self.text}\n)".split("\n")
        line = min(line, len(lines))
        before = sum(len(earlier) + 1 for earlier in lines[: line - 1])
        characters = len(lines[line - 1].encode()[:column].decode(errors="ignore")) if in_bytes else column
        return max(0, before + characters - 1)

    def _span(self, node: ast.expr | ast.keyword) -> Span:
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset + 1
        return self._offset(node.lineno, node.col_offset), self._offset(end_line, end_column)

    def _evaluate(self, node: ast.expr, depth: int) -> Value | tuple[Call, ...]:
        if depth > MAX_NESTING:
            self.fail(f"nested more than {MAX_NESTING} deep", self._span(node))
        match node:
            case ast.BinOp(op=ast.BitOr()):
                return self._chain(node, depth)
            case ast.BinOp():
                return self._arithmetic(node, depth)
            case ast.Call():
                return (self._call(node, depth),)
            case ast.Name():
                return self._name(node)
            case ast.Tuple() | ast.List():
                return Value(tuple(self._value(item, depth) for item in node.elts), self._span(node))
            case ast.UnaryOp(op=ast.USub()):
                number = self._value(node.operand, depth)
                if isinstance(number, (int, float)) and not isinstance(number, bool):
                    return Value(-number, self._span(node))
            case ast.Constant():
                return self._constant(node)
        return self.fail("only calls, names, numbers, texts, tuples and + - * // | may stand here", self._span(node))

    def _constant(self, node: ast.Constant) -> Value:
        if not isinstance(node.value, (bool, int, float, str)):
            self.fail(f"{node.value!r} may not stand here. Leave an optional argument out", self._span(node))
        if isinstance(node.value, int) and node.value > MAX_INTEGER:
            self.fail(f"integers go up to {MAX_INTEGER}", self._span(node))
        return Value(node.value, self._span(node))

    def _name(self, node: ast.Name) -> Value | tuple[Call, ...]:
        if node.id in self.names:
            self.used.add(node.id)
            return Value(self.names[node.id], self._span(node), node.id)
        return (Call(node.id, (), (), self._span(node)),)

    def _value(self, node: ast.expr, depth: int) -> Any:
        result = self._evaluate(node, depth + 1)
        if not isinstance(result, Value):
            self.unknown_value(result)
        return result.value

    def unknown_value(self, chain: tuple[Call, ...]) -> NoReturn:
        first = chain[0]
        if len(chain) == 1 and not first.args and not first.kwargs:
            known = fields.did_you_mean(first.name, self.names) if self.names else "No names are defined here."
            self.fail(f"unknown name {first.name!r}. {known}", first.span)
        self.fail("expected a value, got a call", first.span)

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
                self.unknown_value(side)
            if type(side.value) is not int:
                self.fail(f"arithmetic takes integers, got {side.value!r}", side.span)
        operation = _ARITHMETIC.get(type(node.op))
        if operation is None:
            self.fail("only + - * // and | are understood", self._span(node))
        assert isinstance(left, Value) and isinstance(right, Value)
        if operation is operator.floordiv and right.value == 0:
            self.fail("division by zero", right.span)
        number = operation(left.value, right.value)
        if abs(number) > MAX_INTEGER:
            self.fail(f"integers go up to {MAX_INTEGER}", self._span(node))
        return Value(number, self._span(node))

    def _repeat(self, times: Value, chain: tuple[Call, ...], node: ast.expr) -> tuple[Call, ...]:
        if type(times.value) is not int or times.value < 1:
            self.fail(f"a repetition must be an integer of at least 1, got {times.value!r}", times.span)
        if times.value * len(chain) > MAX_CALLS:
            self.fail(f"more than {MAX_CALLS} calls", self._span(node))
        return chain * times.value

    def _limited(self, calls: tuple[Call, ...], node: ast.expr) -> tuple[Call, ...]:
        if len(calls) > MAX_CALLS:
            self.fail(f"more than {MAX_CALLS} calls", self._span(node))
        return calls

    def _call(self, node: ast.Call, depth: int) -> Call:
        if not isinstance(node.func, ast.Name):
            self.fail("only a plain name can be called", self._span(node.func))
        args = []
        for item in node.args:
            if isinstance(item, ast.Starred):
                self.fail("'*' cannot unpack arguments here", self._span(item))
            args.append(self._evaluate(item, depth + 1))
        kwargs: dict[str, Value | tuple[Call, ...]] = {}
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg in kwargs:
                self.fail("'**' and repeated arguments are not understood", self._span(keyword))
            kwargs[keyword.arg] = self._evaluate(keyword.value, depth + 1)
        return Call(node.func.id, tuple(args), tuple(kwargs.items()), self._span(node))
