"""ONNX, written from the layer list: one file for ONNX Runtime and whatever else reads the format."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime

from cnn.config.config import ConfigError
from cnn.export import agreement
from cnn.export.artefact import Artefact, Trained, check_size, pictures, unlike_predict
from cnn.layers.base import Arrays, Layer, LayerError, OnnxGraph, Shape
from cnn.layers.combine import Branches
from cnn.layers.module import ModuleLayer
from cnn.model.classifier import by_path
from cnn.model.summary import Row, named
from cnn.registry import LIBRARY, PACKAGE, misfit, origin_of, place, said, where_raised

OPSET, IR_VERSION = 17, 8
"""Those of 2022, so that readers of that age take it; no layer needs newer ones."""

ROUGH = 1e-3
"""Relative or absolute: what a layer's numbers may differ by, when it is looked for which one makes others."""


def write(trained: Trained) -> Artefact:
    """Returns the network with its preprocessing inside, for any batch size: pictures in, probabilities out.

    It computes layer by layer in float32, whatever the run was trained in. The graph goes through ONNX's own checker,
    and ONNX Runtime's probabilities are compared with this software's.

    Raises:
      ConfigError: the network is larger than the format can hold, or the class of a layer has no operators of ONNX, or
        wrong ones.
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
    try:
        content = _checked(model)
        worst = agreement.check(trained, runner(content))
    except Exception as error:
        if problem := _problem_of_own(trained):
            raise ConfigError([f"config.model.layers: {problem}"]) from error
        raise
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
    return _model(graph, given, returned)


def _model(graph: OnnxGraph, given: onnx.ValueInfoProto, returned: onnx.ValueInfoProto) -> onnx.ModelProto:
    nodes = [
        onnx.helper.make_node(node.operator, node.inputs, [node.name], name=node.name, **node.attributes)
        for node in graph.nodes
    ]
    arrays = [onnx.numpy_helper.from_array(numbers, name) for name, numbers in graph.arrays.items()]
    proto = onnx.helper.make_graph(nodes, "network", [given], [returned], arrays)
    opset = [onnx.helper.make_opsetid("", OPSET)]
    return onnx.helper.make_model(proto, opset_imports=opset, ir_version=IR_VERSION, producer_name="cnn")


def _checked(model: onnx.ModelProto) -> bytes:
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _problem_of_own(trained: Trained) -> str:
    """Returns which user's own layer has operators that, alone, are wrong or compute something else; empty if none."""
    for member in trained.members:
        for row in member.values.rows:
            # What chains make is joined by the layer, and each layer of theirs is a row.
            if origin_of(row.layer) not in (PACKAGE, LIBRARY) and not isinstance(row.layer, Branches):
                difference = _difference(row, member.variables)
                if difference:
                    thing = row.layer.about.module if isinstance(row.layer, ModuleLayer) else type(row.layer)
                    return f"{row.layer.kind}: its method onnx {difference}. Mend it in {place(thing)}"
    return ""


def _difference(row: Row, variables: Mapping[str, Any]) -> str:
    """Returns what is wrong with the operators of a layer, given drawn numbers; empty where nothing is."""
    layer, deep = row.layer, {key: by_path(variables.get(key, {})) for key in ("params", "batch_stats")}
    arrays = {each.name: deep[each.collection][f"{row.path}/{each.name}"] for each in row.parameters}
    x = np.random.default_rng(0).normal(size=(3, *row.input)).astype(np.float32)
    with jax.default_device(agreement.cpu()), jax.default_matmul_precision("highest"):
        ours = _channels_first(np.asarray(layer.apply(jnp.asarray(x), arrays, "NHWC"), np.float32))
    graph, own = OnnxGraph(), {key: _within(variables.get(key, {}), row.path) for key in deep}
    made = layer.onnx(graph, "images", {**own["params"], **own["batch_stats"]}, row.input, row.path)
    end = graph.node("Identity", [made], f"{row.path}/made")
    given, returned = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", *array.shape[1:]])
        for name, array in (("images", _channels_first(x)), (end, ours))
    )
    try:
        content = _checked(_model(graph, given, returned))
        (found,) = _session(content).run([end], {"images": _channels_first(x)})
    except Exception as error:
        return f"makes no graph that ONNX takes, {said(error).rstrip('.')}"
    if found.shape != ours.shape:
        return f"makes an array of {found.shape[1:]}, and the layer one of {ours.shape[1:]}"
    apart = float(np.abs(found - ours).max()) if np.isfinite(found - ours).all() else math.inf
    same = np.allclose(found, ours, rtol=ROUGH, atol=ROUGH, equal_nan=True)
    return "" if same else f"computes other numbers than the layer, by up to {apart:.2g}"


def _within(tree: Any, path: str) -> Any:
    for name in path.split("/"):
        tree = tree.get(name, {})
    return tree


def _channels_first(x: np.ndarray) -> np.ndarray:
    return x if x.ndim == 2 else np.ascontiguousarray(np.moveaxis(x, -1, 1))


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
            x = _add_layer(graph, layer, x, {**inner["params"], **inner["batch_stats"]}, shape, path)
        shape = layer.output(shape)
    return x, shape


def _add_layer(graph: OnnxGraph, layer: Layer, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
    try:
        end = layer.onnx(graph, x, arrays, shape, path)
    except LayerError as error:
        raise ConfigError([f"--format: {error}"]) from None
    except Exception as error:
        if origin_of(layer) == PACKAGE:
            raise
        raise ConfigError([f"config.model.layers: {layer.kind} failed{where_raised(error)}: {said(error)}"]) from error
    if end not in (x, *(node.name for node in graph.nodes)):
        raise ConfigError([str(misfit(layer, "model.layers", "in onnx the name of a node that it added", end))])
    return end


def runner(content: bytes) -> agreement.Probabilities:
    """Returns the network as ONNX Runtime computes it on a CPU."""
    session = _session(content)
    return lambda images: session.run(["probabilities"], {"images": images})[0]


def _session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is fatal; an error is raised
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
