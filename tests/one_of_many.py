"""One process of a run of many, as the tests start them: trains, and prints the fingerprint of its state."""

import sys
from pathlib import Path

import jax

from cnn.system import multihost
from cnn.train import experiment
from runs import tiny

if __name__ == "__main__":
    with multihost.join(multihost.parse(sys.argv[1])):
        finished = experiment.run(tiny(*sys.argv[3:]), Path(sys.argv[2]), jax.device_count())
    print("FINGERPRINT", finished.result["fingerprint"])
