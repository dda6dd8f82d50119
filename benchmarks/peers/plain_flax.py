"""Flax as its examples write it: `nn.Conv`, `nn.max_pool` after the activation, one jitted step a batch."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import worker


class Network(nn.Module):
    layers: Any
    shortcut: Any = None

    @nn.compact
    def __call__(self, x, train):
        inputs = x
        for kind, options in self.layers:
            x = self.one(kind, options, x, train)
        if self.shortcut is not None:
            x = x + Network(self.shortcut)(inputs, train)
        return x

    def one(self, kind, options, x, train):
        if kind in ("conv", "depthwise"):
            channels = x.shape[-1]
            return nn.Conv(
                options["features"] if kind == "conv" else channels * options["multiplier"],
                options["kernel"],
                options["strides"],
                padding=padding(options),
                use_bias=options["use_bias"],
                feature_group_count=1 if kind == "conv" else channels,
            )(x)
        if kind in ("max_pool", "avg_pool"):
            pool = nn.max_pool if kind == "max_pool" else nn.avg_pool
            return pool(x, tuple(options["window"]), tuple(options["strides"]), padding(options))
        if kind == "dense":
            return nn.Dense(options["features"])(x)
        if kind == "batch_norm":
            return nn.BatchNorm(use_running_average=not train)(x)
        if kind == "residual":
            return Network(options["body"], options["shortcut"])(x, train)
        if kind == "dropout":
            return nn.Dropout(options["rate"], deterministic=not train)(x)
        simple = {
            "relu": nn.relu,
            "relu6": nn.relu6,
            "tanh": nn.tanh,
            "flatten": lambda x: x.reshape(len(x), -1),
            "global_avg_pool": lambda x: x.mean((1, 2)),
            "softmax": lambda x: x,
        }
        return simple[kind](x)


def padding(options):
    given = options["padding"]
    return given.upper() if isinstance(given, str) else tuple(map(tuple, given))


def build(spec):
    images, labels = worker.examples(spec)
    network = Network(frozen(spec["layers"]))
    key = jax.random.key(0)
    variables = network.init({"params": key, "dropout": key}, jnp.zeros((1, *spec["image_shape"])), train=True)
    tx = optax.adam(1e-3) if spec["optimizer"] == "adam" else optax.sgd(0.1, 0.9, nesterov=True)
    stats = variables.get("batch_stats", {})
    box = [variables["params"], stats, tx.init(variables["params"])]

    @jax.jit
    def step(params, stats, opt_state, images, labels, key):
        def loss_fn(params):
            logits, new = network.apply(
                {"params": params, "batch_stats": stats},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
            return loss, new.get("batch_stats", {})

        (loss, new), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
        updates, opt_state = tx.update(grads, opt_state)
        return optax.apply_updates(params, updates), new, opt_state, loss

    @jax.jit
    def forward(params, stats, images):
        return network.apply({"params": params, "batch_stats": stats}, images, train=False)

    rng, size = np.random.default_rng(1), spec["batch_size"]
    floats = np.asarray(images, np.float32) / 255

    def train(count):
        for number in range(count):
            rows = rng.permutation(len(labels))[:size]
            of_step = jax.random.fold_in(key, number)
            box[0], box[1], box[2], loss = step(*box, floats[rows], labels[rows], of_step)
        loss.block_until_ready()

    def evaluate(count):
        for number in range(count):
            start = number * size % (len(labels) - size)
            logits = forward(box[0], box[1], floats[start : start + size])
        logits.block_until_ready()

    return {"train": train, "evaluate": evaluate}


def frozen(layers):
    """Returns the lists as tuples, which Flax can hash."""
    return tuple(
        (kind, nn.FrozenDict({name: frozen(v) if name in ("body", "shortcut") else v for name, v in options.items()}))
        for kind, options in layers
    )


worker.serve(build)
