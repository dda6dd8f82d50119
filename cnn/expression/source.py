"""A text, its syntax tree, and where in the text each node was written."""

import ast
import re
import warnings
from typing import NoReturn

from cnn.expression.errors import ExpressionError, Span

MAX_CHARACTERS = 10_000

_QUOTED = re.compile(r"""'[^'\n]*'|"[^"\n]*"|#[^\n]*""")
"""Texts and comments, whose parentheses do not count."""


class Source:
    """What a person wrote; it is parsed inside one pair of parentheses, so that it may span lines."""

    def __init__(self, text: str) -> None:
        self.text = text.replace("\r\n", "\n").replace("\r", "\n")

    def fail(self, message: str, span: Span) -> NoReturn:
        raise ExpressionError(message, self.text, span)

    def parse(self) -> ast.expr | None:
        """Returns the tree, `None` for an empty text."""
        if not self.text.strip():
            return None
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

    def span(self, node: ast.expr | ast.keyword) -> Span:
        """Returns where a node was written, in characters of the text."""
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset + 1
        return self._offset(node.lineno, node.col_offset), self._offset(end_line, end_column)

    def _check_parentheses(self) -> None:
        opened: list[int] = []
        for position, letter in enumerate(_QUOTED.sub(lambda quoted: " " * len(quoted.group()), self.text)):
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
        lines = f"({self.text}\n)".split("\n")
        line = min(line, len(lines))
        before = sum(len(earlier) + 1 for earlier in lines[: line - 1])
        characters = len(lines[line - 1].encode()[:column].decode(errors="ignore")) if in_bytes else column
        return min(max(0, before + characters - 1), len(self.text))
