"""The ranking of a sweep on the terminal."""

from pathlib import Path
from typing import Any

from cnn.cli import tables
from cnn.fields import to_text
from cnn.system import redaction
from cnn.system.text import plain

SHOWN = 20
"""So many groups are printed; all are in `sweep.json`."""


def ranking(record: dict[str, Any], folder: Path) -> None:
    """Prints the groups, best first, whether the winner is real, what mattered, and the best configuration."""
    counts = ", ".join(f"{count} {status}" for status, count in record["counts"].items())
    print(f"{record['size']} trials: {counts}; by {record['objective']}, {record['direction'].replace('ze', 'zed')}")
    if "time" in record["engine"]:
        time = record["engine"]["time"]
        print(
            f"{time['seconds']:.1f} s, {1 - time['other']:.0%} of them training steps and compiling these; "
            f"{record['seconds']:.1f} s from the first trial's start to the last one's end"
        )
    varying = [path for path in record["varying"] if path != "seed"]
    header = ("rank", record["objective"], "s.d.", "n", *varying, "trials")
    lines = [_line(rank, group, varying) for rank, group in enumerate(record["groups"][:SHOWN], 1)]
    tables.table(header, lines, right=header[:4], title=2)
    if len(record["groups"]) > SHOWN:
        print(f"{len(record['groups']) - SHOWN} more are in sweep.csv")
    print(f"is the winner real? {record['winner']['text']}")
    _mattered(record["importance"])
    for row in record["trials"]:
        if row["status"] in ("failed", "diverged"):
            print(plain(f"{row['folder']} {row['status']}: {redaction.hide(row['error'])}"))
    if record["best"]:
        best = next(row["folder"] for row in record["trials"] if row["number"] == record["best"]["trial"])
        print(plain(f"best configuration: its best trial is {folder / best}"))
        for change in record["best"]["diff"]:
            changed = f"    config.{change['path']}: {change['base']!r} -> {change['best']!r}"
            print(plain(redaction.hide(changed)))
        print("to train it anew, and evaluate it on the test split:")
        print(plain(f"    {redaction.hide(record['best']['command'])}"))
    print(plain(f"everything is in {folder}"))


def _line(rank: int, group: dict[str, Any], varying: list[str]) -> tuple[str, ...]:
    mean = "-" if group["mean"] is None else f"{group['mean']:.4f}"
    sd = "-" if group["sd"] is None else f"{group['sd']:.4f}"
    count = str(group["n"]) if group["n"] == group["of"] else f"{group['n']} of {group['of']}"
    values = [plain(to_text(group["fields"][path])) if path in group["fields"] else "-" for path in varying]
    return (str(rank), mean, sd, count, *values, _numbers(group["trials"]))


def _numbers(numbers: list[int]) -> str:
    whole = len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1))
    return f"{numbers[0]}-{numbers[-1]}" if whole else " ".join(map(str, numbers))


def _mattered(importance: dict[str, Any]) -> None:
    if not importance["factors"]:
        if "text" in importance:
            print(f"what mattered: {importance['text']}")
        return
    print(f"what mattered: {importance['method']} over {importance['n']} trials; {importance['caveat']}")
    for factor in importance["factors"]:
        interval = f"{factor['low']:.2f} to {factor['high']:.2f}"
        print(plain(f"    {factor['path']} {factor['share']:.2f} ({interval})"))
