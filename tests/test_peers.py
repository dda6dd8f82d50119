"""Parameters as safetensors, carried into PyTorch and Keras, where these are installed: the same logits."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import oracles
import runs

REPOSITORY = Path(__file__).resolve().parents[1]
(PYTORCH,) = re.findall(r"```python\n(# lesson\.py.*?)```", (REPOSITORY / "docs" / "export.md").read_text(), re.DOTALL)
LESSON = """
    conv(width, 3) | relu | max_pool(2) | conv(width, 3) | relu | max_pool(2) |
    flatten | dense(128) | relu | dense(classes)
"""
KERAS = """
import sys

import keras
import numpy as np
from safetensors.numpy import load_file

path, pictures, logits = sys.argv[1:]
layers = keras.layers
conv1, conv2 = layers.Conv2D(64, 3, activation="relu"), layers.Conv2D(64, 3, activation="relu")
dense1, dense2 = layers.Dense(128, activation="relu"), layers.Dense(10)
pool = layers.MaxPooling2D
network = keras.Sequential([conv1, pool(2), conv2, pool(2), layers.Flatten(), dense1, dense2])
network.build((None, 28, 28, 1))
arrays = load_file(path)
for name, layer in {"conv1": conv1, "conv2": conv2, "dense1": dense1, "dense2": dense2}.items():
    layer.set_weights([arrays[f"{name}/kernel"], arrays[f"{name}/bias"]])
np.save(logits, network.predict(np.load(pictures).transpose(0, 2, 3, 1), verbose=0))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The parameters of the lesson's network after a few steps on the digits."""
    folder = tmp_path_factory.mktemp("exported")
    sections = runs.SECTIONS | {
        "model": {"width": 64, "layers": LESSON},
        "data": {"name": "digits", "image_shape": (28, 28, 1), "classes": 10, "resize": "bilinear"},
        "train": {"epochs": 1, "batch_size": 200},
        "eval": {"test": False},
    }
    assert runs.train(folder / "run", sections=sections) == 0
    assert runs.start("export", f"--workdir={folder / 'run'}", "--format=safetensors") == 0
    return folder / "run" / "exports" / "model.safetensors"


def interpreter(package, folder):
    """Returns a Python with the package: this one, or that of the benchmarks' environments."""
    for python in (sys.executable, str(REPOSITORY / ".peers" / folder / "bin" / "python")):
        here = python == sys.executable
        if importlib.util.find_spec(package) if here else Path(python).is_file():
            imports = f"import {package}, safetensors"
            if subprocess.run([python, "-c", imports], capture_output=True).returncode == 0:
                return python
    pytest.skip(f"{package} with safetensors is not installed")


def logits_of(arrays, pictures):
    """Returns by the tests' own loops what the network makes of pictures."""
    x = pictures.transpose(0, 2, 3, 1)
    for name in ("conv1", "conv2"):
        x = oracles.conv2d(x, arrays[f"{name}/kernel"], arrays[f"{name}/bias"])
        x = oracles.max_pool(np.maximum(x, 0), (2, 2), (2, 2))
    x = np.maximum(x.reshape(len(x), -1) @ arrays["dense1/kernel"] + arrays["dense1/bias"], 0)
    return x @ arrays["dense2/kernel"] + arrays["dense2/bias"]


@pytest.mark.slow
@pytest.mark.parametrize(("package", "folder", "script"), [("torch", "torch", PYTORCH), ("keras", "keras", KERAS)])
def test_another_framework_computes_the_same_logits(exported, tmp_path, package, folder, script):
    python = interpreter(package, folder)
    pictures = np.random.default_rng(0).random((8, 1, 28, 28), dtype=np.float32)
    np.save(tmp_path / "pictures.npy", pictures)
    (tmp_path / "script.py").write_text(script)
    arguments = [exported, tmp_path / "pictures.npy", tmp_path / "logits.npy"]
    subprocess.run([python, "-I", tmp_path / "script.py", *arguments], check=True)
    found = np.load(tmp_path / "logits.npy")
    np.testing.assert_allclose(found, logits_of(load_file(exported), pictures), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_the_parameters_by_their_names_are_those_of_the_network(exported):
    """Holds without another framework: the tests' own loops give what `predict` says."""
    from cnn import evaluate
    from cnn.config import resolve
    from cnn.train import checkpointer

    values = resolve.resolve(runs.saved(exported.parents[1], "config.json"))
    pictures = np.random.default_rng(1).integers(0, 256, (4, 28, 28, 1), dtype=np.uint8)
    _, classifier = checkpointer.restore_classifier(values, exported.parents[1], "last")
    ours = evaluate.predict_images(values, classifier, pictures)
    plain = (pictures.astype(np.float32) / 255).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(ours, logits_of(load_file(exported), plain), rtol=0, atol=1e-4)
