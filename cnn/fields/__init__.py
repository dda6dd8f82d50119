"""What a field of a config, or an argument of an expression, may hold.

Every option of this codebase is a field of a frozen dataclass, annotated with one of the types below. The same
annotation checks a config file, a flag and an argument inside an expression, and tells which fields are real numbers,
that is, which may change without compiling anything anew.
"""

from cnn.fields.annotations import (
    REQUIRED,
    Bounds,
    Chain,
    Count,
    Fraction,
    Language,
    Natural,
    NonNegative,
    Pair,
    Positive,
    Rate,
    defaults,
    is_nested,
    is_real,
    language,
    options,
)
from cnn.fields.parsing import MAX_INTEGER, describe, did_you_mean, from_text, literal, parse, to_json

__all__ = [
    "MAX_INTEGER",
    "REQUIRED",
    "Bounds",
    "Chain",
    "Count",
    "Fraction",
    "Language",
    "Natural",
    "NonNegative",
    "Pair",
    "Positive",
    "Rate",
    "defaults",
    "describe",
    "did_you_mean",
    "from_text",
    "is_nested",
    "is_real",
    "language",
    "literal",
    "options",
    "parse",
    "to_json",
]
