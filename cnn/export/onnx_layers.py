"""Each kind of layer as ONNX operators, on maps with the channels first."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike

from cnn import layers as kinds
from cnn.config.config import ConfigError
from cnn.layers import Layer, Shape

Arrays = Mapping[str, Any]


class Graph:
    """The nodes and arrays of a graph that grows.

    Attributes:
      nodes: in the order of computation; each has one output, of its own name.
      arrays: float32, or int64 for shapes.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: list[onnx.TensorProto] = []

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Adds a node and returns the name of its output."""
        self.nodes.append(onnx.helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def array(self, name: str, numbers: ArrayLike, dtype: type = np.float32) -> str:
        """Adds an array and returns its name."""
        self.arrays.append(onnx.numpy_helper.from_array(np.ascontiguousarray(numbers, dtype), name))
        return name


def add(
    graph: Graph, layers: Sequence[Layer], variables: Mapping[str, Any], shape: Shape, x: str, prefix: str = ""
) -> tuple[str, Shape]:
    """Adds a chain of layers, but for its softmax; returns the name and the shape of what it makes.

    Args:
      graph: grows.
      layers: in order.
      variables: `params` and `batch_stats` of the chain.
      shape: of one example before the first layer: height, width, channels, or features.
      x: the name of what the first layer reads; maps have their channels first.
      prefix: of the names, ends in a slash where it is not empty.

    Raises:
      ConfigError: no line here says what a kind of layer is in ONNX.
    """
    for name, layer in kinds.named(layers):
        inner = {key: variables.get(key, {}).get(name, {}) for key in ("params", "batch_stats")}
        path = f"{prefix}{name}"
        if isinstance(layer, kinds.Residual):
            body, _ = add(graph, layer.body, inner, shape, x, f"{path}/")
            beside = {key: inner[key].get("shortcut", {}) for key in inner}
            shortcut, _ = add(graph, layer.shortcut, beside, shape, x, f"{path}/shortcut/")
            x = graph.node("Add", [body, shortcut], path)
        elif not isinstance(layer, (kinds.Softmax, kinds.Dropout)):
            arrays = {**inner["params"], **inner["batch_stats"]}
            x = _operators(type(layer))(graph, layer, arrays, shape, x, path)
        shape = layer.output(shape)
    return x, shape


def _operators(kind: type[Layer]) -> Callable[..., str]:
    if kind not in _LAYERS:
        raise ConfigError(
            [
                f"--format: onnx has no line yet for the layer {kind.kind}. "
                f"Add one for {kind.__name__} to _LAYERS in cnn/export/onnx_layers.py, or use --format=stablehlo"
            ]
        )
    return _LAYERS[kind]


def _pads(shape: Shape, layer: Any) -> list[int]:
    """Returns the rows and columns added before and after, as XLA and TensorFlow pad: the odd one at the end."""
    if layer.padding == "valid":
        return [0, 0, 0, 0]
    kernel, strides = layer.reach(shape)
    sums = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(shape, kernel, strides, strict=False)]
    return [*(total // 2 for total in sums), *(total - total // 2 for total in sums)]


def _conv(graph: Graph, layer: kinds.Conv, arrays: Arrays, shape: Shape, x: str, path: str) -> str:
    kernel = graph.array(f"{path}/kernel", np.transpose(np.asarray(arrays["kernel"]), (3, 2, 0, 1)))
    bias = [graph.array(f"{path}/bias", arrays["bias"])] if layer.use_bias else []
    return graph.node(
        "Conv",
        [x, kernel, *bias],
        path,
        kernel_shape=layer.kernel,
        strides=layer.strides,
        pads=_pads(shape, layer),
        dilations=layer.dilation,
        group=layer.groups,
    )


def _pool(operator: str) -> Callable[..., str]:
    def pool(graph: Graph, layer: Any, _: Arrays, shape: Shape, x: str, path: str) -> str:
        # By default an average does not count what is padded, as ours does not.
        how = {"kernel_shape": layer.window, "strides": layer.strides, "pads": _pads(shape, layer)}
        return graph.node(operator, [x], path, **how)

    return pool


def _global_pool(operator: str) -> Callable[..., str]:
    def pool(graph: Graph, _: Layer, __: Arrays, ___: Shape, x: str, path: str) -> str:
        return graph.node("Flatten", [graph.node(operator, [x], f"{path}/map")], path)

    return pool


def _flatten(graph: Graph, _: Layer, __: Arrays, shape: Shape, x: str, path: str) -> str:
    if len(shape) == 1:
        return x
    last = graph.node("Transpose", [x], f"{path}/channels_last", perm=[0, 2, 3, 1])
    return graph.node("Flatten", [last], path)


def _dense(graph: Graph, layer: kinds.Dense, arrays: Arrays, _: Shape, x: str, path: str) -> str:
    kernel = graph.array(f"{path}/kernel", arrays["kernel"])
    if not layer.use_bias:
        return graph.node("MatMul", [x, kernel], path)
    return graph.node("Gemm", [x, kernel, graph.array(f"{path}/bias", arrays["bias"])], path)


def _batch_norm(graph: Graph, layer: kinds.BatchNorm, arrays: Arrays, _: Shape, x: str, path: str) -> str:
    inputs = [graph.array(f"{path}/{name}", arrays[name]) for name in ("scale", "bias", "mean", "var")]
    return graph.node("BatchNormalization", [x, *inputs], path, epsilon=float(layer.epsilon))


def _group_norm(graph: Graph, layer: kinds.GroupNorm, arrays: Arrays, shape: Shape, x: str, path: str) -> str:
    """ONNX has the operator with a scale for each channel only since opset 21: normalise groups, then scale."""
    first = [shape[-1], *shape[:-1]]
    grouped = graph.array(f"{path}/groups", [0, layer.groups, -1], np.int64)
    whole = graph.array(f"{path}/shape", [0, *first], np.int64)
    apart = graph.node("Reshape", [x, grouped], f"{path}/grouped")
    ones, zeros = (graph.array(f"{path}/{n}", np.full(layer.groups, n)) for n in (1, 0))
    normal = graph.node("InstanceNormalization", [apart, ones, zeros], f"{path}/normal", epsilon=float(layer.epsilon))
    together = graph.node("Reshape", [normal, whole], f"{path}/together")
    per_channel = [shape[-1], *[1] * (len(shape) - 1)]
    scale, bias = (
        graph.array(f"{path}/{name}", np.reshape(np.asarray(arrays[name]), per_channel)) for name in ("scale", "bias")
    )
    return graph.node("Add", [graph.node("Mul", [together, scale], f"{path}/scaled"), bias], path)


def _operator(operator: str) -> Callable[..., str]:
    return lambda graph, _, __, ___, x, path: graph.node(operator, [x], path)


def _gelu(graph: Graph, _: Layer, __: Arrays, ___: Shape, x: str, path: str) -> str:
    """ONNX has the operator since opset 20: x/2 (1 + erf(x / sqrt(2)))."""
    root, one, half = (
        graph.array(f"{path}/{name}", [number])
        for name, number in (("root", math.sqrt(2)), ("one", 1.0), ("half", 0.5))
    )
    error = graph.node("Erf", [graph.node("Div", [x, root], f"{path}/part")], f"{path}/erf")
    share = graph.node("Mul", [graph.node("Add", [error, one], f"{path}/sum"), half], f"{path}/share")
    return graph.node("Mul", [x, share], path)


def _silu(graph: Graph, _: Layer, __: Arrays, ___: Shape, x: str, path: str) -> str:
    return graph.node("Mul", [x, graph.node("Sigmoid", [x], f"{path}/sigmoid")], path)


_LAYERS: dict[type[Layer], Callable[..., str]] = {
    kinds.Conv: _conv,
    kinds.MaxPool: _pool("MaxPool"),
    kinds.AvgPool: _pool("AveragePool"),
    kinds.GlobalAvgPool: _global_pool("GlobalAveragePool"),
    kinds.GlobalMaxPool: _global_pool("GlobalMaxPool"),
    kinds.Flatten: _flatten,
    kinds.Dense: _dense,
    kinds.Relu: _operator("Relu"),
    kinds.Gelu: _gelu,
    kinds.Silu: _silu,
    kinds.Tanh: _operator("Tanh"),
    kinds.Sigmoid: _operator("Sigmoid"),
    kinds.BatchNorm: _batch_norm,
    kinds.GroupNorm: _group_norm,
}
