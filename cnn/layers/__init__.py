"""The layer kinds: frozen records that know their shapes, formulas, parameters, MACs and receptive fields, without JAX.

To add one, write its record in the module it belongs to, list it in `KINDS`, and give it its computation in
`cnn/model/compute.py`.
"""

from collections.abc import Mapping
from typing import Any

from cnn import expression
from cnn.layers.base import Layer, LayerError, Parameter, Reach, Shape, show, written
from cnn.layers.pointwise import BatchNorm, Dropout, Gelu, GroupNorm, Relu, Sigmoid, Silu, Softmax, Tanh
from cnn.layers.trace import Field, Residual, Row, activation_bytes, count_parameters, named, network_output, trace
from cnn.layers.whole import Dense, Flatten, GlobalAvgPool, GlobalMaxPool
from cnn.layers.window import AvgPool, Conv, MaxPool

KINDS: dict[str, type[Layer]] = {
    kind.kind: kind
    for kind in (
        Conv,
        MaxPool,
        AvgPool,
        GlobalAvgPool,
        GlobalMaxPool,
        Flatten,
        Dense,
        Relu,
        Gelu,
        Silu,
        Tanh,
        Sigmoid,
        BatchNorm,
        GroupNorm,
        Dropout,
        Residual,
        Softmax,
    )
}


def parse(text: str, names: Mapping[str, Any]) -> expression.Built:
    """Reads a layer expression; see `cnn.expression.build`."""
    return expression.build(text, KINDS, names)


def fit(built: expression.Built, text: str, image_shape: Shape, classes: int) -> tuple[Row, ...]:
    """Traces an expression's layers and checks that they end in one logit a class.

    Raises:
      ExpressionError: a layer does not fit, with a caret under it.
    """
    if not built.items:
        raise expression.ExpressionError("is empty. Write at least flatten | dense(classes)")
    try:
        rows = trace(built.items, image_shape)
    except LayerError as error:
        raise expression.ExpressionError(str(error), text, built.span(error.position)) from None
    if rows[-1].output != (classes,):
        message = f"ends in {show(rows[-1].output)}, expected {classes} logits. End with dense(classes)"
        raise expression.ExpressionError(message, text, built.spans[-1])
    return rows


__all__ = [
    "KINDS",
    "AvgPool",
    "BatchNorm",
    "Conv",
    "Dense",
    "Dropout",
    "Field",
    "Flatten",
    "Gelu",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "GroupNorm",
    "Layer",
    "LayerError",
    "MaxPool",
    "Parameter",
    "Reach",
    "Relu",
    "Residual",
    "Row",
    "Shape",
    "Sigmoid",
    "Silu",
    "Softmax",
    "Tanh",
    "activation_bytes",
    "count_parameters",
    "fit",
    "named",
    "network_output",
    "parse",
    "show",
    "trace",
    "written",
]
