"""The record of a sweep that nobody ran, for the tests of its page."""

import json
import math

import numpy as np

from cnn.sweep import ranking

LAYERS = [
    "flatten | dense(classes) | softmax",
    "conv(16, 3) | relu | max_pool(2) | flatten | dense(classes) | softmax",
]
SPACE = {
    "optimizer.learning_rate": {"log": [1e-4, 1e-1]},
    "model.layers": LAYERS,
    "optimizer.momentum": {"linear": [0.5, 0.99], "when": {"model.layers": LAYERS[:1]}},
    "train.batch_size": [32, 64, 128],
    "data.flip": [True, False],
    "data.image_shape": [[8, 8, 1], [16, 16, 1]],
}


def make(
    folder,
    *,
    configurations=20,
    seeds=1,
    fields=tuple(SPACE),
    widths=0,
    states=(),
    values=None,
    seed=0,
    said="",
    mattered=False,
):
    """Writes `sweep.json` into the folder and returns it.

    Args:
      folder: the sweep's directory.
      configurations: their number.
      seeds: of each.
      fields: which of `SPACE` vary.
      widths: so many integers more vary.
      states: of the first trials; the others are finished.
      values: of the trials that have one, in their order; random where not given.
      seed: of what is drawn.
      said: stands in texts that people wrote.
      mattered: whether to measure what mattered, which takes a while.
    """
    rng = np.random.default_rng(seed)
    space = {name: SPACE[name] for name in fields} | {f"model.width_{n}": {"int": [1, 64]} for n in range(widths)}
    trials = []
    for _ in range(configurations):
        chosen = _drawn(rng, space, said)
        for n in range(seeds):
            number = len(trials)
            state = states[number] if number < len(states) else "finished"
            value = float(values[number] if values is not None else rng.uniform(0.1, 0.99))
            trials.append(_trial(number, state, value, chosen | ({"seed": n} if seeds > 1 else {}), said))
    groups = _groups(trials, seeds)
    finished = [trial for trial in trials if trial["status"] == "finished"]
    named = dict.fromkeys(path for trial in trials for path in trial["fields"])
    varying = [path for path in named if len({json.dumps(trial["fields"].get(path)) for trial in trials}) > 1]
    first = groups[0]["trials"][0] if finished else None
    diff = [{"path": "optimizer.learning_rate", "base": 0.001, "best": 0.01}]
    record = {
        "schema": 1,
        "name": folder.name,
        "study": f"x{said}",
        "objective": "valid.accuracy",
        "direction": "maximize",
        "size": len(trials),
        "counts": {},
        "seconds": 12.5,
        "space": space | ({"seed": list(range(seeds))} if seeds > 1 else {}),
        "options": {"sampler": "grid", "pruner": "none", "objective": "valid.accuracy"},
        "varying": varying,
        "engine": {"engine": "map"},
        "trials": trials,
        "groups": groups,
        "winner": ranking.winner(groups),
        "importance": ranking.importance([t["fields"] for t in finished], [t["value"] for t in finished], grid=False)
        if mattered or len(finished) < ranking.LEAST
        else {"text": "left out", "n": len(finished), "factors": []},
        "best": {"trial": first, "fields": {}, "diff": diff, "command": f"python main.py train --x='{said}'"}
        if finished
        else None,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trials").mkdir(exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps(record))
    (folder / "declaration.json").write_text("{}")
    return folder


def _drawn(rng, space, said):
    drawn = {}
    for path, values in space.items():
        if isinstance(values, list):
            chosen = values[rng.integers(len(values))]
            drawn[path] = chosen + said if isinstance(chosen, str) else chosen
        elif "log" in values:
            drawn[path] = float(10 ** rng.uniform(*np.log10(values["log"])))
        elif "int" in values:
            drawn[path] = int(rng.integers(*values["int"]))
        elif drawn.get("model.layers", "").startswith(LAYERS[0]):
            drawn[path] = float(rng.uniform(*values["linear"]))
    return drawn


def _trial(number, state, value, fields, said):
    epochs = {"finished": 5, "pruned": 2, "diverged": 1}.get(state, 0)
    value = value if state in ("finished", "pruned") else None
    level = value if value is not None and math.isfinite(value) else 0.5
    curves = {
        name: [[40 * n, level * n / epochs if name.endswith("accuracy") else 2 / n] for n in range(1, epochs + 1)]
        for name in ("train.loss", "valid.loss", "valid.accuracy")
        if epochs
    }
    error = {"diverged": "not finite at step 40", "failed": "ValueError: broken"}.get(state, "")
    return {
        "number": number,
        "folder": f"trials/{number:04}",
        "status": state,
        "value": value,
        "interval": [value - 0.02, value + 0.02] if value is not None else None,
        "fields": fields,
        "epochs": float(epochs) if epochs else None,
        "step": 40 * epochs,
        "train_seconds": 1.5 * epochs if epochs else None,
        "parameters": 650 if epochs else None,
        "stopped": None,
        "error": error + said if error else "",
        "attempts": 0 if state == "waiting" else 1,
        "worker": f"host-{number % 2}{said}",
        "started": None if state == "waiting" else _moment(5 * (number // 2)),
        "ended": None if state in ("waiting", "running") else _moment(5 * (number // 2) + 4),
        "command": f"python main.py train --config.x='{said}' --workdir=runs/x/trials/{number:04}",
        "curves": curves,
    }


def _moment(seconds):
    return f"2026-01-01T{seconds // 3600:02}:{seconds % 3600 // 60:02}:{seconds % 60:02}.000+00:00"


def _groups(trials, seeds):
    groups = []
    for start in range(0, len(trials), seeds):
        members = trials[start : start + seeds]
        values = [trial["value"] for trial in members if trial["status"] == "finished"]
        groups.append(
            {
                "fields": {path: value for path, value in members[0]["fields"].items() if path != "seed"},
                "trials": [trial["number"] for trial in members],
                "values": values,
                "mean": sum(values) / len(values) if values else None,
                "sd": ranking.spread(values),
                "n": len(values),
                "of": seeds,
                "diverged": sum(trial["status"] == "diverged" for trial in members),
                "pruned": sum(trial["status"] == "pruned" for trial in members),
            }
        )
    return sorted(groups, key=lambda group: (group["n"] == 0, group["n"] < group["of"], -(group["mean"] or 0)))
