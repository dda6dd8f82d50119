"""A process that starts as a trial's would, makes a few steps and says how long both took; see `measure`."""

import json
import sys
import time

from cnn.system import environment


def main(spawned: float) -> None:
    """Reads a config from stdin, makes steps, and prints a line of JSON: seconds to the first step, and of a step."""
    environment.prepare()
    from cnn.config import resolve
    from cnn.sweep import measure, programs
    from cnn.sweep.plan import Trial

    trial = Trial(0, {}, resolve.resolve(json.load(sys.stdin)), {})
    work = measure.Work(trial, programs.images(programs.Datasets().of(trial.values)), 1, 1)
    first = time.time() - spawned
    measured = measure.by_map(work)
    print(json.dumps({"start": first + measured.start, "step": measured.step}))


if __name__ == "__main__":
    main(float(sys.argv[1]))
