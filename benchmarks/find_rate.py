"""Compares the rate that `find-rate` suggests with the best one of a sweep over rates.

    python benchmarks/find_rate.py
    python benchmarks/find_rate.py --configs=lenet5 --epochs=2 --seeds=3 --steps=300

For each config the finder runs as `python main.py find-rate` does, and then a sweep of six rates, a factor of 10^(1/3)
apart, whose middle is the finder's best rate, over a few seeds and so many epochs of the config with its own schedule;
where the best rate of the sweep is an end of these, three more are added there. The sweep's best rate is the one with
the lowest mean validation loss, which is what the finder measures too; the one with the highest mean validation
accuracy is beside it. The test split is not read.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cnn
from cnn.sweep import rate_curve

RATES = 6


def losses_of(sweep):
    """Returns the mean validation loss and accuracy of a sweep's trials by rate; of a rate that diverged, none."""
    found = {}
    for row in sweep.record["trials"]:
        rate = row["fields"]["optimizer.learning_rate"]
        result = sweep.trial(row["number"]).result
        found.setdefault(rate, []).append(result["valid"] if result and "valid" in result else None)
    return {
        rate: tuple(sum(one[name] for one in each) / len(each) for name in ("loss", "accuracy"))
        for rate, each in sorted(found.items())
        if None not in each
    }


def swept(config, rates, folder, seeds):
    """Returns the rates that were swept, with their mean losses and accuracies, and how many trials there were."""
    rates, trials = list(rates), 0
    found = {}
    for part in range(3):
        fresh = [rate for rate in rates if rate not in found]
        space = {"optimizer.learning_rate": fresh, "seed": list(range(seeds))}
        sweep = cnn.run_sweep(config, space, folder / str(part), objective="valid.loss")
        found |= losses_of(sweep)
        trials += len(sweep)
        best = min(found, key=lambda rate: found[rate][0])
        if best not in (min(rates), max(rates)):
            break
        rates = sorted({*rates, *rate_curve.beyond(sorted(rates), above=best == max(rates))})
    return dict(sorted(found.items())), trials


def compare(name, options, folder):
    """Runs the finder and the sweep for one config; returns the lines that say what came out."""
    changes = {"eval.test": False, "report.page": "never"}
    config = cnn.configure(name, **changes)
    started = time.monotonic()
    found = cnn.find_rate(config, steps=options.steps, seeds=options.finder_seeds)
    finder_seconds, started = time.monotonic() - started, time.monotonic()
    curve = found.curve
    centre = curve.rates[curve.best]
    epochs = options.epochs or config.train.epochs
    config = cnn.configure(config, **{"train.epochs": epochs})
    rates = [rate_curve.rounded(centre * 10 ** ((index - RATES // 2 + 1) / 3), 3) for index in range(RATES)]
    table, trials = swept(config, rates, folder / name, options.seeds)
    seconds = time.monotonic() - started
    best = min(table, key=lambda rate: table[rate][0])
    accurate = max(table, key=lambda rate: table[rate][1])
    ratio = max(found.suggestion / best, best / found.suggestion)
    yield f"{name}: {found.said()}"
    yield (
        f"  {len(curve.rates)} rates x {len(curve.seeds)} seeds x {curve.steps} steps, {finder_seconds:.0f} s; "
        f"the sweep: {trials} trials of {epochs} epochs, {options.seeds} seeds a rate, {seconds:.0f} s"
    )
    for rate, (loss, accuracy) in table.items():
        yield f"    {rate:<9.3g} valid loss {loss:.4f}  accuracy {accuracy:.4f}"
    row = (name, f"{found.suggestion:.2g}", f"{best:.3g}", f"{ratio:.2f}", f"{accurate:.3g}")
    yield f"| {' | '.join(row)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--configs", default="digits,lenet5,fashion_mnist")
    parser.add_argument("--epochs", type=int, default=0, help="of each trial of the sweep; 0 for the config's")
    parser.add_argument("--seeds", type=int, default=2, help="of each rate of the sweep")
    parser.add_argument("--steps", type=int, default=300, help="of each training of the finder")
    parser.add_argument("--finder-seeds", type=int, default=3, help="of each rate of the finder")
    options = parser.parse_args()
    print("| config | suggested | best of the sweep | factor | most accurate of the sweep |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.configs.split(","):
            for line in compare(name, options, Path(folder)):
                print(line, flush=True)


if __name__ == "__main__":
    main()
