"""The page that is written from the code: equal to what the code says now, and nothing missing that there is."""

import fnmatch
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import runs
import sweeps
from cnn import fields, registry
from cnn.api import find_rate
from cnn.cli import fields as told
from cnn.cli import parser
from cnn.cli.commands import COMMANDS, FLAGS, SWITCHES
from cnn.config import config
from cnn.runs import run_dir, sweep_record
from cnn.system import exit_codes

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPT = REPOSITORY / "docs" / "write_reference.py"
PAGE = (REPOSITORY / "docs" / "reference.md").read_text()
# By the text of the heading, of whichever order, without what follows under a heading below it.
PARTS = {part.split("\n")[0].strip("`"): part for part in re.split(r"(?m)^##+ ", PAGE)[1:]}


def rows(heading):
    """Returns the rows of the tables under a heading by what their first cell has in code."""
    found = {}
    for line in PARTS[heading].splitlines():
        if match := re.match(r"\| \[?`([\w./<>-]+)", line):
            found.setdefault(match[1].rstrip("="), []).append(line)
    return found


def test_the_page_is_what_the_code_says():
    spec = importlib.util.spec_from_file_location("write_reference", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.page() == PAGE, "python docs/write_reference.py writes it again"


@pytest.mark.slow(seconds=1)
def test_a_page_that_says_otherwise_is_told_by_the_exit_code(tmp_path):
    (tmp_path / "docs").mkdir()
    for name in ("cnn", "configs"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    script = tmp_path / "docs" / SCRIPT.name
    script.write_text(SCRIPT.read_text())
    page = tmp_path / "docs" / "reference.md"
    for content, code in ((None, 1), (PAGE.replace("adamw", "adamv"), 1), (PAGE, 0)):
        if content is not None:
            page.write_text(content)
        done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (code, "")
    page.unlink()
    subprocess.run([sys.executable, str(script)], check=True)
    assert page.read_text() == PAGE


def test_the_contents_lead_to_every_heading_and_no_two_headings_are_the_same():
    headings = re.findall(r"(?m)^##+ (.*)$", PAGE)
    anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert len({*anchors}) == len(anchors)
    contents = PAGE.partition("\n## ")[0]
    assert re.findall(r"\(#([\w-]+)\)", contents) == anchors
    assert {*re.findall(r"\(#([\w-]+)\)", PAGE)} <= {*anchors}


def test_every_row_of_a_table_has_as_many_cells_as_its_header():
    tables = re.findall(r"(?m)(?:^\|.*\n)+", PAGE)
    assert len(tables) > 40
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1, table.splitlines()[0]
        assert not re.search(r"(?<![\\`])<(?!br>)[a-z]", re.sub("`[^`]*`", "", table)), "HTML would swallow it"


@pytest.mark.parametrize("what", registry.TABLES)
def test_everything_that_is_registered_is_there_with_its_options(what):
    heading = f"{registry.plural(what)[0].upper()}{registry.plural(what)[1:]}"
    found, package = rows(heading), registry.of_package(registry.TABLES[what])
    assert {*package} <= {*found} and package
    for name, kind in package.items():
        documented = told.documented(kind)
        for option, default in fields.defaults(kind).items():
            assert documented.get(option), f"{name} does not say what {option} is"
            if what in config.NAMED:
                of = [line for line in found[option] if f"`{name}`" in line or "| all |" in line]
                shown = f"`{option}`" if default is fields.REQUIRED else f"`{option} = {told.shown(default)}`"
                assert of and any(shown in line for line in found[name]), (name, option)
            else:
                assert any(f"`{option}`: " in line for line in found[name]), (name, option)
        source = re.search(r"https://[\w./-]*\w", kind.__doc__ or "")
        assert source is None or any(source[0] in line for line in found[name]), name


def test_every_field_of_every_section_is_there_and_says_what_it_is():
    sections = {f"config.{name}": kind for name, kind in config.SECTIONS.items()} | {"--sweep": told.SECTIONS["sweep"]}
    for path, kind in sections.items():
        found = rows(path)
        for name in fields.options(kind):
            (row,) = found[name]
            assert all(row[2:-2].replace(r"\|", "").split(" | ")), (path, name)
    assert {*rows("Fields of no section")} == {*config.SCALARS}
    assert {"layers", "init"} <= {*rows("config.model")}
    assert all(f"config.{section}" in PARTS for section in config.NAMED)


def test_every_command_flag_and_answer_is_there():
    assert {*rows("Commands")} == {*COMMANDS}
    found = rows("Flags")
    assert {f"--{name}" for name in (*FLAGS, *SWITCHES)} | {*(flag.partition("=")[0] for flag in parser.ANSWERS)} <= {
        *found
    }
    for name, command in COMMANDS.items():
        (row,) = rows("Commands")[name]
        assert all(f"`--{flag}`" in row for flag in command.flags), name
        for flag in command.flags:
            assert any(f"`{name}`" in line for line in found[f"--{flag}"]), (name, flag)


def test_every_config_is_there_by_the_first_line_of_its_docstring():
    for path in (REPOSITORY / "configs").rglob("*.py"):
        name = path.relative_to(REPOSITORY / "configs").with_suffix("").as_posix()
        of_sweep = name.startswith("sweeps/")
        (row,) = rows("Spaces of sweeps")[f"configs/{name}.py"] if of_sweep else rows("Configs")[name]
        assert path.read_text().split("\n")[0].strip('"') in row


def test_every_exit_code_is_there_and_the_help_tells_the_same():
    codes = {value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}
    assert codes == {*exit_codes.EXIT_CODES} and {0, 2, 3, 73, 74, 75, 143} <= codes
    help_text = " ".join(parser.usage().split())
    for code, said in exit_codes.EXIT_CODES.items():
        assert f"\n| {code} | {said.short} | " in PARTS["Exit codes"]
        assert f"{code} {said.short}" in help_text


def unknown(folder, known):
    """Returns what lies in a folder and has no line in a table of files."""
    patterns = [re.sub("<[^>]*>", "*", name.rstrip("/")) for name in known]
    return [path.name for path in folder.iterdir() if not any(fnmatch.fnmatch(path.name, each) for each in patterns)]


def test_every_file_of_the_tables_is_there():
    known = {"A run's directory": run_dir.FILES, "A sweep's directory": sweep_record.FILES}
    for heading, files in (known | {"What find-rate writes": find_rate.FILES}).items():
        assert [*re.findall(r"(?m)^\| `([^`]+)`", PARTS[heading])] == [*files]


@pytest.mark.slow(seconds=10)
def test_a_run_and_a_sweep_write_no_file_that_has_no_line(tmp_path):
    run, sweep = tmp_path / "run", tmp_path / "sweep"
    assert runs.train(run, "report.page=end", "train.epochs=1") == 0
    assert runs.start("explain", f"--workdir={run}", "--images=2") == 0
    assert runs.start("export", f"--workdir={run}", "--format=safetensors") == 0
    assert unknown(run, run_dir.FILES) == []
    assert sweeps.sweep(sweep, "seed=0,1", "config.train.epochs=1") == 0
    assert runs.start("eval", f"--workdir={sweep}", "--ensemble") == 0
    assert unknown(sweep, sweep_record.FILES) == []
    assert unknown(sweep / "trials" / "0000", run_dir.FILES) == []
