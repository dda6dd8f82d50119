"""One section: from what a file or a flag gave to a frozen record and its plain JSON values."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from cnn import fields, registry
from cnn.expression import ExpressionError, Recorded, StandIn, build, build_one


class Typed(NamedTuple):
    """A value still as it was typed after a flag."""

    text: str


@dataclasses.dataclass(frozen=True)
class Named(StandIn):
    """What stands for a user's loss, optimizer, metric, ..., of which nothing but the name is known."""

    name: str
    text: str
    better: str = "higher"
    """Of a metric: which way."""


class Problems(list[str]):
    """Collects what is wrong instead of stopping at the first."""

    def note(self, path: str, message: str) -> None:
        """Adds what is wrong with a field."""
        self.append(f"config.{path}: {message}")

    def note_each(self, path: str, error: ExpressionError) -> None:
        """Adds every mistake in the expression of a field."""
        for each in error.each:
            self.note(path, str(each))


@dataclasses.dataclass
class Section:
    """One section of a config, as given: `given` may still hold `Typed` values."""

    name: str
    given: Mapping[str, Any]
    problems: Problems
    recorded: Mapping[str, Any] | None = None
    """What a run recorded of code that is not this package's; then such names are left as they are, see `Named`."""
    plain: dict[str, object] = dataclasses.field(default_factory=dict)
    """The fields parsed so far, as JSON values."""

    def record(self, kind: type, of: str = "") -> Any:
        """Returns the section as a record of this kind; on a problem notes it and returns `None`."""
        annotations, defaults = fields.options(kind), fields.defaults(kind)
        before = len(self.problems)
        self._refuse_unknown(annotations, of)
        built = {}
        for name, annotation in annotations.items():
            value = self.given.get(name, defaults[name])
            if value is fields.REQUIRED:
                self._note(name, f"is not set. It must be {fields.describe(annotation)}.")
                continue
            language = fields.language(annotation)
            parsed = self._field(name, str if language else annotation, value)
            self.plain[name] = fields.to_json(parsed)
            built[name] = self._expression(name, language, parsed) if language else parsed
        return kind(**built) if len(self.problems) == before else None

    def named(self, kinds: Mapping[str, type], default: str | None) -> Any:
        """Returns the section as a record of the kind that its field `name` chooses, `None` on a problem."""
        name = self.given.get("name", default)
        name = name.text if isinstance(name, Typed) else name
        section = dataclasses.replace(self, given={field: self.given[field] for field in self.given if field != "name"})
        if self.recorded is not None and isinstance(name, str) and name not in registry.of_package(kinds):
            self.plain.update({**section.given, "name": name})
            return self._named(name, name)
        try:
            kind = registry.find(kinds, name) if isinstance(name, str) else None
        except ValueError as error:
            self._note("name", str(error))
            return None
        if kind is not None:
            record = section.record(kind, of=f" of {name}")
            self.plain["name"] = name
            return record
        what = f"unknown name {name!r}" if "name" in self.given else "is not set"
        self._note("name", f"{what}. {fields.did_you_mean(str(name), kinds)}")
        # Which fields it takes is not known, but what no kind takes is wrong whichever was meant.
        known = {field: annotation for kind in kinds.values() for field, annotation in fields.options(kind).items()}
        section._refuse_unknown(known, "")
        for field, value in section.given.items():
            if field in known:
                section._field(field, known[field], value)
        return None

    def _note(self, field: str, message: str) -> None:
        self.problems.note(f"{self.name}.{field}", message)

    def _refuse_unknown(self, known: Mapping[str, Any], of: str) -> None:
        for name in self.given:
            if name not in known:
                self._note(name, f"unknown field{of}. {fields.did_you_mean(name, known)}")

    def _named(self, name: str, text: str) -> Named:
        recorded = self.recorded or {}
        return Named(name, recorded.get("written", {}).get(text, text), recorded.get("better", {}).get(name, "higher"))

    def _field(self, name: str, annotation: Any, value: Any) -> Any:
        return parse_field(f"{self.name}.{name}", annotation, value, self.problems)

    def _expression(self, name: str, language: fields.Language, text: Any) -> Any:
        if not isinstance(text, str):
            return None
        kinds = language.kinds if self.recorded is None else Recorded(registry.of_package(language.kinds), self._named)
        try:
            return build(text, kinds).items if language.chain else build_one(text, kinds)
        except ExpressionError as error:
            self.problems.note_each(f"{self.name}.{name}", error)
            return None


def parse_field(path: str, annotation: Any, value: Any, problems: Problems) -> Any:
    """Returns the parsed value of a field; on a problem notes it and returns `None`."""
    if isinstance(value, Typed):
        value = fields.from_text(annotation, value.text)
    try:
        return fields.parse(annotation, value)
    except ValueError as error:
        problems.note(path, f"{error}.")
        return None
