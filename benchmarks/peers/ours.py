"""Ours: the training step and the evaluation of this project, dispatched as its trainer does."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

import worker

from cnn import runtime


def build(spec):
    runtime.prepare()
    import jax
    import jax.numpy as jnp
    import numpy as np

    from cnn import config, evaluate, starting, train
    from networks import sections

    values = config.resolve(sections(spec["config"]), spec["overrides"])
    images, labels = worker.examples(spec)
    program = starting.make_program(values, 100_000, 100)
    split = train.Images(jnp.asarray(images), jnp.asarray(labels))
    box = [starting.make_state(values, program)]
    rng, size = np.random.default_rng(1), spec["batch_size"]

    def train_steps(count):
        for _ in range(count):
            rows = rng.permutation(len(labels))[:size].astype(np.int32)
            box[0], metrics = train.run_step(box[0], split, rows, program=program)
        jax.block_until_ready((box[0], metrics))

    def evaluate_batches(count):
        for part in worker.parts(count, len(labels) // size):
            images = split.images[: part * size]
            evaluate.predict_logits(box[0].hyper, evaluate.variables_of(box[0]), images, batch_size=size)

    matrix = jnp.ones((1536, 1536))
    multiply = jax.jit(jnp.matmul)

    def peak(count):
        for _ in range(count):
            product = multiply(matrix, matrix)
        product.block_until_ready()

    return {"train": train_steps, "evaluate": evaluate_batches, "peak": peak}


worker.serve(build)
