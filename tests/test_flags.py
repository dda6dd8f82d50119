"""What was typed, and everything that is wrong with it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn import fields
from cnn.cli import fields as fields_command
from cnn.cli import parser
from cnn.cli.commands import COMMANDS, FLAGS, OF_COMMAND, SWITCHES
from cnn.config import config
from cnn.registry import LAYERS


def test_nothing_typed_is_train():
    invocation = parser.parse([])
    assert (invocation.command, invocation.flags, invocation.overrides) == ("train", {}, [])
    assert invocation.problems == []


def test_command_flags_and_overrides_are_read_in_any_order():
    invocation = parser.parse(["--config.seed=3", "--workdir", "runs/a", "eval", "-split=valid"])
    assert invocation.command == "eval"
    assert invocation.flags == {"workdir": "runs/a", "split": "valid"}
    assert invocation.overrides == [("seed", "3")]
    typed = parser.parse(["--config.optimizer.name=sgd", "--config.seed", "-1", "--config.model.layers=a(b=1) | c"])
    assert typed.overrides == [("optimizer.name", "sgd"), ("seed", "-1"), ("model.layers", "a(b=1) | c")]
    assert typed.problems == []


@pytest.mark.parametrize("spelling", ["-h", "-help", "--help", "--helpfull", "--helpshort"])
def test_help_is_asked_for(spelling):
    assert parser.parse(["train", spelling]).help


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "'trian': unknown command. Did you mean 'train'? Known: train, "),
        (["--"], "'--': unknown command. "),
        (["train", "stray"], "'stray': train takes no such argument. Flags begin with --"),
        (["train", "-"], "'-': train takes no such argument. Flags begin with --"),
        (["--completion=fish"], "--completion: must be the name of a shell, got 'fish'. Known: bash, zsh."),
        (["--wrkdir=a"], "--wrkdir: is no flag. Did you mean '--workdir'? Known: --config, --workdir, "),
        (["--confg.seed=1"], "--confg.seed: is no flag. Did you mean '--config'? Known: --config, --workdir, "),
        (["eval", "--splt=test"], "--splt: is no flag. Did you mean '--split'? Known: --workdir, --split, --weights, "),
        (["--workdir"], "--workdir: has no value. Write --workdir=VALUE"),
        (["--workdir", "--config.seed=1"], "--workdir: has no value. Write --workdir=VALUE"),
        (["--config.seed"], "--config.seed: has no value. Write --config.seed=VALUE"),
        (["--workdir="], "--workdir: is empty. Write --workdir=VALUE"),
        (["--config="], "--config: is empty. Write --config=VALUE"),
        (["--config=a", "--config=a"], "--config: is given twice. Keep one"),
        (["--workdir=a", "--workdir=b"], "--workdir: is given twice. Keep one"),
        (["--config.seed=1", "--config.seed=1"], "--config.seed: is given twice. Keep one"),
        (["train", "--split=test"], "--split: is no flag of train. Leave it out"),
        (["summary", "--workdir=a"], "--workdir: is no flag of summary. Leave it out"),
        (["eval", "--config=a"], "--config: eval reads the run's own config. Leave it out"),
        (["eval", "--config.seed=1"], "--config.seed: eval reads the run's own config. Leave it out"),
        (["eval", "--split=tset"], "--split: must be one of train, valid, test, got 'tset'"),
        (["filters", "--config.seed=1"], "--config.seed: filters takes no config. Leave it out"),
        (["filters", "--config=a"], "--config: filters takes no config. Leave it out"),
        (["filters", "--workdir=a"], "--workdir: is no flag of filters. Leave it out"),
        (["filters", "--weighted=yes"], "--weighted: takes no value, got 'yes'. Write --weighted"),
        (["train", "--weighted"], "--weighted: is no flag of train. Leave it out"),
        (["filters", "--pool=min"], "--pool: must be one of max, average, none, got 'min'"),
        (["eval", "--weights=emma"], "--weights: must be one of last, best, ema, got 'emma'"),
    ],
)
def test_a_mistake_is_one_line(arguments, message):
    (problem,) = parser.parse(arguments).problems
    assert problem.startswith(message)
    assert "\n" not in problem


def test_all_mistakes_are_collected():
    invocation = parser.parse(["eval", "x", "--config=a", "--config=b", "--split", "--nonsense=1", "--weights=?"])
    assert len(invocation.problems) == 6


@pytest.mark.slow
@given(st.lists(st.one_of(st.text(max_size=8), st.sampled_from([*COMMANDS, *(f"--{name}" for name in FLAGS)]))))
def test_any_command_line_is_read_without_an_error(arguments):
    invocation = parser.parse(arguments)
    assert invocation.command in COMMANDS
    assert all(isinstance(problem, str) and problem for problem in invocation.problems)


def test_help_fits_on_one_screen_and_names_everything():
    lines = parser.usage().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 120
    assert all(any(line.startswith(f"  {name} ") for line in lines) for name in COMMANDS)
    assert all(f"{code} " in "".join(lines[-2:]) for code in (0, 2, 3, 73, 74, 75, 143))


def test_a_commands_help_lists_its_own_flags_and_no_others():
    for name, command in COMMANDS.items():
        lines = parser.usage(parser.parse([name, "--help"])).splitlines()
        assert lines[0].startswith(f"python main.py {name}")
        assert command.help in lines
        assert max(map(len, lines)) <= 120
        listed = [line.split()[0].removeprefix("--").partition("=")[0] for line in lines if line.startswith("  --")]
        assert listed == [*(["config"] if command.takes_config else []), *command.flags]


def test_a_flag_that_is_not_the_same_for_all_commands_is_told_of_each():
    for command, flag in OF_COMMAND:
        assert flag in (*COMMANDS[command].flags, "config")
        assert " ".join(OF_COMMAND[command, flag].split()) in " ".join(
            parser.usage(parser.parse([command, "--help"])).split()
        )


def test_every_flag_belongs_to_a_command():
    taken = {name for command in COMMANDS.values() for name in command.flags}
    assert {"config", *taken} == {*FLAGS, *SWITCHES}


def test_words_are_kept_for_a_command_that_takes_them_and_two_dashes_end_the_flags():
    invocation = parser.parse(["filters", "--weighted", "a.png", "--filter", "-1 0 1", "--", "--pool=max", "-b.png"])
    assert invocation.problems == []
    assert invocation.flags == {"weighted": "on", "filter": "-1 0 1"}
    assert invocation.words == ["a.png", "--pool=max", "-b.png"]


SECTIONS = (*config.SECTIONS, *config.NAMED, *config.SCALARS, "model")


def told(*arguments):
    """Returns what `fields` tells of words, after a line with these arguments."""
    invocation = parser.parse(["fields", *arguments])
    assert (invocation.command, invocation.problems) == ("fields", [])
    return fields_command.text(invocation.words, invocation.overrides)


@pytest.mark.parametrize("section", SECTIONS)
def test_the_help_of_a_section_lists_every_field_with_what_it_may_hold(section):
    invocation = parser.parse([f"--config.{section}.help", "summary"])
    assert (invocation.command, invocation.words, invocation.problems) == ("fields", [section], [])
    lines = told(section).splitlines()
    assert max(map(len, lines)) <= 80
    kinds = [*config.NAMED.get(section, {}).values(), *filter(None, [config.SECTIONS.get(section)])]
    for kind in kinds:
        for name in fields.options(kind):
            assert any(line.startswith((f"  {name} = ", f"  {name} ")) for line in lines), name
    for name in LAYERS if section == "model" else ():
        assert any(line.startswith(f"  {name}") for line in lines), name


def test_the_help_of_fields_tells_type_range_default_and_meaning():
    said = " ".join(told("--config.train.help").split())
    assert said.startswith(
        "config.train: How the network is trained. batch_size = 32 an integer of at least 1. Pictures"
    )
    assert 'clip = "none" one of none, global_norm(max_norm), value(limit).' in said
    said = told("--config.optimizer.help", "--config.optimizer.name=momentum")
    assert "adam" not in said
    assert "momentum = 0.9" in said and "a finite number in [0, 1)" in said
    assert "a finite number above 0; must be set" in said
    said = " ".join(told("--config.schedule.help").split())
    assert "constant by default" in said and "the warmup comes first, and the epochs are counted from its end" in said


def test_the_help_of_a_config_names_every_section_and_field():
    words = set(told("--config.help").replace(",", " ").split())
    assert {*SECTIONS, "learning_rate", "warmup_steps", "accumulate_steps", "valid_fraction"} <= words


def test_the_help_of_no_section_is_a_mistake():
    invocation = parser.parse(["--config.optimzer.help"])
    assert parser.answer(invocation) is None
    assert invocation.problems[0].startswith("--config.optimzer.help: is no section. Did you mean 'optimizer'? Known: ")
    assert parser.parse(["--config.optimizer.name=adam"]).command == "train"


def test_the_help_of_the_config_is_that_of_the_command_whatever_else_stands_in_the_line():
    wrong = parser.parse(["evl", "--splt=test", "--workdir=", "--config=digits", "--config.train.help"])
    asked = parser.parse(["fields", "train", "--config=digits"])
    assert (wrong.command, wrong.words, wrong.flags, wrong.problems) == (asked.command, asked.words, asked.flags, [])
    assert parser.parse(["--config.help", "train"]).words == []
    assert parser.parse(["--config.train.help", "--help"]).help


def test_the_version_names_the_commit_and_the_packages():
    first, *packages = parser.answer(parser.parse(["--version"])).splitlines()
    assert re.match(r"cnn \d+\.\d+\.\d+, (commit [0-9a-f]{40}|whose commit is not known)", first)
    assert [line.split()[0] for line in packages] == ["jax", "flax", "optax"]
