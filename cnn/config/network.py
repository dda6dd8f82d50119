"""The section `model`: the layer expression and the names that it uses."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from cnn import fields, layers, settings
from cnn.config.sections import Problems, Typed
from cnn.expression import ExpressionError
from cnn.layers import Layer, Row

RESERVED = frozenset({"layers", "classes", *layers.KINDS})


class Network(NamedTuple):
    """The layers of a config, traced, and the section's plain JSON values."""

    layers: tuple[Layer, ...]
    rows: tuple[Row, ...]
    plain: dict[str, Any]


def resolve(given: Mapping[str, Any], data: settings.Data | None, problems: Problems) -> Network | None:
    """Returns the network of the section `model`; on a problem notes it and returns `None`.

    Args:
      given: `layers` and names, some still `Typed`.
      data: gives the image shape and the classes; where that section has problems, shapes are not checked.
      problems: of the whole config.
    """
    plain = {name: _plain(name, value) for name, value in given.items()}
    text = plain.get("layers")
    if not isinstance(text, str):
        problems.note("model.layers", f"must be a layer expression, got {text!r}.")
        return None
    names = {name: value for name, value in plain.items() if name != "layers"}
    if not _check_names(names, problems):
        return None
    try:
        built = layers.parse(text, {**names, "classes": data.classes if data else 1})
        rows = layers.fit(built, text, data.image_shape, data.classes) if data else ()
    except ExpressionError as error:
        problems.note("model.layers", str(error))
        return None
    for name in sorted(set(names) - built.used):
        if isinstance(given["layers"], Typed) and not isinstance(given[name], Typed):
            # A flag replaced the file's layers, and no flag could take away the names they used.
            del plain[name]
        else:
            known = fields.did_you_mean(name, ["layers", *(other for other in names if other in built.used)])
            problems.note(f"model.{name}", f"is not used by model.layers. Remove it or name it there. {known}")
    return Network(built.items, rows, plain)


def _plain(name: str, value: Any) -> Any:
    if not isinstance(value, Typed):
        return value
    return value.text if name == "layers" else fields.literal(value.text)


def _check_names(names: Mapping[str, Any], problems: Problems) -> bool:
    before = len(problems)
    for name, value in names.items():
        if name in RESERVED or not name.isidentifier():
            problems.note(f"model.{name}", "is taken by the layer expression. Choose another name.")
        elif not isinstance(value, (int, float, str)) or (isinstance(value, float) and not math.isfinite(value)):
            problems.note(f"model.{name}", f"must be a finite number, True, False or a text, got {value!r}.")
    return len(problems) == before
