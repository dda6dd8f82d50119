"""The course's own training in Keras 3 on TensorFlow: its network, Adam, batch 32, 5 epochs; prints a line of JSON."""

import json
import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
from keras import layers

EPOCHS, BATCH = 5, 32

data = np.load(sys.argv[1])
keras.utils.set_random_seed(int(sys.argv[2]))
model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
train = data["train_images"].astype("float32") / 255
started = time.perf_counter()
model.fit(train, data["train_labels"], BATCH, EPOCHS, verbose=0)
seconds = time.perf_counter() - started
_, accuracy = model.evaluate(data["test_images"].astype("float32") / 255, data["test_labels"], verbose=0)
print(json.dumps({"accuracy": accuracy, "training": seconds}))
