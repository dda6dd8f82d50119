"""What fields hold, what they refuse, and in which words."""

import dataclasses
import re
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn import fields
from cnn.fields import Bounds, Chain, Count, Fraction, Natural, NonNegative, Pair, Positive, Rate

Shape = Annotated[tuple[int, int, int], Bounds(1, 16_384)]
Means = tuple[float, ...]
Stds = Annotated[tuple[float, ...], Bounds(0, open_low=True)]
Choice = Literal["valid", "same"]

ACCEPTED = {
    "an integer": (Count, 3, 3),
    "the lowest integer": (Natural, 0, 0),
    "an integer where a real number is asked for": (Positive, 2, 2.0),
    "the largest float32": (float, 3.4028234e38, 3.4028234e38),
    "the ends of a closed interval": (Fraction, 1, 1.0),
    "zero where it is allowed": (NonNegative, 0.0, 0.0),
    "the low end of a half-open interval": (Rate, 0, 0.0),
    "a pair from one integer": (Pair, 3, (3, 3)),
    "a pair from a list": (Pair, [1, 2], (1, 2)),
    "three integers": (Shape, (28, 28, 1), (28, 28, 1)),
    "one number for a list": (Means, 0.5, (0.5,)),
    "one integer for a list of numbers": (Means, 1, (1.0,)),
    "the largest integer": (Count, 2**31 - 1, 2**31 - 1),
    "a larger integer where the field has its own bound": (Annotated[int, Bounds(0, 2**40)], 2**31, 2**31),
    "a list of numbers of any length": (Means, [1, 0.5, 2], (1.0, 0.5, 2.0)),
    "no numbers at all": (Means, (), ()),
    "a choice": (Choice, "same", "same"),
    "False": (bool, False, False),
    "an empty text": (str, "", ""),
}
REFUSED = {
    "zero of a count": (Count, 0, "must be an integer of at least 1, got 0"),
    "True for an integer": (Count, True, "must be an integer of at least 1, got True"),
    "a real number for an integer": (Natural, 2.0, "must be an integer of at least 0, got 2.0"),
    "a text for an integer": (Count, "3", "must be an integer of at least 1, got '3'"),
    "None for an integer": (Count, None, "must be an integer of at least 1, got None"),
    "zero where above zero is asked for": (Positive, 0, "must be a finite number above 0, got 0"),
    "a negative number": (NonNegative, -1e-9, "must be a finite number of at least 0, got -1e-09"),
    "more than one": (Fraction, 1.5, "must be a finite number in [0, 1], got 1.5"),
    "the open end": (Rate, 1.0, "must be a finite number in [0, 1), got 1.0"),
    "NaN": (float, float("nan"), "must be a finite number, got nan"),
    "infinity": (float, float("inf"), "must be a finite number, got inf"),
    "what float32 cannot hold": (float, 3.5e38, "must be a finite number, got 3.5e+38"),
    "a huge integer for a real number": (float, 10**400, "must be a finite number, got 1000"),
    "True for a real number": (float, True, "must be a finite number, got True"),
    "a list for a real number": (float, [1.0], "must be a finite number, got [1.0]"),
    "an unknown choice": (Choice, "full", "must be one of 'valid', 'same', got 'full'"),
    "a list for a choice": (Choice, ["same"], "must be one of 'valid', 'same', got ['same']"),
    "an integer for a truth value": (bool, 1, "must be True or False, got 1"),
    "an integer for a text": (str, 1, "must be a text, got 1"),
    "zero in a pair": (Pair, (2, 0), "must be an integer of at least 1 or 2 integers of at least 1, got (2, 0)"),
    "zero for a pair": (Pair, 0, "must be an integer of at least 1 or 2 integers of at least 1, got 0"),
    "True for a pair": (Pair, True, "must be an integer of at least 1 or 2 integers of at least 1, got True"),
    "three numbers for a pair": (Pair, (1, 2, 3), "or 2 integers of at least 1, got (1, 2, 3)"),
    "a shape without its channel axis": (Shape, (28, 28), "must be 3 integers in [1, 16384], got (28, 28)"),
    "one integer for a shape": (Shape, 28, "must be 3 integers in [1, 16384], got 28"),
    "a shape that is too large": (Shape, (28, 28, 16_385), "must be 3 integers in [1, 16384], got (28, 28, 16385)"),
    "True for a list": (Means, True, "must be a finite number or a list of numbers, got True"),
    "zero for a list of what divides": (Stds, 0, "must be a finite number above 0 or a list of numbers above 0, got 0"),
    "an integer of more than 32 bits": (Count, 2**31, "must be at most 2147483647, got 2147483648"),
    "an integer of more than 32 bits in a pair": (Pair, (1, 2**31), "must be at most 2147483647, got (1, 2147483648)"),
    "an integer of more than 32 bits without any bounds": (int, 2**31, "must be at most 2147483647, got 2147483648"),
    "a text for a list": (Means, "0.5", "must be a finite number or a list of numbers, got '0.5'"),
    "NaN in a list": (Means, (0.0, float("nan")), "must be a finite number or a list of numbers, got (0.0, nan)"),
    "zero in a list of what divides": (
        Stds,
        (1.0, 0.0),
        "must be a finite number above 0 or a list of numbers above 0, got (1.0, 0.0)",
    ),
}


@dataclasses.dataclass(frozen=True)
class Record:
    needed: Count
    real: Rate = 0.5
    chain: Chain = ()
    text: Annotated[Any, fields.Language({"off": dict})] = "off"


@pytest.mark.parametrize(("annotation", "value", "expected"), ACCEPTED.values(), ids=ACCEPTED)
def test_a_field_takes(annotation, value, expected):
    parsed = fields.parse(annotation, value)
    assert parsed == expected
    assert type(parsed) is type(expected)
    if isinstance(expected, tuple):
        assert [type(item) for item in parsed] == [type(item) for item in expected]


@pytest.mark.parametrize(("annotation", "value", "message"), REFUSED.values(), ids=REFUSED)
def test_a_field_refuses(annotation, value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        fields.parse(annotation, value)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([Count, Natural, Positive, Fraction, Rate, Pair, Shape, Means, Stds, Choice, bool, str]), st.data()
)
def test_whatever_is_given_is_parsed_or_refused_and_parsing_again_changes_nothing(annotation, data):
    plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    value = data.draw(plain | st.lists(plain, max_size=4) | st.dictionaries(st.text(max_size=2), plain, max_size=2))
    try:
        parsed = fields.parse(annotation, value)
    except ValueError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert fields.parse(annotation, parsed) == parsed
    assert not refusal or "must be" in refusal


def test_typed_text_is_read_by_the_field_it_is_meant_for():
    assert fields.from_text(str, "3") == "3"
    assert fields.from_text(Choice, "same") == "same"
    assert fields.from_text(Count, "3") == 3
    assert fields.from_text(bool, "true") is True
    assert fields.from_text(bool, "False") is False
    assert fields.from_text(Shape, "(28, 28, 1)") == (28, 28, 1)
    assert fields.from_text(float, "3e-4") == 3e-4


@pytest.mark.parametrize(
    "text", ["nan", "inf", "1e999", "", "__import__('os')", "1,", "3 epochs", "\x00", "(" * 500, "9" * 5000]
)
def test_typed_text_that_is_no_number_is_refused_by_the_field(text):
    with pytest.raises(ValueError, match="must be a finite number"):
        fields.parse(float, fields.from_text(float, text))


def test_an_unknown_word_gets_a_suggestion_and_the_known_ones():
    assert fields.did_you_mean("adma", ["sgd", "adam"]) == "Did you mean 'adam'? Known: sgd, adam."
    assert fields.did_you_mean("zzz", ["sgd", "adam"]) == "Known: sgd, adam."


def test_a_records_fields_tell_their_defaults_and_kinds():
    assert list(fields.options(Record)) == ["needed", "real", "chain", "text"]
    assert fields.defaults(Record) == {"needed": fields.REQUIRED, "real": 0.5, "chain": (), "text": "off"}
    annotations = fields.options(Record)
    assert [name for name in annotations if fields.is_real(annotations[name])] == ["real"]
    assert [name for name in annotations if fields.is_nested(annotations[name])] == ["chain"]
    assert [name for name in annotations if fields.language(annotations[name])] == ["text"]


def test_a_real_number_marked_static_is_structure_and_reads_as_any_other():
    assert fields.is_real(Rate) and not fields.is_real(fields.Static[float]) and not fields.is_real(fields.Static[Rate])
    assert fields.parse(fields.Static[Rate], 0) == 0.0
    assert fields.describe(fields.Static[Rate]) == fields.describe(Rate) == "a finite number in [0, 1)"


def test_frozen_values_become_plain_json():
    assert fields.to_json({"a": Record(3, chain=(Record(1),)), "b": [(1, 2.5), None]}) == {
        "a": {
            "needed": 3,
            "real": 0.5,
            "chain": [{"needed": 1, "real": 0.5, "chain": [], "text": "off"}],
            "text": "off",
        },
        "b": [[1, 2.5], None],
    }


def test_a_language_is_its_own_table_however_alike_another_is():
    # typing keeps one `Annotated` for equal marks, and two tables that are not yet filled are equal.
    first, second = {}, {}
    one, two = Annotated[Any, fields.Language(first)], Annotated[Any, fields.Language(second)]
    assert fields.language(one).kinds is first
    assert fields.language(two).kinds is second


def test_a_static_number_is_read_like_any_and_is_not_traced():
    static = fields.Static[float]
    assert not fields.is_real(static) and fields.is_real(float)
    assert fields.parse(static, 2) == 2.0 and fields.describe(static) == "a finite number"


def test_a_field_that_may_be_none_says_so_and_keeps_it():
    field = fields.OrNone[fields.Count]
    assert fields.may_be_none(field) and not fields.may_be_none(fields.Count)
    assert fields.parse(field, None) is None and fields.parse(field, 3) == 3
    assert fields.describe(field) == "an integer of at least 1 or None"
    assert fields.is_real(fields.OrNone[float]) and not fields.is_real(fields.OrNone[fields.Static[float]])
    assert fields.from_text(field, "None") is None
    with pytest.raises(ValueError, match="must be an integer of at least 1 or None, got 0"):
        fields.parse(field, 0)
