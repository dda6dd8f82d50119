"""The little language of the configs: `conv(64, 3) | relu | 2 * residual(conv(64, 3, padding="same"))`.

Python's grammar, read with `ast` and never evaluated: calls and bare names joined by `|`, repeated by `n * ...`, with
literals, names of config fields and integer arithmetic as arguments. `build` turns a text into frozen records of the
kinds it is given; the same language writes networks, augmentations and stopping rules.
"""

from cnn.expression.builder import Built, build, build_one, signature
from cnn.expression.errors import ExpressionError

__all__ = ["Built", "ExpressionError", "build", "build_one", "signature"]
