"""Where the time of a training step goes: a few steps under JAX's profiler, and each moment of them given to a layer.

The compiled program says of each of its operations which layer, or which other part of the step, it came from (by the
scopes of `cnn.model.network` and `cnn.train.step`), and the trace says when each of them ran. So every moment belongs
to what was computed then, in equal shares where that were several operations; where nothing was, to what the host did
meanwhile. The parts add up to the whole.
"""

import contextlib
import functools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.profiler import ProfileData, ProfileOptions, TraceAnnotation

from cnn.config.config import Config, ConfigError
from cnn.data.loader import Loader
from cnn.layers.base import Layer
from cnn.layers.combine import Branches
from cnn.model import fusion
from cnn.system import sharding
from cnn.system.compile_times import switched_on
from cnn.train import experiment, multi_step, preflight
from cnn.train.run import batches
from cnn.train.state import StepConfig, TrainState, create_train_state, make_step_config
from cnn.train.step import DATA, LOSS, OPTIMIZER

READING, DISPATCH, WHOLE = "reading", "dispatch", "profiled"
"""What the host does, as the trace calls it: getting the next examples, calling the steps, and both for all steps."""
OTHER, IDLE = "other", "idle"
CALLING = ("while", "call", "conditional")
"""Instructions that do nothing but run others."""
MILLISECOND = 1e6
"""In nanoseconds, the unit of a trace."""


class Part(NamedTuple):
    """What a step's time goes into. Milliseconds a step."""

    name: str
    """A layer by its path; `loss`, `optimizer` or `data`; `other`, what is computed for none of these; or what passes
    while nothing is computed: `reading`, `dispatch`, and `idle`."""
    also: tuple[str, ...]
    """The layers that are computed together with that one, by their names."""
    forward: float
    """Of what is no layer and not the loss, all of it."""
    backward: float


class Profile(NamedTuple):
    """A step's time, and where its trace is."""

    parts: tuple[Part, ...]
    """The layers in their order, then the others; they add up to `milliseconds`."""
    milliseconds: float
    """Of a step, the wait for the next one included."""
    steps: int
    batch_size: int
    trace: Path
    """The folder with a `*.trace.json.gz` for Perfetto and an `*.xplane.pb` for TensorBoard."""


class Operation(NamedTuple):
    """An instruction of a compiled program."""

    part: str
    backward: bool
    calls: bool
    """Whether it is one of `CALLING`."""


class Span(NamedTuple):
    """What ran for a time. Nanoseconds."""

    start: float
    end: float
    rank: int
    """At each moment only what has the lowest rank counts."""
    part: str
    backward: bool = False


def profile(config: Config, folder: Path, steps: int, devices: int | None = None) -> Profile:
    """Traces so many steps, after as many that warm up; trains from the beginning, and writes nothing but the trace.

    Args:
      config: the whole config.
      folder: where the trace goes, beside older ones.
      steps: at most those of an epoch.
      devices: how many share a batch; `None` for as many as training would use.

    Raises:
      ConfigError: an epoch has fewer steps, or the config suits neither its data nor the devices.
      DataError: the data are missing, or unlike the config.
      OSError: the trace could not be written.
    """
    count = experiment.device_count(config, devices)
    preflight.check_share(config, count)
    preflight.check_rows(config, count)
    dataset = preflight.load_data(config.data)
    preflight.check_lengths(config, dataset)
    preflight.check_code(config, dataset, count)
    preflight.check_memory(config, dataset, count)
    train = config.train
    loader = batches(config, dataset, 1, functools.partial(sharding.replicate, count=count))
    epoch = loader.steps_per_epoch
    if steps > epoch:
        raise ConfigError([f"--profile: an epoch has {epoch} steps, got {steps}. Use at most those"])
    folder.mkdir(parents=True, exist_ok=True)
    state = create_train_state(config, count, dataset.train.counts(config.data.classes), dataset.train)
    step_config = make_step_config(config, train.total_steps(epoch), epoch, count)
    run = _Steps(loader, multi_step.dispatch_of(config), step_config)
    options = ProfileOptions()
    options.python_tracer_level = 0  # a line for each call of Python would slow down what is timed
    # JAX's cache may hold a program that differs in the names of its operations alone.
    with contextlib.closing(loader), switched_on("jax_compilation_cache_include_metadata_in_key"):
        state = run.make(state, 0, steps)
        first = steps if 2 * steps <= epoch else 0  # one call's steps are of one epoch
        jax.profiler.start_trace(folder, profiler_options=options)
        try:
            with TraceAnnotation(WHOLE):
                run.make(state, first, steps)
        finally:
            jax.profiler.stop_trace()
    newest = max((folder / "plugins" / "profile").iterdir(), key=lambda path: path.stat().st_mtime)
    paths = [row.path for row in config.rows]
    operations = {module: _Program(text, paths).operations() for module, text in run.programs.items()}
    (trace,) = newest.glob("*.xplane.pb")
    spans = list(_spans(ProfileData.from_file(str(trace)), operations))
    whole = next(span for span in spans if span.part == WHOLE)
    times = _shares(spans, whole)
    milliseconds = (whole.end - whole.start) / MILLISECOND / steps
    return Profile(_parts(config.layers, times, steps), milliseconds, steps, train.batch_size, newest)


class _Steps:
    """Makes steps as training does, and keeps what was compiled for them."""

    def __init__(self, loader: Loader, dispatch: multi_step.Dispatch, step_config: StepConfig) -> None:
        self.loader, self.dispatch, self.step_config = loader, dispatch, step_config
        self.programs: dict[str, str] = {}
        """The text of the newest compiled program, by the name of its module."""
        self._compiled: dict[Any, Any] = {}

    def make(self, state: TrainState, first: int, steps: int) -> TrainState:
        """Makes so many steps, all of one epoch, and waits for them; the state is consumed."""
        chunks = self.loader.chunks(first, steps, self.dispatch.most)
        metrics = []
        while True:
            with TraceAnnotation(READING):
                chunk = next(chunks, None)
            if chunk is None:
                break
            split, rows = chunk
            function, arguments = self.dispatch.call(rows)
            shapes = jax.tree.map(lambda array: array.shape, (split, arguments))
            key = str(shapes)
            if key not in self._compiled:
                compiled = function.lower(state, split, *arguments, step_config=self.step_config).compile()
                self._compiled[key] = compiled
                text = compiled.as_text()
                self.programs[text.split(None, 2)[1].rstrip(",")] = text
            with TraceAnnotation(DISPATCH):
                state, of_steps = self._compiled[key](state, split, *arguments)
            self.loader.started(of_steps["loss"])
            metrics.append(of_steps)
        jax.device_get(metrics)
        jax.block_until_ready(state)
        return state


class _Program:
    """The instructions of a compiled program, and which part of the step each is of."""

    def __init__(self, text: str, paths: Sequence[str]) -> None:
        self._scopes = {path.replace("/", "."): path for path in paths}
        self._named: dict[str, tuple[str, bool]] = {}
        """The parts of those that say theirs."""
        self._inside: dict[str, str] = {}
        """The computation that each is in."""
        self._callers: dict[str, str] = {}
        """The instruction that calls each computation."""
        self._operands: dict[str, list[str]] = {}
        self._contents: dict[str, list[str]] = {}
        """The instructions of each computation."""
        self._opcodes: dict[str, str] = {}
        computation = ""
        for line in text.splitlines():
            if header := re.match(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$", line):
                computation = header[1]
            elif instruction := re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = (.*)", line):
                name, definition = instruction.groups()
                self._inside[name] = computation
                self._contents.setdefault(computation, []).append(name)
                if opcode := re.search(r"(?:^|[\s)}\]])([a-z][a-z\-]*)\(([^)]*)", definition):
                    self._opcodes[name] = opcode[1]
                    self._operands[name] = re.findall(r"%([\w.\-]+)", opcode[2])
                for called in re.findall(r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)", definition):
                    self._callers[called] = name
                for branches in re.findall(r"branch_computations=\{([^}]*)\}", definition):
                    self._callers |= {branch.strip().lstrip("%"): name for branch in branches.split(",")}
                origin = re.search(r'op_name="([^"]*)"', definition)
                if origin and (part := self.part_of(origin[1])):
                    self._named[name] = part

    def operations(self) -> dict[str, Operation]:
        """Returns the instructions by their names.

        One that does not say its part has that of the instruction which calls its computation; else that of what is
        fused into it, the last first; else that of what it takes.
        """
        fused: dict[str, list[str]] = {}
        for computation, caller in self._callers.items():
            if self._opcodes.get(caller) == "fusion":
                fused[caller] = self._contents.get(computation, [])
        parts: dict[str, tuple[str, bool]] = {}
        # Operands stand before what takes them.
        for name in self._inside:
            inner = (self._named.get(each) for each in reversed(fused.get(name, ())))
            calls = self._opcodes.get(name) in CALLING
            taken = (parts.get(each) for each in self._operands.get(name, ()) if not calls)
            known = (part for part in (self._called(name), *inner, *taken) if part not in (None, (OTHER, False)))
            parts[name] = next(known, None) or (OTHER, False)
        return {name: Operation(*part, self._opcodes.get(name) in CALLING) for name, part in parts.items()}

    def part_of(self, origin: str) -> tuple[str, bool] | None:
        """Returns what an operation is of, and whether it is of the gradients; `None` where its name does not say.

        Args:
          origin: as `jit(run_loop)/while/body/transpose(jvp(_Chain))/residual1.conv2/jit(gradient)/dot_general`.
        """
        # What a function that JAX traced once calls its operations is as it was called first, by another layer perhaps.
        outer = "jit(".join(origin.split("jit(")[: 2 if origin.startswith("jit(run_") else 1])
        scopes = re.split(r"[/()]", outer)
        # A layer's scope is within those of the residuals around it.
        layer = max((scope for scope in scopes if scope in self._scopes), key=len, default="")
        others = (scope for scope in scopes if scope in (DATA, LOSS, OPTIMIZER))
        name = self._scopes[layer] if layer else next(others, None)
        return None if name is None else (name, "transpose(" in outer and name not in (DATA, OPTIMIZER))

    def _called(self, name: str) -> tuple[str, bool] | None:
        """Returns what an instruction says of its part, or the nearest that calls it; `None` where nothing does."""
        seen = set()
        while name and name not in self._named and name not in seen:
            seen.add(name)
            name = self._callers.get(self._inside.get(name, ""), "")
        return self._named.get(name)


def _spans(trace: ProfileData, operations: Mapping[str, Mapping[str, Operation]]) -> Iterator[Span]:
    """Yields what ran, and when: operations of the programs, and what the host did for the steps."""
    known = {name: operation for of_module in operations.values() for name, operation in of_module.items()}
    host = {READING: 2, DISPATCH: 3, WHOLE: 4}
    for plane in trace.planes:
        lines = list(plane.lines)
        # On accelerators the same operations may be there a second time, as kernels of a stream.
        lines = [line for line in lines if line.name.startswith("XLA Ops")] or lines
        for line in lines:
            for event in line.events:
                start, end = event.start_ns, event.end_ns
                if event.name in host:
                    yield Span(start, end, host[event.name], event.name)
                    continue
                about = dict(event.stats)
                name = about.get("hlo_op") or (re.match(r"%?[\w.\-]+", event.name) or [""])[0].lstrip("%")
                operation = operations.get(str(about.get("hlo_module", "")), known).get(str(name))
                # The loop over all steps is of no part, and not computing: what is between its operations is idle.
                if operation is not None and not (operation.calls and operation.part == OTHER):
                    yield Span(start, end, int(operation.calls), operation.part, operation.backward)


def _shares(spans: Iterable[Span], whole: Span) -> dict[tuple[str, bool], float]:
    """Returns how long each part had the time of `whole`, by its name and whether it is backward. Nanoseconds."""
    edges = []
    for span in spans:
        start, end = max(span.start, whole.start), min(span.end, whole.end)
        if start < end:
            edges += [(start, 1, span), (end, -1, span)]
    edges.sort(key=lambda edge: edge[:2])
    running: list[Counter[tuple[str, bool]]] = [Counter() for _ in range(5)]
    times: dict[tuple[str, bool], float] = defaultdict(float)
    now = whole.start
    for moment, change, span in edges:
        active = next((each for each in running if each), None)
        if active is not None and moment > now:
            number = active.total()
            for part, count in active.items():
                times[part] += (moment - now) * count / number
        now = moment
        key = (IDLE if span.part == WHOLE else span.part, span.backward)
        running[span.rank][key] += change
        if not running[span.rank][key]:
            del running[span.rank][key]
    return times


def _parts(layers: Sequence[Layer], times: Mapping[tuple[str, bool], float], steps: int) -> tuple[Part, ...]:
    def part(name: str, also: tuple[str, ...] = ()) -> Part:
        forward, backward = (times.get((name, way), 0.0) / MILLISECOND / steps for way in (False, True))
        return Part(name, also, forward, backward)

    others = (LOSS, OPTIMIZER, DATA, OTHER, READING, DISPATCH, IDLE)
    return (*(part(*names) for names in _computed(layers)), *map(part, others))


def _computed(layers: Sequence[Layer], prefix: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields the path of every operation of a network, in order, and the names of the layers computed with it."""
    names = iter(name for name, _ in fusion.named(layers))
    for op in fusion.fuse(layers):
        name = next(names)
        if isinstance(op, fusion.ConvPool):
            yield prefix + name, tuple(next(names) for _ in range(len(op.activations) + 1))
            continue
        if isinstance(op.layer, Branches):
            for branch in op.layer.chains:
                yield from _computed(branch.layers, branch.prefix(prefix + name))
        yield prefix + name, ()
