"""Ours: the training step and the evaluation of this project, dispatched as its trainer does."""

import functools
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

    from cnn import config, cores, data, devices, dispatch, evaluate, feed, starting
    from networks import sections

    values = config.resolve(sections(spec["config"]), spec["overrides"])
    cores.prepare(values)
    halves = cores.count(values)
    place = functools.partial(devices.replicate, count=halves)
    images, labels = worker.examples(spec)
    placed = place(images)
    size, way = spec["batch_size"], dispatch.dispatch_of(values)
    split = data.Split(images, labels.astype(np.int32))
    given = feed.Feed(split, seed=0, batch_size=size, epochs=10_000, workers=0, place=place)
    program = starting.make_program(values, 100_000, 100, halves)
    state, made = starting.make_state(values, program), 0

    def train_steps(count):
        nonlocal state, made
        end = made + count
        while made < end:
            left = given.steps_per_epoch - made % given.steps_per_epoch
            for split, rows in given.pieces(made, min(end - made, left), way.most):
                run, arguments = way.call(rows)
                state, metrics = run(state, split, *arguments, program=program)
                given.started(metrics["loss"])
                made += len(rows)
        jax.block_until_ready(state)

    def evaluate_batches(count):
        for part in worker.parts(count, len(labels) // size):
            variables = evaluate.variables_of(state)
            evaluate.predict_logits(state.hyper, variables, placed[: part * size], batch_size=size, devices=halves)

    matrix = jnp.ones((1536, 1536))
    multiply = jax.jit(jnp.matmul)

    def peak(count):
        for _ in range(count):
            product = multiply(matrix, matrix)
        product.block_until_ready()

    return {"train": train_steps, "evaluate": evaluate_batches, "peak": peak}


worker.serve(build)
