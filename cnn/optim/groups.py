"""Groups of parameters, each with learning rates and a weight decay of its own: multiples of the optimizer's.

A group is a class with `@group`. `powers` says how often each parameter gets the group's two factors, `rate` and
`decay`; where several groups mean one parameter, all their factors multiply. Parameters with the same factors share an
optimizer of their own, as PyTorch's parameter groups do: what an optimizer computes of all parameters together, it
computes of those.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from etils import epy

from cnn import fields, patterns
from cnn.fields import NonNegative
from cnn.optim import freeze
from cnn.registry import GROUPS, PACKAGE, ExtensionError, FunctionForm, OfFunction, blamed, group, misfit, origin_of

with epy.lazy_imports():
    import optax

if TYPE_CHECKING:
    from optax import GradientTransformation, OptState

RATE, DECAY = "learning_rate", "weight_decay"
"""What an option of an optimizer has in its name that a group's `rate`, or its `decay`, multiplies."""


@group(name="group")
class Matching:
    """Multiplies the learning rate and the weight decay of the parameters that patterns mean.

    Attributes:
      parameters: patterns over the paths of parameters, as in `train.freeze`: "*/bias, head*".
      rate: times the learning rate, and every other option with `learning_rate` in its name.
      decay: times each option with `weight_decay` in its name, where the parameter decays at all.
    """

    parameters: str
    rate: NonNegative = 1.0
    decay: NonNegative = 1.0

    def powers(self, arrays: Mapping[str, Sequence[int]], layers: Sequence[str]) -> dict[str, int]:
        """Returns how often the factors multiply what is each parameter's; those left out, not at all.

        Args:
          arrays: the path and the shape of each parameter that is trained.
          layers: the names of the network's layers, from the image on.
        """
        del layers
        return dict.fromkeys(patterns.matching(self.parameters, list(arrays)), 1)

    def problem(self, paths: Sequence[str]) -> str:
        """Returns what is wrong with it for a network with parameters at these paths, empty where nothing is."""
        return patterns.problem(self.parameters, paths) or ("" if patterns.split(self.parameters) else "names nothing")


@group
class Layerwise:
    """Multiplies the learning rate by `rate` once more with each layer further from the last.

    A layer is one of the network's expression, a residual as a whole, that has a kernel, and the normalisations behind
    it. Layers all of which is frozen do not count.

    Source:
      Clark et al. 2020, https://arxiv.org/abs/2003.10555, appendix A; Bao et al. 2021, https://arxiv.org/abs/2106.08254.
    """

    rate: NonNegative
    """What each layer further from the last multiplies the rate by."""

    decay: ClassVar[float] = 1.0

    def powers(self, arrays: Mapping[str, Sequence[int]], layers: Sequence[str]) -> dict[str, int]:
        """Returns how far from the last layer each parameter is; see `Matching.powers`."""
        kernels = {path.split("/")[0] for path, shape in arrays.items() if len(shape) > 1}
        depth, depths = 0, {}
        for name in layers:
            depth += name in kernels
            depths[name] = max(depth, 1)
        return {path: max(depth, 1) - depths[path.split("/")[0]] for path in arrays}

    def problem(self, paths: Sequence[str]) -> str:
        """Returns what is wrong with it; see `Matching.problem`."""
        del paths
        return ""


@dataclasses.dataclass(frozen=True)
class GroupFunction(OfFunction):
    """The parameters whose paths a function returns.

    Attributes:
      rate: times the learning rate; see `Matching`.
      decay: times the weight decay; see `Matching`.
    """

    rate: NonNegative = 1.0
    decay: NonNegative = 1.0

    def powers(self, arrays: Mapping[str, Sequence[int]], layers: Sequence[str]) -> dict[str, int]:
        """Returns 1 for each path that the function names; see `Matching.powers`."""
        found = self.call(arrays=arrays, layers=layers)
        paths = list(found) if isinstance(found, Iterable) and not isinstance(found, str) else None
        if paths is None or not all(isinstance(path, str) for path in paths):
            raise misfit(self, "train.groups", "a list of paths of parameters", found)
        return dict.fromkeys(paths, 1)

    def problem(self, paths: Sequence[str]) -> str:
        """Returns what is wrong with it; see `Matching.problem`."""
        del paths
        return ""


GROUPS.function = FunctionForm(GroupFunction, ("arrays",), ("layers",))


def apart(
    groups: Sequence[Any],
    optimizer: Any,
    layers: Sequence[str],
    make_tx: Callable[[Any], GradientTransformation],
) -> GradientTransformation:
    """Returns a transformation by an optimizer for each set of parameters with the same factors.

    Its state has that of each by a name made of the powers: `1_0` of those that the first of two groups multiplies.

    Args:
      groups: at least one.
      optimizer: whose options the factors multiply.
      layers: the names of the network's layers, from the image on.
      make_tx: makes the transformation of such an optimizer.
    """

    def parts(tree: Any) -> dict[str, tuple[Any, Callable[[Any], Any]]]:
        """Returns the optimizer of each part by its name, and what takes that part of a tree like the parameters."""
        arrays = shapes(tree)
        powers = [powers_of(each, arrays, layers) for each in groups]
        of_path = {path: tuple(power.get(path, 0) for power in powers) for path in arrays}
        found: dict[str, tuple[Any, Callable[[Any], Any]]] = {}
        for wanted in sorted(set(of_path.values())):
            others = frozenset(path for path, own in of_path.items() if own != wanted)
            found["_".join(map(str, wanted))] = (
                _multiplied(optimizer, groups, wanted),
                functools.partial(freeze.trained, frozen=others),
            )
        return found

    def init(params: Any) -> dict[str, OptState]:
        return {name: make_tx(own).init(part(params)) for name, (own, part) in parts(params).items()}

    def update(grads: Any, state: dict[str, OptState], params: Any = None) -> tuple[Any, dict[str, OptState]]:
        updates, states = grads, {}
        for name, (own, part) in parts(params).items():
            moved, states[name] = make_tx(own).update(part(grads), state[name], part(params))
            updates = freeze.merged(moved, updates)
        return updates, states

    return optax.GradientTransformation(init, update)


def powers_of(kind: Any, arrays: Mapping[str, Sequence[int]], layers: Sequence[str]) -> Mapping[str, int]:
    """Returns how often a group's factors multiply what is each parameter's; see `Matching.powers`.

    Raises:
      ExtensionError: a user's own group failed, or returned something else than powers of these parameters.
    """
    found = blamed(kind, "train.groups", kind.powers)(arrays, layers)
    if origin_of(kind) == PACKAGE:
        return found
    if not isinstance(found, Mapping) or not all(type(power) is int for power in found.values()):
        raise misfit(kind, "train.groups", "whole numbers by the paths of parameters", found)
    if unknown := [path for path in found if path not in arrays]:
        known = fields.did_you_mean(str(unknown[0]), list(arrays)[: patterns.SHOWN])
        raise ExtensionError(f"config.train.groups: {kind.kind} names no parameter, got {unknown[0]!r}. {known}")
    if not any(found.values()):
        raise ExtensionError(f"config.train.groups: {kind.kind} names no parameter that is trained, got {found!r:.80}.")
    return found


def shapes(params: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Returns the shape of each array of a nested dict by its path."""
    found: dict[str, tuple[int, ...]] = {}
    for name, value in params.items():
        found |= shapes(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {prefix + name: value.shape}
    return found


def options_of(optimizer: Any, kind: str) -> list[str]:
    """Returns the names of an optimizer's options that a group's `rate` or `decay` multiplies, see `RATE`, `DECAY`."""
    return [name for name, annotation in fields.options(type(optimizer)).items() if kind in name and _real(annotation)]


def _real(annotation: Any) -> bool:
    return fields.split(annotation)[0] is float


def _multiplied(optimizer: Any, groups: Sequence[Any], powers: Sequence[int]) -> Any:
    """Returns the optimizer with its rates and decays times the factors of the groups, to these powers."""
    changed: dict[str, float | None] = {}
    for each, power in zip(groups, powers, strict=True):
        for kind, factor in ((RATE, each.rate), (DECAY, each.decay)):
            for name in options_of(optimizer, kind) if power else ():
                before = changed.get(name, getattr(optimizer, name))
                changed[name] = None if before is None else before * factor**power
    return dataclasses.replace(optimizer, **changed)
