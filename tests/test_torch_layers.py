"""The layers against PyTorch's functions, where it is installed."""

import numpy as np
import pytest

import networks
from cnn.model.network import apply

torch = pytest.importorskip("torch")
SIDE = (9, 8, 6)
FUNCTIONS = {
    # expression: the same in PyTorch, of an image with its channels first and the parameters by name
    "relu6": lambda x, p: torch.nn.functional.relu6(x),
    "leaky_relu(0.2)": lambda x, p: torch.nn.functional.leaky_relu(x, 0.2),
    "elu(0.7)": lambda x, p: torch.nn.functional.elu(x, 0.7),
    "hard_swish": lambda x, p: torch.nn.functional.hardswish(x),
    "hard_sigmoid": lambda x, p: torch.nn.functional.hardsigmoid(x),
    "local_response_norm(5, k=2, alpha=0.1)": lambda x, p: torch.nn.functional.local_response_norm(x, 5, 0.5, 0.75, 2),
    "upsample((2, 3))": lambda x, p: torch.nn.functional.interpolate(x, scale_factor=(2, 3)),
    "upsample((2, 3), 'bilinear')": lambda x, p: torch.nn.functional.interpolate(
        x, scale_factor=(2, 3), mode="bilinear"
    ),
    "layer_norm": lambda x, p: torch.nn.functional.layer_norm(
        x.permute(0, 2, 3, 1), (6,), p["scale"], p["bias"], 1e-6
    ).permute(0, 3, 1, 2),
    "depthwise(3, 2, strides=2, padding=1)": lambda x, p: torch.nn.functional.conv2d(
        x, p["kernel"].permute(3, 2, 0, 1), p["bias"], 2, 1, groups=6
    ),
    "conv(4, (3, 2), strides=2, padding=(1, 2))": lambda x, p: torch.nn.functional.conv2d(
        x, p["kernel"].permute(3, 2, 0, 1), p["bias"], 2, (1, 2)
    ),
    "adaptive_avg_pool((4, 11))": lambda x, p: torch.nn.functional.adaptive_avg_pool2d(x, (4, 11)),
    "max_pool(3, 2, padding=1)": lambda x, p: torch.nn.functional.max_pool2d(x, 3, 2, 1),
    "avg_pool(3, 2, padding=1)": lambda x, p: torch.nn.functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
}


@pytest.mark.parametrize("text", FUNCTIONS)
def test_a_layer_is_what_pytorch_computes(text):
    network = networks.chain(text)
    variables, images = networks.variables(network, SIDE), networks.pictures(SIDE)
    arrays = next(iter(variables["params"].values()), {})
    x = torch.from_numpy(np.asarray(images).transpose(0, 3, 1, 2).copy())
    expected = FUNCTIONS[text](x, {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
    found = np.asarray(apply(network, variables, images)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)
