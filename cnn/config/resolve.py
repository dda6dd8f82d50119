"""A whole config: flags over sections, each section and the network checked, all problems together."""

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cnn import fields, registry
from cnn.config import extensions, sections, validate
from cnn.config.config import (
    DEFAULT_NAMES,
    KNOWN,
    NAMED,
    RENAMED,
    SCALARS,
    SECTIONS,
    Config,
    ConfigError,
    Override,
    old_names,
    renamed,
)
from cnn.config.problems import Problems, Section, Typed, parse_field
from cnn.data import sources
from cnn.expression import Built, ExpressionError, Recorded, build_one, parameters
from cnn.layers.base import Layer, RecordedLayer
from cnn.layers.initialisers import Initialiser, RecordedInitialiser, Whiten, initialised
from cnn.model import summary
from cnn.model.summary import Row
from cnn.registry import INITIALISERS, LAYERS, ExtensionError

RESERVED = frozenset({"layers", "init", "classes", *LAYERS})
EXPRESSIONS = ("layers", "init")
"""Fields of `model` that are no names for its layers."""
INSIDE = (
    "is no field: an option of a layer stands inside the text of config.model.layers. Write a name there, as in "
    "conv(width, 3), and set or sweep model.width."
)
"""What is said of a path into the layers."""


class Given(NamedTuple):
    """What a config holds before it is checked."""

    scalars: dict[str, object]
    """The fields of no section."""
    sections: dict[str, dict[str, object]]
    no_sections: tuple[str, ...]
    """Those that are none, which was noted, and of which no field is asked for."""


class Network(NamedTuple):
    """The layers of a config, traced, and the section's plain JSON values."""

    layers: tuple[Layer, ...]
    rows: tuple[Row, ...]
    plain: dict[str, object]
    pieces: tuple[tuple[str, tuple[str, ...]], ...]


def resolve_network(
    given: Mapping[str, Any],
    data: sections.Data | None,
    problems: Problems,
    recorded: Mapping[str, Any] | None = None,
) -> Network | None:
    """Returns the network of the section `model`; on a problem notes it and returns `None`.

    Args:
      given: `layers` and names, some still `Typed`.
      data: gives the image shape and the classes; where that section has problems, shapes are not checked.
      problems: of the whole config.
      recorded: what a run recorded of the layers that are not this package's, by path; then none of their names is
        looked up.
    """
    plain = {name: _plain(name, value) for name, value in given.items()}
    if "layers" not in plain:
        problems.note("model.layers", 'is not set. It must be a layer expression, such as "flatten | dense(classes)".')
        return None
    text = plain["layers"]
    if not isinstance(text, str):
        problems.note("model.layers", f"must be a layer expression, got {text!r}.")
        return None
    names = {name: value for name, value in plain.items() if name not in EXPRESSIONS}
    # A run was made with its names, whatever layers there are of one's own today.
    if not _check_names(names, RESERVED if recorded is not None else RESERVED.union(LAYERS), problems):
        return None
    try:
        kinds = LAYERS if recorded is None else Recorded(registry.of_package(LAYERS), RecordedLayer)
        built = summary.parse(text, {**names, "classes": data.classes if data else 1}, kinds)
        if (init := _init(plain.get("init", ""), problems, recorded=recorded is not None)) is not None:
            built = built._replace(items=initialised(built.items, init))
        rows = summary.fit(built, text, data.image_shape, data.classes, recorded or {}) if data else ()
    except ExpressionError as error:
        problems.note_each("model.layers", error)
        return None
    for name in sorted(set(names) - built.used):
        if isinstance(given["layers"], Typed) and not isinstance(given[name], Typed):
            # A flag replaced the file's layers, and no flag could take away the names they used.
            del plain[name]
        else:
            known = fields.did_you_mean(name, ["layers", *(other for other in names if other in built.used)])
            problems.note(f"model.{name}", f"is not used by model.layers. Remove it or name it there. {known}")
    return Network(built.items, rows, plain, _pieces(built, text, names))


def _init(text: object, problems: Problems, *, recorded: bool) -> Initialiser | None:
    """Returns how kernels begin that do not say so; `None` where nothing says so, or it is wrong."""
    if text == "":
        return None
    try:
        kinds = Recorded(registry.of_package(INITIALISERS), RecordedInitialiser) if recorded else INITIALISERS
        init: Initialiser = build_one(str(text), kinds)
    except ExpressionError as error:
        problems.note_each("model.init", error)
        return None
    if isinstance(init, Whiten):
        problems.note("model.init", f"is for all layers, got {text}. Write conv(24, 2, init=whiten) for the first one.")
        return None
    return init


def _pieces(built: Built, text: str, names: Mapping[str, Any]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Returns the names and calls of the layer expression that stand for texts, and the layers that each makes."""
    together = itertools.groupby(
        zip(built.spans, (name for name, _ in summary.named(built.items)), strict=True), key=lambda pair: pair[0]
    )
    found = [(text[slice(*span)], tuple(name for _, name in layers)) for span, layers in together]
    return tuple((written, layers) for written, layers in found if written.partition("(")[0].strip() in names)


def _plain(name: str, value: Any) -> Any:
    if not isinstance(value, Typed):
        return value
    return value.text if name in EXPRESSIONS else fields.literal(value.text)


def _check_names(names: Mapping[str, Any], reserved: frozenset[str], problems: Problems) -> bool:
    before = len(problems)
    for name, value in names.items():
        if name in reserved or not name.isidentifier():
            problems.note(f"model.{name}", "is taken by the layer expression. Choose another name.")
        elif not isinstance(value, (int, float, str)) or (isinstance(value, float) and not math.isfinite(value)):
            problems.note(f"model.{name}", f"must be a finite number, True, False or a text, got {value!r}.")
        elif isinstance(value, str):
            for taken in reserved.intersection(parameters(value)):
                problems.note(
                    f"model.{name}", f"has a parameter whose name is taken, got {taken!r}. Choose another name."
                )
    return len(problems) == before


def resolve(
    raw: Mapping[str, Any],
    overrides: Sequence[Override] = (),
    *,
    recorded: bool = False,
    code: Mapping[str, Any] | None = None,
) -> Config:
    """Returns the checked values of a config with flags applied.

    Args:
      raw: sections as nested plain dicts, as `ConfigDict.to_dict()` gives; its fields, and those of the flags, may have
        the names that they had in earlier versions.
      overrides: applied in order.
      recorded: whether a run was made with it, which can be read even where nothing would be trained with it today.
      code: what the run recorded of code that is not this package's, see `cnn.runs.recorded_code`. Then no extension is
        imported and no library is asked for a name: the config can be read and compared, and nothing computed.

    Raises:
      ConfigError: lists every problem.
    """
    problems = Problems()
    scalars, sections, no_sections = _given(raw, overrides, problems)
    built: dict[str, Any] = {name: parse_field(name, SCALARS[name][0], scalars[name], problems) for name in SCALARS}
    plain: dict[str, object] = {name: fields.to_json(value) for name, value in built.items()}
    executed = _code(built["extensions"], problems) if code is None else ()
    built |= dict.fromkeys(no_sections)
    for name, kind in SECTIONS.items():
        if name in no_sections:
            continue
        section = Section(name, sections[name], problems, recorded=code)
        built[name], plain[name] = section.record(kind), section.plain
    for name, kinds in NAMED.items():
        if name in no_sections:
            continue
        section = Section(name, sections[name], problems, recorded=code)
        built[name], plain[name] = section.named(kinds, DEFAULT_NAMES.get(name)), section.plain
    model = None
    if "model" not in no_sections:
        layers = None if code is None else code.get("layers", {})
        model = resolve_network(sections["model"], built["data"], problems, layers)

    def right(*names: str) -> bool:
        return all(built[name] is not None for name in names)

    # What several fields get wrong together is told beside what is wrong elsewhere.
    if right("data", "train", "eval", "schedule"):
        validate.check(
            built["data"], built["train"], built["eval"], built["schedule"], problems, recorded=code is not None
        )
    if model is not None and right("train", "init_from", "init_layers"):
        validate.check_patterns(built, model.rows, problems)
        if not recorded:
            validate.check_statistics(built["train"], model.rows, problems)
            validate.check_renewal(built["train"], model.rows, problems)
    if problems or model is None:
        raise ConfigError(problems)
    plain["model"] = model.plain
    if code is None:
        built["data"] = _pinned(built["data"])
    text = json.dumps(plain, indent=2, sort_keys=True, allow_nan=False) + "\n"
    return Config(**built, layers=model.layers, rows=model.rows, pieces=model.pieces, json=text, code=executed)


class DataAlone(NamedTuple):
    """The section `data` of a config, its seed, and what is wrong with the config besides."""

    data: sections.Data
    seed: int
    problems: tuple[str, ...]
    whole: Config | None
    """The config, where nothing is wrong with it."""


def resolve_data(raw: Mapping[str, Any], overrides: Sequence[Override] = ()) -> DataAlone:
    """Returns the checked section `data` of a config, of which the rest may be wrong; see `resolve`.

    Raises:
      ConfigError: that section, the seed or an extension is wrong; lists every problem of the config.
    """
    try:
        values = resolve(raw, overrides)
    except ConfigError as error:
        found = error
    else:
        return DataAlone(values.data, values.seed, (), values)
    problems = Problems()
    scalars, given, _ = _given(raw, overrides, problems)
    seed = parse_field("seed", SCALARS["seed"][0], scalars["seed"], problems)
    _code(parse_field("extensions", SCALARS["extensions"][0], scalars["extensions"], problems), problems)
    data = Section("data", given["data"], problems).record(sections.Data)
    if data is not None:
        validate.check_reading(data, alone := Problems())
    if data is None or seed is None or alone:
        raise found
    return DataAlone(_pinned(data), seed, tuple(found.problems), None)


def _pinned(data: sections.Data) -> sections.Data:
    """Returns the section with the source that its name stands for now, whatever later configs register."""
    if sources.kind_of(data.name) is None:
        return data
    return dataclasses.replace(data, name=sources.pinned(data.name))


def _code(paths: tuple[str, ...] | None, problems: Problems) -> tuple[extensions.Extension, ...]:
    """Executes the extensions of a config, and those alone.

    Raises:
      ConfigError: one cannot be; what else is wrong would mostly follow from that.
    """
    try:
        code = extensions.read(paths or ())
        extensions.use(code)
    except ExtensionError as error:
        raise ConfigError([*problems, str(error)]) from error
    return code


def _given(raw: Mapping[str, Any], overrides: Sequence[Override], problems: Problems) -> Given:
    """Returns what the config holds with flags applied, a flag's value as `Typed`."""
    raw = renamed(raw)
    scalars = {name: raw.get(name, default) for name, (_, default) in SCALARS.items()}
    sections: dict[str, dict[str, object]] = {}
    no_sections = []
    for name in KNOWN[len(SCALARS) :]:
        section = raw.get(name, {})
        if not isinstance(section, Mapping):
            problems.note(name, f"must be a section with fields, got {section!r}")
            no_sections.append(name)
        sections[name] = dict(section) if isinstance(section, Mapping) else {}
    for old in old_names(raw):
        section_name, _, field_name = old.partition(".")
        del sections[section_name][field_name]
        problems.note(old, f"is what config.{RENAMED[old]} was called, and both are set. Leave it out.")
    for typed, text in overrides:
        path = RENAMED.get(typed, typed)
        section_name, _, field_name = path.partition(".")
        if path in SCALARS:
            scalars[path] = Typed(text)
        elif message := _refusal(section_name, field_name, text, sections):
            problems.note(path, message)
        else:
            sections[section_name][field_name] = Typed(text)
    _choose_length(sections["train"], raw.get("train", {}), [RENAMED.get(path, path) for path, _ in overrides])
    for name in raw:
        if name not in KNOWN:
            problems.note(name, f"unknown section. {fields.did_you_mean(name, KNOWN)}")
    return Given(scalars, sections, tuple(no_sections))


def _choose_length(train: dict[str, object], before: Any, flags: Sequence[str]) -> None:
    """Leaves unset the length that only a file gave where a flag sets the other, and the default where either does.

    Args:
      train: the section, which is changed.
      before: the section of the file.
      flags: the paths that flags set.
    """
    for name, other in (("epochs", "steps"), ("steps", "epochs")):
        typed, beside = f"train.{name}" in flags, f"train.{other}" in flags
        of_file = isinstance(before, Mapping) and before.get(name) is not None and other not in before
        if (typed and not beside and train[name] != Typed("None")) or (of_file and not typed and not beside):
            train[other] = None


def inside_layers(path: str) -> bool:
    """Tells whether a path of a config means a layer or its option, such as `model.layers.conv1.features`."""
    section, _, name = path.partition(".")
    return (section == "model" and "." in name) or section.rstrip("0123456789") in LAYERS


def _refusal(section: str, name: str, text: str, sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns why there is no such field, empty where there may be one."""
    if section in sections and not name:
        return f"is a section, got {text!r}. Set one of its fields."
    if inside_layers(f"{section}.{name}"):
        return INSIDE
    if section not in sections or "." in name:
        return f"unknown field. {fields.did_you_mean(section, KNOWN)}"
    return ""
