"""The command `fields`: everything that a config may hold or name, from the records themselves."""

from pathlib import Path

import pytest

from cnn import fields, registry
from cnn.cli import fields as command
from cnn.cli import launch, parser
from cnn.config import config, extensions
from cnn.registry import TABLES

REPOSITORY = Path(__file__).resolve().parents[1]
LAB = REPOSITORY / "docs" / "my_lab.py"
OWN = '''\
import cnn


@cnn.schedule
def staircase(step, total_steps, height: cnn.Fraction, turn: cnn.Static[float] = 2.0, \\
              shape: str = "a\\x1b[2Jb"):
    """Falls in steps, as Smith et al. 2017 do. Then it rests.

    Args:
      height: of a step, as a share
        of the whole. Not more.
      turn (float): how often.
    """


class Secret:
    """Is not entered."""
'''


@pytest.fixture(autouse=True)
def _no_extension_stays():
    yield
    extensions.use(())


@pytest.fixture
def own(tmp_path, monkeypatch):
    # A copy was executed before: what is named now is what is told of.
    copy = tmp_path / "copy" / LAB.name
    copy.parent.mkdir()
    copy.write_bytes(LAB.read_bytes())
    extensions.use(extensions.read([str(copy)]))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)


def told(*words, width=command.WIDTH):
    return command.text(words, width=width)


def flat(*words):
    return " ".join(told(*words).split())


def printed(capsys, *arguments):
    """Returns the exit code and both outputs of a command line."""
    code = launch.launch(parser.parse(list(arguments)))
    return code, *capsys.readouterr()


def check_refused(capsys, word, message):
    """Checks that a name of nothing is told in one line, and nothing else printed."""
    code, out, err = printed(capsys, "fields", "train", word)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith(message)


def test_without_words_it_names_everything_on_two_screens():
    lines = told().splitlines()
    assert len(lines) <= 80
    words = set(" ".join(lines).replace(",", " ").split())
    assert {"sweep", *config.KNOWN, *map(registry.plural, TABLES), "optax", "nn"} <= words
    assert {name for table in TABLES.values() for name in table} <= words
    sections = [*config.SECTIONS.values(), *config.NAMED["optimizer"].values(), *config.NAMED["schedule"].values()]
    assert {name for kind in sections for name in fields.options(kind)} <= words


@pytest.mark.few(5)
@pytest.mark.parametrize("what", [what for what, table in TABLES.items() if table])
def test_a_kind_tells_each_of_its_things_with_every_option(what):
    table = TABLES[what]
    assert told(what).startswith(told(registry.plural(what)).splitlines()[0])
    lines = told(registry.plural(what)).splitlines()
    for name, kind in table.items():
        start = next(index for index, line in enumerate(lines) if line.startswith(f"{name}: "))
        of_it = lines[start : lines.index("", start) if "" in lines[start:] else None]
        for option, default in fields.defaults(kind).items():
            shown = f"  {option} = " if default is not fields.REQUIRED else f"  {option} "
            assert any(line.startswith(shown) for line in of_it), (name, option)


@pytest.mark.parametrize("width", [80, 60, 40, 20])
@pytest.mark.parametrize("word", ["", *TABLES, *config.KNOWN, "sweep"])
def test_every_line_fits_but_for_words_that_do_not(word, width):
    for line in told(*filter(None, [word]), width=width).splitlines():
        assert len(line) <= width or " " not in line.strip(), line
        assert line == line.rstrip()


def test_a_thing_tells_its_docstring_its_place_and_its_options():
    assert told("focal").startswith("focal, a loss: set as focal(gamma=2.0) in config.train.loss\n  ")
    assert "  gamma = 2.0               a finite number of at least 0. How much less sure" in told("focal").splitlines()
    assert told("adam").startswith("adam, an optimizer: set in config.optimizer.name\n  The running mean")
    assert "  learning_rate             a finite number above 0; must be set. The rate at" in told("adam").splitlines()
    assert "--sweep.pruner" in told("halving") and "Source: Li et al. 2018, https://arxiv.org/" in flat("halving")
    assert "Lower is better." in told("loss") and "Higher is better." in told("auroc")
    assert "body a chain, a | b, of the same kind; must be set." in flat("residual")


def test_a_field_tells_all_that_is_said_of_it():
    assert told("train.monitor").startswith('config.train.monitor:\n  monitor = "accuracy"      one of accuracy, top5')
    assert "section 7." in flat("train.label_smoothing")
    assert flat("data.fit") == flat("data.resize")
    assert told("sweep.tries").startswith("--sweep.tries:\n")
    assert told("optimizer.momentum").startswith("config.optimizer.momentum, of momentum, nesterov:\n  momentum = 0.9")
    assert flat("optimizer.name").startswith("config.optimizer: `name` is one of sgd, ")
    assert told("model.layers") == told("model")


def test_a_word_stands_for_everything_of_its_name():
    blocks = told("epochs").split("\n\n")
    assert [block.split("\n")[0] for block in blocks] == [
        "epochs, a cadence: set as epochs(number) in config.checkpoint.every",
        "config.train.epochs:",
    ]
    assert [line for line in told("none").splitlines() if line.startswith("none, ")] == [
        "none, a clip: set as none in config.train.clip",
        "none, an average: set as none in config.train.average",
        "none, a weighting: set as none in config.train.class_weights",
        "none, a watch: set as none in config.train.watch",
        "none, a pruner: set as none in --sweep.pruner",
    ]
    assert told("optimizer") == told("optimizers")
    assert told("seed", "eval") == f"{told('seed')}\n\n{told('eval')}"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("adma", "fields: unknown name 'adma'. Did you mean 'adam'? python main.py fields lists what there is\n"),
        ("lr", "fields: unknown name 'lr'. Did you mean 'learning_rate'? python main.py fields lists what there is\n"),
        ("zzzzzz", "fields: unknown name 'zzzzzz'. python main.py fields lists what there is\n"),
        ("trian.loss", "fields: unknown name 'trian.loss'. Did you mean 'train.loss'? python main.py fields lists wh"),
        ("eval.weigths", "fields: unknown field 'weigths' of eval. Did you mean 'weights'? Known: batch_size, every_"),
        ("model.width", "fields: unknown field 'width' of model. Known: layers, init.\n"),
    ],
)
def test_a_name_of_nothing_is_one_line(capsys, word, message):
    check_refused(capsys, word, message)


@pytest.mark.slow(seconds=2)
@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("nn.Dropuot", "fields: unknown name 'nn.Dropuot'. Did you mean 'nn.Dropout'? Known: nn.BatchNorm, nn.Conv, "),
        ("nn.RNN", "fields: cannot be a layer: RNN: its field cell has no default and cannot be an option, got "),
        ("optax.adabelif", "fields: unknown name 'optax.adabelif'. Did you mean 'optax.adabelief'? See fields optax\n"),
        ("optax.sm3", "fields: optax.sm3 takes a fixed learning rate, and a schedule gives one of each step; optax."),
    ],
)
def test_a_name_of_nothing_in_a_library_is_one_line(capsys, word, message):
    check_refused(capsys, word, message)


def test_all_names_of_nothing_are_told_together(capsys):
    code, _, err = printed(capsys, "fields", "adma", "train", "foccal")
    assert (code, len(err.splitlines())) == (2, 2)


@pytest.mark.slow(seconds=2)
def test_extensions_are_listed_with_their_file(capsys, own):
    flag = f"--config.extensions={LAB},own.py"
    code, out, err = printed(capsys, "fields", flag)
    assert (code, err) == (0, "")
    assert f"focal; {LAB}: focal_loss" in " ".join(out.split())
    assert "; own.py: staircase" in " ".join(out.split())
    code, out, _ = printed(capsys, "fields", flag, "staircase", "random_gamma", "resnet20", "schedules")
    assert code == 0
    assert out.startswith(
        "staircase, a schedule: set in config.schedule.name (own.py)\n  Falls in steps, as Smith et al."
    )
    assert "random_gamma, an augmentation: set as random_gamma(spread=0.5" in out
    assert f"({LAB})" in out and "He et al. 2016" in out
    said = " ".join(out.split())
    assert "staircase: Falls in steps, as Smith et al. 2017 do. (own.py)" in said
    assert "height a finite number in [0, 1]; must be set. of a step, as a share of the whole. turn = 2.0" in said
    assert "turn = 2.0 a finite number; another value compiles anew. how often." in said
    assert "\x1b" not in out
    assert "Secret" not in out


def test_the_help_of_a_section_takes_the_same_extensions(capsys, own):
    asked = printed(capsys, "fields", "schedule", "--config.extensions=own.py")
    helped = printed(capsys, "summary", "--config.schedule.help", "--config.extensions=own.py")
    assert asked == helped and "staircase" in asked[1]
    assert printed(capsys, "--config.help") == printed(capsys, "fields")
    assert "staircase" not in printed(capsys, "fields")[1]


def test_the_extensions_of_a_config_file_are_taken_and_nothing_else_of_it(capsys, own):
    Path("base.json").write_text('{"extensions": ["own.py"], "train": {"nonsense": 1}}')
    code, out, err = printed(capsys, "fields", "staircase", "--config=base.json")
    assert (code, err) == (0, "") and "own.py" in out
    code, _, err = printed(capsys, "fields", "staircase", "--config=base.json", "--config.extensions=")
    assert code == 2 and err.startswith("fields: unknown name 'staircase'.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.extensions=nosuch.py"], "config.extensions: no such file, got 'nosuch.py'. Name a Python file"),
        (["--config.extensions=(1, 2)"], "config.extensions: must be "),
        (["--config=nosuch"], "config: unknown name 'nosuch'. "),
        (["--config.train.epohcs.help"], "fields: unknown field 'epohcs' of train. Did you mean 'epochs'? Known: "),
        (["--workdir=a"], "--workdir: is no flag of fields. Leave it out"),
    ],
)
def test_what_is_wrong_with_the_flags_is_one_line(capsys, arguments, message):
    code, out, err = printed(capsys, "fields", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(message) and len(err.splitlines()) == 1


@pytest.mark.slow(seconds=3)
def test_a_thing_of_a_library_is_told_as_one_of_the_package():
    assert "nn.Dropout(rate, broadcast_dims=()," in told("nn.Dropout")
    assert "rate a finite number; another value compiles anew; must be set. the dropout" in flat("nn.Dropout")
    assert told("optax.adabelief").startswith("optax.adabelief, an optimizer: set in config.optimizer.name\n  The AdaB")
    assert "b1 = 0.9 a finite number. Exponential decay rate" in flat("optax.adabelief")
    assert "see `optax.scale_by_learning_rate`." in flat("optax.adabelief")
    assert told("optax.huber_loss").startswith("optax.huber_loss, a loss: set as optax.huber_loss(delta=1.0) in\n")


@pytest.mark.slow(seconds=2)
def test_every_usable_module_of_linen_is_listed():
    said = told("nn")
    assert "\n  nn.LayerNorm " in said and "nn.RNN\n" not in said and "nn.RNN " not in said
    assert " object at 0x" not in said


@pytest.mark.slow(seconds=25)
def test_every_usable_function_of_optax_is_listed():
    said = told("optax")
    for name in ("adabelief", "contrib.adopt", "cosine_decay_schedule", "huber_loss"):
        assert f"\n  optax.{name}" in said
    assert "optax.sm3" not in said and "scale_by" not in said
