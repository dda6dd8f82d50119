"""What is wrong with an expression, shown with a caret under the place."""

Span = tuple[int, int]


class ExpressionError(ValueError):
    """A wrong expression; its text ends with the line at fault and a caret under the place."""

    def __init__(self, message: str, text: str = "", span: Span | None = None) -> None:
        self.message = message
        self.span = span
        super().__init__(message if span is None else f"{message}\n{point_at(text, span)}")


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
