"""The little language: what it reads, what it refuses, where its carets stand, and that nothing breaks it."""

import contextlib
import dataclasses
import re
import time
from typing import Annotated, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cnn import expression
from cnn.data.augment import AUGMENTATIONS
from cnn.expression import ExpressionError
from cnn.fields import Bounds, Chain, Count, Pair, Rate
from cnn.layers.pooling import MaxPool
from cnn.model import summary
from cnn.registry import LAYERS


@dataclasses.dataclass(frozen=True)
class Relu:
    """Takes nothing."""


@dataclasses.dataclass(frozen=True)
class Conv:
    """Takes all kinds of values."""

    features: Count
    kernel: Pair
    padding: Literal["valid", "same"] = "valid"
    use_bias: bool = True


@dataclasses.dataclass(frozen=True)
class Dropout:
    """Takes a real number."""

    rate: Rate


@dataclasses.dataclass(frozen=True)
class Offset:
    """Takes any integer."""

    by: Annotated[int, Bounds(-1000)]


@dataclasses.dataclass(frozen=True)
class Residual:
    """Takes chains."""

    body: Chain
    shortcut: Chain = ()


KINDS = {"relu": Relu, "conv": Conv, "dropout": Dropout, "offset": Offset, "residual": Residual}
NAMES = {
    "width": 4,
    "rate": 0.5,
    "big": 2**31 - 1,
    "flag": True,
    "pool": "conv(1, 2) | relu",
    "block": "residual(conv(width, 1)) | pool",
    "empty": "",
    "same": "same",
    "wrong": "relu | conv(0, 3)",
    "torn": "relu | conv(1, 2",
    "own": "relu | own",
    "hidden": "residual(hidden)",
    "left": "right",
    "right": "left",
}

READ = {
    "": (),
    " \n ": (),
    "relu": (Relu(),),
    "relu()": (Relu(),),
    "relu|relu": (Relu(), Relu()),
    "conv(2, 3)": (Conv(2, (3, 3)),),
    "conv(2, (3, 1), 'same', False)": (Conv(2, (3, 1), "same", False),),
    "conv(kernel=[3, 1], features=2)": (Conv(2, (3, 1)),),
    "conv(width, width - 1)": (Conv(4, (3, 3)),),
    "conv(2 * width + 1, (width // 2, 7 - width))": (Conv(9, (2, 3)),),
    "offset(-3) | offset(2 - 5)": (Offset(-3), Offset(-3)),
    "offset(-7 // 2)": (Offset(-4),),
    "dropout(0) | dropout(rate) | dropout(2.5e-1)": (Dropout(0.0), Dropout(0.5), Dropout(0.25)),
    "conv(1, 2, padding=same, use_bias=flag)": (Conv(1, (2, 2), "same"),),
    "2 * relu": (Relu(), Relu()),
    "2 * conv(1, 1) | relu": (Conv(1, (1, 1)), Conv(1, (1, 1)), Relu()),
    "2 * (conv(1, 1) | relu)": (Conv(1, (1, 1)), Relu()) * 2,
    "2 * 2 * relu": (Relu(),) * 4,
    "width * relu": (Relu(),) * 4,
    "relu | (relu | relu)": (Relu(),) * 3,
    "residual(relu | relu)": (Residual((Relu(), Relu())),),
    "2 * residual(relu, shortcut=conv(1, 1))": (Residual((Relu(),), (Conv(1, (1, 1)),)),) * 2,
    "residual(2 * residual(relu))": (Residual((Residual((Relu(),)),) * 2),),
    "pool": (Conv(1, (2, 2)), Relu()),
    "relu | pool | relu": (Relu(), Conv(1, (2, 2)), Relu(), Relu()),
    "2 * pool": (Conv(1, (2, 2)), Relu()) * 2,
    "residual(pool)": (Residual((Conv(1, (2, 2)), Relu())),),
    "residual(relu, shortcut=pool)": (Residual((Relu(),), (Conv(1, (2, 2)), Relu())),),
    "block": (Residual((Conv(4, (1, 1)),)), Conv(1, (2, 2)), Relu()),
    "relu | empty | relu": (Relu(), Relu()),
    "relu |\n  relu": (Relu(), Relu()),
    "relu |\r\n  relu\r|relu": (Relu(), Relu(), Relu()),
    "relu  # it is (nearly) free :)\n| relu": (Relu(), Relu()),
    "\n\trelu\\\n| relu\n": (Relu(), Relu()),
}

REFUSED = {
    # What is written, where the caret stands, and the message.
    "too long": ("relu |" * 2000, None, "longer than 10000 characters. Use repetition: 3 * (a | b)"),
    "closed too often": ("relu) | relu", ")", "unmatched ')'"),
    "closed before it is opened": ("relu) | (relu", ")", "unmatched ')'"),
    "never closed": ("relu | conv(3, (2)", "(", "'(' was never closed"),
    "no operand": ("relu | | relu", "|", "not an expression: invalid syntax"),
    "no operand after non-ASCII": ("conv('éß', 1) | | relu", "|", "not an expression: invalid syntax"),
    "no operator": ("relu relu", "r", "something is missing before this: a bar joins layers and the like, a comma opt"),
    "no bar": (
        "conv(16, 3)\n  dense(3) | relu",
        "d",
        "something is missing before this: a bar joins layers and the li",
    ),
    "a comma": (
        "conv(16, 3), relu",
        ",",
        "layers and the like are joined by a bar, as in conv(8, 3) | relu, got a comma",
    ),
    "dangling": ("relu |", "|", "not an expression: invalid syntax"),
    "a statement": ("import os", "i", "not an expression: invalid syntax"),
    "a null byte": ("relu | \0", None, "not an expression: "),
    "half a character": ("\ud800", None, "not an expression: unreadable characters, or nested too deeply"),
    "very deep": ("-" * 9000 + "1", None, "not an expression: unreadable characters, or nested too deeply"),
    "an integer alone": ("3", "3", "expected calls joined by '|', got 3"),
    "a text alone": ("relu | 'relu'", "'relu'", "expected calls joined by '|', got 'relu'"),
    "a name of a number": ("relu | width", "width", "expected calls joined by '|', got 4"),
    "a number for a body": ("residual(3)", "3", "expected calls joined by '|', got 3"),
    "itself": ("own", None, "in 'own': 'own' contains itself"),
    "itself, round about": ("left", None, "in 'left': in 'right': 'left' contains itself"),
    "itself, inside a call": ("hidden", "hidden", "'hidden' contains itself"),
    "wrong inside a name": ("relu | torn", None, "in 'torn': '(' was never closed"),
    "deep arguments": ("relu | offset(" + "-" * 21 + "1)", "--1", "nested more than 20 deep"),
    "deep bodies": ("residual(" * 21 + "relu" + ")" * 21, "relu", "nested more than 20 deep"),
    "an attribute": ("relu | relu().path", "relu().path", "only calls, names, numbers, texts, tuples and + - * //"),
    "a lambda": ("relu | (lambda: 0)", "lambda: 0", "only calls, names, numbers, texts, tuples and + - * // | may"),
    "a formatted text": ("conv(1, 1, f'{same}')", "f'{same}'", "only calls, names, numbers, texts, tuples and"),
    "a comprehension": ("[relu for relu in relu]", "[relu for relu in relu]", "only calls, names, numbers, texts"),
    "a plus sign": ("offset(+1)", "+1", "only calls, names, numbers, texts, tuples and + - * // | may stand here"),
    "minus a text": ("conv(1, 1, -'same')", "-'same'", "only calls, names, numbers, texts, tuples and + - * // |"),
    "None": ("conv(1, 1, None)", "None", "None may not stand here. Leave an optional argument out"),
    "bytes": ("conv(1, 1, b'same')", "b'same'", "b'same' may not stand here. Leave an optional argument out"),
    "three dots": ("conv(1, 1, ...)", "...", "Ellipsis may not stand here. Leave an optional argument out"),
    "a huge integer": ("offset(2147483648)", "2147483648", "integers go up to 2147483647"),
    "a huge product": ("offset(big * big)", "big * big", "integers go up to 2147483647"),
    "a huge difference": ("offset(-big - big)", "-big - big", "integers go up to 2147483647"),
    "an unknown value": ("conv(widht, 1)", "widht", "unknown name 'widht'. Did you mean 'width'? Known: width, rate"),
    "a call for a value": ("conv(relu | relu, 1)", "relu", "expected a value, got a call"),
    "a call in a tuple": ("conv(1, (relu(1), 1))", "relu(1)", "expected a value, got a call"),
    "a call in a sum": ("conv(1 + relu(1), 1)", "relu(1)", "expected a value, got a call"),
    "repetitions behind": ("relu * 2", "2", "the number of repetitions comes first: 2 * relu"),
    "no repetition": ("0 * relu", "0", "a repetition must be an integer of at least 1, got 0"),
    "half a repetition": ("1.5 * relu", "1.5", "a repetition must be an integer of at least 1, got 1.5"),
    "True repetitions": ("True * relu", "True", "a repetition must be an integer of at least 1, got True"),
    "named half repetitions": ("rate * pool", "rate", "a repetition must be an integer of at least 1, got 0.5"),
    "a sum of real numbers": ("dropout(rate + 1)", "rate", "arithmetic takes integers, got 0.5"),
    "a sum of truths": ("offset(1 + True)", "True", "arithmetic takes integers, got True"),
    "a power": ("offset(2 ** 2)", "2 ** 2", "only + - * // and | are understood"),
    "a true division": ("offset(4 / 2)", "4 / 2", "only + - * // and | are understood"),
    "division by zero": ("offset(1 // (width - 4))", "width - 4", "division by zero"),
    "a long chain": ("relu|" * 1000 + "relu", "relu", "more than 1000 calls"),
    "many repetitions": ("relu | 1001 * relu", "1001 * relu", "more than 1000 calls"),
    "many repetitions of repetitions": ("999 * residual(999 * relu)", "relu", "more than 1000 calls"),
    "a call of a call": ("relu()()", "relu()", "only a plain name can be called"),
    "a method": ("relu().remove('x')", "relu().remove", "only a plain name can be called"),
    "a name of no library": ("os.remove('x')", "os.remove('x')", "unknown name 'os.remove'"),
    "a name with dots": ("relu | os.path", "os.path", "unknown name 'os.path'"),
    "unpacked arguments": ("conv(*width)", "*width", "'*' cannot unpack arguments here"),
    "unpacked keywords": ("conv(1, **width)", "**width", "'**' and repeated arguments are not understood"),
    "an unknown call": (
        "relu | cnov(1, 1)",
        "cnov(1, 1)",
        "unknown name 'cnov'. Did you mean 'conv'? Known: relu, conv",
    ),
    "an unknown bare call": ("reul", "reul", "unknown name 'reul'. Did you mean 'relu'? Known: relu, conv, dropout"),
    "nothing alike": ("zzz", "zzz", "unknown name 'zzz'. Known: relu, conv, dropout, offset, residual."),
    "a wrong value": ("relu | conv(0, 3)", "0", "conv: features must be an integer of at least 1, got 0"),
    "a wrong tuple": ("conv(1, (1, 0))", "(1, 0)", "conv: kernel must be an integer of at least 1 or 2 integers of at"),
    "a wrong named value": ("conv(rate, 3)", "rate", "conv: features must be an integer of at least 1, got 0.5"),
    "infinity": ("dropout(1e999)", "1e999", "dropout: rate must be a finite number in [0, 1), got inf"),
    "a wrong choice": ("conv(1, 1, padding='ful')", "'ful'", "conv: padding must be one of 'valid', 'same', got 'ful'"),
    "nothing given": (
        "conv",
        "conv",
        "conv needs features and kernel: conv(features, kernel, padding='valid', use_bias=",
    ),
    "one missing": ("conv(1)", "conv(1)", "conv needs kernel: conv(features, kernel, padding='valid', use_bias=True)"),
    "no body": ("residual()", "residual()", "residual needs body: residual(body, shortcut=())"),
    "too many": ("conv(1, 1, 'same', True, 1)", None, "conv takes at most 4 arguments, got 5"),
    "given twice": ("conv(1, 1, features=2)", None, "conv got features twice"),
    "an unknown argument": (
        "conv(1, kernal=1)",
        None,
        "conv has no argument 'kernal'. Did you mean 'kernel'? Known: fea",
    ),
    "an argument of what takes none": ("relu(at=1)", "relu(at=1)", "relu has no argument 'at'. It takes none."),
}


def parse(text, names=NAMES):
    return expression.build(text, KINDS, names)


def refusal(text, names=NAMES):
    with pytest.raises(ExpressionError) as caught:
        parse(text, names)
    return caught.value


def pointed_at(error):
    """Returns what stands above the carets of the message's last line."""
    *_, line, carets = str(error).split("\n")
    assert set(carets) <= {" ", "^"}
    start = carets.index("^")
    return line[start : start + carets.count("^")]


@pytest.mark.parametrize("text", READ, ids=repr)
def test_reads(text):
    assert parse(text).items == READ[text]


@pytest.mark.parametrize(("text", "place", "message"), REFUSED.values(), ids=REFUSED)
def test_refuses(text, place, message):
    with pytest.raises(ExpressionError, match=re.escape(message)) as caught:
        parse(text)
    if place is not None:
        assert pointed_at(caught.value) == place
        assert text[slice(*caught.value.span)] == place


def test_a_keyword_given_twice_is_refused_by_its_place():
    with pytest.raises(ExpressionError, match=r"keyword argument repeated|repeated arguments are not understood"):
        parse("conv(features=1, features=2)")


def test_without_names_a_bare_argument_is_told_so():
    with pytest.raises(ExpressionError, match=re.escape("unknown name 'width'. No names are defined here.")):
        parse("conv(width, 1)", {})


def test_the_longest_chain_and_the_deepest_nesting_are_read():
    assert len(parse("|".join(["relu"] * 1000)).items) == 1000
    assert len(parse("1000 * relu").items) == 1000
    assert parse("residual(" * 10 + "relu" + ")" * 10).items[0].body[0].body


def test_names_that_stand_for_names_have_an_end():
    names = {f"a{n}": f"a{n + 1}" for n in range(500)}
    message = re.escape(
        "in 'a0': in 'a1': in 'a2': in 'a3': in 'a4': in 'a5': in 'a6': in 'a7': in 'a8': in 'a9': names stand"
    )
    with pytest.raises(ExpressionError, match=message):
        parse("a0", names)
    assert parse("a491", {**names, "a500": "relu"}).items == (Relu(),)


def test_repetitions_inside_repetitions_are_refused_at_once():
    start = time.perf_counter()
    refusal("999 * residual(999 * residual(999 * residual(999 * relu)))")
    refusal("n", {"n": "999 * residual(999 * residual(m))", "m": "999 * relu"})
    assert time.perf_counter() - start < 2


def test_exactly_one_record_can_be_asked_for():
    assert expression.build_one("conv(width, 3)", KINDS, NAMES) == Conv(4, (3, 3))
    with pytest.raises(ExpressionError, match="expected one of relu, conv, dropout, offset, residual, got 0 of them"):
        expression.build_one("", KINDS)
    with pytest.raises(ExpressionError, match="got 2 of them"):
        expression.build_one("relu | relu", KINDS)


def test_the_names_that_were_used_are_known_also_those_inside_named_texts():
    assert parse("relu").used == frozenset()
    assert parse("conv(width, 1) | dropout(rate)").used == {"width", "rate"}
    assert parse("relu | block").used == {"block", "width", "pool"}
    assert parse("residual(block)").used == {"block", "width", "pool"}


def test_every_record_knows_where_it_was_written():
    text = "relu | 2 * conv(1, 1) | residual(relu | conv(2, 2), shortcut=relu) | pool"
    built = parse(text)
    written = [text[slice(*span)] for span in built.spans]
    residual = "residual(relu | conv(2, 2), shortcut=relu)"
    assert written == ["relu", "conv(1, 1)", "conv(1, 1)", residual, "pool", "pool"]
    assert text[slice(*built.span((3, "body", 1)))] == "conv(2, 2)"
    assert text[slice(*built.span((3, "shortcut", 0)))] == "relu"


@pytest.mark.parametrize(
    "text",
    [
        "conv(0, 3)",
        "relu | conv(0, 3)",
        "conv(1, 1, padding='same')  # é 漢字 😀\n | relu | conv(0, 3)",
        "relu |  # é 漢字 😀 ﬁ\n  conv(0, 3)",
        "relu |\r\n\r\n\tconv(0, 3)",
        "relu | " * 40 + "conv(0, 3)",
        "relu | " * 40 + "conv(0, 3)" + " | relu" * 40,
        "relu | conv(\n0, 3)",
        "residual(residual(relu | conv(0, 3)))",
    ],
)
def test_the_caret_stands_under_the_wrong_number(text):
    error = refusal(text)
    assert error.message == "conv: features must be an integer of at least 1, got 0"
    assert pointed_at(error) == "0"


@pytest.mark.parametrize("letters", ["é", "漢字", "😀", "e\u0301", "\u202e", "ß" * 60], ids=ascii)
def test_the_caret_counts_characters_not_bytes(letters):
    error = refusal(f"conv(1, 1, padding='{letters}') | relu")
    assert pointed_at(error) == "'" + "".join(c if c.isprintable() else "?" for c in letters) + "'"
    error = refusal(f"relu(padding('{letters}'), zzz) | relu")
    assert error.span == (0, len(f"relu(padding('{letters}'), zzz)"))
    error = refusal(f"residual(conv('{letters}'.x, 1) | offset(0.5))")
    assert pointed_at(error).endswith("'.x")


def test_a_caret_under_the_second_line_shows_that_line_alone():
    error = refusal("relu |\n   conv(1, 0) |\n relu")
    assert str(error).split("\n")[1:] == ["       conv(1, 0) |", "               ^"]


def test_a_long_line_is_cut_around_the_place():
    error = refusal("relu | " * 100 + "conv(0, 1)" + " | relu" * 100)
    *_, line, _ = str(error).split("\n")
    assert len(line) <= 104
    assert "conv(0, 1)" in line


def test_carets_of_a_long_span_end_with_the_line():
    error = refusal("conv(1,\n  kernel=(1,\n 0))")
    assert pointed_at(error) == "(1,"


def test_a_wrong_text_behind_a_name_is_shown_itself():
    names = {"pool": "max_pool(2"}
    error = refusal("relu | pool | relu", names)
    assert str(error) == "in 'pool': '(' was never closed\n    max_pool(2\n            ^"


@pytest.mark.parametrize(
    "text", ["relu | pool", "relu | residual(relu | pool)", "residual(pool)", "relu | 2 * pool | relu"]
)
@pytest.mark.parametrize(
    "inside", ["conv(1, 0)", "cnov(1, 1)", "relu | residual(relu | conv(1, 0))", "conv(1)", "relu(1)"]
)
def test_a_wrong_call_behind_a_name_is_pointed_at_by_the_name(text, inside):
    error = refusal(text, {"pool": inside})
    assert pointed_at(error) == "pool"


def test_every_wrong_call_is_told_once_with_a_caret_of_its_own():
    with pytest.raises(ExpressionError) as caught:
        expression.build("rellu | 2 * conv(0, 3) | residual(dropuot(0.5) | relu) | conv(4, 3, use=1)", KINDS)
    found = [(each.message.split(".")[0], each.span[0]) for each in caught.value.each]
    assert found == [
        ("unknown name 'rellu'", 0),
        ("conv: features must be an integer of at least 1, got 0", 17),
        ("unknown name 'dropuot'", 34),
        ("conv has no argument 'use'", 57),
    ]
    assert str(caught.value) == "\n".join(map(str, caught.value.each))


def test_control_characters_are_not_shown():
    error = refusal("relu | conv(0, '\x1b[31m\u202e\x07')")
    assert all(letter.isprintable() for letter in str(error).replace("\n", ""))
    assert "?[31m??" in str(error)


def test_signatures_show_the_defaults():
    assert expression.signature("relu", Relu) == "relu"
    assert expression.signature("conv", Conv) == "conv(features, kernel, padding='valid', use_bias=True)"
    assert expression.signature("max_pool", MaxPool) == "max_pool(window, strides=window, padding='valid')"


# Fuzzing: nothing but ExpressionError may come out, and its text is safe to print.

VALID = (
    "conv(width, 3) | relu | max_pool(2) | flatten | dense(128) | relu | dense(classes) | softmax",
    'residual(conv(4, 3, padding="same") | 2 * (batch_norm | relu), shortcut=conv(4, 1)) | global_avg_pool | dense(3)',
    "2 * conv(-width + 2 * 3, (1, 3), strides=[2, 1], dilation=2, groups=1, use_bias=False)\n | block # why (not)",
)
TOKENS = (
    *(
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        "|",
        "*",
        "**",
        "//",
        "/",
        "+",
        "-",
        "=",
        ":=",
        ".",
        ":",
        "#",
        "\\",
        "'",
        '"',
        '"""',
    ),
    *(
        "\n",
        "\r",
        "\r\n",
        "\t",
        "\f",
        " ",
        "\0",
        "\x1b",
        "\x85",
        "\u2028",
        "\ud800",
        "\ufeff",
        "é",
        "漢",
        "😀",
        "ﬁ",
        "٣",
        "²",
    ),
    *(
        "0",
        "1",
        "2",
        "3",
        "1000",
        "-1",
        "1e999",
        "1_0",
        "0x1",
        "1j",
        "9" * 30,
        "2.5",
        "True",
        "None",
        "...",
        "b''",
        "f'{x}'",
    ),
    *("not", "lambda", "if", "else", "for", "in", "yield", "await", "is", "and", "_", "print", "__import__"),
    *(*LAYERS, "features=", "kernel=", "strides=", "padding=", "body=", "shortcut=", '"same"', "classes"),
    *("width", "block", "loop", "deep", "none", "num", "text"),
)
CONFIG = {
    "width": 4,
    "classes": 3,
    "block": "conv(width, 1) | relu",
    "loop": "relu | residual(loop)",
    "deep": "50 * residual(50 * residual(50 * residual(50 * relu)))",
    "none": "",
    "num": float("inf"),
    "text": "\0",
}


def _mutated(text, edits):
    for place, remove, insert in edits:
        place %= len(text) + 1
        text = text[:place] + insert + text[place + remove :]
    return text


edits = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 3), st.sampled_from((*TOKENS, ""))), min_size=1, max_size=4
)
texts = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from(TOKENS), max_size=25).map("".join),
    st.lists(st.sampled_from(TOKENS), max_size=25).map(" ".join),
    st.builds(_mutated, st.sampled_from(VALID), edits),
)


def check_nothing_but_an_expression_error(text):
    with contextlib.suppress(ExpressionError):
        expression.build(text, AUGMENTATIONS)
    error = None
    try:
        built = summary.parse(text, CONFIG)
        summary.fit(built, text, (9, 8, 2), 3)
    except ExpressionError as caught:
        error = caught
    if error is None or error.span is None:
        return
    assert all(letter.isprintable() or letter == "\n" for letter in str(error))
    assert 0 <= error.span[0] <= error.span[1] <= len(text)
    assert "^" in str(error).split("\n")[-1]


@settings(max_examples=300, deadline=None)
@given(texts)
@example("(" * 5000)
@example("relu|" * 1999)
@example("-" * 9999)
@example("not " * 2400 + "relu")
@example("residual(" * 100 + "relu" + ")" * 100)
@example("(" * 90 + "relu" + ")" * 90)
@example("[" * 90 + "relu" + "]" * 90)
@example("1 + " * 2000 + "1")
@example("relu(" + "1," * 4000 + ")")
@example("conv(" + "9" * 9000 + ", 1)")
@example("'" * 9999)
@example("deep")
@example("999 * deep")
@example("\\")
@example("relu \\")
@example('"""')
@example("'\\N{DASH}'")
@example("'\\x'")
@example("dense(3)\f")
@example("conv(2 * none, 1)")
@example("1 + 2 * none")
@pytest.mark.slow(seconds=3)
def test_no_text_raises_anything_but_an_expression_error(text):
    check_nothing_but_an_expression_error(text)


@pytest.mark.slow
@settings(max_examples=5_000, deadline=None)
@given(texts)
def test_no_text_of_very_many_raises_anything_but_an_expression_error(text):
    check_nothing_but_an_expression_error(text)
