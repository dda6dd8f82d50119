"""From a text to calls: what was written, before it is known what it means."""

import ast
import operator
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from cnn import fields
from cnn.expression.errors import ExpressionError, Span
from cnn.expression.source import Source

MAX_CALLS = 1_000
MAX_NESTING = 20
MAX_NAMES_DEEP = 10
"""How far a name may stand for a text whose names stand for texts, and so on."""


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


_ARITHMETIC = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


class Reader:
    """Turns a text into calls; holds the text for the carets and the names that were used."""

    def __init__(self, text: str, names: Mapping[str, Any], inside: tuple[str, ...] = ()) -> None:
        self.source = Source(text)
        self.names = names
        self.used: set[str] = set()
        self.inside = inside
        self.calls = 0

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
        if result.name in result.inside:
            self.fail(f"{result.name!r} contains itself", result.span)
        if len(result.inside) >= MAX_NAMES_DEEP:
            self.fail(f"names stand for names more than {MAX_NAMES_DEEP} deep", result.span)
        reader = Reader(result.value, self.names, (*result.inside, result.name))
        try:
            calls = reader.read()
        except ExpressionError as error:
            raise ExpressionError(f"in {result.name!r}: {error}") from None
        self.used |= reader.used
        return _moved(calls, result.span, {})

    def _evaluate(self, node: ast.expr, depth: int) -> Value | tuple[Call, ...]:
        if depth > MAX_NESTING:
            self.fail(f"nested more than {MAX_NESTING} deep", self.source.span(node))
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

    def _call(self, node: ast.Call, depth: int) -> Call:
        if not isinstance(node.func, ast.Name):
            self.fail("only a plain name can be called", self.source.span(node.func))
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
        return Call(node.func.id, tuple(args), tuple(kwargs.items()), self.source.span(node))


def _moved(part: Any, span: Span, done: dict[int, Call]) -> Any:
    """Returns a value or a chain as if written at `span`; `done` keeps repeated calls one object and the work small."""
    if isinstance(part, Value):
        return part._replace(span=span)
    for call in part:
        if id(call) not in done:
            args = tuple(_moved(item, span, done) for item in call.args)
            kwargs = tuple((name, _moved(item, span, done)) for name, item in call.kwargs)
            done[id(call)] = Call(call.name, args, kwargs, span)
    return tuple(done[id(call)] for call in part)
