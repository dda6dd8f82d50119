"""Files in the names and the layout of torchvision's and timm's ResNets and VGGs, as `config.init_from`.

It takes no PyTorch; that the logits are PyTorch's is in `test_pytorch_weights.py`.
"""

import numpy as np
import pytest
from safetensors.numpy import save_file

import oracles
import runs
from cnn.config import config, files
from cnn.config.resolve import resolve
from cnn.model import network
from cnn.train import init_from, load_init_from, pytorch_names
from cnn.train.state import create_train_state

FEATURES = (
    "conv(4, 3, padding=1) | batch_norm(epsilon=1e-5) | relu | max_pool(2) | conv(6, 3) | relu | max_pool((1, 2))"
)
NETWORK = f"{FEATURES} | flatten | dense(5) | relu | dropout(0.5) | dense(classes)"
SHAPES = {
    # Written as safetensors does, sorted by name: 11 before 4.
    "classifier.0.bias": (5,),
    "classifier.0.weight": (5, 12),
    "classifier.11.bias": (10,),
    "classifier.11.weight": (10, 5),
    "features.0.bias": (4,),
    "features.0.weight": (4, 1, 3, 3),
    "features.1.bias": (4,),
    "features.1.num_batches_tracked": (),
    "features.1.running_mean": (4,),
    "features.1.running_var": (4,),
    "features.1.weight": (4,),
    "features.4.bias": (6,),
    "features.4.weight": (6, 4, 3, 3),
}


def drawn(shapes=SHAPES):
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    arrays = {name: abs(array) if name.endswith("var") else array for name, array in arrays.items()}
    return arrays | {name: np.int64(3) for name in arrays if name.endswith("tracked")}


def saved(path, arrays):
    save_file({name: np.asarray(array) for name, array in arrays.items()}, path)
    return path


def values_of(file, *overrides, layers=NETWORK):
    return runs.tiny(f"init_from={file}", f"model.layers={layers}", *overrides)


@pytest.mark.slow(seconds=4)
def test_a_file_in_pytorchs_layout_gives_the_logits_that_its_layout_means(tmp_path):
    arrays = drawn()
    values = values_of(saved(tmp_path / "vgg.safetensors", arrays))
    state, about, said = load_init_from.begin(values, create_train_state(values))
    assert said.endswith("vgg.safetensors (PyTorch's names and layout): 12 of 12 arrays")
    assert not about["initialised"] and not about["unused"]
    images = np.random.default_rng(1).normal(size=(3, 8, 8, 1)).astype(np.float32)

    def conv(x, name, padding):
        return oracles.conv2d(
            x, arrays[f"{name}.weight"].transpose(2, 3, 1, 0), arrays[f"{name}.bias"], padding=padding
        )

    x = conv(images, "features.0", "same")
    x = (x - arrays["features.1.running_mean"]) / np.sqrt(arrays["features.1.running_var"] + 1e-5)
    x = np.maximum(x * arrays["features.1.weight"] + arrays["features.1.bias"], 0)
    x = oracles.max_pool(x, (2, 2), (2, 2))
    x = oracles.max_pool(np.maximum(conv(x, "features.4", "valid"), 0), (1, 2), (1, 2))
    x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
    x = np.maximum(x @ arrays["classifier.0.weight"].T + arrays["classifier.0.bias"], 0)
    expected = x @ arrays["classifier.11.weight"].T + arrays["classifier.11.bias"]
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    found = network.apply(state.hyper.layers, variables, images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def refused(values):
    with pytest.raises(config.ConfigError) as error:
        init_from.fit(values, init_from.find(values.init_from))
    (line,) = str(error.value).splitlines()
    return line


def test_blocks_are_numbered_through_the_stages_and_their_shortcuts_lie_in_them():
    kernels = ("conv1", "layer1.0.conv1", "layer1.0.conv2", "layer1.1.conv1", "layer2.0.conv1", "layer10.0.conv1")
    names = {f"{name}.weight": (2, 2, 3, 3) for name in (*kernels, "layer2.0.downsample.0")}
    names |= {"fc.weight": (10, 2), "fc.bias": (10,), "layer2.0.downsample.1.running_var": (2,)}
    names |= {"layer2.0.downsample.1.weight": (2,), "bn1.bias": (2,), "bn1.weight": (2,)}
    assert pytorch_names.paths(dict(sorted(names.items(), reverse=True))) == {
        "conv1/kernel": "conv1.weight",
        "batch_norm1/scale": "bn1.weight",
        "batch_norm1/bias": "bn1.bias",
        "residual1/conv1/kernel": "layer1.0.conv1.weight",
        "residual1/conv2/kernel": "layer1.0.conv2.weight",
        "residual2/conv1/kernel": "layer1.1.conv1.weight",
        "residual3/conv1/kernel": "layer2.0.conv1.weight",
        "residual3/shortcut/conv1/kernel": "layer2.0.downsample.0.weight",
        "residual3/shortcut/batch_norm1/scale": "layer2.0.downsample.1.weight",
        "residual3/shortcut/batch_norm1/var": "layer2.0.downsample.1.running_var",
        "residual4/conv1/kernel": "layer10.0.conv1.weight",
        "dense1/kernel": "fc.weight",
        "dense1/bias": "fc.bias",
    }


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vgg11"])
def test_every_array_of_a_config_has_a_name_there(name):
    """The names as torchvision builds its modules, from the config's own arrays."""
    values = resolve(files.sections(name))
    blocks = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3), "vgg11": ()}[name]
    places = [f"layer{stage}.{block}" for stage, count in enumerate(blocks, 1) for block in range(count)]
    features, dense, there = iter((0, 3, 6, 8, 11, 13, 16, 18)), iter((0, 3, 6)), {}
    for row in values.rows:
        *chain, last = row.path.split("/")
        kind, number = last[:-1], last[-1]
        for parameter in row.parameters:
            array = {"mean": "running_mean", "var": "running_var", "bias": "bias"}.get(parameter.name, "weight")
            block = f"{places[int(chain[0].removeprefix('residual')) - 1]}." if chain else ""
            short = {"conv": "conv", "batch_norm": "bn"}.get(kind, "fc") + (number if kind != "dense" else "")
            module = f"{block}downsample.{0 if kind == 'conv' else 1}" if chain[1:] else f"{block}{short}"
            there[f"{row.path}/{parameter.name}"] = module, array
    if name == "vgg11":
        modules = {row.path: f"features.{next(features)}" for row in values.rows if row.layer.kind == "conv"}
        modules |= {row.path: f"classifier.{next(dense)}" for row in values.rows if row.layer.kind == "dense"}
        there = {path: (modules[path.split("/")[0]], array) for path, (_, array) in there.items()}
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
    shapes = {
        f"{module}.{array}": tuple(parameter.shape[axis] for axis in axes[len(parameter.shape)])
        for (module, array), parameter in zip(there.values(), config.arrays(values.rows).values(), strict=True)
    }
    assert pytorch_names.paths(shapes) == {path: ".".join(names) for path, names in there.items()}


@pytest.mark.slow(seconds=2)
def test_a_head_for_other_classes_is_left_as_it_begins_and_that_is_said(tmp_path):
    arrays = drawn(SHAPES | {"classifier.11.bias": (1000,), "classifier.11.weight": (1000, 5)})
    file = saved(tmp_path / "vgg.safetensors", arrays)
    values = values_of(file)
    before = create_train_state(values)
    state, about, said = load_init_from.begin(values, before)
    assert said == (
        f"starts from {file} (PyTorch's names and layout): 10 of 12 arrays; initialised: dense2, for 10 classes "
        "instead of 1,000; not used of it: dense2"
    )
    assert about["initialised"] == ["dense2/kernel", "dense2/bias"] == about["unused"][::-1]
    assert np.array_equal(state.params["dense2"]["kernel"], before.params["dense2"]["kernel"])
    assert np.array_equal(state.params["dense1"]["bias"], arrays["classifier.0.bias"])
    # Whoever names what to take gets that, or is told.
    named = values_of(file, "init_layers=dense* conv*")
    assert refused(named) == (
        f"config.init_from: {file} does not fit 2 of 8 arrays, the first is dense2/kernel: 5x1000 of "
        "classifier.11.weight there, 5x10 here. Take what does: config.init_layers = '!dense2'."
    )


def test_a_run_of_other_classes_gives_all_but_the_head():
    own, ten = {"dense1/kernel": "64x6", "dense2/kernel": "6x10", "dense2/bias": "10"}, runs.tiny()
    others = {"dense2/kernel": "6x1000", "dense2/bias": "1000"}
    assert init_from._other_classes(ten, own, others) == 1000
    for wrong in (
        {"dense2/kernel": "6x1000", "dense2/bias": "100"},
        {"dense2/kernel": "5x1000", "dense2/bias": "1000"},
        {"dense1/kernel": "64x7"},
        {"dense2/bias": "nothing"},
        {"dense2/kernel": "6x1000 of F16"},
    ):
        assert init_from._other_classes(ten, own, wrong) is None


WRONG = {
    "a module of another network": (
        {"layer1.0.se.fc1.weight": (4, 16)},
        "has the names of PyTorch, and layer1.0.se.fc1.weight is no array of a ResNet or a VGG of torchvision or timm, "
        "got 4x16. Known: conv1, bn1, fc, ",
    ),
    "an array of no layer's": ({"features.4.weight_g": (6, 1)}, "and features.4.weight_g is no array of "),
    "a weight of no layer's": ({"features.9.weight": (6, 1, 2)}, "and features.9.weight is no array of "),
    "a number of no module's": (
        {"temperature": ()},
        "and temperature is no array of a ResNet or a VGG of torchvision ",
    ),
    "another kernel": (
        {"features.4.weight": (6, 4, 5, 5)},
        "does not fit 1 of 12 arrays, the first is conv2/kernel: 5x5x4x6 of features.4.weight there, 3x3x4x6 here. "
        "Take what does: config.init_layers = '!conv2'.",
    ),
    "a layer less": (
        {"features.4.weight": None, "features.4.bias": None},
        "does not fit 2 of 12 arrays, the first is conv2/kernel: nothing there, 3x3x4x6 here. Take ",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_one_line_that_names_the_first_array(case, tmp_path):
    changes, message = WRONG[case]
    shapes = {name: shape for name, shape in (SHAPES | changes).items() if shape is not None}
    values = values_of(saved(tmp_path / "vgg.safetensors", drawn(shapes)))
    assert refused(values).startswith(f"config.init_from: {values.init_from} ")
    assert message in refused(values)
