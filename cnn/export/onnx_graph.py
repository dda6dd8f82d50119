"""ONNX, written from the layer list: one file for ONNX Runtime and whatever else reads the format."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime

from cnn.config.config import ConfigError
from cnn.export import agreement
from cnn.export.artefact import Artefact, Trained, check_size, pictures, unlike_predict
from cnn.layers.base import Layer, LayerError, OnnxGraph, Shape
from cnn.layers.combine import Branches
from cnn.model.summary import named

OPSET, IR_VERSION = 17, 8
"""Those of 2022, so that readers of that age take it; no layer needs newer ones."""


def write(trained: Trained) -> Artefact:
    """Returns the network with its preprocessing inside, for any batch size: pictures in, probabilities out.

    It computes layer by layer in float32, whatever the run was trained in. The graph goes through ONNX's own checker,
    and ONNX Runtime's probabilities are compared with this software's.

    Raises:
      ConfigError: the network is larger than the format can hold, or the class of a layer has no operators of ONNX.
      FloatingPointError: a probability is not finite, or differs by more than rounding.
    """
    check_size(trained)
    about = pictures(trained)
    model = build(trained)
    model.metadata_props.extend(
        onnx.StringStringEntryProto(key=key, value=value if isinstance(value, str) else json.dumps(value))
        for key, value in {
            "classes": list(trained.classes),
            "image_shape": list(trained.values.data.image_shape),
            "resize": trained.values.data.resize,
            "stored_shape": list(trained.values.data.stored_shape),
            "weights": trained.weights,
            "step": [member.step for member in trained.members] if trained.others else trained.step,
        }.items()
    )
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()
    worst = agreement.check(trained, runner(content))
    said = (
        *unlike_predict(trained),
        f"checked by onnx.checker, and on ONNX Runtime {onnxruntime.__version__} (cpu): "
        f"probabilities differ from predict's in float32 by at most {worst:.1g}",
    )
    versions = {"opset": OPSET, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
    return Artefact(content, {**about, **versions, "difference": worst}, said)


def build(trained: Trained) -> onnx.ModelProto:
    """Returns the graph: from pictures through the layers to probabilities, of several networks to their mean."""
    data = trained.values.data
    number = onnx.TensorProto.UINT8 if trained.intensities == "uint8" else onnx.TensorProto.FLOAT
    given = onnx.helper.make_tensor_value_info("images", number, ["batch", *data.image_shape])
    returned = onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["batch", data.classes])
    graph = OnnxGraph()
    if trained.others:
        named = ((f"network{number}/", member) for number, member in enumerate(trained.members, 1))
        ends = [_add_network(graph, member, prefix) for prefix, member in named]
        graph.node("Mean", ends, "probabilities")
    else:
        _add_network(graph, trained, "")
    nodes = [
        onnx.helper.make_node(node.operator, node.inputs, [node.name], name=node.name, **node.attributes)
        for node in graph.nodes
    ]
    arrays = [onnx.numpy_helper.from_array(numbers, name) for name, numbers in graph.arrays.items()]
    proto = onnx.helper.make_graph(nodes, "network", [given], [returned], arrays)
    opset = [onnx.helper.make_opsetid("", OPSET)]
    return onnx.helper.make_model(proto, opset_imports=opset, ir_version=IR_VERSION, producer_name="cnn")


def _add_network(graph: OnnxGraph, trained: Trained, prefix: str) -> str:
    """Adds one network from the pictures to its probabilities; returns the name of these."""
    data = trained.values.data
    x = graph.node("Cast", ["images"], f"{prefix}preprocessing/float", to=onnx.TensorProto.FLOAT)
    for name, operator, numbers in (
        ("unit", "Div", np.full(1, 255)),
        ("mean", "Sub", np.asarray(data.mean)),
        ("std", "Div", np.asarray(data.std)),
    ):
        path = f"{prefix}preprocessing/{name}"
        x = graph.node(operator, [x, graph.array(path, numbers)], f"{path}/{operator}")
    x = graph.node("Transpose", [x], f"{prefix}preprocessing/channels_first", perm=[0, 3, 1, 2])
    x, _ = add(graph, trained.values.layers, trained.variables, data.image_shape, x, prefix)
    return graph.node("Softmax", [x], f"{prefix}probabilities", axis=1)


def add(
    graph: OnnxGraph, layers: Sequence[Layer], variables: Mapping[str, Any], shape: Shape, x: str, prefix: str = ""
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
      ConfigError: the class of a layer does not say what it is in ONNX.
    """
    for name, layer in named(layers):
        inner = {key: variables.get(key, {}).get(name, {}) for key in ("params", "batch_stats")}
        path = f"{prefix}{name}"
        if isinstance(layer, Branches):
            ends = []
            for branch in layer.chains:
                scope = {key: inner[key].get(branch.scope, {}) for key in inner} if branch.scope else inner
                ends.append(add(graph, branch.layers, scope, shape, x, branch.prefix(path)))
            x = layer.join_onnx(graph, [made for made, _ in ends], [end for _, end in ends], path)
        else:
            try:
                x = layer.onnx(graph, x, {**inner["params"], **inner["batch_stats"]}, shape, path)
            except LayerError as error:
                raise ConfigError([f"--format: {error}"]) from None
        shape = layer.output(shape)
    return x, shape


def runner(content: bytes) -> agreement.Probabilities:
    """Returns the network as ONNX Runtime computes it on a CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["probabilities"], {"images": images})[0]
