"""Keeps what runs and sweeps gave, and writes the tables of results from it; no number there is typed by hand.

    python benchmarks/results.py RUN... SWEEP... SPEED.json...   # takes their figures into results.json, then writes
    python benchmarks/results.py                                 # writes the tables from results.json beside it
    python benchmarks/results.py --check                         # exits with 1 if a table says otherwise

A run counts when it is finished and has read its test split. Runs that differ in nothing but their seed are one row.
A seed that is given again replaces what was kept of it. What is kept of a sweep is its ranking on the validation split;
what `train_speed.py --save=SPEED.json` measured, whole.
"""

import argparse
import json
import shlex
import statistics
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cnn.config.config import renamed

KEPT = ROOT / "benchmarks" / "results.json"
PLACES = {
    "accuracies": ROOT / "README.md",
    "results": ROOT / "docs" / "results.md",
    "choices": ROOT / "docs" / "results.md",
    "speed": ROOT / "README.md",
    "bfloat16": ROOT / "docs" / "devices.md",
}
"""Where each table stands, between its marks."""
WHOLE = "--config.data.train_on=train+valid"
"""What a row does not name: recipes are chosen on the validation split, then trained on both."""
BFLOAT16 = "--config.train.compute_dtype=bfloat16"
BEGIN, END = "<!-- {}: written by benchmarks/results.py -->", "<!-- end of {} -->"

# What each config is compared with: the words of the table, and the accuracy that others report.
REFERENCES = {
    "configs/digits.py": ("", None),
    "configs/dense_baseline.py": ("the course's network without convolutions", 0.8744),
    "configs/fashion_mnist.py": ("the course's network", 0.9089),
    "configs/fashion_mnist_fast.py": ("the course's accuracy, in the least time", 0.9089),
    "configs/fashion_mnist_fast_93.py": ("0.93 in the least time", 0.93),
    "configs/one_conv.py": ("the course's exercise: stop above 0.998 of the training images", None),
    "configs/lenet5.py": ("LeCun et al. 1998, LeNet-5", 0.9905),
    "configs/lenet5_distorted.py": ("LeCun et al. 1998, LeNet-5 with distortions", 0.992),
    "configs/mnist_small.py": ("a network of 15,578 parameters", 0.9943),
    "configs/fashion/two_conv_small.py": ("2 conv, fewer than 100K parameters", 0.925),
    "configs/fashion/two_conv.py": ("2 conv, about 113K parameters", 0.922),
    "configs/fashion/two_conv_flips.py": ("2 conv, 2 dense, flips", 0.939),
    "configs/fashion/three_conv_dropout.py": ("3 conv, pooling, 2 dense, dropout", 0.926),
    "configs/fashion/five_conv.py": ("5 conv, batch normalisation", 0.931),
    "configs/fashion/residual.py": ("shortcuts, random erasing", 0.947),
    "configs/cifar10.py": ("JPEG copies, see below", None),
    "configs/cifar10_94.py": ("Jordan 2024 on the original's pixels; here JPEG copies of them, see below", 0.9401),
}


def read(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise SystemExit(f"{path}: missing; give the directory of a finished run or sweep") from None
    except ValueError as error:
        raise SystemExit(f"{path}: no JSON ({error})") from None


def flags(argv: list[str], source: Path) -> tuple[str, list[str]]:
    """Returns a command's config file and its overrides, without what does not name the experiment."""
    values = dict(word[2:].split("=", 1) for word in argv if word[:2] == "--" and "=" in word)
    if "config" not in values:
        raise SystemExit(f"{source}: its command names no config; start it with --config=configs/NAME.py")
    skipped = ("config.seed", "config.data.data_dir")
    overrides = [f"--{name}={value}" for name, value in values.items() if name[:7] == "config." and name not in skipped]
    path = Path(values["config"])
    return str(path.relative_to(ROOT) if path.is_absolute() else path), overrides


def settings_of(config: dict) -> dict:
    """Returns the settings that a result depends on; its seed stands beside."""
    config = renamed(config)
    sections = {name: dict(config[name]) for name in ("model", "data", "optimizer", "schedule", "train")}
    for name in ("data_dir", "manual_dir", "loading", "workers", "memory_share"):
        del sections["data"][name]
    return sections


def of_run(folder: Path) -> dict:
    """Returns the figures of a finished run."""
    run, result, config = (read(folder / f"{name}.json") for name in ("run", "result", "config"))
    if result["status"] != "finished" or "test" not in result:
        raise SystemExit(f"{folder}: not finished, or never evaluated on test; run its command again")
    name, overrides = flags(run["argv"], folder / "run.json")
    return {
        "config": name,
        "overrides": overrides,
        "seed": config["seed"],
        "settings": settings_of(config),
        "parameters": result["parameters"],
        "epochs": result["epochs"],
        "correct": result["test"]["correct"],
        "count": result["test"]["count"],
        "seconds": result["train_seconds"],
        "backend": run["backend"],
        "threads": run["cpu_threads"],
        "packages": {each: run["packages"][each] for each in ("jax", "flax", "optax")},
        "python": run["python"],
        "commit": (run.get("git") or {}).get("commit"),
    }


def of_sweep(folder: Path) -> dict:
    """Returns a sweep's ranking on the validation split."""
    sweep = read(folder / "sweep.json")
    if sweep["objective"] != "valid.accuracy":
        raise SystemExit(f"{folder}: ranked by {sweep['objective']}; a recipe is chosen by valid.accuracy")
    name, overrides = flags(shlex.split(sweep["trials"][0]["command"]), folder / "sweep.json")
    shared = [text for text in overrides if text.split("=")[0].removeprefix("--config.") not in sweep["varying"]]
    trials = [
        {"fields": trial["fields"], "valid_accuracy": trial["value"], "epochs": trial["epochs"]}
        for trial in sweep["trials"]
        if trial["status"] in ("finished", "pruned") and trial["value"] is not None
    ]
    ranked = sorted(trials, key=lambda trial: -trial["valid_accuracy"])
    return {"config": name, "overrides": shared, "space": sweep["space"], "trials": ranked}


def keep(kept: dict, folder: Path) -> None:
    """Takes the figures of a directory, or of a file of speeds, in the place of older ones of the same experiment."""
    if folder.suffix == ".json":
        kind, same, taken = "speeds", ("network", "batch_size", "huge_pages"), read(folder)
    elif (folder / "sweep.json").exists():
        kind, same, taken = "sweeps", ("config", "overrides", "space"), [of_sweep(folder)]
    else:
        kind, same, taken = "runs", ("config", "overrides", "seed"), [of_run(folder)]
    for found in taken:
        others = [each for each in kept[kind] if any(each[name] != found[name] for name in same)]
        kept[kind] = sorted([*others, found], key=lambda each: json.dumps([each[name] for name in same]))


def grouped(runs: list[dict]) -> dict[tuple, list[dict]]:
    """Returns the runs of each row: those that differ in their seed alone."""
    rows: dict[tuple, list[dict]] = {}
    for run in runs:
        rows.setdefault((run["config"], *run["overrides"]), []).append(run)
    return {row: sorted(found, key=lambda run: run["seed"]) for row, found in rows.items()}


def accuracy_cell(runs: list[dict]) -> str:
    accuracies = [run["correct"] / run["count"] for run in runs]
    if len(accuracies) == 1:
        return f"{accuracies[0]:.4f}"
    return f"**{statistics.mean(accuracies):.4f} ± {statistics.stdev(accuracies):.4f}**"


def range_of(values: list[float], digits: int) -> str:
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"


def line_of(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def seconds_cell(runs: list[dict]) -> str:
    return f"{min(run['seconds'] for run in runs):.0f} s"


def row_of(name: str, overrides: tuple[str, ...], runs: list[dict]) -> str:
    """Returns a row of the table of results; of a config without runs, that it is not yet measured."""
    words, reference = REFERENCES.get(name, ("", None))
    shown = [text for text in overrides if text != WHOLE]
    command = f"`{shlex.join([name, *shown])}`"
    compared = f"{words}{': ' if words else ''}{'' if reference is None else reference}".removesuffix(": ")
    if not runs:
        return line_of([command, compared, "not yet measured", "", "", "", ""])
    accuracies = [run["correct"] / run["count"] for run in runs]
    cells = [
        command,
        compared,
        accuracy_cell(runs),
        f"{len(runs)}: {range_of(accuracies, 4)}" if len(runs) > 1 else "1",
        f"{runs[0]['parameters']:,}",
        range_of([run["epochs"] for run in runs], 0),
        seconds_cell(runs),
    ]
    return line_of(cells)


def results_table(kept: dict) -> str:
    """Returns the table of results, in the order of the references, and what it was measured on."""
    rows = grouped(kept["runs"])
    lines = [
        "| config | compared with | test accuracy | seeds | parameters | epochs | training |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in [*REFERENCES, *sorted({row[0] for row in rows} - set(REFERENCES))]:
        found = {row[1:]: runs for row, runs in rows.items() if row[0] == name} or {(): []}
        lines += [row_of(name, overrides, runs) for overrides, runs in found.items()]
    versions = sorted({f"{name} {version}" for run in kept["runs"] for name, version in run["packages"].items()})
    devices = sorted({f"{run['backend']} with {run['threads']} threads" for run in kept["runs"]})
    lines += ["", f"Measured on {', '.join(devices)}; {', '.join(versions)}; float32, unless a row says otherwise."]
    return "\n".join(lines)


def accuracies_table(kept: dict) -> str:
    """Returns what the table of results says in a few words: a row for each config that was measured as it stands."""
    lines = ["| config | test accuracy | seeds | others report | training |", "|---|---|---|---|---|"]
    rows = grouped(kept["runs"])
    for name, (_, reference) in REFERENCES.items():
        short = name.removeprefix("configs/").removesuffix(".py")
        for (config, *overrides), runs in rows.items():
            if config == name and {*overrides} <= {WHOLE, BFLOAT16}:
                what = f"`{short}`{' in bfloat16' if BFLOAT16 in overrides else ''}"
                cells = [what, accuracy_cell(runs), f"{len(runs)}", f"{reference or ''}", seconds_cell(runs)]
                lines.append(line_of(cells))
    return "\n".join(lines)


def choices_table(kept: dict) -> str:
    """Returns what every sweep on the validation split found: all its settings, the best first."""
    lines = ["| config | varied | validation accuracy of one seed, the best first |", "|---|---|---|"]
    for sweep in kept["sweeps"]:
        names = list(sweep["trials"][0]["fields"])
        found = [
            f"{trial['valid_accuracy']:.4f} ({', '.join(str(trial['fields'][name]) for name in names)})"
            for trial in sweep["trials"]
        ]
        command = shlex.join([sweep["config"], *sweep["overrides"]])
        cells = [f"`{command}`", ", ".join(f"`{name}`" for name in names), "; ".join(found)]
        lines.append(line_of(cells))
    return "\n".join(lines)


NOT_YET = "Not yet measured."
SHOWN = {
    "ours": "this project",
    "Keras on TensorFlow": "Keras on TensorFlow",
    "PyTorch": "PyTorch, channels last, fused Adam",
    "plain Flax": "Flax as its examples write it",
}
"""Who is in the table of the README, and what they are called there."""


def measured_on(tables: list[dict]) -> str:
    """Returns the machine, the versions and the command of tables, a sentence for those that share them."""
    sentences = []
    for table in tables:
        versions = ", ".join(f"{name} {version}" for name, version in table["packages"].items())
        units = f", {table['units']}" if table["units"] else ""
        on = f"{table['threads']} threads ({table['cpu']}{units})"
        sentence = f"Measured on {on}; {versions}; `{table['command']}`."
        sentences.append(textwrap.fill(sentence, 128, break_long_words=False, break_on_hyphens=False))
    return "\n".join(dict.fromkeys(sentences))


def speeds_of(kept: dict, batch_size: int = 128) -> dict[str, dict]:
    """Returns what was measured of each network at a batch size, each as it comes."""
    found = [one for one in kept["speeds"] if one["batch_size"] == batch_size and not one["huge_pages"]]
    return {one["network"]: one for one in found}


def times_as_fast(ours: list[float], others: list[float]) -> str:
    """Returns the median of the rounds' ratios, the lowest and the highest."""
    ratios = [one / other for one, other in zip(ours, others, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def speed_table(kept: dict) -> str:
    """Returns how fast everyone trains the lesson's network in float32."""
    if (lesson := speeds_of(kept).get("lesson")) is None:
        return NOT_YET
    train = {name: lesson["train"][name] for name in SHOWN if name in lesson["train"]}
    lines = [f"| | images/s | ours is faster by (spread over {len(train['ours'])} rounds) |", "|---|---|---|"]
    for name, speeds in sorted(train.items(), key=lambda each: -statistics.median(each[1])):
        compared = "" if name == "ours" else times_as_fast(train["ours"], speeds)
        lines.append(line_of([SHOWN[name], f"{statistics.median(speeds):,.0f}", compared]))
    return "\n".join([*lines, "", measured_on([lesson])])


def bfloat16_table(kept: dict) -> str:
    """Returns how fast each trains in float32 and bfloat16, and the best of ours over the best of the others."""
    networks = {name: one for name, one in speeds_of(kept).items() if "ours bfloat16" in one["train"]}
    if not networks:
        return NOT_YET
    mine = ("ours", "ours bfloat16")
    theirs = ("PyTorch", "PyTorch compiled", "Keras on TensorFlow", "PyTorch autocast", "Keras mixed_bfloat16")
    titles = ["training, images/s", *mine, *theirs, "best of ours over best of theirs"]
    lines = [line_of(titles), "|---" * len(titles) + "|"]
    for name, one in networks.items():
        train = one["train"]
        middle = {who: statistics.median(speeds) for who, speeds in train.items()}
        ours = max(mine, key=middle.__getitem__)
        other = max(set(theirs) & set(middle), key=middle.__getitem__)
        cells = [f"{middle[who]:,.0f}" if who in middle else "" for who in (*mine, *theirs)]
        lines.append(line_of([f"`{name}`", *cells, times_as_fast(train[ours], train[other])]))
    return "\n".join([*lines, "", measured_on([*networks.values()])])


def written(path: Path, text: str, name: str, table: str) -> str:
    """Returns a file's text with a table between its marks."""
    begin, end = BEGIN.format(name), END.format(name)
    if text.count(begin) != 1 or text.count(end) != 1:
        raise SystemExit(
            f"{path.name}: the marks of {name!r} are missing; put {begin} and {end} where its table stands"
        )
    before, rest = text.split(begin)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"


def text_of(kept: dict) -> str:
    """Returns the text of what is kept: JSON with a record a line."""
    kinds = (f'"{kind}": [\n' + ",\n".join(map(json.dumps, records)) + "\n]" for kind, records in kept.items())
    return "{" + ",\n".join(kinds) + "}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="RUN_OR_SWEEP")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a table says otherwise")
    options = parser.parse_args()
    kept = {"runs": [], "sweeps": [], "speeds": [], **(read(KEPT) if KEPT.exists() else {})}
    for folder in options.folders:
        keep(kept, folder)
    makers = {
        "accuracies": accuracies_table,
        "results": results_table,
        "choices": choices_table,
        "speed": speed_table,
        "bfloat16": bfloat16_table,
    }
    tables = {name: make(kept) for name, make in makers.items()}
    texts = {path: path.read_text() for path in PLACES.values()}
    for name, path in PLACES.items():
        texts[path] = written(path, texts[path], name, tables[name])
    if options.check:
        older = [path.name for path, text in texts.items() if text != path.read_text()]
        sys.exit(f"{' and '.join(older)}: older than benchmarks/results.json" if older else 0)
    KEPT.write_text(text_of(kept))
    for path, text in texts.items():
        path.write_text(text)
    names = {name: path.name for name, path in PLACES.items()}
    print(f"{len(kept['runs'])} runs are in {names['results']}, {len(kept['sweeps'])} sweeps in {names['choices']}")


if __name__ == "__main__":
    main()
