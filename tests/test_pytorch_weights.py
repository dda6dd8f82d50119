"""Weights in torchvision's names and layout, started from, against PyTorch's own logits, where it is installed."""

import functools

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

import networks
from cnn import hyperparams
from cnn.config import config, files
from cnn.config.resolve import resolve
from cnn.model import network
from cnn.train import load_init_from
from cnn.train.state import _create

torch = pytest.importorskip("torch")
nn = torch.nn
pytestmark = pytest.mark.slow


class Block(nn.Module):
    """A basic block of two 3x3 convolutions, or a bottleneck that strides in its 3x3; the names are torchvision's."""

    def __init__(self, inputs, width, stride, bottleneck):
        super().__init__()
        outputs = 4 * width if bottleneck else width
        kernels = (
            [(1, 1, width), (3, stride, width), (1, 1, outputs)] if bottleneck else [(3, stride, width), (3, 1, width)]
        )
        self.count, made = len(kernels), inputs
        for number, (kernel, step, features) in enumerate(kernels, 1):
            setattr(self, f"conv{number}", nn.Conv2d(made, features, kernel, step, kernel // 2, bias=False))
            setattr(self, f"bn{number}", nn.BatchNorm2d(features))
            made = features
        self.downsample = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = x
        for number in range(1, self.count + 1):
            y = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(y))
            y = y if number == self.count else y.relu()
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet(nn.Module):
    def __init__(self, blocks, bottleneck, classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.maxpool, made = nn.MaxPool2d(3, 2, 1), 64
        for stage, count in enumerate(blocks, 1):
            width, chain = 32 * 2**stage, []
            for number in range(count):
                chain.append(Block(made, width, 2 if stage > 1 and number == 0 else 1, bottleneck))
                made = 4 * width if bottleneck else width
            setattr(self, f"layer{stage}", nn.Sequential(*chain))
        self.fc = nn.Linear(made, classes)

    def forward(self, x):
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class Vgg11(nn.Module):
    """With its two hidden layers of `hidden` features, 4096 in the paper."""

    def __init__(self, normed, classes, hidden):
        super().__init__()
        chain, made = [], 3
        for width in (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"):
            if width == "M":
                chain.append(nn.MaxPool2d(2))
                continue
            chain += [nn.Conv2d(made, width, 3, padding=1), *([nn.BatchNorm2d(width)] if normed else []), nn.ReLU()]
            made = width
        self.features, self.avgpool = nn.Sequential(*chain), nn.AdaptiveAvgPool2d(7)
        first, second = (nn.Linear(inputs, hidden) for inputs in (512 * 49, hidden))
        rest = (nn.ReLU(), nn.Dropout(), second, nn.ReLU(), nn.Dropout(), nn.Linear(hidden, classes))
        self.classifier = nn.Sequential(first, *rest)

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


HIDDEN = "model.hidden=dense(64, init=normal(0.01)) | relu | dropout(0.5)"
NORMED = "model.c=w: conv(w, 3, padding=1) | batch_norm(0.9, 1e-5) | relu"
NETWORKS = {
    "resnet18": ("resnet18", lambda classes: ResNet((2, 2, 2, 2), False, classes), ()),
    "resnet50": ("resnet50", lambda classes: ResNet((3, 4, 6, 3), True, classes), ()),
    "vgg11": ("vgg11", lambda classes: Vgg11(False, classes, 64), (HIDDEN,)),
    "vgg11_bn": ("vgg11", lambda classes: Vgg11(True, classes, 64), (HIDDEN, NORMED)),
}


def drawn(make, classes):
    """Returns a network in evaluation whose scales, biases and running statistics are no zeros and ones."""
    torch.manual_seed(0)
    module = make(classes)
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.2)
            nn.init.normal_(part.running_mean, 0, 0.2)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    return module.eval()


def saved(module, path):
    """Writes a module's state dict, the counts of batches too."""
    save_file({name: array.numpy() for name, array in module.state_dict().items()}, path)
    return path


def started(name, file, side, *overrides):
    """Returns a config's values, its state that starts from a file, and what is said of it."""
    config_name, _, changes = NETWORKS[name]
    given = (f"init_from={file}", f"data.image_shape=({side},{side},3)", "data.augment=flip", *changes, *overrides)
    values = resolve(files.sections(config_name), [config.Override(*text.split("=", 1)) for text in given])
    hyper = hyperparams.from_values(values)
    create = functools.partial(_create, image_shape=values.data.image_shape, frozen=())
    shapes = jax.eval_shape(create, hyper, jax.random.key_data(jax.random.key(0)))
    # Nothing is drawn, as all of it is replaced but for the head.
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)._replace(hyper=hyper)
    state, _, said = load_init_from.begin(values, state)
    return values, state, said


@pytest.mark.slow(seconds=20)
@pytest.mark.parametrize("side", [224, 64])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_with_the_weights_of_pytorch_has_its_logits(name, side, tmp_path):
    module = drawn(NETWORKS[name][1], 1000)
    values, state, said = started(name, saved(module, tmp_path / "weights.safetensors"), side)
    assert f"{len(config.arrays(values.rows))} of {len(config.arrays(values.rows))} arrays" in said
    images = np.random.default_rng(0).normal(size=(2, side, side, 3)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    found = np.asarray(networks.jit(functools.partial(network.apply, state.hyper.layers))(variables, images))
    largest = np.abs(expected).max()
    assert largest > 0.01 and np.abs(expected[0] - expected[1]).max() > 1e-3 * largest
    print(f"{name} at {side}: {np.abs(found - expected).max():.1e} of {largest:.2g}")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * largest)
