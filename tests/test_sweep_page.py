"""The page of a sweep: what its views say, from its record alone."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.parse

import numpy as np
import pytest
import scipy.stats

import runs
import sweeps
from browser import driven, needs_chromium, needs_driver, proof
from cnn.config import config
from cnn.report import escape, page_writer, run_page
from cnn.report.axes import Span
from cnn.report.axes import written as axes_written
from cnn.report.sweep import curves, field_axes, parallel, ranking, single, sweep_files, timeline
from cnn.report.sweep.page import built, drawn, write
from report_files import HOSTILE
from report_files import make as make_run
from sweep_files import LAYERS, make
from test_report import Tree, contrast, rgb, visible

STATES = ("diverged", "failed", "pruned", "running", "waiting")
NODE = shutil.which("node")


def written(folder, **settings):
    return content_of(make(folder, **settings))


def content_of(folder, **settings):
    sweep = sweep_files.read(folder, **settings)
    return drawn(sweep, built(sweep)).decode()


def test_every_trial_is_in_one_state_and_in_the_table(tmp_path):
    content = written(tmp_path / "sweep", configurations=30, seeds=2, states=STATES)
    counted = dict(re.findall(r'class="state" data-state="(\w+)" data-count="(\d+)"', content))
    assert sum(map(int, counted.values())) == 60 and dict.fromkeys(STATES, "1").items() <= counted.items()
    table = content[
        content.index('id="ranking-table"') : content.index("</table>", content.index('id="ranking-table"'))
    ]
    assert sorted(map(int, re.findall(r'class="trial" data-trial="(\d+)"', table))) == list(range(60))


def test_nothing_is_dropped_from_the_axes(tmp_path):
    folder = make(tmp_path / "sweep", states=STATES, seed=2)
    sweep = sweep_files.read(folder)
    content = content_of(folder)
    lines = dict(re.findall(r'<polyline class="line [^"]*" data-trial="(\d+)" points="([^"]*)"', content))
    assert len(lines) == 20
    ends = {int(number): float(points.split(",")[-1]) for number, points in lines.items()}
    assert ends[0] == parallel.y_of(field_axes.DIVERGED_PLACE) and ends[1] == ends[3] == parallel.y_of(
        field_axes.UNSET_PLACE
    )
    momentum = sweep.paths.index("optimizer.momentum")
    for trial in sweep.trials:
        height = float(lines[str(trial["number"])].split()[momentum].split(",")[1])
        assert (height == parallel.y_of(field_axes.UNSET_PLACE)) == ("optimizer.momentum" not in trial["fields"])
    assert "not set" in content and ">diverged</text>" in content


def test_axes_follow_the_declaration_and_stand_as_far_apart_whatever_their_number(tmp_path):
    for widths in (0, 10, 27):
        folder = make(tmp_path / f"sweep{widths}", widths=widths)
        sweep = sweep_files.read(folder)
        kinds = {axis.path: axis.kind for axis in field_axes.axes(sweep)}
        assert kinds["optimizer.learning_rate"] == "log" and kinds["train.batch_size"] == "log"
        assert kinds["model.layers"] == kinds["data.flip"] == kinds["data.image_shape"] == "choice"
        placed = re.findall(r'class="axis[^"]*" data-axis="\d+" transform="translate\((\d+),0\)"', content_of(folder))
        assert len(placed) == len(sweep.paths) + 1 and set(np.diff(list(map(int, placed)))) == {parallel.SPACING}
    assert field_axes.scale([{"a": [1]}, {"chain": [{"b": {"log": [1, 2]}}]}], "b") == "log"


def test_a_wide_positive_list_lies_on_a_logarithmic_axis_and_a_long_choice_is_explained(tmp_path):
    folder = make(tmp_path / "sweep", fields=("model.layers",))
    content = content_of(folder)
    for layers in LAYERS:
        assert f"<code>{layers}</code>" in content
    about = json.loads((folder / "sweep.json").read_text())
    for place, trial in enumerate(about["trials"]):
        trial["fields"] = {"train.width": 10 ** (place % 4)}
    about |= {"varying": ["train.width"], "space": {"train.width": [1, 10, 100, 1000]}}
    (folder / "sweep.json").write_text(json.dumps(about))
    (axis,) = field_axes.axes(sweep_files.read(folder))
    assert axis.kind == "log" and [tick.text for tick in axis.ticks()] == ["1", "10", "100", "1,000"]


@pytest.mark.parametrize(
    ("listed", "kind"),
    [
        ([0.003, 0.001, 0.01], "log"),
        ([32, 64, 128], "log"),
        ([1, 2, 3], "linear"),
        ([0.1, 0.5, 0.9], "linear"),
        ([0.5, 1], "linear"),
        ([1, 101], "log"),
        ([0, 0.001, 0.01], "linear"),
    ],
)
def test_listed_numbers_lie_on_the_axis_that_tells_them_apart(listed, kind, tmp_path):
    folder = make(tmp_path / "sweep")
    about = json.loads((folder / "sweep.json").read_text())
    for place, trial in enumerate(about["trials"]):
        trial["fields"] = {"train.width": listed[place % len(listed)]}
    about |= {"varying": ["train.width"], "space": {"train.width": listed}}
    (folder / "sweep.json").write_text(json.dumps(about))
    (axis,) = field_axes.axes(sweep_files.read(folder))
    assert axis.kind == kind


def test_the_best_and_the_worst_trial_are_said_in_words(tmp_path):
    sweep = sweep_files.read(make(tmp_path / "two", configurations=3, values=[0.5, 0.75, 0.25]))
    assert curves.sentence(sweep) == (
        "Of the trials that finished, trial 1 reached the best valid.accuracy, 0.7500, and trial 2 the worst, 0.2500."
    )
    sweep = sweep_files.read(make(tmp_path / "one", configurations=2, values=[0.5, 0.5], states=("finished", "failed")))
    assert curves.sentence(sweep) == "Of the trials that finished, trial 0 reached the best valid.accuracy, 0.5000."


def test_the_winner_sentence_agrees_with_a_reference(tmp_path):
    values = [0.90, 0.91, 0.92, 0.80, 0.81, 0.79, 0.5, 0.52, 0.51]
    said = visible(written(tmp_path / "real", configurations=3, seeds=3, values=values))
    best, second, third = np.reshape(values, (3, 3))
    sd = np.sqrt(np.mean([np.var(group, ddof=1) for group in (best, second, third)]))
    error = sd * np.sqrt(2 / 3)
    p = 2 * scipy.stats.t.sf(abs(best.mean() - second.mean()) / error, 6)
    assert p < 0.05 and f", which is {(best.mean() - second.mean()) / sd:.2g} times the standard dev" in said
    assert ": distinguishable" in said
    close = [0.90, 0.80, 0.85, 0.89, 0.81, 0.84, 0.5, 0.52, 0.51]
    assert "not distinguishable" in visible(written(tmp_path / "close", configurations=3, seeds=3, values=close))


def test_ranks_share_the_colours_equally_whatever_the_values(tmp_path):
    values = [*np.linspace(0, 1, 157), 5000, 5000.5, 5001]
    sweep = sweep_files.read(make(tmp_path / "sweep", configurations=160, values=values))
    used = {sweep.shades[number] for number in range(157)}
    assert used == {f"s{level}" for level in range(sweep_files.SHADES)}
    assert sweep.shades[159] == "s15" and sweep.shades[0] == "s0"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_colours_of_ranks_and_choices_are_seen_on_the_paper(theme):
    paper = rgb({"light": "#f5f5f5", "dark": "#1f1f1f"}[theme])
    pairs = re.findall(r"light-dark\((#\w+), (#\w+)\)", ranking.shades())
    assert len(pairs) == sweep_files.SHADES
    for pair in pairs:
        assert contrast(rgb(pair[theme == "dark"]), paper) >= 3
    for pair in re.findall(r"--pick: light-dark\((#\w+), (#\w+)\)", escape.source("sweep.css")):
        assert contrast(rgb(pair[theme == "dark"]), paper) >= 3


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"configurations": 1, "fields": ()}, ["The one configuration has", "nothing to compare"]),
        ({"configurations": 1, "seeds": 4, "fields": ()}, ["the mean of 4 seeds"]),
        ({"configurations": 3, "states": ("waiting",) * 3}, ["No trial has finished yet", "0 of 3 trials have ended"]),
        ({"configurations": 2, "states": ("running", "waiting")}, ["stopped", "the same command continues"]),
        ({"configurations": 4, "states": ("failed",) * 4}, ["What failed", "ValueError: broken"]),
        ({"configurations": 4, "states": ("diverged",) * 4}, ["not finite at step 40"]),
        ({"configurations": 8, "states": ("pruned",) * 8}, ["8 stopped early"]),
        ({"configurations": 9}, ["Hidden: 9 finished trials are fewer than 10"]),
        ({"configurations": 1}, ["Hidden: 1 finished trial is fewer than 10"]),
        ({"configurations": 12, "mattered": True}, ["rank correlation", "descriptive, not causal"]),
        ({"configurations": 25, "widths": 24}, ["model.width_23"]),
    ],
)
def test_survives_what_a_sweep_may_leave(tmp_path, settings, words):
    said = visible(written(tmp_path / "sweep", **settings))
    for word in words:
        assert word in said, word


@pytest.fixture(scope="module")
def thousand(tmp_path_factory):
    folder = make(tmp_path_factory.mktemp("thousand") / "sweep", configurations=1000)
    about = json.loads((folder / "sweep.json").read_text())
    for trial in about["trials"]:  # as long as curves are kept
        trial["curves"] = {name: [[n, trial["value"] * n / 7] for n in range(1, 201)] for name in trial["curves"]}
    (folder / "sweep.json").write_text(json.dumps(about))
    (folder / "report.html").write_bytes(content_of(folder).encode())
    return folder / "report.html"


@pytest.mark.slow
def test_the_page_of_a_thousand_trials_stays_small_and_whole(thousand):
    content = thousand.read_text()
    assert len(content) <= 2_500_000
    assert content.count('<polyline class="line ') == 1000 and content.count("<tr data-group") == 1000


BRUSHES = """const [low] = document.querySelectorAll('[data-axis="0"] .handle');
    const took = [];
    for (let n = 0; n < 18; n++) {
        const key = n % 18 < 9 ? "ArrowUp" : "ArrowDown", begun = performance.now();
        low.dispatchEvent(new KeyboardEvent("keydown", {key, shiftKey: true}));
        document.body.getBoundingClientRect();
        took.push([performance.now() - begun, document.querySelectorAll(".axes .line.off").length]);
    }
    return took"""


@pytest.mark.slow
@needs_driver
def test_a_brush_over_a_thousand_trials_takes_less_than_three_frames(thousand, tmp_path):
    with driven(tmp_path / "chromium") as browser:
        browser.get(thousand.as_uri())
        # Warm, with the layout that follows; a busy machine slows single rounds, so the quickest of five counts.
        rounds = [browser.execute_script(BRUSHES) for _ in range(6)][1:]
        hidden = [off for _, off in rounds[0]]
        assert hidden[:9] == sorted(hidden[:9]) and hidden[8] > 800 and hidden[-1] == 0
        assert min(np.median([took for took, _ in each]) for each in rounds) < 50, "milliseconds a brush"


def test_two_writes_are_the_same_bytes_and_strange_strings_leave_the_tree_unchanged(tmp_path):
    folder = make(tmp_path / "sweep", states=STATES)
    first = content_of(folder)
    assert content_of(folder) == first
    nasty = "".join(name for name in HOSTILE if name not in ("\ud800", "x" * 10_000) and len(name) > 1)
    trees = [Tree(written(tmp_path / f"s{n}", states=STATES, said=said)) for n, said in enumerate(("plain", nasty))]
    assert trees[0].elements == trees[1].elements
    said = "".join(trees[1].texts)
    assert "\\u202egnp.exe" in said and not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202a-\u202e]", said)
    forbidden = [name for _, name, _ in trees[1].attributes if name.startswith("on") or name == "style"]
    assert forbidden == []


@pytest.mark.slow(seconds=3)
def test_pages_link_to_one_another_whatever_their_folder_is_called(tmp_path):
    folder = make(tmp_path / "a b#c%d'e", configurations=3)
    sweep = sweep_files.read(folder)
    workdir = make_run(folder / sweep.by_number[sweep.best["number"]]["folder"])
    page = run_page.write(workdir)
    for start, end in ((write(folder), page), (page, folder / "report.html")):
        tree = Tree(start.read_text())
        links = [value for tag, name, value in tree.attributes if (tag, name) == ("a", "href") and value[0] != "#"]
        found = [(start.parent / urllib.parse.unquote(link)).resolve() for link in links]
        assert found == [end.resolve()]
    assert sweep_files.above(make_run(tmp_path / "alone")) is None


def test_without_script_the_pictures_are_there(tmp_path):
    sweep = sweep_files.read(make(tmp_path / "sweep", states=STATES))
    content = content_of(sweep.folder)
    body = content[: content.index('<script type="application/json"')]
    for mark in (
        'class="line s',
        'id="curves-drawing"',
        'class="median"',
        "one field at a time",
        'class="whisker"',
        'class="trial finished"',
    ):
        assert mark in body or mark in body.lower(), mark
    shown = [tag for tag, name, _ in Tree(body).attributes if name == "hidden"]
    assert shown and "needs-script" in body


def test_medians_are_of_what_was_set_alike(tmp_path):
    values = [0.1, 0.2, 0.9, 0.5, 0.6, 0.7]
    folder = make(tmp_path / "sweep", configurations=6, fields=("train.batch_size",), values=values, seed=1)
    sweep = sweep_files.read(folder)
    listed = [*field_axes.axes(sweep), field_axes.objective(sweep)]
    found = single.medians(listed[0], 0, [(trial, parallel.places(trial, listed)) for trial in sweep.trials])
    sizes = [trial["fields"]["train.batch_size"] for trial in sweep.trials]
    expected = [
        np.median([value for value, s in zip(values, sizes, strict=True) if s == size]) for size in sorted(set(sizes))
    ]
    assert [middle for _, _, middle in found] == pytest.approx([listed[1].place(value) for value in expected])


def test_trials_that_ran_together_lie_below_one_another():
    def ran(number, worker, start, end):
        times = [f"2026-01-01T00:00:{second:02}.000+00:00" for second in (start, end)]
        return {"number": number, "worker": worker, "started": times[0], "ended": times[1]}

    trials = [ran(0, "a", 0, 10), ran(1, "a", 5, 15), ran(2, "b", 0, 5), ran(3, "a", 10, 20)]
    rows = timeline.packed(trials, 0.0, 0.0)
    assert [(worker, [trial["number"] for trial in row]) for worker, row in rows] == [
        ("a", [0, 3]),
        ("a", [1]),
        ("b", [2]),
    ]


def test_a_folder_without_a_record_is_refused_in_a_line(tmp_path, capsys):
    with pytest.raises(config.ConfigError, match=r"holds no sweep \(no sweep.json\)"):
        write(tmp_path)
    (tmp_path / "declaration.json").write_text("{}")
    assert runs.start("report", f"--workdir={tmp_path}") == 2
    assert capsys.readouterr().err.strip().endswith("without a record (no sweep.json). Start its command again")
    (tmp_path / "sweep.json").write_text('{"trials": []}')
    assert runs.start("report", f"--workdir={tmp_path}") == 2
    assert "lacks groups, varying, importance, objective" in capsys.readouterr().err


def test_the_page_while_a_sweep_runs_says_so(tmp_path):
    folder = make(tmp_path / "sweep", states=("running", "waiting"))
    assert "18 of 20 trials have ended" in visible(content_of(folder, running=True))
    said = []
    page_writer.Pages(folder / "nothing", "end", said.append, page_writer.of_sweep).ended()
    assert len(said) == 1 and said[0].startswith("report.html: not written, ConfigError")


def _fixtures(folder):
    """Returns random brushes over axes of every kind with what a filter of ours keeps."""
    rng = np.random.default_rng(0)
    sweep = sweep_files.read(make(folder, configurations=80, states=STATES))
    data = ranking.data(sweep)
    brushes = []
    for _ in range(50):
        chosen = rng.choice(len(data["axes"]), rng.integers(1, 4), replace=False)
        given = [(int(at), sorted(rng.uniform(-0.2, 1.2, 2).tolist())) for at in chosen]
        kept = [t["n"] for t in data["trials"] if all(low <= _place(data, t, at) <= high for at, (low, high) in given)]
        brushes.append({"brushes": given, "kept": kept})
    spans = [Span.over(rng.uniform(-1, 1, 3) * 10.0**power) for power in range(-6, 6)]
    spans += [Span.over(10.0 ** rng.uniform(-7, width, 3), log=True) for width in (-6, -3, 0, 3)]
    numbers = [0, 1, 0.1, 0.001, 0.0001, 12500, 1.5e-7, -0.25, 123456.7, 0.30000000000000004, 1e9, 2e-3]
    return {
        "axes": data["axes"],
        "trials": data["trials"],
        "brushes": brushes,
        "spans": [{"span": {"low": s.low, "high": s.high, "log": s.log}, "ticks": s.ticks()} for s in spans],
        "written": [[number, axes_written(number)] for number in numbers],
    }


def _place(data, trial, at):
    axis = data["axes"][at]
    value = trial["value"] if at == len(data["axes"]) - 1 else trial["at"][at]
    if value is None:
        return 1.12 if at == len(data["axes"]) - 1 and trial["state"] == "diverged" else -0.12
    if axis["kind"] == "choice":
        return (value + 0.5) / len(axis["choices"])
    low, high, value = (
        np.log([axis["low"], axis["high"], value]) if axis["kind"] == "log" else (axis["low"], axis["high"], value)
    )
    return (value - low) / (high - low)


@pytest.mark.slow
@pytest.mark.skipif(NODE is None and not os.environ.get("REQUIRE_BROWSER"), reason="Node.js is not installed")
def test_the_scripts_keep_sort_and_write_as_python_does(tmp_path):
    (tmp_path / "fixtures.json").write_text(json.dumps(_fixtures(tmp_path / "sweep")))
    command = [NODE, "--test", str(escape.FOLDER.parents[1] / "tests" / "sweep.test.js")]
    environment = {**os.environ, "FIXTURES": str(tmp_path / "fixtures.json")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.slow
def test_a_page_prepared_for_compiles_no_template(tmp_path, monkeypatch):
    page_writer.prepare()

    def compiled(*_, **__):
        raise AssertionError("compiled")

    monkeypatch.setattr(escape._ENVIRONMENT, "compile", compiled)
    assert "<html" in written(tmp_path / "sweep", configurations=3)


@pytest.mark.slow
def test_a_sweep_ends_in_its_page_and_those_of_its_best_trials(tmp_path, capsys):
    folder = tmp_path / "sweep"
    typed = ("config.report.page=end", "config.train.epochs=1", "sweep.engine=map")
    assert sweeps.sweep(folder, sweeps.RATES, *typed) == 0
    content = (folder / "report.html").read_text()
    figures = {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}
    assert set(figures) == {f"sweep-{name}.{kind}" for name in ("curves", "fields") for kind in ("svg", "png")}
    links = [value for _, name, value in Tree(content).attributes if name == "href" and value[0] != "#"]
    assert sorted(links) == ["trials/0000/report.html", "trials/0001/report.html"]
    trial = (folder / links[0]).read_text()
    assert 'href="../../report.html"' in trial
    # Again, without JAX, the same bytes; and where the page cannot be written, the sweep is as good as before.
    code = (
        "import main, sys\n"
        f"assert main.main(main.parse_flags(['main.py', 'report', '--workdir={folder}'])) == 0\n"
        "assert not {'jax', 'flax', 'optax', 'orbax', 'optuna', 'tensorflow'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=escape.FOLDER.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (folder / "report.html").read_text() == content
    assert {path.name: path.read_bytes() for path in (folder / "figures").iterdir()} == figures
    (folder / "report.html").unlink()
    (folder / "report.html").mkdir()
    assert sweeps.sweep(folder, sweeps.RATES, *typed) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("report.html: not written")]
    assert len(lines) == 1 and f"python main.py report --workdir={folder}" in lines[0]


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize(
    "settings",
    [
        {"configurations": 25, "states": STATES, "said": HOSTILE[2]},
        {"configurations": 50, "seeds": 3, "widths": 6, "states": STATES},
        {"configurations": 2, "states": ("failed", "diverged")},
        {"configurations": 1, "seeds": 3, "fields": ()},
    ],
    ids=["hostile", "twelve fields", "nothing finished", "only seeds"],
)
def test_the_page_proves_itself_in_a_browser(tmp_path, settings):
    said = proof(write(make(tmp_path / "sweep", **settings)), tmp_path / "chromium")
    assert said["selftest"] == "ok" and said["errors"] == "0", said


@pytest.mark.slow
@needs_driver
def test_a_person_brushes_sorts_chooses_and_prints(tmp_path):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    folder = make(tmp_path / "sweep", configurations=40, widths=6, states=STATES, mattered=True)
    sweep, path = sweep_files.read(folder), write(folder)
    with driven(tmp_path / "chromium") as browser:

        def lines():
            found = browser.execute_script(
                "return [...document.querySelectorAll('.axes .line:not(.off)')].map((line) => line.dataset.trial)"
            )
            return {int(number) for number in found}

        def rows():
            found = browser.execute_script(
                "return [...document.querySelectorAll('#ranking-table tbody tr')].filter((row) => !row.hidden)"
                ".map((row) => row.dataset.group)"
            )
            return {int(group) for group in found}

        browser.get(path.as_uri())
        handles = browser.find_elements(By.CSS_SELECTOR, '[data-axis="0"] .handle')
        handles[0].send_keys(
            Keys.SHIFT, *[Keys.ARROW_UP] * 5
        )  # from the lowest to the middle, or further from "not set"
        low = float(handles[0].get_attribute("aria-valuenow"))
        listed = field_axes.axes(sweep)
        kept = {t["number"] for t in sweep.trials if listed[0].place(t["fields"].get(listed[0].path)) >= low - 1e-9}
        assert low > 0.3 and lines() == kept and 0 < len(kept) < 40
        assert rows() == {sweep.group_of[number] for number in kept}
        handles[0].send_keys(Keys.ESCAPE)
        assert len(lines()) == 40
        # By pointer: the upper half of the objective.
        last = len(listed)
        catch = browser.find_element(By.CSS_SELECTOR, f'[data-axis="{last}"] .catch')
        browser.execute_script("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", catch)
        ActionChains(browser).move_to_element(catch).click_and_hold().move_by_offset(0, -100).release().perform()
        values = [sweep.by_number[number]["value"] for number in lines()]
        others = [t["value"] for t in sweep.trials if t["number"] not in lines() and t["value"] is not None]
        assert values and min(values) > np.quantile(others, 0.4) and len(lines()) < 40
        browser.find_element(By.ID, "axes-clear").click()
        # The best of what is left is chosen, and has its number in the curves.
        handles[0].send_keys(Keys.ENTER)
        chosen = browser.find_elements(By.CSS_SELECTOR, "#ranking-table tr.p0")
        best = sweep.group_of[sweep.ranked[0]]
        assert [row.get_attribute("data-group") for row in chosen] == [str(best)]
        assert browser.find_elements(By.CSS_SELECTOR, "#curves-drawing .line.p0")
        # Sorting by the field with missing values: numbers ascending, none last.
        column = 4 + sweep.paths.index("optimizer.momentum")
        heading = browser.find_elements(By.CSS_SELECTOR, "#ranking-table thead tr > *")[column]
        button = heading.find_element(By.TAG_NAME, "button")
        for order in ("descending", "ascending"):
            browser.execute_script("arguments[0].click()", button)
            assert heading.get_attribute("aria-sort") == order
            shown = browser.execute_script(
                "return [...document.querySelectorAll('#ranking-table tbody tr')]"
                ".map((row) => row.cells[arguments[0]].dataset.value)",
                column,
            )
            numbers = [float(value) for value in shown if value]
            assert shown == [*shown[: len(numbers)], *[""] * (len(shown) - len(numbers))]
            assert numbers == sorted(numbers, reverse=order == "descending") and len(numbers) < len(shown)
        browser.find_element(By.ID, "table-filter").send_keys("=never")
        assert rows() == set() and lines() == set()
        browser.find_element(By.ID, "table-filter").send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.DELETE)
        # Another axis of the curves.
        browser.execute_script(
            "const x = document.getElementById('curves-x'); x.value = 'seconds'; x.dispatchEvent(new Event('change'))"
        )
        named = browser.find_element(By.CSS_SELECTOR, "#curves-drawing .x-name").get_attribute("textContent")
        assert named.startswith("seconds of training")
        stops = browser.execute_script(
            "return [...document.querySelectorAll('a, button, input, select, summary, [tabindex]')]"
            ".filter((one) => one.tabIndex >= 0 && one.getClientRects().length).length"
        )
        assert stops <= 40
        _narrow_printed_and_alone(browser, path)


def _narrow_printed_and_alone(browser, path):
    """Checks a page at 360 px and in print, and that it asked for nothing but itself."""
    size = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert base64.b64decode(printed["data"]).count(b"/Type /Page\n") <= 10
    logged = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [entry["params"]["request"]["url"] for entry in logged if entry["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if url.startswith(("file:", "http", "ws"))] == [path.as_uri()]
    assert browser.get_log("browser") == []
