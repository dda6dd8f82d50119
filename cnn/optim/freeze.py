"""Parameters as nested dicts in two parts: those that training changes, and those that stay."""

from collections.abc import Collection, Mapping
from typing import Any

# Not `optax.transforms.selective_transform` with `lax.stop_gradient`: XLA removes the frozen gradients there, too, but
# the state has other paths (`inner_states/train/inner_state/...`), with which no checkpoint of a frozen run would open,
# and adding an update of zero turns a frozen -0.0 into 0.0 where XLA does not simplify it away.


def trained(params: Mapping[str, Any], frozen: Collection[str], prefix: str = "") -> Any:
    """Returns the tree without the arrays at the paths `frozen`, and without layers that lose all of theirs."""
    if not frozen:
        return params
    kept: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            if inner := trained(value, frozen, f"{prefix}{name}/"):
                kept[name] = inner
        elif prefix + name not in frozen:
            kept[name] = value
    return kept


def merged(part: Mapping[str, Any], params: Mapping[str, Any]) -> Any:
    """Returns the tree `params` with those arrays replaced that `part` has."""
    return {
        name: value if name not in part else merged(part[name], value) if isinstance(value, Mapping) else part[name]
        for name, value in params.items()
    }


def restricted(params: Mapping[str, Any], part: Mapping[str, Any]) -> Any:
    """Returns of the tree `params` the arrays that `part` has, too."""
    return {
        name: restricted(params[name], value) if isinstance(value, Mapping) else params[name]
        for name, value in part.items()
    }


def layers(params: Mapping[str, Any], frozen: Collection[str], prefix: str = "") -> frozenset[str]:
    """Returns the paths of the layers, and of what holds some, that have parameters and train none of them."""
    found: set[str] = set()
    for name, value in params.items() if frozen else ():
        if isinstance(value, Mapping):
            if value and not trained(value, frozen, f"{prefix}{name}/"):
                found.add(prefix + name)
            found |= layers(value, frozen, f"{prefix}{name}/")
    return frozenset(found)
