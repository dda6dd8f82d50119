"""As typed."""

from typing import Any


def to_text(value: Any) -> str:
    """Returns a value as it is typed after a flag."""
    if isinstance(value, (list, tuple)):
        return repr(tuple(value))
    return value if isinstance(value, str) else repr(value)
