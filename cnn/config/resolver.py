"""A whole config: flags over sections, every section resolved, all problems together."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cnn import fields
from cnn.config import network, together
from cnn.config.sections import Problems, Section, Typed, parse_field
from cnn.config.values import DEFAULT_NAMES, KNOWN, NAMED, SCALARS, SECTIONS, ConfigError, Override, Values


def resolve(raw: Mapping[str, Any], overrides: Sequence[Override] = (), *, recorded: bool = False) -> Values:
    """Returns the checked values of a config with flags applied.

    Args:
      raw: sections as nested plain dicts, as `ConfigDict.to_dict()` gives.
      overrides: applied in order.
      recorded: whether a run was made with it, which can be read even where nothing would be trained with it today.

    Raises:
      ConfigError: lists every problem.
    """
    problems = Problems()
    scalars, sections = _given(raw, overrides, problems)
    built: dict[str, Any] = {name: parse_field(name, SCALARS[name][0], scalars[name], problems) for name in SCALARS}
    plain: dict[str, Any] = dict(built)
    for name, kind in SECTIONS.items():
        section = Section(name, sections[name], problems)
        built[name], plain[name] = section.record(kind), section.plain
    for name, kinds in NAMED.items():
        section = Section(name, sections[name], problems)
        built[name], plain[name] = section.named(kinds, DEFAULT_NAMES.get(name)), section.plain
    model = network.resolve(sections["model"], built["data"], problems)
    if not problems and model is not None:
        together.check(built["data"], built["train"], built["eval"], problems)
        together.check_patterns(built, model.rows, problems)
        if not recorded:
            together.check_statistics(built["train"], model.rows, problems)
    if problems or model is None:
        raise ConfigError(problems)
    plain["model"] = model.plain
    text = json.dumps(plain, indent=2, sort_keys=True, allow_nan=False) + "\n"
    return Values(**built, layers=model.layers, rows=model.rows, json=text)


def _given(
    raw: Mapping[str, Any], overrides: Sequence[Override], problems: Problems
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Returns the fields of no section and the sections with flags applied, a flag's value as `Typed`."""
    scalars = {name: raw.get(name, default) for name, (_, default) in SCALARS.items()}
    sections: dict[str, dict[str, Any]] = {}
    for name in KNOWN[len(SCALARS) :]:
        section = raw.get(name, {})
        if not isinstance(section, Mapping):
            problems.note(name, f"must be a section with fields, got {section!r}")
        sections[name] = dict(section) if isinstance(section, Mapping) else {}
    for path, text in overrides:
        section_name, _, field_name = path.partition(".")
        if path in SCALARS:
            scalars[path] = Typed(text)
        elif message := _refusal(section_name, field_name, text, sections):
            problems.note(path, message)
        else:
            sections[section_name][field_name] = Typed(text)
    for name in raw:
        if name not in KNOWN:
            problems.note(name, f"unknown section. {fields.did_you_mean(name, KNOWN)}")
    return scalars, sections


def _refusal(section: str, name: str, text: str, sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns why there is no such field, empty where there may be one."""
    if section in sections and not name:
        return f"is a section, got {text!r}. Set one of its fields."
    if section not in sections or "." in name:
        return f"unknown field. {fields.did_you_mean(section, KNOWN)}"
    return ""
