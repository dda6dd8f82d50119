"""Keras 3 on TensorFlow, as its guides write it: `Sequential` or functional, `fit` and `predict` on NumPy arrays.

With the `dtype` bfloat16 in the description it is mixed precision, with logits in float32.
"""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import tensorflow as tf
import worker
from keras import layers


def chain(description, x):
    for kind, options in description:
        x = one(kind, options, x)
    return x


def one(kind, options, x):
    if not isinstance(options.get("padding", ""), str):
        # Of maps that a ReLU made, on which alone our networks pool with padding, no maximum is below zeros.
        x = layers.ZeroPadding2D(options["padding"])(x)
        options = {**options, "padding": "valid"}
    if kind == "conv":
        return layers.Conv2D(
            options["features"],
            options["kernel"],
            options["strides"],
            padding=options["padding"],
            use_bias=options["use_bias"],
        )(x)
    if kind == "depthwise":
        own = {"padding": options["padding"], "use_bias": options["use_bias"]}
        return layers.DepthwiseConv2D(
            options["kernel"], options["strides"], depth_multiplier=options["multiplier"], **own
        )(x)
    if kind in ("max_pool", "avg_pool"):
        pool = layers.MaxPooling2D if kind == "max_pool" else layers.AveragePooling2D
        return pool(options["window"], options["strides"], options["padding"])(x)
    if kind == "residual":
        return layers.Add()([chain(options["body"], x), chain(options["shortcut"], x)])
    if kind == "softmax":
        return x
    simple = {
        "relu": layers.ReLU,
        "relu6": lambda: layers.ReLU(6.0),
        "dropout": lambda: layers.Dropout(options["rate"]),
        "tanh": lambda: layers.Activation("tanh"),
        "flatten": layers.Flatten,
        "global_avg_pool": layers.GlobalAveragePooling2D,
        "batch_norm": layers.BatchNormalization,
        "dense": lambda: layers.Dense(options["features"]),
    }
    return simple[kind]()(x)


def build(spec):
    tf.config.threading.set_intra_op_parallelism_threads(spec["threads"])
    images, labels = worker.examples(spec)
    mixed = spec.get("dtype") == "bfloat16"
    if mixed:
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    inputs = keras.Input(tuple(spec["image_shape"]))
    logits = chain(spec["layers"], inputs)
    model = keras.Model(inputs, layers.Activation("linear", dtype="float32")(logits) if mixed else logits)
    optimizer = keras.optimizers.Adam(1e-3) if spec["optimizer"] == "adam" else None
    model.compile(
        optimizer or keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    size = spec["batch_size"]
    floats = images.astype("float32") / 255

    def train(count):
        for part in worker.parts(count, len(labels) // size):
            model.fit(floats[: part * size], labels[: part * size], batch_size=size, verbose=0)

    def evaluate(count):
        for part in worker.parts(count, len(labels) // size):
            model.predict(floats[: part * size], batch_size=size, verbose=0)

    return {"train": train, "evaluate": evaluate}


worker.serve(build)
