"""Where a run is computed, as two flags say: on how many devices, and by which processes. Imports no JAX."""

from collections.abc import Mapping

from cnn import hosts


def problems(flags: Mapping[str, str]) -> list[str]:
    """Returns what is wrong with `--devices` and `--distributed`."""
    found = []
    devices, distributed = flags.get("devices", "all"), flags.get("distributed", "off")
    if devices != "all" and not (devices.isascii() and devices.isdecimal() and int(devices)):
        found.append(f"--devices: must be all or a number of devices, got {devices!r}")
    try:
        many = hosts.parse(distributed) is not None
    except ValueError as error:
        return [*found, f"--distributed: {error}"]
    if many and devices != "all":
        found.append(f"--devices: many processes use all that they have, got {devices!r}. Leave it out")
    return found


def members(flags: Mapping[str, str]) -> hosts.Members | None:
    """Returns the processes of the run, `None` for one alone."""
    return hosts.parse(flags.get("distributed", "off"))


def devices(flags: Mapping[str, str]) -> int | None:
    """Returns how many devices share a batch, `None` where the flags leave it open."""
    given = flags.get("devices", "all")
    return None if given == "all" else int(given)
