"""From a ConfigDict, or a run's `config.json`, to frozen values and the list of all that is wrong with it.

The only reader of a config. Everything downstream gets `Values` and trusts them. Imports no JAX.
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cnn import fields, layers, settings
from cnn.expression import ExpressionError, build, build_one
from cnn.layers import Layer, Row

SECTIONS: dict[str, type] = {
    "data": settings.Data,
    "train": settings.Train,
    "eval": settings.Eval,
    "checkpoint": settings.Checkpoint,
}
NAMED: dict[str, dict[str, type]] = {"optimizer": settings.OPTIMIZERS, "schedule": settings.SCHEDULES}
"""Sections whose `name` chooses the record."""
DEFAULT_NAMES = {"schedule": "constant"}
RESERVED = frozenset({"layers", "classes", *layers.KINDS})


class Override(NamedTuple):
    """A flag `--config.<path>=<text>`."""

    path: str
    text: str


class _Typed(NamedTuple):
    """A value still as a person typed it after a flag."""

    text: str


@dataclasses.dataclass(frozen=True)
class Values:
    """A whole config, checked."""

    seed: int
    layers: tuple[Layer, ...]
    rows: tuple[Row, ...]
    data: settings.Data
    optimizer: Any
    schedule: Any
    train: settings.Train
    eval: settings.Eval
    checkpoint: settings.Checkpoint
    json: str
    """Every field with its value, expressions as text: what `config.json` holds."""


class ConfigError(ValueError):
    """Everything that is wrong with a config, one line each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


def resolve(raw: Mapping[str, Any], overrides: list[Override] | None = None) -> Values:
    """Returns the checked values of a config with flags applied.

    Args:
      raw: sections as nested plain dicts, as `ConfigDict.to_dict()` gives.
      overrides: applied in order.

    Raises:
      ConfigError: lists every problem.
    """
    return _Resolver(raw, overrides or []).values()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Returns path, old and new value of each field in which two resolved configs differ."""
    flat_old, flat_new = dict(_flatten(old)), dict(_flatten(new))
    return [
        (path, flat_old.get(path, "(not set)"), flat_new.get(path, "(not set)"))
        for path in sorted({*flat_old, *flat_new})
        if flat_old.get(path) != flat_new.get(path) or (path in flat_old) != (path in flat_new)
    ]


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


class _Resolver:
    """Collects problems instead of stopping at the first."""

    def __init__(self, raw: Mapping[str, Any], overrides: list[Override]) -> None:
        self.problems: list[str] = []
        self.plain: dict[str, Any] = {}
        self.built: dict[str, Any] = {}
        self.raw: dict[str, Any] = {}
        for name, value in raw.items():
            self.raw[name] = dict(value) if isinstance(value, Mapping) else value
        for override in overrides:
            self._apply(override)

    def problem(self, path: str, message: str) -> None:
        self.problems.append(f"config.{path}: {message}")

    def values(self) -> Values:
        self._unknown_sections()
        self._seed()
        for name, kind in SECTIONS.items():
            self.built[name] = self._record(name, kind, self._section(name))
        for name, kinds in NAMED.items():
            self.built[name] = self._named(name, kinds)
        self._model()
        if not self.problems:
            self._check_together()
        if self.problems:
            raise ConfigError(self.problems)
        return Values(**self.built, json=json.dumps(self.plain, indent=2, sort_keys=True, allow_nan=False) + "\n")

    def _apply(self, override: Override) -> None:
        section, _, field = override.path.partition(".")
        if section == "seed" and not field:
            self.raw["seed"] = _Typed(override.text)
        elif not field or "." in field or section not in (*SECTIONS, *NAMED, "model"):
            known = ("seed", "model", *SECTIONS, *NAMED)
            if section in known[1:] and not field:
                self.problem(override.path, f"is a section, got {override.text!r}. Set one of its fields.")
            else:
                self.problem(override.path, f"unknown field. {fields.did_you_mean(section, known)}")
        elif section == "model" and field not in self._section("model"):
            self.problem(override.path, f"unknown field. {fields.did_you_mean(field, self._section('model'))}")
        else:
            self._section(section)[field] = _Typed(override.text)

    def _section(self, name: str) -> dict[str, Any]:
        section = self.raw.setdefault(name, {})
        if not isinstance(section, dict):
            self.problem(name, f"must be a section with fields, got {section!r}")
            section = self.raw[name] = {}
        return section

    def _unknown_sections(self) -> None:
        known = ("seed", "model", *SECTIONS, *NAMED)
        for name in self.raw:
            if name not in known:
                self.problem(name, f"unknown section. {fields.did_you_mean(name, known)}")

    def _seed(self) -> None:
        self.built["seed"] = self.plain["seed"] = self._field("seed", settings.Seed, self.raw.get("seed", 0))

    def _field(self, path: str, annotation: Any, value: Any) -> Any:
        """Returns the parsed value; on a problem notes it and returns `None`."""
        if isinstance(value, _Typed):
            value = fields.from_text(annotation, value.text)
        try:
            return fields.parse(annotation, value)
        except ValueError as error:
            self.problem(path, f"{error}.")
            return None

    def _named(self, section: str, kinds: Mapping[str, type]) -> Any:
        given = dict(self._section(section))
        name = given.pop("name", DEFAULT_NAMES.get(section))
        name = name.text if isinstance(name, _Typed) else name
        if not isinstance(name, str) or name not in kinds:
            self.problem(f"{section}.name", f"unknown name {name!r}. {fields.did_you_mean(str(name), kinds)}")
            return None
        record = self._record(section, kinds[name], given, of=f" of {name}")
        self.plain[section]["name"] = name
        return record

    def _record(self, section: str, kind: type, given: Mapping[str, Any], of: str = "") -> Any:
        annotations, defaults = fields.options(kind), fields.defaults(kind)
        plain = self.plain[section] = {}
        before = len(self.problems)
        for name in given:
            if name not in annotations:
                self.problem(f"{section}.{name}", f"unknown field{of}. {fields.did_you_mean(name, annotations)}")
        built = {}
        for name, annotation in annotations.items():
            value = given.get(name, defaults[name])
            if value is fields.REQUIRED:
                self.problem(f"{section}.{name}", f"is not set. It must be {fields.describe(annotation)}.")
                continue
            language = fields.language(annotation)
            plain_value = self._field(f"{section}.{name}", str if language else annotation, value)
            plain[name] = fields.to_json(plain_value)
            built[name] = plain_value
            if language is not None:
                built[name] = self._expression(f"{section}.{name}", language, plain_value)
        return kind(**built) if len(self.problems) == before else None

    def _expression(self, path: str, language: fields.Language, text: Any) -> Any:
        if not isinstance(text, str):
            return None
        try:
            if language.chain:
                return build(text, language.kinds).items
            return build_one(text, language.kinds)
        except ExpressionError as error:
            self.problem(path, str(error))
            return None

    def _model(self) -> None:
        section = self._section("model")
        plain = self.plain["model"] = {}
        for name, value in section.items():
            value = value.text if isinstance(value, _Typed) and name == "layers" else value
            plain[name] = fields.literal(value.text) if isinstance(value, _Typed) else value
        text = plain.get("layers")
        if not isinstance(text, str):
            self.problem("model.layers", f"must be a layer expression, got {text!r}.")
            return
        names = self._model_names(plain)
        if names is None:
            return
        data = self.built["data"]
        try:
            built = layers.parse(text, {**names, "classes": data.classes if data else 1})
            self.built["layers"] = built.items
            self.built["rows"] = layers.fit(built, text, data.image_shape, data.classes) if data else ()
        except ExpressionError as error:
            self.problem("model.layers", str(error))
            return
        for name in sorted(set(names) - built.used):
            if isinstance(section["layers"], _Typed) and not isinstance(section[name], _Typed):
                # A flag replaced the file's layers, and no flag could take away the names they used.
                del plain[name]
            else:
                self.problem(f"model.{name}", "is not used by model.layers. Remove it or name it there.")

    def _model_names(self, plain: Mapping[str, Any]) -> dict[str, Any] | None:
        names = {name: value for name, value in plain.items() if name != "layers"}
        before = len(self.problems)
        for name, value in names.items():
            if name in RESERVED or not name.isidentifier():
                self.problem(f"model.{name}", "is taken by the layer expression. Choose another name.")
            elif not isinstance(value, (int, float, str)) or (isinstance(value, float) and not math.isfinite(value)):
                self.problem(f"model.{name}", f"must be a finite number, True, False or a text, got {value!r}.")
        return names if len(self.problems) == before else None

    def _check_together(self) -> None:
        data, train, evaluation = self.built["data"], self.built["train"], self.built["eval"]
        for name in ("mean", "std"):
            given, channels = len(getattr(data, name)), data.image_shape[2]
            if given not in (1, channels):
                self.problem(f"data.{name}", f"must have 1 number or one for each of {channels} channels, got {given}.")
        if train.batch_size % train.accumulate_steps:
            self.problem(
                "train.accumulate_steps",
                f"must divide train.batch_size = {train.batch_size}, got {train.accumulate_steps}.",
            )
        if evaluation.weights == "ema" and isinstance(train.average, settings.Off):
            self.problem("eval.weights", 'is "ema" but none is kept. Set train.average = "ema(0.999)".')
        for kind in data.augment:
            reach = getattr(kind, "pad", getattr(kind, "pixels", 0))
            if reach >= min(data.image_shape[:2]):
                self.problem(
                    "data.augment", f"moves by up to {reach} pixels, out of a {layers.show(data.image_shape)} image."
                )
        self._check_validation()

    def _check_validation(self) -> None:
        data, stop = self.built["data"], self.built["train"].stop
        if data.valid_fraction > 0 and data.train_on == "train":
            return
        reason = "data.train_on holds the validation split" if data.valid_fraction else "data.valid_fraction is 0"
        remedy = 'Set data.valid_fraction above 0 and data.train_on = "train".'
        if self.built["eval"].weights == "best":
            self.problem("eval.weights", f'is "best" but nothing chooses it: {reason}. {remedy}')
        if not self.built["eval"].test:
            self.problem("eval.test", f"is False and there is nothing else to evaluate: {reason}. {remedy}")
        if isinstance(stop, settings.Patience) or (isinstance(stop, settings.Target) and stop.split == "valid"):
            self.problem("train.stop", f"needs a validation split: {reason}. {remedy}")
