"""How to get the same run again: command, config, versions, device, data, seed."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from cnn import fields
from cnn.config import config
from cnn.report import escape
from cnn.report.html import PageSection
from cnn.report.run_files import RunFiles
from cnn.system import redaction

SECRET = re.compile(r"key|token|secret|password", re.IGNORECASE)
HIDDEN = "(hidden)"


def build(run: RunFiles) -> PageSection:
    """Returns the section."""
    full = masked(json.loads(run.config.json))
    about = run.about
    html = escape.render(
        "reproduce.html.j2",
        command=command(about.get("argv") or []),
        changed=differences(run),
        full=escape.visible_lines(redaction.hide(json.dumps(full, indent=2, sort_keys=True, ensure_ascii=False))),
        rows=[(what, escape.visible(value)) for what, value in facts(run).items() if value],
        diff=bool((about.get("git") or {}).get("dirty")),
    )
    return PageSection("reproduce", "Reproduce", html)


def command(argv: list[str]) -> str:
    """Returns the command that was typed, for a shell, with secrets hidden; empty where it is not known."""
    if not argv:
        return ""
    return escape.visible(shlex.join(["python", argv[0], *hidden_words(argv[1:])]))


def hidden_words(words: Sequence[str]) -> list[str]:
    """Returns the words of a command without the passwords in URLs and the values of flags that sound secret."""
    parts = [(word, *word.partition("=")[:2]) for word in redaction.words(words)]
    return [f"{name}={HIDDEN}" if equals and SECRET.search(name) else word for word, name, equals in parts]


def differences(run: RunFiles) -> list[tuple[str, str, str]]:
    """Returns path, default and value of each field that is not what it is by default."""
    values, saved = run.config, json.loads(run.config.json)
    defaults: dict[str, object] = {name: fields.to_json(default) for name, (_, default) in config.SCALARS.items()}
    for name in (*config.SECTIONS, *config.NAMED):
        given = fields.defaults(type(getattr(values, name)))
        defaults[name] = {key: fields.to_json(value) for key, value in given.items() if value is not fields.REQUIRED}
    rows = [row for row in config.differences(defaults, saved) if row[2] != config.NOT_SET]
    return [(f"config.{path}", _shown(path, default), _shown(path, value)) for path, default, value in rows]


def masked(tree: Mapping[str, Any]) -> dict[str, object]:
    """Returns a config with the values of fields that sound secret hidden."""
    return {
        name: masked(value) if isinstance(value, Mapping) else HIDDEN if SECRET.search(name) else value
        for name, value in tree.items()
    }


def facts(run: RunFiles) -> dict[str, str]:
    """Returns what else the numbers depend on, in words; empty where it is not known."""
    about = run.about
    git = about.get("git") or {}
    devices = about.get("devices") or []
    data = about.get("data") or {}
    sizes = ", ".join(f"{size:,} {split}" for split, size in (data.get("examples") or {}).items())
    commit = f"{git['commit']}{', with changes that are not committed' if git.get('dirty') else ''}" if git else ""
    code = about.get("code") or {}
    files = [
        f"{file['path']} (sha256 {file['sha256'][:16]}), here as {file['copy']}"
        for extension in code.get("extensions", [])
        for file in extension["files"]
    ]
    files += [f"{name}, which no file holds (sha256 {sha256[:16]})" for name, sha256 in code.get("python", {}).items()]
    packages = [f"{name} {version}" for name, version in (about.get("packages") or {}).items() if version]
    return {
        "seed": str(run.config.seed),
        "commit": commit,
        "own code": "; ".join(files),
        "Python": about.get("python", ""),
        "packages": ", ".join(packages),
        "platform": about.get("platform", ""),
        "devices": f"{len(devices)} x {devices[0]} ({about.get('backend', '')})" if devices else "",
        "CPU threads": str(about.get("cpu_threads", "")),
        "data": f"{sizes}; fingerprint {data['identity']}" if data else "",
        "state": f"fingerprint {run.result['fingerprint']}" if run.result else "",
    }


def _shown(path: str, value: Any) -> str:
    if value == config.NOT_SET:
        return "none"
    return HIDDEN if SECRET.search(path) else escape.shortened(redaction.hide(escape.value(value) or '""'), 400)
