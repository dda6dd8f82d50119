"""Ours: the training step and the evaluation of this project, dispatched as its trainer does."""

import functools
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

import worker

from cnn.system import environment


def build(spec):
    environment.prepare()
    import jax
    import jax.numpy as jnp
    import numpy as np
    from peer_networks import sections

    from cnn import evaluate
    from cnn.config import resolve
    from cnn.data import loader, types
    from cnn.system import sharding
    from cnn.train import cpu_devices, multi_step
    from cnn.train.state import create_train_state, make_step_config

    dtype = [("train.compute_dtype", spec["dtype"])] if "dtype" in spec else []
    values = resolve.resolve(sections(spec["config"]), [*spec["overrides"], *dtype])
    cpu_devices.prepare(values)
    halves = cpu_devices.count(values)
    place = functools.partial(sharding.replicate, count=halves)
    images, labels = worker.examples(spec)
    placed = place(images)
    size, way = spec["batch_size"], multi_step.dispatch_of(values)
    split = types.Split(images, labels.astype(np.int32))
    given = loader.Loader(split, seed=0, batch_size=size, epochs=10_000, workers=0, place=place)
    step_config = make_step_config(values, 100_000, 100, halves)
    state, made = create_train_state(values, halves), 0

    def train_steps(count):
        nonlocal state, made
        end = made + count
        while made < end:
            left = given.steps_per_epoch - made % given.steps_per_epoch
            for split, rows in given.chunks(made, min(end - made, left), way.most):
                run, arguments = way.call(rows)
                state, metrics = run(state, split, *arguments, step_config=step_config)
                given.started(metrics["loss"])
                made += len(rows)
        jax.block_until_ready(state)

    def evaluate_batches(count):
        for part in worker.parts(count, len(labels) // size):
            config = evaluate.EvalConfig(size, values.train.compute_dtype, devices=halves)
            evaluate.predict_logits(state.classifier(), placed[: part * size], config)

    matrix = jnp.ones((1536, 1536))
    multiply = jax.jit(jnp.matmul)

    def peak(count):
        for _ in range(count):
            product = multiply(matrix, matrix)
        product.block_until_ready()

    return {"train": train_steps, "evaluate": evaluate_batches, "peak": peak}


worker.serve(build)
