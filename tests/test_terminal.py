"""What a person sees: nothing is cut off, nothing steers the terminal, whatever the width."""

import os
import pty
import re
import sys
import threading
import types

import numpy as np
import pytest

import runs
from cnn import metrics
from cnn.cli import printing
from cnn.config import resolve
from cnn.layers.base import show as layers_show
from cnn.layers.base import written
from cnn.train.progress_bar import ProgressBar

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def network(layers="conv(4, 3) | relu | max_pool(2) | flatten | dense(classes)"):
    values = resolve.resolve({**runs.SECTIONS, "model": {"layers": layers}})
    return values.rows, values.data.image_shape


def evaluation(names, correct=3):
    """Returns the record of an evaluation in which each class is taken for the next once."""
    classes = len(names)
    labels = np.repeat(np.arange(classes), correct + 1)
    seen = np.where(np.arange(len(labels)) % (correct + 1) == 0, (labels + 1) % classes, labels)
    scored = metrics.evaluate(np.eye(classes, dtype=np.float32)[seen] * 5, labels, class_names=names)
    return {"split": "test", **scored.to_json()}


@pytest.fixture
def screen(monkeypatch, capsys):
    """Shows something on a terminal of so many columns; returns its lines without the escapes, and with them."""

    def show(columns, what, *args):
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", str(columns))
        what(*args)
        text = capsys.readouterr().out
        return ESCAPES.sub("", text).splitlines(), text

    return show


def cells(rows):
    for row in rows:
        yield from filter(None, (row.path, written(row.layer), layers_show(row.output), row.formula))
        yield from row.arithmetic.split(" + ")
        yield from (f"{number:,}" for number in (row.macs, row.count()) if number)


def test_a_pipe_gets_the_whole_table_whatever_the_width(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    rows, shape = network()
    printing.summary(rows, shape)
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "…" not in text
    header, line, *body = text.splitlines()
    assert header.split() == ["layer", "output", "how", "parameters", "=", "MACs", "bytes", "sees", "jump"]
    assert set(line) == {"─"}
    for row, shown in zip(rows, body[1:], strict=False):
        assert all(cell in shown for cell in cells([row]))


def test_eighty_columns_hold_the_journey_as_two_tables(screen):
    rows, shape = network("conv(64, 3) | relu | max_pool(2) | flatten | dense(128) | relu | dense(classes)")
    lines, _ = screen(80, printing.summary, rows, shape)
    assert [line.split() for line in lines if line.startswith("layer")] == [
        ["layer", "output", "how", "parameters", "="],
        ["layer", "MACs", "bytes", "sees", "jump"],
    ]
    assert len(lines) < 2 * len(rows) + 15


@pytest.mark.parametrize("columns", [20, 40, 80, 97, 200])
def test_the_journey_is_whole_on_a_terminal_of_any_width(screen, columns):
    rows, shape = network()
    lines, _ = screen(columns, printing.summary, rows, shape)
    text = "\n".join(lines)
    assert "…" not in text
    assert all(cell in text for cell in cells(rows))
    assert "410 parameters = 1,640 bytes of float32" in text


@pytest.mark.parametrize("columns", [20, 40, 52, 80, 200])
def test_an_evaluation_is_whole_on_a_terminal_of_any_width(screen, columns):
    names = [f"class number {n}" for n in range(7)]
    lines, _ = screen(columns, printing.evaluation, evaluation(names))
    text = "\n".join(lines)
    assert "…" not in text
    assert all(text.count(name) >= 2 for name in names)
    assert text.count("0.7500") >= 22  # the accuracy, and precision, recall and F1 of seven classes
    if columns == 200:
        assert "6 class number 6 1 . . . . . 3" in [" ".join(line.split()) for line in lines]


def test_many_classes_are_listed_by_their_confusions(screen):
    lines, _ = screen(200, printing.evaluation, evaluation([f"c{n}" for n in range(21)]))
    assert "most confused:" in lines
    assert "  1 x c0 taken for c1" in lines
    assert sum(" taken for " in line for line in lines) == 10


def test_no_confusion_is_said_too(screen):
    record = evaluation(["a", "b"])
    record["confusion"] = [[4, 0], [0, 4]]
    lines, _ = screen(10, printing.evaluation, record)
    assert lines[-1] == "none confused"


def test_a_ratio_without_a_denominator_is_a_dash(screen):
    record = evaluation(["a", "b"])
    record["classes"][0]["precision"] = None
    lines, _ = screen(100, printing.evaluation, record)
    assert any(line.split()[:3] == ["a", "-", "0.7500"] for line in lines)


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\nb", "a\rb", "\x9b31m", "\u202etxt", "a\tb", "\x07"])
@pytest.mark.parametrize("columns", [30, 200])
def test_a_hostile_name_cannot_steer_the_terminal(screen, columns, name):
    _, text = screen(columns, printing.evaluation, evaluation([name, "other"]))
    assert all(letter == "\n" or letter.isprintable() for letter in ESCAPES.sub("", text))
    assert set(ESCAPES.findall(text)) <= {"\x1b[0m", "\x1b[1m"}


@pytest.mark.parametrize("name", ["[red]x[/red]", "[link=http://x]x", ":smile:", "[/]"])
def test_names_are_shown_as_they_are(screen, name):
    lines, _ = screen(200, printing.evaluation, evaluation([name, "other"]))
    assert any(line.startswith(f"{name} ") for line in lines)


def test_no_colour_is_shown_where_none_is_wanted(screen, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    _, text = screen(200, printing.evaluation, evaluation(["a", "b"]))
    assert not re.search(r"\x1b\[[0-9;]*(3|4|9|10)[0-7]m", text)


def report():
    reporter = ProgressBar(total=30, batch_size=1)
    with reporter.running(0):
        reporter.advance(10)
        reporter.line("epoch 1/3  [red]x")
        reporter.advance(20)
    with reporter.stage("evaluating test"):
        pass


@pytest.fixture
def reported(monkeypatch):
    """Reports with a pseudo-terminal of so many columns for stderr; returns all that it was sent."""

    def watch(columns):
        monkeypatch.delenv("FORCE_COLOR", raising=False)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(columns))
        master, slave = pty.openpty()
        with os.fdopen(master, "rb", buffering=0) as screen, os.fdopen(slave, "w") as stream:
            with monkeypatch.context() as patch:
                patch.setattr(sys, "stderr", stream)
                report()
            print("END", file=stream, flush=True)
            shown = b""
            while b"END" not in shown:  # a pseudo-terminal hands over what it got in pieces
                shown += screen.read(65_536)
            return shown.decode()

    return watch


def test_a_terminal_shows_a_bar_with_throughput_and_time_left(reported):
    shown = ESCAPES.sub("", reported(100))
    assert "30/30" in shown
    assert "images/s" in shown
    assert "left" in shown
    assert "━" in shown
    assert "\nepoch 1/3  [red]x" in shown.replace("\r", "\n")
    assert 0 < shown.index("compiling") < shown.index("30/30") < shown.index("evaluating test")


@pytest.mark.parametrize("columns", [40, 60])
def test_a_narrow_terminal_keeps_the_numbers_of_the_bar(reported, columns):
    shown = ESCAPES.sub("", reported(columns))
    assert "…" not in shown
    assert "30/30" in shown
    assert "left" in shown


def test_no_colour_is_in_the_bar_where_none_is_wanted(reported, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    shown = reported(100)
    assert "30/30" in ESCAPES.sub("", shown)
    assert not re.search(r"\x1b\[[0-9;]*(3|4|9|10)[0-7]m", shown)


def test_elsewhere_there_are_plain_lines_and_no_bar(capsys):
    report()
    said = capsys.readouterr()
    assert said.err == "epoch 1/3  [red]x\n"
    assert said.out == ""


def wait_for_timers():
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join()


def test_a_long_silence_is_explained_where_no_terminal_shows_a_bar(monkeypatch, capsys):
    monkeypatch.setattr("cnn.train.progress_bar.PATIENCE", 0)
    reporter = ProgressBar(total=30, batch_size=1)
    with reporter.running(0):
        wait_for_timers()
        reporter.advance(10)
        with reporter.stage("evaluating test"):
            wait_for_timers()
    assert capsys.readouterr().err == "compiling the training step ...\nevaluating test ...\n"


def test_nothing_is_said_of_what_does_not_take_long_or_is_to_be_quiet(monkeypatch, capsys):
    monkeypatch.setattr("cnn.train.progress_bar.PATIENCE", 3600)
    report()
    assert not any(
        isinstance(thread, threading.Timer) and not thread.finished.is_set() for thread in threading.enumerate()
    )
    monkeypatch.setattr("cnn.train.progress_bar.PATIENCE", 0)
    with ProgressBar(total=30, batch_size=1, quiet=True).stage("evaluating test"):
        wait_for_timers()
    assert capsys.readouterr().err == "epoch 1/3  [red]x\n"


@pytest.fixture
def clock(monkeypatch):
    """A clock of the reporter's that moves when it is told to."""
    moving = types.SimpleNamespace(now=100.0)
    monkeypatch.setattr("cnn.train.progress_bar.time", types.SimpleNamespace(monotonic=lambda: moving.now))
    return moving


def dispatch(reporter, clock, *calls):
    """Makes the calls of one dispatch: the seconds that each takes, and its steps."""
    began = clock.now
    for seconds, steps in calls:
        clock.now += seconds
        reporter.advance(steps)
    reporter.took(sum(steps for _, steps in calls), clock.now - began)


def test_throughput_leaves_out_what_compiles_and_what_trains_nothing(clock):
    reporter = ProgressBar(total=100, batch_size=8, quiet=True)
    with reporter.running(0):
        dispatch(reporter, clock, (30, 1), (2, 4))
        assert reporter.images_per_second() == 4 * 8 / 2
        clock.now += 1000
        dispatch(reporter, clock, (10, 20))
        assert reporter.images_per_second() == 24 * 8 / 12


def test_throughput_of_whole_epochs_leaves_out_the_first_once_there_is_another(clock):
    reporter = ProgressBar(total=60, batch_size=8, quiet=True)
    with reporter.running(0):
        dispatch(reporter, clock, (10, 20))
        assert reporter.images_per_second() == 20 * 8 / 10
        clock.now += 1000
        dispatch(reporter, clock, (4, 20))
        assert reporter.images_per_second() == 20 * 8 / 4


def test_an_epoch_says_no_speed_before_a_step_was_made(capsys):
    reporter = ProgressBar(total=60, batch_size=8)
    record = {"train": {"loss": 0.5, "accuracy": 0.75}}
    with reporter.running(20):
        reporter.epoch(1, 3, record, None)
        reporter.advance(20)
        reporter.epoch(2, 3, record, None)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "epoch 1/3  train loss 0.5 accuracy 0.7500"
    assert second.endswith(" images/s")
