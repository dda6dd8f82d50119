"""Simulates sweeps that go on until their winner is real: how often that is false, and how many runs it takes.

    python benchmarks/sequential_sweep.py
    python benchmarks/sequential_sweep.py --sweeps=500 --most-seeds=32
    python benchmarks/sequential_sweep.py --noise=SWEEP    # prints RIGHT below from a sweep over seeds

A run is a number: the configuration's own, plus the noise of a seed, which is drawn from real runs (`RIGHT`) or from a
normal distribution. Every sweep is decided by `cnn.sweep.contest`, as a real one is. An A/A sweep has equal
configurations, and whatever it calls real is false. The fixed plan gives each configuration as many seeds as a t-test
of the best two needs to find the difference with so much power, without anything for looking several times.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import scipy.special

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cnn.sweep import contest

# Of 145 validation pictures those that were right, by seed from 0 on; the mean is 0.9195, the s.d. 0.0157:
# python main.py sweep --config=digits --grid='seed=int(0,39)' --config.train.epochs=5 --config.model.width=8
# fmt: off
RIGHT = (
    134, 129, 136, 134, 135, 134, 132, 132, 133, 134, 134, 132, 137, 134, 134, 134, 135, 134, 128, 134,
    135, 131, 137, 136, 133, 135, 138, 137, 134, 130, 134, 134, 132, 130, 131, 132, 132, 130, 131, 132,
)
# fmt: on
PICTURES = 145
POWERS = (0.8, 0.9)


def real_noise(rng, shape):
    """Returns seed noise as `RIGHT` has it, with mean 0 and in units of its standard deviation."""
    accuracies = np.asarray(RIGHT) / PICTURES
    return (rng.choice(accuracies, shape) - accuracies.mean()) / accuracies.std()


def normal_noise(rng, shape):
    return rng.standard_normal(shape)


NOISES = {"seeds of digits": real_noise, "normal": normal_noise}


def simulate(means, noise, rule, sweeps, rng):
    """Returns the decision of each of so many sweeps.

    Args:
      means: of the configurations, in standard deviations between seeds; the first is the best, or they are equal.
      noise: draws it.
      rule: when a winner is real.
      sweeps: how many.
      rng: draws.
    """
    values = np.asarray(means)[:, None] + noise(rng, (sweeps, len(means), rule.most_seeds))
    return [contest.decide(each.tolist(), rule, maximize=True) for each in values]


def runs_of(decision):
    """Returns how many runs a sweep took: each configuration gets seeds until it is ruled out."""
    return decision.seeds * len(decision.left) + sum(out.seeds for out in decision.out.values())


def fixed_seeds(difference, power, error=0.05):
    """Returns how many seeds two configurations need each for a two-sample t-test to find their difference."""
    for seeds in range(2, 10_000):
        freedom = 2 * (seeds - 1)
        limit = scipy.special.stdtrit(freedom, 1 - error / 2)
        if 1 - scipy.special.nctdtr(freedom, difference * np.sqrt(seeds / 2), limit) >= power:
            return seeds
    raise ValueError("more than 10,000 seeds")


def false_share(decisions, equal):
    """Returns in which share a winner was called real that is not the one best."""
    return np.mean([each.state == "real" and (equal or each.left != (0,)) for each in decisions])


def printed_noise(folder):
    record = json.loads((Path(folder) / "sweep.json").read_text())
    values = {row["fields"]["seed"]: row["value"] for row in record["trials"] if row["status"] == "finished"}
    return ", ".join(str(round(values[seed] * PICTURES)) for seed in sorted(values))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--sweeps", type=int, default=2000)
    parser.add_argument("--most-seeds", type=int, default=24)
    parser.add_argument("--error", type=float, default=0.05)
    parser.add_argument("--noise", help="the directory of a sweep over seeds: prints what RIGHT holds of it")
    options = parser.parse_args()
    if options.noise:
        print(printed_noise(options.noise))
        return
    rule = contest.Rule(options.error, options.most_seeds)
    print(f"{options.sweeps:,} sweeps each, at most {rule.most_seeds} seeds, error rate {rule.error:g}\n")
    print("| noise | equal configurations | called real |\n|---|---|---|")
    for name, noise in NOISES.items():
        for count in (2, 3, 4, 8):
            rng = np.random.default_rng(count)
            decisions = simulate([0.0] * count, noise, rule, options.sweeps, rng)
            print(f"| {name} | {count} | {100 * false_share(decisions, True):.1f} % |", flush=True)
    plans = [fixed_seeds(1.0, power) for power in POWERS]
    header = [f"fixed plan, {100 * power:g} % power" for power in POWERS]
    print(f"\n| noise | the best is ahead by | real and right | false | runs, median (mean) | {' | '.join(header)} |")
    print("|---|---|---|---|---|---|---|")
    for means in ([1.0, 0.0], [2.0, 0.0], [0.5, 0.0], [1.0, 0.0, 0.0, 0.0], [3.0, 2.0, 1.0, 0.0], [1.0] + [0.0] * 7):
        lead = means[0] - means[1]
        plans = [fixed_seeds(lead, power) * len(means) for power in POWERS]
        for name, noise in NOISES.items():
            decisions = simulate(means, noise, rule, options.sweeps, np.random.default_rng(0))
            right = np.mean([each.state == "real" and each.left == (0,) for each in decisions])
            runs = [runs_of(each) for each in decisions]
            of = f"{lead:g} s.d., {len(means)} configurations ({', '.join(f'{mean:g}' for mean in means)})"
            cells = [name, of, f"{100 * right:.0f} %", f"{100 * false_share(decisions, False):.1f} %"]
            cells += [f"{np.median(runs):g} ({np.mean(runs):.1f})", *map(str, plans)]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
