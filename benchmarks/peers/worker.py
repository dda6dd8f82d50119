"""What every competitor's process does: build, make one step, then run as many as it is asked to, and say how long."""

import importlib.metadata
import json
import resource
import sys
import time


def serve(build):
    """Serves rounds over standard input and output until a line says `end`.

    Args:
      build: called with the description of the network, the data and the batch; returns functions by name, each of
        which makes so many steps and returns when the last one is done. The description may say how many `examples`
        there are, and of how many steps the `first` round is.
    """
    answers, sys.stdout = sys.stdout, sys.stderr

    def say(**answer):
        print(json.dumps(answer), file=answers, flush=True)

    spec = json.loads(sys.argv[1])
    functions = build(spec)
    functions["train"](spec.get("first", 1))
    say(first_step=time.time() - spec["started"], packages=packages())
    for line in sys.stdin:
        if line.strip() == "end":
            break
        name, count = line.split()
        started = time.perf_counter()
        functions[name](int(count))
        say(seconds=time.perf_counter() - started)
    say(megabytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def packages():
    """Returns the versions of the libraries that this competitor computes with."""
    known = {"jax": "jax", "flax": "flax", "torch": "torch", "keras": "keras", "tensorflow": "tensorflow-cpu"}
    return {name: importlib.metadata.version(name) for module, name in known.items() if module in sys.modules}


def examples(spec):
    """Returns random images, uint8, and labels: the same for everyone."""
    import numpy as np

    rng = np.random.default_rng(0)
    count = spec.get("examples") or max(10_000, 2 * spec["batch_size"])
    images = rng.integers(0, 256, (count, *spec["image_shape"]), dtype=np.uint8)
    return images, rng.integers(0, spec["classes"], count)


def parts(count, most):
    """Returns how many of so many batches come from each pass over data that has fewer."""
    return [min(count - done, most) for done in range(0, count, most)]
