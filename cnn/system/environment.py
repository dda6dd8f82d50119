"""What must be set before JAX starts; what the user set always wins."""

import functools
import os
import platform
from pathlib import Path

MOST_THREADS = 1024
UNITS = "CNN_BFLOAT16_UNITS"
"""The variable in the environment that names the CPU's units for bfloat16, `AMX`, `AVX512-BF16` or `none`.

It stands for what the operating system says, for instance of a virtual machine that hides them.
"""
NO_UNITS = "none"
EMITTERS = "xla_cpu_use_fusion_emitters"
"""XLA's option for compiling what computes several operations in one loop by MLIR."""
CPUINFO = Path("/proc/cpuinfo")
_FLAGS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16"}
"""What Linux calls them, the faster ones first."""


def prepare() -> None:
    """Pins the number of CPU threads, on which results depend, and quietens start-up chatter. Call before JAX."""
    if not os.environ.get("NPROC"):
        os.environ["NPROC"] = str(available())
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def compile_quickly() -> None:
    """Has XLA compile for a CPU in less than half of the time, what it computes slower. Call before JAX computes."""
    flags = os.environ.get("XLA_FLAGS", "")
    if EMITTERS not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --{EMITTERS}=false".strip()


def threads() -> int:
    """Returns how many threads XLA uses on a CPU: `NPROC`, or as many processors as this process may use."""
    given = os.environ.get("NPROC", "")
    return int(given) if given.isdecimal() and int(given) > 0 else available()


def problems() -> list[str]:
    """Returns what is wrong with the environment.

    XLA takes any `NPROC` in silence, and starts a million threads.
    """
    found = []
    given = os.environ.get("NPROC", "")
    if given and not (given.isascii() and given.isdecimal() and 1 <= int(given) <= MOST_THREADS):
        found.append(
            f"NPROC: must be the number of CPU threads, 1 to {MOST_THREADS}, got {given!r}. Unset it to use all"
        )
    units = os.environ.get(UNITS, NO_UNITS)
    if units not in (NO_UNITS, *_FLAGS.values()):
        found.append(f"{UNITS}: must be {', '.join(_FLAGS.values())} or {NO_UNITS}, got {units!r}. Unset it")
    return found


def available() -> int:
    """Returns how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """Returns the processor's name, on Linux as the operating system describes it."""
    try:
        lines = CPUINFO.read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def bfloat16_units() -> str:
    """Returns which units of this CPU multiply bfloat16: `AMX`, `AVX512-BF16`, or nothing; unknown is nothing."""
    if UNITS in os.environ:
        return "" if os.environ[UNITS] == NO_UNITS else os.environ[UNITS]
    return units_in(CPUINFO)


def arithmetic(compute_dtype: str, platform: str) -> str:
    """Returns in words what a `train.compute_dtype` computes on a platform (cpu, gpu, tpu), on a CPU on this one."""
    if platform != "cpu" or compute_dtype == "float32":
        return compute_dtype
    if units := bfloat16_units():
        return f"products of bfloat16, sums of float32, on {units}"
    return "products of numbers rounded to bfloat16, in float32"


@functools.cache
def units_in(cpuinfo: Path) -> str:
    """Returns which units for bfloat16 the file names in which Linux describes the CPU; nothing where there is none."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return next((name for flag, name in _FLAGS.items() if flag in flags), "")
