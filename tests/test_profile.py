"""`--profile`: the trace opens, every moment of a step is some part's, and no run begins or changes."""

import contextlib
import gzip
import io
import json
import re

import pytest
from jax.profiler import ProfileData

import runs
from cnn.cli import parser
from cnn.config import resolve
from cnn.config.config import ConfigError
from cnn.train import profile

pytestmark = pytest.mark.compiled

NETWORK = """
    conv(4, 3, padding="same") | relu | max_pool(2) |
    residual(conv(4, 3, padding="same") | batch_norm, shortcut=conv(4, 1)) | flatten | dense(classes)
"""
SECTIONS = runs.SECTIONS | {"model": {"layers": NETWORK}}
PATHS = ("conv1", "relu1", "residual1", "residual1/conv1", "residual1/shortcut/conv1", "dense1")
PROGRAM = """HloModule jit_run_loop, is_scheduled=true

%fused (p: f32[2]) -> f32[2] {
  %p = f32[2]{0} parameter(0)
  ROOT %inner = f32[2]{0} negate(%p), metadata={op_name="jit(run_loop)/while/body/optimizer/neg"}
}

%own (q: f32[2]) -> f32[2] {
  %q = f32[2]{0} parameter(0)
  ROOT %slice.1 = f32[2]{0} slice(%q), slice={[0:2]}, metadata={op_name="slice"}
}

ENTRY %main (a: f32[2]) -> f32[2] {
  %a = f32[2]{0} parameter(0)
  %fusion.1 = f32[2]{0} fusion(%a), kind=kLoop, calls=%fused
  %after = f32[2]{0} copy(%fusion.1)
  %called = f32[2]{0} call(%a), to_apply=%own, metadata={op_name="jit(run_loop)/transpose(jvp(_Chain))/conv1/jit(own)"}
  ROOT %alone = f32[2]{0} copy(%a)
}
"""


def flags(*given):
    return parser.parse(["train", *given]).problems


@pytest.mark.parametrize("steps", ["0", "-3", "2.5", "all", "²"])
def test_a_number_of_steps_that_is_none_is_refused(steps):
    assert flags(f"--profile={steps}") == [f"--profile: must be a number of steps, got {steps!r}. Write --profile=20"]


def test_what_a_profile_does_not_do_is_refused_beside_it():
    assert flags("--profile=3", "--tracker=mlflow") == [
        "--profile: records nothing, got --tracker as well. Leave one of them out"
    ]
    assert flags("--profile=3", "--distributed=127.0.0.1:29500,2,0") == [
        "--profile: times one process, got --distributed as well. Leave one of them out"
    ]
    assert parser.parse(["eval", "--profile=3"]).problems == ["--profile: is no flag of eval. Leave it out"]


def test_more_steps_than_an_epoch_has_are_refused(tmp_path):
    config = resolve.resolve(SECTIONS)
    with pytest.raises(ConfigError, match=r"^--profile: an epoch has \d+ steps, got 5000\. Use at most those$"):
        profile.profile(config, tmp_path / "profile", 5000, 1)
    with pytest.raises(ConfigError, match=r"^--devices: there are \d+, got 999\. Use at most those$"):
        profile.profile(config, tmp_path / "profile", 5, 999)
    assert not (tmp_path / "profile").exists()


@pytest.mark.parametrize(
    ("origin", "part"),
    [
        ("jit(run_loop)/while/body/jvp(_Chain)/conv1/_Chain.compute/_Chain._layer/dot_general", ("conv1", False)),
        ("jit(run_scan)/while/body/transpose(jvp(_Chain))/conv1/jit(kernels)", ("conv1", True)),
        (
            "jit(run_step)/jvp(_Chain)/residual1/residual1/conv1/residual1.conv1/add",
            ("residual1/conv1", False),
        ),
        ("jit(run_step)/jvp(_Chain)/residual1/_Chain.compute/add", ("residual1", False)),
        ("jit(run_step)/jvp(residual1.shortcut.conv1)/dot_general", ("residual1/shortcut/conv1", False)),
        ("jit(run_loop)/while/body/transpose(jvp(loss))/mul", ("loss", True)),
        ("jit(run_loop)/while/body/optimizer/jit(_where)/select_n", ("optimizer", False)),
        ("jit(run_loop)/while/body/data/jit(_uniform)/conv1/add", ("data", False)),
        ("jit(run_loop)/while/body/jit(_threefry_fold_in)/conv1/while", None),
        ("jit(run_loop)/while/body/conv10/add", None),
        ("jit(_where)/select_n", None),
        ("mul", None),
    ],
)
def test_the_name_of_an_operation_says_its_part(origin, part):
    program = profile._Program("", PATHS)
    assert program.part_of(origin) == part


def test_an_operation_without_a_part_has_that_of_what_calls_it_or_of_what_is_in_it_or_before_it():
    found = profile._Program(PROGRAM, PATHS).operations()
    assert found["called"] == profile.Operation("conv1", True, calls=True)
    assert found["slice.1"] == profile.Operation("conv1", True, calls=False)
    assert found["fusion.1"] == found["after"] == profile.Operation("optimizer", False, calls=False)
    assert found["alone"] == profile.Operation("other", False, calls=False)


def test_every_moment_is_shared_by_what_was_computed_then():
    whole = profile.Span(0, 100, 4, profile.WHOLE)
    spans = [
        whole,
        profile.Span(-5, 10, 2, profile.READING),
        profile.Span(10, 30, 3, profile.DISPATCH),
        profile.Span(20, 90, 1, "other"),
        profile.Span(20, 60, 0, "conv1"),
        profile.Span(40, 60, 0, "conv1", backward=True),
        profile.Span(50, 60, 0, "dense1"),
        profile.Span(50, 60, 0, "dense1"),
    ]
    assert profile._shares(spans, whole) == {
        (profile.READING, False): 10,
        (profile.DISPATCH, False): 10,
        ("conv1", False): 20 + 5 + 2.5,
        ("conv1", True): 5 + 2.5,
        ("dense1", False): 5,
        ("other", False): 30,
        (profile.IDLE, False): 10,
    }


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """The folder of a profile of a small residual network, and what was printed."""
    workdir = tmp_path_factory.mktemp("profiled") / "run"
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert runs.start("--profile=4", f"--workdir={workdir}", "--devices=1", sections=SECTIONS) == 0
    return workdir, out.getvalue()


@pytest.mark.slow(seconds=15)
def test_a_profile_names_the_layers_and_its_parts_are_the_whole_step(printed):
    rows = [re.split(r"\s{2,}", line) for line in printed[1].splitlines() if line.endswith(" %")]
    numbers = {name: [float(cell.rstrip(" %")) for cell in cells] for name, *cells in rows}
    for name in ("conv1 (with relu1, max_pool1)", "residual1/conv1", "residual1/batch_norm1", "dense1", "loss"):
        forward, backward, _ = numbers[name]
        assert forward > 0 < backward, name
    for name in ("optimizer", "data"):
        assert numbers[name][0] > 0, name
    assert sum(cells[-1] for cells in numbers.values()) == pytest.approx(100, abs=1)
    assert numbers["other"][-1] < 20


@pytest.mark.slow
def test_the_trace_of_a_profile_opens_and_is_all_that_is_written(printed):
    workdir, out = printed
    assert [path.name for path in workdir.iterdir()] == ["profile"]
    (folder,) = (workdir / "profile" / "plugins" / "profile").iterdir()
    assert f"the trace is in {folder}:" in out
    (binary,), (text,) = folder.glob("*.xplane.pb"), folder.glob("*.trace.json.gz")
    planes = ProfileData.from_file(str(binary)).planes
    names = {event.name for plane in planes for line in plane.lines for event in line.events}
    assert {profile.READING, profile.DISPATCH, profile.WHOLE} <= names
    assert len(json.loads(gzip.decompress(text.read_bytes()))["traceEvents"]) > 100


@pytest.mark.slow(seconds=3)
@pytest.mark.parametrize("dispatch", ["scan", "step"])
def test_the_times_of_the_parts_add_up_however_steps_are_dispatched(tmp_path, dispatch):
    found = profile.profile(runs.tiny(f"train.dispatch={dispatch}"), tmp_path / "profile", 3, 1)
    assert sum(part.forward + part.backward for part in found.parts) == pytest.approx(found.milliseconds)
    assert next(part.forward for part in found.parts if part.name == "dense1") > 0


@pytest.mark.slow(seconds=5)
def test_a_profile_leaves_a_run_alone_and_the_next_one_begins_as_without_it(tmp_path, capsys):
    ours, plain = tmp_path / "profiled", tmp_path / "plain"
    assert runs.start("--profile=2", f"--workdir={ours}") == 0
    for workdir in (ours, plain):
        assert runs.train(workdir, "train.epochs=1") == 0
    fingerprints = {runs.saved(workdir, "result.json")["fingerprint"] for workdir in (ours, plain)}
    assert len(fingerprints) == 1
    before = {path: path.read_bytes() for path in ours.rglob("*") if path.is_file()}
    assert runs.start("--profile=2", f"--workdir={ours}") == 0
    assert {path: path.read_bytes() for path in before} == before
    capsys.readouterr()
    assert runs.train(ours, "train.epochs=1") == 0
    assert "is finished. Its result:" in capsys.readouterr().out
