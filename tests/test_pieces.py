"""Texts with parameters among the names of a layer expression, and parts of the field's networks written with them."""

import re

import pytest

import cnn
import runs
from cnn.config.config import ConfigError, Override
from cnn.config.files import sections
from cnn.config.resolve import resolve
from cnn.expression import ExpressionError
from cnn.model import summary
from cnn.sweep import space_parser

INCEPTION = {
    "c": "w, k=1: conv(w, k, padding=k // 2) | relu",
    "mixed": "a, b3, b, c5, d, p: concat(c(a), c(b3) | c(b, 3), c(c5) | c(d, 5), max_pool(3, 1, padding=1) | c(p))",
    "layers": "mixed(64, 96, 128, 16, 32, 32) | global_avg_pool | dense(classes)",
}
SQUEEZE_EXCITE = {
    "se": "w, r: multiply(identity, global_avg_pool | dense(r) | relu | dense(w) | hard_sigmoid)",
    "layers": "conv(64, 1) | se(64, 16) | global_avg_pool | dense(classes)",
}
NAMES = {
    "width": 8,
    "pool": "max_pool(2)",
    "block": "w, s=1: residual(conv(w, 3, strides=s) | relu) | relu",
    "opt": "act=relu, k=width: conv(4, k) | act",
    "turn": "w: relu | loop(w)",
    "loop": "w: relu | turn(w)",
    "number": "1w: relu",
    "starred": "a, *b: relu",
    "twice": "a, a: relu",
    "inner": "w: conv(w, 3, stride=w)",
}
REFUSED = {
    "block()": "block needs w: block(w, s=1)",
    "block": "block needs w: block(w, s=1)",
    "block(1, 2, 3)": "block takes at most 2 arguments, got 3",
    "block(1, q=3)": "block has no argument 'q'. Known: w, s.",
    "block(1, w=3)": "block got w twice",
    "pool(2)": "pool takes at most 0 arguments, got 1",
    "width(3)": "width is no layer and no text, so it cannot be called",
    "turn(1)": "in 'turn': in 'loop': 'turn' contains itself",
    "number(1)": "in 'number': before the colon there must be parameters, such as w, s=1: conv(w, 3, strides=s)",
    "starred(1)": "in 'starred': before the colon there must be parameters",
    "twice(1, 2)": "in 'twice': before the colon there must be parameters",
    "inner(3)": "conv has no argument 'stride'. Did you mean 'strides'?",
    "blok(3)": "unknown name 'blok'. Did you mean 'block'? Known: ",
    "opt(k='a')": "conv: kernel must be an integer of at least 1 or 2 integers of at least 1, got 'a'",
    "opt(act=3)": "in 'opt': expected calls joined by '|', got 3",
    "1000 * opt(act=relu | relu)": "more than 1000 calls",
}


def items(text, **names):
    return summary.parse(text, {**NAMES, **names}).items


def config(model, shape, classes=1000):
    data = {"name": "tiny", "image_shape": shape, "classes": classes}
    return resolve({"model": model, "data": data, "optimizer": {"name": "sgd", "learning_rate": 0.1}})


def test_branches_and_gates_of_the_field_are_a_line_each():
    rows = {row.path: row for row in config(INCEPTION, (28, 28, 192)).rows}
    assert rows["concat1"].output == (28, 28, 256)
    assert rows["concat1/branch3/conv2"].layer.kernel == (5, 5)
    rows = {row.path: row for row in config(SQUEEZE_EXCITE, (8, 8, 3), 10).rows}
    assert rows["multiply1"].output == (8, 8, 64) and rows["multiply1/branch2/dense1"].count() == 64 * 16 + 16


def test_a_call_of_a_text_is_its_layers_with_the_arguments_in_their_places():
    assert items("block(4, s=2)") == items("residual(conv(4, 3, strides=2) | relu) | relu")
    assert items("block(s=2, w=width + 1)") == items("residual(conv(9, 3, strides=2) | relu) | relu")
    assert items("2 * block(4) | pool()") == items("2 * (residual(conv(4, 3) | relu) | relu) | max_pool(2)")


def test_an_argument_may_be_a_chain_or_a_text_and_a_default_may_name_a_field():
    assert items("opt") == items("opt()") == items("conv(4, 8) | relu")
    assert (
        items("opt(act=tanh | pool, k=3)") == items("opt(tanh | max_pool(2), 3)") == items("conv(4, 3) | tanh | pool")
    )
    assert items("opt(act=pool)") == items("conv(4, width) | pool")
    assert items("wrap(block(4))", wrap="b: residual(b, shortcut=b)") == items(
        "residual(block(4), shortcut=residual(conv(4, 3) | relu) | relu)"
    )


def test_a_parameter_hides_a_field_of_its_name_and_texts_may_span_lines():
    assert items("f(3)", f="\n  width: conv(width, 1) |\n  relu\n") == items("conv(3, 1) | relu")
    assert "width" not in summary.parse("f(3)", {"width": 8, "f": "width: conv(width, 1)"}).used


@pytest.mark.parametrize("text", REFUSED)
def test_refuses(text):
    with pytest.raises(ExpressionError, match=re.escape(REFUSED[text])) as caught:
        items(text)
    assert "^" in str(caught.value)


def test_short_texts_of_texts_that_would_make_a_huge_network_are_refused_at_once():
    names = {f"f{n}": f"x: {' | '.join([f'f{n + 1}(x)'] * 9)}" for n in range(8)} | {"f8": "x: x"}
    with pytest.raises(ExpressionError, match="more than 1000 calls"):
        items("f0(relu)", **names)


def test_a_mistake_in_a_text_is_told_at_the_field_that_uses_it_and_a_taken_parameter_at_its_own():
    with pytest.raises(ConfigError, match=r"config\.model\.layers: block needs w: block\(w, s=1\)"):
        config({"block": NAMES["block"], "layers": "block() | flatten | dense(classes)"}, (8, 8, 1))
    with pytest.raises(
        ConfigError, match=r"config\.model\.f: has a parameter whose name is taken, got 'relu'\. Choose"
    ):
        config({"f": "relu: relu", "layers": "f(1) | flatten | dense(classes)"}, (8, 8, 1))
    with pytest.raises(ConfigError, match=r"config\.model\.f: is not used by model\.layers"):
        config({"f": "w: conv(w, 1)", "layers": "flatten | dense(classes)"}, (8, 8, 1))


def test_a_text_is_set_by_a_flag_and_from_python_under_a_new_name_too():
    raw = {"model": {"layers": "f(3) | flatten | dense(classes)", "f": "w: conv(w, 1)"}, **tiny_sections()}
    assert resolve(raw, [Override("model.f", "w: conv(2 * w, 1)")]).layers[0].features == 6
    changes = [Override("model.g", "w, k=3: conv(w, k)"), Override("model.layers", "g(5) | flatten | dense(classes)")]
    assert resolve(raw, changes).layers[0].features == 5
    changed = cnn.configure("digits", model={"g": "w: conv(w, 3)", "layers": "g(5) | flatten | dense(classes)"})
    assert changed.model.g == "w: conv(w, 3)"


def tiny_sections():
    return {
        "data": {"name": "tiny", "image_shape": (4, 4, 1), "classes": 2},
        "optimizer": {"name": "sgd", "learning_rate": 0.1},
    }


def test_the_summary_says_which_layers_a_call_makes(capsys):
    values = config(sections("resnet18")["model"], (32, 32, 3), 10)
    assert values.pieces[:3] == (
        ("conv_bn(64, 7, 2)", ("conv1", "batch_norm1")),
        ("block(64)", ("residual1", "relu2", "residual2", "relu3")),
        ("stage(128)", ("residual3", "relu4", "residual4", "relu5")),
    )
    flags = ["--config.model.f=w: conv(w, 3) | relu", "--config.model.layers=f(4) | f(8) | flatten | dense(classes)"]
    assert runs.start("summary", *flags) == 0
    said = capsys.readouterr().out
    assert "\nf(4): conv1, relu1\nf(8): conv2, relu2\n" in said


def test_texts_of_a_sweep_are_different_networks():
    grid = "model.f=w: conv(w, 1),'w, k=2: conv(w, k)'"
    assert space_parser.read_grid(grid, []) == {"model.f": ["w: conv(w, 1)", "w, k=2: conv(w, k)"]}
    raw = {"model": {"layers": "f(3) | flatten | dense(classes)", "f": "w: conv(w, 1)"}, **tiny_sections()}
    kernels = [resolve(raw, [Override("model.f", f"w: conv(w, {k})")]).layers[0].kernel for k in (1, 2)]
    assert kernels == [(1, 1), (2, 2)]


@pytest.mark.parametrize("text", ["{}", "residual({})", "residual(relu, shortcut=relu | {})", "concat(identity, {})"])
def test_a_layer_that_only_a_run_knows_is_read_from_its_record_at_any_depth(text):
    path = {"residual({})": "residual1/mine1", "{}": "mine1", "concat(identity, {})": "concat1/branch2/mine1"}
    where = path.get(text, "residual1/shortcut/mine1")
    about = {"output": [4, 4, 2], "formula": "", "parameters": [], "macs": 7, "reach": [[1, 1], [1, 1]]}
    raw = {"model": {"layers": f"{text.format('mine(3)')} | flatten | dense(classes)"}, **tiny_sections()}
    raw["data"] = {**raw["data"], "image_shape": (4, 4, 2)}
    rows = {row.path: row for row in resolve(raw, code={"layers": {where: about}}).rows}
    assert rows[where].macs == 7 and list(rows)[-1] == "dense1"
    with pytest.raises(ConfigError, match=r"mine is no layer of this software, and the run says nothing of it\n"):
        resolve(raw, code={"layers": {}})
