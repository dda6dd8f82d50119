"""`export`: a run's network, or those of several runs, as one file that other programs open."""

from collections.abc import Mapping
from pathlib import Path

from cnn.api import ensemble, export
from cnn.config.config import Config, ConfigError
from cnn.system.text import plain


def run(values: Config | None, workdir: Path, flags: Mapping[str, str]) -> int:
    """Writes the export and its description, after the export agreed with this software's own forward pass.

    Args:
      values: the run's config; `None` for several runs, of which the flags speak.
      workdir: the run's directory.
      flags: see `cnn.cli.commands`.

    Raises:
      ConfigError: a flag is wrong, a package is missing, or nothing is saved yet.
      BrokenFile: `run.json` is not what this software wrote.
      FloatingPointError: the export differs from the run's network, or the run's logits are not finite.
    """
    name = flags.get("format")
    if name is None:
        written = " or ".join(f"--format={name}" for name in export.FORMATS)
        raise ConfigError([f"--format: is missing. Write {written}"])
    if name == "safetensors" and "input" in flags:
        got = f"got {flags['input']!r} with --format=safetensors"
        raise ConfigError([f"--input: is for files that take pictures, {got}, which holds arrays alone. Leave it out"])
    if values is None:
        together = ensemble.of_flags(flags)
        exported = together.export(name, flags.get("out"), flags.get("input", "uint8"))
        of = f"{together.said}, {len(together.runs)} runs"
    else:
        given = (flags.get("out", ""), flags.get("weights"), flags.get("input", "uint8"))
        exported, trained = export.of_run(values, workdir, name, *given)
        of = f"step {trained.step:,}, {trained.weights} weights"
    print(f"{plain(str(exported.path))}: {name}, {exported.size:,} bytes, {of}")
    print(f"{plain(str(exported.description))}: what goes in, what comes out, the names of the classes")
    for line in exported.said:
        print(line)
    return 0
