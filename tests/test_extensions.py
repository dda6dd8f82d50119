"""A user's own file: what it enters, how a run knows it again, and what is said where it is wrong."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

import cnn
import networks
import runs
from cnn.config import extensions, files, resolve
from cnn.config.config import ConfigError
from cnn.data import views
from cnn.export import Trained, onnx_graph
from cnn.layers.base import LayerError
from cnn.model import network
from cnn.optim import gradients, groups
from cnn.registry import LOSSES, TABLES
from cnn.runs import recorded_code
from cnn.train import preflight

EXTENSIONS = (Path(__file__).parents[1] / "docs" / "extensions.md").read_text()
LAB = Path(__file__).parents[1] / "docs" / "my_lab.py"
HEADER = "import jax\nimport jax.numpy as jnp\nimport flax.linen as nn\nimport optax\nimport cnn\n"
SMALL = """
@cnn.loss
def small(logits, labels, gamma: cnn.NonNegative = 2.0):
    return -(labels * jax.nn.log_softmax(logits)).sum(-1) * (1 + gamma)
"""
MODEL = "model.layers=flatten | dense(classes)"


@pytest.fixture
def file(tmp_path):
    def write(code, name="mine.py", header=HEADER):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(header + code)
        return str(path)

    return write


@pytest.fixture
def training(file):
    """The file of the documentation with an initialiser, a group, a gradient and a view."""
    (code,) = re.findall(r"```python\n(# my_training\.py\n.*?)```", EXTENSIONS, re.DOTALL)
    return file(code, "my_training.py", "")


@pytest.fixture(autouse=True)
def _as_before():
    yield
    extensions.use([])


def resolved(path, **changes):
    return files.resolved(cnn.configure("digits", extensions=path, **changes))


def lines_of(capsys):
    return capsys.readouterr().err.strip().splitlines()


def test_a_function_is_an_entry_whose_other_parameters_are_its_options(file):
    config = resolved(file(SMALL), **{"train.loss": "small(gamma=3)"})
    assert config.train.loss.gamma == 3.0 and type(config.train.loss).kind == "small"
    assert json.loads(config.json)["train"]["loss"] == "small(gamma=3)"
    logits, labels = np.zeros((2, 4), np.float32), np.eye(4, dtype=np.float32)[:2]
    np.testing.assert_allclose(config.train.loss(logits, labels), 4 * np.log(4), rtol=1e-6)


def test_entries_are_there_for_the_configs_that_name_their_file_and_for_no_others(file):
    path = file(SMALL)
    resolved(path)
    assert "small" in LOSSES
    with pytest.raises(ConfigError, match=r"config.train.loss: unknown name 'small'"):
        cnn.configure("digits", **{"train.loss": "small"})
    assert "small" not in LOSSES
    resolved(path)
    assert "small" in LOSSES


def test_two_files_may_have_one_name_in_two_configs_and_not_in_one(file):
    one, other = file(SMALL, "a/one.py"), file(SMALL.replace("1 + gamma", "2 + gamma"), "b/other.py")
    assert type(resolved(one, **{"train.loss": "small"}).train.loss) is not type(
        resolved(other, **{"train.loss": "small"}).train.loss
    )
    with pytest.raises(ConfigError, match=r"the loss small has a name that is taken by .*one.py|is both in"):
        resolved((one, other))


def test_a_file_of_the_same_content_is_the_same_wherever_it_lies(file, tmp_path):
    path = file(SMALL)
    copy = shutil.copy(path, tmp_path / "copy")
    (moved := tmp_path / "elsewhere").mkdir()
    shutil.copy(path, moved / "mine.py")
    one, same, renamed = (extensions.find(str(each)) for each in (path, moved / "mine.py", path))
    assert one.sha256 == same.sha256 == renamed.sha256
    Path(copy).rename(tmp_path / "other.py")
    with pytest.raises(ConfigError, match=r"config.extensions: names .* twice, or a copy of it. Keep one"):
        resolved((path, str(moved / "mine.py")))


def test_files_beside_it_are_imported_as_they_were_hashed(file):
    file("SCALE = 5.0\n", "scales.py", "")
    path = file("from scales import SCALE\n" + SMALL.replace("1 + gamma", "SCALE"))
    before = extensions.find(path)
    assert [source.name for source in before.sources] == ["mine", "scales"]
    config = resolved(path, **{"train.loss": "small"})
    loss = config.train.loss(np.zeros((1, 2), np.float32), np.eye(2, dtype=np.float32)[:1])
    np.testing.assert_allclose(loss, 5 * np.log(2), rtol=1e-6)
    file("SCALE = 7.0\n", "scales.py", "")
    after = resolved(path, **{"train.loss": "small"})
    assert extensions.find(path).sha256 != before.sha256
    loss = after.train.loss(np.zeros((1, 2), np.float32), np.eye(2, dtype=np.float32)[:1])
    np.testing.assert_allclose(loss, 7 * np.log(2), rtol=1e-6)


def test_a_module_is_found_by_its_name_with_its_package(file, tmp_path, monkeypatch):
    file("from lab_package.numbers import TWO\n" + SMALL.replace("1 + gamma", "TWO"), "lab_package/losses.py")
    file("TWO = 2.0\n", "lab_package/numbers.py", "")
    file("", "lab_package/__init__.py", "")
    monkeypatch.syspath_prepend(tmp_path)
    config = resolved("lab_package.losses", **{"train.loss": "small"})
    (extension,) = config.code
    names = [source.name for source in extension.sources]
    assert names == ["lab_package.losses", "lab_package", "lab_package.numbers"]
    loss = config.train.loss(np.zeros((1, 2), np.float32), np.eye(2, dtype=np.float32)[:1])
    np.testing.assert_allclose(loss, 2 * np.log(2), rtol=1e-6)


def test_what_an_extension_prints_stands_beside_the_output(file, capsys):
    resolved(file('print("hello")\n'))
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "hello\n")


def test_a_cell_that_is_run_again_replaces_what_it_defined():
    def define(scale):
        @cnn.loss
        def of_a_cell(logits, labels):
            return scale * logits.sum(-1)

        return LOSSES["of_a_cell"]

    try:
        assert define(1.0) is not define(2.0)
    finally:
        LOSSES.forget("")


HOSTILE = {
    "a syntax error": ("def broken(:\n", MODEL, r"line 6: SyntaxError: [^(<]*\. Mend it\.$"),
    "an exception at import": ("1 / 0\n", MODEL, r"importing .*mine.py failed in .*mine.py, line 6, in <module>: Zero"),
    "an exit at import": ("raise SystemExit(0)\n", MODEL, r"importing .* failed .*SystemExit: 0"),
    "another working directory": ("import os\nos.chdir('/')\n", MODEL, r"changes the working directory when it is"),
    "double precision for all": ("jax.config.update('jax_enable_x64', True)\n", MODEL, r"changes jax_enable_x64 when"),
    "a signal handler": (
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n",
        MODEL,
        r"changes what a signal does",
    ),
    "a name that exists": (
        "@cnn.optimizer\ndef adam(learning_rate): ...\n",
        MODEL,
        r'line 6: the optimizer adam has a name that is taken by cnn.optim.optimizers.Adam.*@cnn.optimizer\(name="my_',
    ),
    "an annotation missing": (
        "@cnn.loss\ndef odd(logits, labels, gamma=2.0): ...\n",
        MODEL,
        r"the loss odd: gamma has no annotation. Write its type, as in gamma: cnn.Positive",
    ),
    "an annotation that no config can write": (
        "@cnn.loss\ndef odd(logits, labels, how: dict = {}): ...\n",
        MODEL,
        r"the loss odd: how has a type that no config can write, got <class 'dict'>",
    ),
    "a default out of its range": (
        "@cnn.loss\ndef odd(logits, labels, gamma: cnn.Fraction = 2.0): ...\n",
        MODEL,
        r"the loss odd: the default of gamma must be a finite number in \[0, 1\], got 2.0",
    ),
    "a parameter missing": (
        "@cnn.loss\ndef odd(predictions, labels): ...\n",
        MODEL,
        r"the loss odd has no parameter logits. It is called with logits, labels",
    ),
    "a loss with one number a class": (
        "@cnn.loss\ndef wide(logits, labels):\n    return logits * labels\n",
        "train.loss=wide",
        r"config.train.loss: wide must return one number for each example, shape \(8,\) for a batch of 8, "
        r"got float32 of \(8, 10\) from .*mine.py, line 6\. Sum or average over the classes",
    ),
    "an exception while it is traced": (
        "@cnn.loss\ndef torn(logits, labels, g: cnn.Positive = 1.0):\n    return logits.sum(-1) if g > 0 else labels\n",
        "train.loss=torn",
        r"config.train.loss: torn failed in .*mine.py, line 8, in torn: TracerBoolConversionError: ",
    ),
    "an optimizer that is none": (
        "@cnn.optimizer\ndef no(learning_rate):\n    return 3\n",
        "optimizer.name=no",
        r"config.optimizer.name: no must return an optax.GradientTransformation, got 3 from .*mine.py, line 6",
    ),
    "an augmentation of another shape": (
        "@cnn.augmentation\ndef half(image):\n    return image[::2]\n",
        "data.augment=half",
        r"config.data.augment: half must return an image of the shape \(8, 8, 1\), got float32 of \(4, 8, 1\) from",
    ),
    "a metric of a word": (
        '@cnn.metric\ndef word(logits, labels):\n    return "good"\n',
        "eval.metrics=word",
        r"config.eval.metrics: word must return one number, got 'good'",
    ),
    "a module that fails": (
        "@cnn.layer\nclass Torn(nn.Module):\n    def __call__(self, x):\n        return x @ x\n",
        "model.layers=torn | flatten | dense(classes)",
        r"torn at position 1 fails with TypeError: .*mine.py:9, in __call__",
    ),
    "a schedule of an unknown name": (
        "@cnn.schedule\ndef odd(step, total_steps):\n    return steps\n",
        "schedule.name=odd",
        r"config.schedule.name: odd failed in .*mine.py, line 8, in odd: NameError: name 'steps' is not defined",
    ),
    "a layer that is no layer": (
        "@cnn.layer\nclass Thing:\n    pass\n",
        MODEL,
        r"the layer thing is no Flax module and extends no",
    ),
    "an initialiser that fails": (
        "@cnn.initialiser\ndef torn(key, shape):\n    return jnp.zeros(shapes)\n",
        "model.init=torn",
        r"config.model.init: torn failed in .*mine.py, line 8, in torn: NameError: name 'shapes' is not defined",
    ),
    "an initialiser of another shape": (
        "@cnn.initialiser\ndef flat(key, shape):\n    return jnp.zeros(shape[:-1])\n",
        "model.layers=flatten | dense(classes, init=flat)",
        r"config.model.init: flat must return floats of the shape \(64, 10\), got float32 of \(64,\)",
    ),
    "a group that fails": (
        "@cnn.group\ndef torn(arrays):\n    return arrays['dense9']\n",
        "train.groups=torn(rate=2)",
        r"config.train.groups: torn failed in .*mine.py, line 8, in torn: KeyError: 'dense9'",
    ),
    "a group of what is not there": (
        "@cnn.group\ndef odd(arrays):\n    return ['dense1/kernal']\n",
        "train.groups=odd(rate=2)",
        r"config.train.groups: odd names no parameter, got 'dense1/kernal'. Did you mean 'dense1/kernel'\?",
    ),
    "a group that returns nothing": (
        "@cnn.group\ndef none(arrays):\n    pass\n",
        "train.groups=none(rate=2)",
        r"config.train.groups: none must return a list of paths of parameters, got None from .*mine.py, line 6",
    ),
    "a group that is a text": (
        "@cnn.group\ndef word(arrays):\n    return 'dense1/kernel'\n",
        "train.groups=word(rate=2)",
        r"config.train.groups: word must return a list of paths of parameters, got 'dense1/kernel' from",
    ),
    "a group of nothing": (
        "@cnn.group\ndef none(arrays):\n    return []\n",
        "train.groups=none(rate=2)",
        r"config.train.groups: none names no parameter that is trained, got {}",
    ),
    "a group of no numbers": (
        "@cnn.group\nclass Half:\n    rate: float = 1.0\n    decay: float = 1.0\n"
        "    def problem(self, paths): return ''\n    def powers(self, arrays, layers): return {'a': .5}\n",
        "train.groups=half",
        r"config.train.groups: half must return whole numbers by the paths of parameters, got {'a': 0.5}",
    ),
    "a gradient that fails": (
        "@cnn.gradient\ndef torn(params, grads):\n    return params + grads\n",
        "train.gradient=torn",
        r"config.train.gradient: torn failed in .*mine.py, line 8, in torn: TypeError: unsupported operand",
    ),
    "a gradient elsewhere than at parameters": (
        "@cnn.gradient\nclass Odd:\n    def place(self, params, grads):\n        return [grads]\n",
        "train.gradient=odd",
        r"config.train.gradient: odd must return None, or arrays by the names and of the shapes of the parameters, "
        r"got \[{'dense1': {'bias': float32 of \(10,\), 'kernel': float32 of \(64, 10\)}}\] from .*mine.py, line 6",
    ),
    "a gradient at a text": (
        "@cnn.gradient\ndef word(params, grads):\n    return 'x'\n",
        "train.gradient=word",
        r"config.train.gradient: word must return None, or arrays by the names .*, got 'x' from .*mine.py, line 6\.",
    ),
    "a gradient at one layer's arrays": (
        "@cnn.gradient\ndef inner(params, grads):\n    return params['dense1']\n",
        "train.gradient=inner",
        r"config.train.gradient: inner must return None, .* There is no 'bias'\. Known: dense1",
    ),
    "a gradient at a layer that is not there": (
        "@cnn.gradient\ndef odd(params, grads):\n    return {'Dense1': params['dense1']}\n",
        "train.gradient=odd",
        r"config.train.gradient: odd must return None, .* There is no 'Dense1'\. Did you mean 'dense1'\?",
    ),
    "a gradient at an array that is not there": (
        "@cnn.gradient\ndef odd(params, grads):\n    return {'dense1': {'weight': 3}}\n",
        "train.gradient=odd",
        r"config.train.gradient: odd must return None, .* dense1 has no 'weight'\. Known: bias, kernel",
    ),
    "a gradient at arrays of other shapes": (
        "@cnn.gradient\ndef cut(params, grads):\n    return jax.tree.map(lambda param: param[:1], params)\n",
        "train.gradient=cut",
        r"config.train.gradient: cut must return for dense1/bias float32 of \(10,\), got float32 of \(1,\) from",
    ),
    "a schedule of nothing": (
        "@cnn.schedule\ndef none(step, total_steps):\n    pass\n",
        "schedule.name=none",
        r"config.schedule.name: none must return one number, .*, got None from .*mine.py, line 6",
    ),
    "a schedule of several numbers": (
        "@cnn.schedule\ndef three(step, total_steps):\n    return jnp.ones(3)\n",
        "schedule.name=three",
        r"config.schedule.name: three must return one number, .*, got float32 of \(3,\) from",
    ),
    "a schedule of the class of several numbers": (
        "@cnn.schedule\nclass Three:\n    def make_factor(self, *, total_steps, steps_per_epoch):\n"
        "        return lambda step: jnp.ones(3)\n",
        "schedule.name=three",
        r"config.schedule.name: three must return one number, .*, got float32 of \(3,\) from",
    ),
    "an optimizer without updates": (
        "@cnn.optimizer\ndef odd(learning_rate):\n"
        "    return optax.GradientTransformation(lambda p: (), lambda g, s, p=None: (None, s))\n",
        "optimizer.name=odd",
        r"config.optimizer.name: odd must return a transformation whose update gives an array like each gradient, "
        "got None from .*mine.py, line 6",
    ),
    "an optimizer of one thing": (
        "@cnn.optimizer\ndef odd(learning_rate):\n"
        "    return optax.GradientTransformation(lambda p: (), lambda g, s, p=None: g)\n",
        "optimizer.name=odd",
        r"config.optimizer.name: odd must return a transformation whose update gives a pair, updates and a state, got",
    ),
    "an optimizer with a word for a state": (
        "@cnn.optimizer\ndef odd(learning_rate):\n"
        "    return optax.GradientTransformation(lambda p: 'state', lambda g, s, p=None: (g, s))\n",
        "optimizer.name=odd",
        r"config.optimizer.name: odd must return a transformation whose init gives arrays, got 'state' from",
    ),
    "an optimizer whose state grows": (
        "@cnn.optimizer\ndef odd(learning_rate):\n"
        "    return optax.GradientTransformation(lambda p: (), lambda g, s, p=None: (g, s + (1,)))\n",
        "optimizer.name=odd",
        r"config.optimizer.name: odd must return a transformation whose update keeps the shape of its state, \(\), got",
    ),
    "an augmentation of whole intensities": (
        "@cnn.augmentation\ndef whole(image):\n    return (255 * image).astype(jnp.uint8)\n",
        "data.augment=whole",
        r"config.data.augment: whole must return floats, got uint8 of \(8, 8, 1\) from .*mine.py, line 6\. Intensities",
    ),
    "an augmentation of a class of whole intensities": (
        "@cnn.augmentation\nclass Whole:\n    def apply(self, images, labels, draws):\n"
        "        return (255 * images).astype(jnp.uint8), labels\n",
        "data.augment=whole",
        r"config.data.augment: whole must return floats, got uint8 of \(100, 8, 8, 1\) from .*mine.py, line 6\. Int",
    ),
    "an augmentation of a class of images alone": (
        "@cnn.augmentation\nclass Bare:\n    def apply(self, images, labels, draws): return images\n",
        "data.augment=bare",
        r"config.data.augment: bare must return a pair of images and labels, got float32 of \(100, 8, 8, 1\) from",
    ),
    "an augmentation of three things": (
        "@cnn.augmentation\ndef three(image, label):\n    return image, label, 1\n",
        "data.augment=three",
        r"config.data.augment: three must return an image of the shape \(8, 8, 1\), got \(float32 of \(8, 8, 1\), ",
    ),
    "a view that fails": (
        "@cnn.view\ndef torn(pictures):\n    return [(1, pictures.nosuch)]\n",
        "eval.views=torn",
        r"config.eval.views: torn failed in .*mine.py, line 8, in torn: AttributeError: .*nosuch",
    ),
    "a view of other pictures": (
        "@cnn.view\ndef half(pictures):\n    return [(1, pictures[:, ::2])]\n",
        "eval.views=half",
        r"config.eval.views: half must return pictures of uint8 of \(100, 8, 8, 1\), as it is given, got uint8 of",
    ),
    "a view whose shares are no mean": (
        "@cnn.view\ndef twice(pictures):\n    return [(1, pictures), (1, pictures)]\n",
        "eval.views=twice",
        r"config.eval.views: the shares of twice must add up to 1, got 2",
    ),
    "a view without shares": (
        "@cnn.view\ndef bare(pictures):\n    return [pictures]\n",
        "eval.views=bare",
        r"config.eval.views: bare must return a list of pairs of a share and pictures, got \[",
    ),
    "an average that begins with a number": (
        "@cnn.average\nclass Odd:\n    def init(self, params):\n        return 3.0\n"
        "    def update(self, means, params, count):\n        return means\n",
        "train.average=odd",
        r"config.train.average: odd must return from init arrays like the parameters, {'dense1': {.*, got 3.0 from",
    ),
    "an average of other shapes": (
        "@cnn.average\nclass Odd:\n    def init(self, params):\n        return params\n"
        "    def update(self, means, params, count):\n        return jax.tree.map(lambda array: array.sum(), params)\n",
        "train.average=odd",
        r"config.train.average: odd must return from update arrays like the parameters, .*, got {'dense1': {'bias': fl",
    ),
    "an average of other parameters": (
        "@cnn.average\nclass Odd:\n    def init(self, params):\n        return params\n"
        "    def update(self, means, params, count):\n        return {'a': means}\n",
        "train.average=odd",
        r"config.train.average: odd must return from update arrays like the parameters, .*, got {'a': ",
    ),
    "an average from which nothing goes on": (
        "@cnn.average\nclass Odd:\n    def init(self, params):\n        return params\n"
        "    def update(self, means, params, count):\n        return means\n"
        "    def sync(self, means, params, count):\n        return None\n",
        "train.average=odd",
        r"config.train.average: odd must return from sync arrays like the parameters, .*, got None from",
    ),
    "an average that becomes a number": (
        "@cnn.average\nclass Odd:\n    def init(self, params):\n        return params\n"
        "    def update(self, means, params, count):\n        return means\n"
        "    def at(self, share):\n        return share\n",
        "train.average=odd",
        r"config.train.average: odd must return from at an average of its own class, got float32 of \(\) from",
    ),
    "a rule that stops without a reason": (
        "@cnn.stop\nclass Odd:\n    needs_valid = False\n"
        "    def reason(self, train_accuracy, valid_accuracy, stale_evaluations, monitor):\n        return True\n",
        "train.stop=odd",
        r"config.train.stop: odd must return why training ends, in words, or None, got True from .*mine.py, line 6",
    ),
    "a rule that fails": (
        "@cnn.stop\nclass Odd:\n    needs_valid = False\n"
        "    def reason(self, train_accuracy, valid_accuracy, stale_evaluations, monitor):\n        return 1 / 0\n",
        "train.stop=odd",
        r"config.train.stop: odd failed in .*mine.py, line 10, in reason: ZeroDivisionError: division by zero",
    ),
    "a watch that measures nothing": (
        "@cnn.watch\nclass Odd:\n    every: int = 10\n    def measure(self, seen):\n        return None\n",
        "train.watch=odd",
        r"config.train.watch: odd must return numbers by name, .*, got None from",
    ),
    "a watch that measures a list": (
        "@cnn.watch\nclass Odd:\n    every: int = 10\n    def measure(self, seen):\n        return [1.0]\n",
        "train.watch=odd",
        r"config.train.watch: odd must return numbers by name, .*, got \[1.0\] from",
    ),
    "a watch that measures words": (
        "@cnn.watch\nclass Odd:\n    every: int = 10\n    def measure(self, seen):\n        return {'a': 'b'}\n",
        "train.watch=odd",
        r"config.train.watch: odd must return numbers by name, .*, got {'a': 'b'} from",
    ),
    "a watch that measures an array": (
        "@cnn.watch\nclass Odd:\n    every: int = 10\n    def measure(self, seen):\n"
        "        return {'a': jnp.ones(3)}\n",
        "train.watch=odd",
        r"config.train.watch: odd must return numbers by name, .*, got {'a': float32 of \(3,\)} from",
    ),
    "a watch that measures a number without a name": (
        "@cnn.watch\nclass Odd:\n    every: int = 10\n    def measure(self, seen):\n        return {1: 2.0}\n",
        "train.watch=odd",
        r"config.train.watch: odd must return numbers by name, .*, got {1: 2.0} from",
    ),
    "a number": ("cnn.layer(3)\n", MODEL, r"layer: must be a class or a function, got 3"),
}


@pytest.mark.few(6)
@pytest.mark.parametrize("case", HOSTILE)
def test_a_wrong_extension_is_one_line_exits_2_and_leaves_nothing(case, file, tmp_path, capsys):
    code, flag, message = HOSTILE[case]
    before = {what: list(table) for what, table in TABLES.items()}
    workdir, process = tmp_path / "run", (Path.cwd(), signal.getsignal(signal.SIGTERM), jax.config.jax_enable_x64)
    assert runs.train(workdir, f"extensions={file(code)}", flag) == 2
    assert process == (Path.cwd(), signal.getsignal(signal.SIGTERM), jax.config.jax_enable_x64)
    said = lines_of(capsys)
    # An expression is shown below, with a caret.
    assert len(said) == 1 or all(line.startswith("    ") for line in said[1:]), said
    assert re.search(message, said[0]), said[0]
    assert not workdir.exists()
    extensions.use([])
    assert before == {what: list(table) for what, table in TABLES.items()}


def test_wrong_code_is_refused_before_a_sweep_or_an_overfit_begins(file, tmp_path, capsys):
    code = "@cnn.schedule\ndef three(step, total_steps):\n    return jnp.ones(3)\n"
    code += "@cnn.optimizer\ndef odd(learning_rate):\n"
    code += "    return optax.GradientTransformation(lambda p: (), lambda g, s, p=None: (None, s))\n"
    flags = f"--config.extensions={file(code)}", "--config.train.epochs=1"
    sweep = "--grid=schedule.name=constant,three; optimizer.learning_rate=0.1,0.01", f"--workdir={tmp_path / 'sweep'}"
    assert runs.start("sweep", *flags, *sweep) == 2
    (said,) = lines_of(capsys)
    assert said.startswith("config.schedule.name: three must return one number")
    assert not (tmp_path / "sweep").exists()
    assert runs.start("train", *flags, "--config.optimizer.name=odd", "--overfit=8") == 2
    (said,) = lines_of(capsys)
    assert said.startswith("config.optimizer.name: odd must return a transformation whose update gives an array like")


@pytest.mark.slow(seconds=6)
def test_a_run_goes_on_with_the_same_code_alone(file, tmp_path, capsys):
    path, workdir = file(SMALL), tmp_path / "run"
    flags = [f"extensions={path}", "train.loss=small"]
    assert runs.train(workdir, *flags) == 0
    (entry,) = runs.saved(workdir, "run.json")["code"]["extensions"]
    assert [each["copy"] for each in entry["files"]] == ["code/mine.py"]
    assert (workdir / "code" / "mine.py").read_text() == Path(path).read_text()
    assert runs.train(workdir, *flags) == 0
    capsys.readouterr()
    before = (workdir / "evaluation-test.json").read_bytes()

    Path(path).write_text(Path(path).read_text() + "# another line\n")
    copy = workdir / "code" / "mine.py"
    changed = f"config.extensions: {path} has changed since {workdir} was made with it. Restore it, or name the run's"
    for command in ("eval", "predict", "explain", "export"):
        words = ["picture.png"] if command == "predict" else ["--format=stablehlo"] if command == "export" else []
        assert runs.start(command, f"--workdir={workdir}", *words) == 2
        assert lines_of(capsys) == [f"{changed} own copy: --extensions={copy}"]
    assert runs.train(workdir, *flags) == 2
    (line,) = lines_of(capsys)
    assert line.startswith(f"{changed} own copy: --config.extensions={copy}, or use --workdir=")

    other = file(SMALL + "# other\n", "other.py")
    assert runs.start("eval", f"--workdir={workdir}", f"--extensions={other}") == 2
    assert lines_of(capsys) == [
        f"--extensions: {other} does not hold what {workdir} was made with, which was in {path}. Name the run's own "
        f"copy: --extensions={copy}"
    ]
    Path(path).unlink()
    assert runs.start("eval", f"--workdir={workdir}") == 2
    assert f"{path} is gone since" in lines_of(capsys)[0]
    assert runs.start("eval", f"--workdir={workdir}", f"--extensions={copy}") == 0
    assert runs.train(workdir, f"extensions={copy}", "train.loss=small") == 0
    assert (workdir / "evaluation-test.json").read_bytes() == before
    # A page and a comparison need no code at all.
    extensions.use([])
    assert runs.start("report", f"--workdir={workdir}") == 0
    assert runs.start("diff", str(workdir), str(workdir)) == 0
    assert "small" not in LOSSES
    page = (workdir / "report.html").read_text()
    (source,) = entry["files"]
    assert f"mine.py (sha256 {source['sha256'][:16]}), here as code/mine.py" in page


@pytest.mark.slow(seconds=2)
def test_code_in_the_directory_of_a_run_is_executed_only_where_it_is_named(file, tmp_path, capsys):
    path, first, second = file(SMALL), tmp_path / "first", tmp_path / "second"
    assert runs.train(first, f"extensions={path}", "train.loss=small") == 0
    copy = first / "code" / "mine.py"
    assert runs.train(second, f"extensions={copy}", "train.loss=small") == 0
    capsys.readouterr()
    assert runs.start("eval", f"--workdir={second}") == 2
    assert "lies in the directory of a run, whose code is not executed unless it is named" in lines_of(capsys)[0]
    assert runs.start("eval", f"--workdir={second}", f"--extensions={copy}") == 0


@pytest.mark.slow(seconds=4)
def test_what_python_code_entered_is_used_by_that_process_and_must_be_the_same(tmp_path):
    @cnn.loss
    def of_python(logits, labels):
        return ((logits - labels) ** 2).sum(-1)

    before = of_python.__qualname__
    try:
        config = cnn.configure("digits", **{"model.layers": "flatten | dense(classes)", "train.loss": "of_python"})
        config.train.epochs, config.report.page = 1, "never"
        run = cnn.run(config, tmp_path / "run")
        assert run.evaluate("valid").accuracy > 0.1
        assert [*runs.saved(tmp_path / "run", "run.json")["code"]["python"]] == [f"{__name__}.{of_python.__qualname__}"]

        def of_python(logits, labels):
            return ((logits - labels) ** 4).sum(-1)

        of_python.__qualname__ = before
        cnn.loss(of_python)
        with pytest.raises(ConfigError, match=r"was made with .*of_python as it was before. Define it so again"):
            cnn.load(tmp_path / "run").evaluate("valid")
    finally:
        LOSSES.forget("")
    with pytest.raises(ConfigError, match=r"which no file holds. Write that into a file, and name it: --extensions=F"):
        cnn.load(tmp_path / "run").evaluate("valid")
    assert cnn.load(tmp_path / "run").summary().parameters == 7850


@pytest.mark.slow(seconds=3)
def test_a_schedule_may_be_a_class_with_its_factor_alone(file, tmp_path):
    code = """
@cnn.schedule
class Halved:
    after: cnn.Fraction = 0.5

    def make_factor(self, *, total_steps, steps_per_epoch):
        return lambda step: jnp.where(step < self.after * total_steps, 1.0, 0.5)
"""
    assert runs.train(tmp_path / "run", f"extensions={file(code)}", "schedule.name=halved", "train.epochs=2") == 0
    rates = [record["learning_rate"] for record in runs.records(tmp_path / "run", "train")]
    assert rates == pytest.approx([0.01, 0.01, 0.005, 0.005])


@pytest.mark.slow(seconds=4)
def test_a_sweep_goes_on_with_the_same_code_alone(file, tmp_path, capsys):
    path, workdir = file(SMALL), tmp_path / "sweep"
    flags = [f"--config.extensions={path}", "--config.train.epochs=1", f"--workdir={workdir}"]
    grid = '--grid=train.loss="small(gamma=1)","small(gamma=2)"'
    assert runs.start("sweep", *flags, grid) == 0
    (moved := tmp_path / "moved").mkdir()
    elsewhere = shutil.copy(path, moved / "mine.py")
    assert runs.start("sweep", f"--config.extensions={elsewhere}", *flags[1:], grid) == 0
    capsys.readouterr()
    Path(path).write_text(Path(path).read_text().replace("1 + gamma", "2 + gamma"))
    assert runs.start("sweep", *flags, grid) == 2
    assert f"the code has changed since the sweep in {workdir} was declared. Restore it" in capsys.readouterr().err


@pytest.mark.slow(seconds=4)
def test_a_sweep_goes_on_from_its_folder_alone_and_executes_what_it_was_declared_with(tmp_path, monkeypatch, capsys):
    executed = tmp_path / "executed"
    (home := tmp_path / "home").mkdir()
    (home / "mine.py").write_text(HEADER + SMALL)
    monkeypatch.chdir(home)
    flags = ["--config.extensions=mine.py", "--config.train.epochs=1", "--config.train.loss=small(gamma=1)"]
    assert runs.start("sweep", *flags, "--grid=seed=0", f"--workdir={tmp_path / 'sweep'}") == 0
    (away := tmp_path / "away").mkdir()
    monkeypatch.chdir(away)
    assert runs.start("sweep", f"--workdir={tmp_path / 'sweep'}", "--sweep.seeds=+1") == 0
    assert runs.outcome(tmp_path / "sweep" / "trials" / "0001")
    monkeypatch.chdir(home)
    capsys.readouterr()
    (home / "mine.py").write_text(f"{HEADER}{SMALL}\nopen({str(executed)!r}, 'w')\n")
    assert runs.start("sweep", f"--workdir={tmp_path / 'sweep'}") == 2
    assert "mine.py has changed since the sweep in " in capsys.readouterr().err
    assert not executed.exists()
    copy = tmp_path / "sweep" / "trials" / "0000" / "code" / "mine.py"
    flags = [f"--config.extensions={copy}", *flags[1:], "--grid=seed=0", f"--workdir={tmp_path / 'other'}"]
    assert runs.start("sweep", *flags) == 0
    assert runs.start("sweep", f"--workdir={tmp_path / 'other'}") == 2
    assert "mine.py lies in the directory of a run. Restore it" in capsys.readouterr().err


def test_a_json_config_names_no_code_of_a_run(file, tmp_path, capsys):
    file("", "got/code/evil.py", "raise SystemExit\n")
    folder = tmp_path / "got"
    (folder / "run.json").write_text("{}")
    saved = {**runs.SECTIONS, "extensions": [str(folder / "code" / "evil.py")]}
    (folder / "config.json").write_text(json.dumps(saved))
    refused = "evil.py lies in the directory of a run, whose code is not executed unless it is named. Name it: --config"
    for command in ("summary", "train"):
        assert runs.start(command, f"--config={folder / 'config.json'}", sections=None) == 2
        assert refused in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"evil.py lies in the directory of a run"):
        cnn.configure(folder / "config.json")
    assert list(cnn.load(folder).config.extensions) == []


def test_neither_a_module_name_nor_a_link_hides_that_code_lies_in_a_run(file, tmp_path, monkeypatch):
    path = Path(file(SMALL, "got/code/evil.py"))
    for name in ("config.json", "run.json"):
        (tmp_path / "got" / name).write_text("{}")
    (tmp_path / "got" / "__init__.py").write_text("")
    (tmp_path / "latest").symlink_to(path.parent)
    monkeypatch.chdir(tmp_path)
    for given in (str(path), "got.code.evil", "latest/evil.py"):
        assert extensions.in_a_run(given), given
        assert not recorded_code.may_be_imported(given)
    assert not extensions.in_a_run(file(SMALL))


@pytest.mark.slow(seconds=3)
def test_double_precision_is_seen_where_jax_was_not_loaded_before(file, tmp_path):
    path = file("jax.config.update('jax_enable_x64', True)\n")
    code = f"from cnn.config import extensions; extensions.use(extensions.read([{path!r}]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=LAB.parents[1], capture_output=True, text=True)
    assert "changes jax_enable_x64 when it is imported" in done.stderr


def first_loss(path, name="small"):
    config = resolved(path, **{"train.loss": name})
    return float(config.train.loss(np.zeros((1, 2), np.float32), np.eye(2, dtype=np.float32)[:1])[0] / np.log(2))


def test_a_file_beside_it_that_changes_changes_what_imports_it(file):
    file("SCALE = 1.0\n", "consts.py", "")
    file("from consts import SCALE\n", "middle.py", "")
    path = file("from middle import SCALE\n" + SMALL.replace("1 + gamma", "SCALE"))
    assert first_loss(path) == pytest.approx(1.0)
    file("SCALE = 2.0\n", "consts.py", "")
    assert first_loss(path) == pytest.approx(2.0)


def test_what_a_file_beside_it_enters_stays_when_it_is_edited_and_after_it_failed(file):
    file(SMALL, "parts.py")
    path = file("import parts\n", header="")
    assert first_loss(path) == pytest.approx(3.0)
    file("import parts  # edited\n", header="")
    assert first_loss(path) == pytest.approx(3.0)
    file("import parts\n1 / 0\n", header="")
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        resolved(path)
    file("import parts  # mended\n", header="")
    assert first_loss(path) == pytest.approx(3.0)


def test_each_of_two_extensions_has_its_own_files_beside_it(file):
    late = SMALL.replace("    return", "    from shades import SCALE\n    return").replace("1 + gamma", "SCALE")
    one, other = file(late, "one/mine.py"), file(late, "other/mine.py")
    file("SCALE = 1.0\n", "one/shades.py", "")
    file("SCALE = 2.0\n", "other/shades.py", "")
    assert [first_loss(path) for path in (one, other, one)] == pytest.approx([1.0, 2.0, 1.0])
    with pytest.raises(ConfigError, match=r"one/shades.py and .*other/shades.py are imported by one name. Rename one"):
        resolved((one, file(late + "# another\n", "other/mine.py")))


def test_a_module_of_a_package_is_the_same_by_its_name_its_file_and_its_copy(file, tmp_path, monkeypatch):
    path = file("from .numbers import TWO\n" + SMALL.replace("1 + gamma", "TWO"), "pack/losses.py")
    file("TWO = 2.0\n", "pack/numbers.py", "")
    file("", "pack/__init__.py", "")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tmp_path / "pack", tmp_path / "run" / "code" / "pack")
    found = [extensions.find(given) for given in ("pack.losses", path, "run/code/pack/losses.py")]
    assert len({each.sha256 for each in found}) == 1
    assert first_loss("run/code/pack/losses.py") == first_loss("pack.losses") == pytest.approx(2.0)


@pytest.mark.slow(seconds=2)
def test_of_two_extensions_of_one_name_each_has_its_copy_and_one_may_be_named(file, tmp_path):
    one, other = file(SMALL, "a/mine.py"), file(SMALL.replace("small", "large"), "b/mine.py")
    workdir = tmp_path / "run"
    assert runs.train(workdir, f"extensions={one},{other}", "train.loss=large", "train.epochs=1") == 0
    copies = [entry["files"][0]["copy"] for entry in runs.saved(workdir, "run.json")["code"]["extensions"]]
    assert [(workdir / copy).read_text() for copy in copies] == [Path(one).read_text(), Path(other).read_text()]
    Path(one).unlink()
    assert runs.start("eval", f"--workdir={workdir}") == 2
    assert runs.start("eval", f"--workdir={workdir}", f"--extensions={workdir / copies[0]}") == 0


def test_a_config_that_is_only_read_takes_no_name_from_the_code_in_use(file, tmp_path):
    net = "@cnn.layer\nclass Net(nn.Module):\n    @nn.compact\n    def __call__(self, x): return nn.Dense(N)(x)\n"
    model = {"model.layers": "flatten | net | dense(classes)"}
    seven = resolved(file(net.replace("N)", "7)"), "seven.py"), **model)
    about = {"layers": json.loads(json.dumps(recorded_code.layers(seven)))}
    resolved(file(net.replace("N)", "3)"), "three.py"), **model)
    read = resolve.resolve(json.loads(seven.json), recorded=True, code=about)
    assert [row.output for row in read.rows] == [row.output for row in seven.rows]


def test_a_class_of_a_notebook_has_the_hash_of_its_code():
    def define(number):
        scope = {"__name__": "__main__", "cnn": cnn}
        exec(f"class Squared:\n    scale = {number}\n    def __call__(self, a, b): return a * {number}", scope)
        return recorded_code._source(scope["Squared"])

    assert define(1) == define(1) != define(2)


MISTAKEN = {
    "a stop that does not say what it needs": (
        "@cnn.stop\nclass Odd:\n    def reason(self, *all): ...\n",
        "needs_valid",
    ),
    "a layer that extends nothing": (
        "@cnn.layer\nclass Odd:\n    def output(self, shape): ...\n    def apply(self, x): ...\n",
        r"the layer odd is no Flax module and extends no layer. Write Odd\(cnn.Layer\)",
    ),
    "an initialiser that extends nothing": (
        "@cnn.initialiser\nclass Odd:\n    def make(self, key, shape, groups): ...\n",
        r"the initialiser odd extends none. Write Odd\(cnn.Initialiser\)",
    ),
    "a group without factors": (
        "@cnn.group\nclass Odd:\n    def powers(self, arrays, layers): ...\n",
        "odd has no problem",
    ),
    "a gradient without a place": ("@cnn.gradient\nclass Odd: ...\n", "the gradient odd has no place"),
    "a view without what is seen": ("@cnn.view\ndef odd(images): ...\n", "odd has no parameter pictures. It is called"),
    "an option of a taken name": (
        "@cnn.loss\ndef odd(logits, labels, own: int = 1): ...\n",
        ": the option own has a name that",
    ),
    "an option that would overwrite what a thing is called": (
        "@cnn.metric\ndef odd(logits, labels, kind: str = 'micro'): ...\n",
        ": the option kind has a name that is used for something else. Rename it",
    ),
    "a class with such an option": (
        "@cnn.layer\nclass Odd(cnn.Layer):\n    kind: str = 'relu'\n    def apply(self, x, arrays, layout): return x\n",
        ": the option kind has a name that is used for something else",
    ),
    "a module with such a field": (
        "@cnn.layer\nclass Odd(nn.Module):\n    kind: str = 'relu'\n    def __call__(self, x): return x\n",
        "Odd: its field kind has a name that every layer uses",
    ),
    **{
        f"a layer with an option that every module has, {name}": (
            f"@cnn.layer\ndef odd(x, {name}: cnn.Positive = 2.0): return x * {name}\n",
            f"line [0-9]+: the layer odd: the option {name} has a name that is used for something else",
        )
        for name in ("init", "scope", "name", "parent", "self", "macs")
    },
    "a name that is no name": (
        "@cnn.layer(name='my-layer')\ndef odd(x): return x\n",
        "my-layer has a name that no config",
    ),
    "a name of Python's": ("@cnn.layer(name='lambda')\ndef odd(x): return x\n", "lambda has a name that no config can"),
    "no name at all": ("odd = cnn.layer(lambda x: x)\n", "<lambda> has a name that no config can write"),
    "a name that expressions have": ("@cnn.layer\ndef classes(x): return x\n", "has a name that is used for something"),
    "one name twice": (
        "@cnn.layer\ndef odd(x): return x\n\n@cnn.layer\ndef odd(x): return 2 * x\n",
        "line [0-9]+: the layer odd is there twice in this file. Rename one of them",
    ),
    "no function": ("cnn.layer(3)\n", "layer: must be a class or a function, got 3"),
    "a metric that is better somehow": (
        "@cnn.metric\nclass Odd:\n    better = 'max'\n    def __call__(self, logits, labels): ...\n",
        "better must be 'higher' or 'lower', got 'max'",
    ),
    "a source with a name of ours": (
        "@cnn.source\ndef digits(): ...\n",
        "the source digits has a name that is taken by cnn.data.sources.digits.Digits",
    ),
    "more brackets than Python can read": (f"x = {'-' * 200_000}1\n", "MemoryError|RecursionError|SyntaxError"),
}


@pytest.mark.parametrize("case", MISTAKEN)
def test_a_wrong_entry_says_what_is_missing(case, file):
    code, message = MISTAKEN[case]
    with pytest.raises(ConfigError, match=message):
        resolved(file(code))


@pytest.mark.slow
def test_a_function_that_jax_has_wrapped_is_one(file):
    path = file("import jax\n\ncnn.layer(jax.nn.mish)\n\n@cnn.loss\n@jax.jit\n" + SMALL.strip().partition("\n")[2])
    assert first_loss(path) == pytest.approx(3.0)
    config = resolved(path, **{"model.layers": "flatten | mish | dense(classes)"})
    made = config.layers[1].apply(jnp.ones((1, 2)), {}, "NHWC")
    np.testing.assert_allclose(made, np.tanh(np.log1p(np.full((1, 2), np.e))), rtol=1e-6)
    mean = "@cnn.metric(better='lower')\n@jax.jit\ndef mean(logits, labels):\n    return logits.mean()\n"
    (metric,) = resolved(file("import jax\n\n" + mean, "mine.py"), **{"eval.metrics": "mean"}).metrics.values()
    assert metric.better == "lower"


def test_a_module_that_flax_refuses_is_named_with_its_file(file):
    path = file("@cnn.layer\nclass Lin(nn.Module):\n    def __call__(self, x):\n        return nn.Dense(3)(x)\n")
    message = rf"lin at position 2 fails with AssignSubModuleError: .* \({path}:\d+, in __call__\)"
    with pytest.raises(ConfigError, match=message):
        resolved(path, **{"model.layers": "flatten | lin | dense(classes)"})


DRAWN = {
    "layer": ("@cnn.layer\ndef odd(x):\n    return x + np.random.normal(size=x.shape[1:])\n", "model.layers"),
    "class of a layer": (
        "@cnn.layer\nclass Odd(cnn.Layer):\n    def apply(self, x, arrays, layout):\n"
        "        return x * random.random()\n",
        "model.layers",
    ),
    "augmentation": (
        "@cnn.augmentation\ndef odd(image):\n    return image[:, ::-1] if random.random() < 0.5 else image\n",
        "data.augment",
    ),
    "loss": (
        "@cnn.loss\ndef odd(logits, labels):\n    return (logits * labels).sum(-1) * np.random.uniform()\n",
        "train.loss",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", DRAWN)
def test_random_numbers_that_compiling_would_freeze_are_refused_with_the_way_to_draw(case, file):
    code, field = DRAWN[case]
    path = file("import random\nimport numpy as np\n\n" + code)
    named = {"model.layers": "flatten | odd | dense(classes)"} if field == "model.layers" else {field: "odd"}
    with pytest.raises(ValueError, match=rf"config.{field}: odd.* draws random numbers .* by jax.random") as told:
        preflight.check_code(resolved(path, **named))
    assert path in str(told.value)


def test_a_field_of_the_model_may_not_be_called_like_a_layer_of_ones_own(file):
    raw = json.loads(files.resolved("digits").json)
    path = file("@cnn.layer\ndef width(x): return x\n")
    with pytest.raises(ConfigError, match=r"^config\.model\.width: is taken by the layer expression"):
        resolved(path, **{"model.width": 3})
    assert resolve.resolve(raw, recorded=True, code={}).rows, "a run can be read"


def test_an_option_of_ones_own_is_not_taken_for_ours(file):
    path = file("@cnn.augmentation\ndef noise(image, pixels: cnn.Count = 64):\n    return image\n")
    assert resolved(path, **{"data.augment": "noise(100)"}).data.augment[0].pixels == 100


@pytest.mark.slow
def test_an_initialiser_of_ones_own_draws_the_kernels_that_name_it_and_those_that_name_none(file):
    code = """
@cnn.initialiser
def filled(key, shape, groups, number: cnn.Positive = 1.0):
    return number * jnp.ones(shape) * groups

@cnn.initialiser
class Counted(cnn.Initialiser):
    def make(self, key, shape, groups=1):
        return jnp.arange(np.prod(shape)).reshape(shape) * 1.0
"""
    layers = "conv(2, 3, groups=2, init=filled(3)) | conv(4, 2, init=dirac(rest=filled(5))) | flatten | dense(classes)"
    given = {"model.layers": layers, "model.init": "counted", "data.image_shape": (4, 4, 2)}
    config = resolved(file("import numpy as np\n" + code), **given)
    params = network.init(config.layers, (4, 4, 2), jax.random.key(0))["params"]
    assert np.asarray(params["conv1"]["kernel"]).tolist() == np.full((3, 3, 1, 2), 6.0).tolist()
    assert set(np.asarray(params["conv2"]["kernel"]).ravel()) == {0.0, 1.0, 5.0}
    assert np.asarray(params["dense1"]["kernel"]).ravel().tolist() == list(range(40))


def test_a_group_a_gradient_and_a_view_of_ones_own_are_asked_what_the_documentation_says(training):
    given = {"train.groups": "wide(features=32, rate=0.5)", "train.gradient": "extragradient(0.5)"}
    config = resolved(training, **given, **{"eval.views": "flip | upside_down(0.25)"})
    arrays = {"dense1/kernel": (4, 64), "dense1/bias": (64,), "dense2/bias": (10,)}
    (group,) = config.train.groups
    assert groups.powers_of(group, arrays, ["dense1", "dense2"]) == {"dense1/kernel": 1, "dense1/bias": 1}
    assert (group.rate, group.decay, group.problem(list(arrays))) == (0.5, 1.0, "")
    params = {"conv1": {"kernel": jnp.full(2, 3.0)}, "dense1": {"kernel": jnp.full(3, 2.0), "bias": jnp.ones(1)}}
    grads = {"dense1": {"kernel": jnp.ones(3), "bias": jnp.full(1, 4.0)}}
    place = gradients.place_of(config.train.gradient, params, grads)
    assert jax.tree.map(np.ndarray.tolist, jax.tree.map(np.asarray, place)) == {
        "conv1": {"kernel": [3.0, 3.0]},
        "dense1": {"kernel": [1.5, 1.5, 1.5], "bias": [-1.0]},
    }
    pictures = jnp.arange(12, dtype=jnp.uint8).reshape(1, 3, 4, 1)
    shares, seen = views.of_all(config.eval.views, pictures)
    assert shares.tolist() == [0.375, 0.125, 0.375, 0.125]
    assert np.array_equal(seen[3], pictures[:, ::-1, ::-1])


@pytest.mark.slow(seconds=15)
def test_a_run_with_all_four_is_known_by_its_code_and_read_without_it(training, tmp_path, capsys):
    workdir = tmp_path / "run"
    flags = [
        f"extensions={training}",
        "model.init=laplace",
        "model.layers=flatten | dense(64, init=laplace(gain=1)) | relu | dense(classes)",
        "train.groups=wide(features=32, rate=0.5)",
        "train.gradient=extragradient(0.02)",
        "eval.views=upside_down(0.25)",
        "train.epochs=1",
    ]
    assert runs.train(workdir, *flags) == 0
    Path(training).write_text(Path(training).read_text() + "# another line\n")
    capsys.readouterr()
    assert runs.start("eval", f"--workdir={workdir}") == 2
    assert runs.train(workdir, *flags) == 2
    assert all(f"config.extensions: {training} has changed since" in line for line in lines_of(capsys))
    Path(training).unlink()
    extensions.use([])
    assert runs.start("report", f"--workdir={workdir}") == 0
    assert runs.start("diff", str(workdir), str(workdir)) == 0
    for name in ("laplace", "wide", "extragradient", "upside_down"):
        assert name in (workdir / "report.html").read_text()
        assert not any(name in table for table in TABLES.values())


def test_a_module_that_mixes_images_in_evaluation_is_refused(file, tmp_path, capsys):
    code = "@cnn.layer\nclass Centred(nn.Module):\n    def __call__(self, x):\n        return x - x.mean(0)\n"
    flags = [f"extensions={file(code)}", "model.layers=flatten | centred | dense(classes)"]
    assert runs.train(tmp_path / "run", *flags) == 2
    assert "centred: in evaluation, too, what it makes of an image changes with the others" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_layer_that_is_not_finite_everywhere_mixes_no_images_unless_it_does(file):
    code = "@cnn.layer\ndef log1p(x):\n    return jnp.log1p(x)\n"
    code += "@cnn.layer\ndef log_of_share(x):\n    return jnp.log1p(x - x.mean(0))\n"
    alone, mixing = (
        resolved(file(code), **{"model.layers": f"flatten | relu | {name} | dense(classes)"}).rows[2]
        for name in ("log1p", "log_of_share")
    )
    assert not alone.layer.mixes_rows(alone.input)
    with pytest.raises(LayerError, match="log_of_share: in evaluation, too, what it makes of an image changes with"):
        mixing.layer.mixes_rows(mixing.input)


SAME = "    def apply(self, x, arrays, layout): return x\n"
UNTRUE = {
    "another shape than it declares": (
        "    def output(self, shape): return (5,)\n" + SAME,
        "says in output that it makes 5, and apply makes 784. Let both be the same in .*mine.py, line 6",
    ),
    "a shape that it does not declare": (
        "    def apply(self, x, arrays, layout): return x[:, :5]\n",
        "says in output that it makes 784, and apply makes 5. Let both",
    ),
    "another batch": (
        "    def apply(self, x, arrays, layout): return x[:1]\n",
        r"says in output that it makes 784, and apply makes \(1, 784\) of a batch of 2. Let both",
    ),
    "another shape in training": (
        SAME + "    def apply_train(self, x, arrays, layout, training): return x[:, 1:], {}\n",
        "says in output that it makes 784, and apply_train makes 783. Let both",
    ),
    "a map in one layout alone": (
        "    def output(self, shape): return shape[:2]\n" * 0
        + "    def output(self, shape): return (1, 1, 3)\n"
        + "    def apply(self, x, arrays, layout): return jnp.zeros((len(x), 1, 1, 3))\n",
        r"says in output that it makes 1x1x3, and apply makes \(3, 1, 1, 2\) of a batch of 2 \(layout CHWN\)",
    ),
    "nothing": (
        "    def apply(self, x, arrays, layout): pass\n",
        "must return in apply one array of floats, got None from",
    ),
    "whole numbers": (
        "    def apply(self, x, arrays, layout): return x.astype(int)\n",
        "must return in apply one array of floats, got int32 of .2, 784. from",
    ),
    "no pair in training": (
        SAME + "    def apply_train(self, x, arrays, layout, training): return x\n",
        "must return in apply_train a pair, its output and a dict of new statistics, got ",
    ),
    "a statistic that it has not": (
        SAME + "    def apply_train(self, x, arrays, layout, training): return x, {'mean': x.mean()}\n",
        r"must return in apply_train statistics that parameters declares, {}, got {'mean': \(\)}",
    ),
    "no shape": (
        "    def output(self, shape): pass\n" + SAME,
        "must return in output a tuple, .*, got None from .*line 6",
    ),
    "a text for a shape": (
        "    def output(self, shape): return 'abc'\n" + SAME,
        "must return in output a tuple, .*, got 'abc' from",
    ),
    "parameters of another kind": (
        "    def parameters(self, shape): return [('kernel', (3,))]\n" + SAME,
        r"must return in parameters a tuple of Parameter\(.*, got \[\('kernel', \(3,\)\)\] from .*mine.py, line 6",
    ),
    "parameters that fail": (
        "    def parameters(self, shape): return shape[7]\n" + SAME,
        "fails with IndexError: tuple index out of range in .*mine.py, line 8, in parameters",
    ),
    "a cost in words": (
        "    def macs(self, shape): return 'x'\n" + SAME,
        "must return in macs a whole number of .*, got 'x'",
    ),
    "a reach that is none": (
        "    def reach(self, shape): return (3, 3)\n" + SAME,
        r"must return in reach .*, got \(3, 3\)",
    ),
    "an array that it does not initialise": (
        "    def parameters(self, shape): return (cnn.layers.base.Parameter('scale', (3,), 'own'),)\n"
        "    def initialise(self, key, shape): return {'scales': jnp.ones(3)}\n" + SAME,
        r"must return in initialise arrays of the shapes {'scale': \(3,\)}, got {'scales'",
    ),
    "an array that it has not": (
        "    def apply(self, x, arrays, layout): return x * arrays['scale']\n",
        "fails with KeyError: 'scale' in .*mine.py, line 8, in apply",
    ),
    "no computation": ("    pass\n", "has no method apply, so nothing computes it. Write one in .*mine.py, line 6"),
}


@pytest.mark.parametrize("case", UNTRUE)
def test_a_layer_class_that_is_not_what_it_declares_is_refused(case, file):
    methods, message = UNTRUE[case]
    path = file(f"@cnn.layer\nclass Odd(cnn.Layer):\n{methods}")
    with pytest.raises(ConfigError, match=f"config.model.layers: odd at position 2 {message}"):
        resolved(path, **{"model.layers": "flatten | odd | dense(classes)"})


DOUBLED = "@cnn.layer\nclass Odd(cnn.Layer):\n    def apply(self, x, arrays, layout): return 2 * x\n"
IN_ONNX = "    def onnx(self, graph, x, arrays, shape, path): "
WRONG_IN_ONNX = {
    "a failure": (DOUBLED + IN_ONNX + "return shape[7]\n", "odd failed in .*mine.py, line 9, in onnx: IndexError: "),
    "nothing": (
        DOUBLED + IN_ONNX + "graph.node('Add', [x, x], path)\n",
        "odd must return in onnx the name of a node that it added, got None from .*mine.py, line 6",
    ),
    "an operator with too much": (
        DOUBLED + IN_ONNX + "return graph.node('Add', [x, x, x], path)\n",
        "odd: its method onnx makes no graph that ONNX takes, ValidationError: .*Mend it in .*mine.py, line 6",
    ),
    "an operator that is none": (
        DOUBLED + IN_ONNX + "return graph.node('Twice', [x], path)\n",
        "odd: its method onnx makes no graph that ONNX takes, .*Mend it in .*mine.py, line 6",
    ),
    "other numbers": (
        DOUBLED + IN_ONNX + "return graph.node('Mul', [x, x], path)\n",
        "odd: its method onnx computes other numbers than the layer, by up to .*Mend it in .*mine.py, line 6",
    ),
    "a function": (
        "@cnn.layer\ndef odd(x):\n    return 2 * x\n",
        "onnx has no operators for the function odd. Write it as a class of cnn.Layer with a method onnx, as in docs/",
    ),
}


@pytest.mark.parametrize("case", WRONG_IN_ONNX)
def test_what_is_wrong_of_a_layer_in_onnx_names_it(case, file):
    code, message = WRONG_IN_ONNX[case]
    layers = "flatten | residual(relu | odd, shortcut=identity) | dense(classes)"
    values = resolved(file(code), **{"model.layers": layers})
    variables = networks.variables(values.layers, values.data.image_shape)
    classes = tuple(map(str, range(values.data.classes)))
    network = Trained(values, networks.make_classifier(values, variables), classes, 0, "last")
    with pytest.raises(ConfigError, match=f"^(config.model.layers|--format): {message}"):
        onnx_graph.write(network)


@pytest.mark.slow(seconds=6)
def test_the_layer_class_of_the_documentation_is_trained_and_its_export_predicts_the_same(file, tmp_path):
    (code,) = re.findall(r"```python\n(# my_layer\.py\n.*?)```", EXTENSIONS, re.DOTALL)
    assert f"opset {onnx_graph.OPSET} " in EXTENSIONS
    path, workdir = file(code, "my_layer.py", ""), tmp_path / "run"
    layers = "flatten | maxout(8, pieces=3, scale=0.5) | dense(classes)"
    maxout = resolved(path, **{"model.layers": layers}).layers[1]
    rng = np.random.default_rng(0)
    x, kernel, bias = (rng.normal(size=shape).astype(np.float32) for shape in ((4, 6), (6, 24), (24,)))
    sums = (x @ kernel + bias).reshape(4, 8, 3)
    made = maxout.apply(jnp.asarray(x), {"kernel": kernel, "bias": bias}, "NHWC")
    np.testing.assert_allclose(made, 0.5 * sums.max(axis=2), rtol=1e-5, atol=1e-6)

    assert runs.train(workdir, f"extensions={path}", f"model.layers={layers}", "train.steps=20") == 0
    assert runs.start("export", f"--workdir={workdir}", "--format=onnx") == 0
    pictures = rng.integers(0, 256, (5, 8, 8, 1), np.uint8)
    session = onnxruntime.InferenceSession(workdir / "exports" / "model.onnx")
    (probabilities,) = session.run(None, {"images": pictures})
    np.testing.assert_allclose(probabilities, cnn.load(workdir).predict(pictures).probabilities, rtol=0, atol=1e-6)
    with pytest.raises(ConfigError, match=r"maxout\(8\) at position 1 needs a vector\. Place flatten before it"):
        resolved(path, **{"model.layers": "maxout(8) | dense(classes)"})
