"""Records handed to a function, and the trackers on it.

What asks MLflow, W&B and TensorBoard is skipped where they are not installed. In an environment of their own, which
has all of `.venv` besides, it runs so (two minutes):

    .venv/bin/python -m venv --without-pip /tmp/trackers
    ls -d $PWD/.venv/lib/python3*/site-packages > $(echo /tmp/trackers/lib/python3*/site-packages)/base.pth
    /tmp/trackers/bin/python -m pip install --no-compile mlflow-skinny wandb tensorboard
    /tmp/trackers/bin/python -m pytest tests/test_trackers.py
"""

import functools
import importlib
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

import cnn
import runs
import sweeps
from cnn.cli import launch
from cnn.runs.records import OnRecordError, final_metrics
from cnn.sweep import ranking

pytestmark = pytest.mark.slow  # they train runs

HERE = Path(__file__).relative_to(Path.cwd()) if Path(__file__).is_relative_to(Path.cwd()) else Path(__file__)


class Listed(list):
    """Takes the records, and counts what came of each kind."""

    def __call__(self, record):
        self.append(record)

    def of(self, kind):
        return [record for record in self if record["kind"] == kind]

    @property
    def kinds(self):
        return [record["kind"] for record in self]


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """A finished run of the tiny experiment, and its records."""
    records = Listed()
    return cnn.run(runs.SECTIONS, tmp_path_factory.mktemp("heard") / "run", on_record=records), records


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A database of MLflow's, which it takes half a minute to make."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def apart(tmp_path, monkeypatch, database):
    """An empty folder, where trackers leave what they leave, and reach nobody."""
    for name, value in {
        "MLFLOW_TRACKING_URI": database,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(tmp_path),
        "WANDB_ERROR_REPORTING": "false",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("MLFLOW_EXPERIMENT_NAME", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def interrupted(workdir, fault, on_record, at=20):
    """Runs the tiny experiment until a signal comes at a step."""
    fault(f"step:int:{at}")
    with pytest.raises(KeyboardInterrupt):
        cnn.run(runs.SECTIONS, workdir, on_record=on_record)
    fault("step:int:0")


# Records.


def test_every_record_comes_once_and_in_order(heard):
    run, records = heard
    assert records[0] == {
        "kind": "begin",
        "workdir": str(run.workdir),
        "step": 0,
        "config": runs.saved(run.workdir, "config.json"),
    }
    assert records[1:-3] == runs.records(run.workdir)
    assert records.kinds[-3:] == ["evaluation", "evaluation", "end"]
    for record, split in zip(records.of("evaluation"), ("valid", "test"), strict=True):
        assert (record["split"], record["weights"], record["step"]) == (split, "last", 36)
        assert run.result[split].items() <= record.items()
    assert records[-1] == {"kind": "end", "status": "finished", "result": run.result}


def test_a_finished_run_is_read_without_records(heard):
    run, _ = heard
    records = Listed()
    assert cnn.run(runs.SECTIONS, run.workdir, on_record=records).result == run.result
    assert records == []


def test_a_function_that_changes_its_records_changes_nothing(heard, tmp_path):
    def spoil(record):
        for name in list(record):
            if isinstance(record[name], dict):
                record[name].clear()
        record.clear()

    assert runs.outcome(cnn.run(runs.SECTIONS, tmp_path / "run", on_record=spoil).workdir) == runs.outcome(
        heard[0].workdir
    )
    assert runs.saved(tmp_path / "run", "result.json")["train"] == heard[0].result["train"]


@pytest.mark.slow
def test_a_run_that_continues_tells_what_follows_its_checkpoint(heard, tmp_path, fault):
    first, second = Listed(), Listed()
    interrupted(tmp_path / "run", fault, first)
    assert first[-1] == {"kind": "end", "status": "preempted", "result": None}
    assert first.of("evaluation") == []
    run = cnn.run(runs.SECTIONS, tmp_path / "run", on_record=second)
    step = second[0]["step"]
    assert second.kinds[0] == "begin" and 0 < step < 36
    assert [*first[1:-1], *second[1:-3]] == runs.records(run.workdir)
    assert second[-1]["status"] == "finished"
    assert runs.outcome(run.workdir) == runs.outcome(heard[0].workdir)


@pytest.mark.parametrize("at", [1, 2])
def test_a_signal_while_a_run_is_evaluated_ends_it_once(tmp_path, fault, at):
    records = Listed()
    fault(f"evaluate:int:{3 + at}")  # three epochs are validated before
    with pytest.raises(KeyboardInterrupt):
        cnn.run(runs.SECTIONS, tmp_path / "run", on_record=records)
    assert records.kinds.count("end") == 1
    assert (records[-1]["status"], len(records.of("evaluation"))) == ("preempted", at - 1)


def test_a_diverged_run_says_so(tmp_path):
    records = Listed()
    config = cnn.configure(ConfigDict(runs.SECTIONS), **{"optimizer.learning_rate": 1e38})
    run = cnn.run(config, tmp_path / "run", on_record=records)
    assert run.result["status"] == "diverged"
    assert records[-1] == {"kind": "end", "status": "diverged", "result": run.result}
    ends = [session_end(event) for folder, event in runs.written(run.workdir) if folder == "."]
    assert [end.status for end in ends if end is not None] == [2], "a failure"


def test_what_the_config_measures_has_names_that_trackers_take():
    assert final_metrics({"valid": {"loss": 0.5, "count": 3, "metrics": {"f_beta(beta=2)": 0.25}}}) == {
        "final/loss/valid": 0.5,
        "final/f_beta_beta_2_/valid": 0.25,
    }


# A function that fails.


def log_it(record, kind="epoch"):
    if record["kind"] == kind:
        raise ValueError("nobody\nlistens")


def line_of(text):
    return 1 + next(number for number, line in enumerate(Path(__file__).read_text().splitlines()) if text in line)


@pytest.mark.parametrize("kind", ["begin", "train", "epoch", "evaluation", "end"])
def test_an_error_in_the_function_is_one_line_and_the_run_goes_on_from_what_is_saved(heard, tmp_path, kind):
    failing = functools.partial(log_it, kind=kind)
    place = re.escape(f"{HERE}, line {line_of('nobody' + chr(92) + 'nlistens')}")
    with pytest.raises(ValueError, match=rf"^on_record: log_it failed in {place}: ValueError: nobody listens$"):
        cnn.run(runs.SECTIONS, tmp_path / "run", on_record=failing)
    assert cnn.load(tmp_path / "run").result is None
    assert runs.steps(tmp_path / "run") == {"evaluation": [24, 36], "end": [24, 36]}.get(kind, [])
    run = cnn.run(runs.SECTIONS, tmp_path / "run")
    assert runs.outcome(run.workdir) == runs.outcome(heard[0].workdir)


def test_an_error_of_what_is_not_written_in_python_has_no_place(tmp_path):
    with pytest.raises(OnRecordError, match=r"^on_record: len failed: TypeError: ") as raised:
        cnn.run(runs.SECTIONS, tmp_path / "run", on_record=functools.partial(len, 1))
    assert isinstance(raised.value.__cause__, TypeError)


def test_a_keyboard_interrupt_passes(tmp_path):
    def stop(record):
        if record["kind"] == "epoch":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cnn.run(runs.SECTIONS, tmp_path / "run", on_record=stop)


# Sweeps.


@pytest.mark.slow(seconds=2)
@pytest.mark.parametrize("engine", ["map", "vmap"])
def test_a_sweep_tells_of_every_trial(tmp_path, engine):
    records = Listed()
    sweep = cnn.run_sweep(ConfigDict(runs.SECTIONS), sweeps.RATES, tmp_path / "sweep", on_record=records, engine=engine)
    assert {record["trial"] for record in records} == {"0000", "0001"}
    for number in range(2):
        own = Listed(
            {name: value for name, value in record.items() if name != "trial"}
            for record in records
            if record["trial"] == f"{number:04}"
        )
        run = sweep.trial(number)
        assert own.kinds[0] == "begin" and own[0]["workdir"] == str(run.workdir)
        assert own[1:-3] == runs.records(run.workdir)
        assert own[-1] == {"kind": "end", "status": "finished", "result": run.result}


@pytest.mark.slow(seconds=2)
@pytest.mark.parametrize("engine", ["map", "vmap"])
def test_an_error_in_the_function_ends_a_sweep_and_fails_no_trial(tmp_path, engine):
    sweep = functools.partial(cnn.run_sweep, ConfigDict(runs.SECTIONS), sweeps.RATES, tmp_path / "sweep", engine=engine)
    for kind in ("train", "end"):
        with pytest.raises(ValueError, match=r"^on_record: log_it failed in "):
            sweep(on_record=functools.partial(log_it, kind=kind))
        assert "failed" not in sweeps.record(tmp_path / "sweep")["counts"]
    assert sweep().record["counts"] == {ranking.FINISHED: 2}


# The flag, and packages that are not there.


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_tracker_is_chosen_by_its_name(command, capsys, tmp_path):
    space = [f"--grid={sweeps.RATES}"] if command == "sweep" else []
    assert runs.start(command, "--tracker=tensorboard", *space, f"--workdir={tmp_path / 'run'}") == 2
    assert capsys.readouterr().err == "--tracker: must be one of mlflow, wandb, got 'tensorboard'\n"
    assert runs.start("eval", "--tracker=mlflow", f"--workdir={tmp_path}") == 2
    assert "--tracker: is no flag of eval. Leave it out\n" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_package_that_is_missing_is_one_line(name, monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, name, None)
    line = f"cnn.trackers.{name}: needs the package {name}. Run: pip install {name}"
    with pytest.raises(cnn.ConfigError, match=f"^{re.escape(line)}$"):
        getattr(cnn.trackers, name)()
    for command in (("train",), ("sweep", f"--grid={sweeps.RATES}")):
        assert runs.start(*command, f"--tracker={name}", f"--workdir={tmp_path / 'run'}") == 2
        assert capsys.readouterr().err == f"{line}\n"
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_called_like_a_package_is_none(monkeypatch, tmp_path):
    (tmp_path / "wandb" / "offline-run-1").mkdir(parents=True)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(cnn.ConfigError, match=r"^cnn.trackers.wandb: needs the package wandb"):
        cnn.trackers.wandb()
    sys.modules.pop("wandb", None)


WANDB = """
class Settings(dict):
    pass

class init:
    id, summary = "made", {}
    def __init__(self, **given):
        assert given["mode"] is None
    def log(self, numbers, step):
        raise OSError("the server is away")
"""


def test_a_tracker_that_fails_is_one_line_of_the_command(monkeypatch, capsys, tmp_path):
    (tmp_path / "wandb.py").write_text(WANDB)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert runs.start("train", "--tracker=wandb", f"--workdir={tmp_path / 'run'}") == launch.WRONG
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(
        r"on_record: cnn\.trackers\.wandb failed in .*trackers\.py, line \d+: OSError: the server is away", said
    )
    sys.modules.pop("wandb", None)


# MLflow.


def logged(client, run_id):
    """Returns the history of each metric: its steps and values."""
    names = client.get_run(run_id).data.metrics
    return {name: [(one.step, one.value) for one in client.get_metric_history(run_id, name)] for name in names}


@pytest.mark.slow(seconds=20)
def test_mlflow_gets_a_run_and_goes_on_with_it_where_it_continues(apart, fault):
    package = pytest.importorskip("mlflow")
    workdir = apart / "run"
    interrupted(workdir, fault, cnn.trackers.mlflow("cones", tags={"who": "me"}))
    client = package.MlflowClient()
    run_id = runs.saved(workdir, "mlflow.json")["run_id"]
    assert client.get_run(run_id).info.status == "KILLED"
    # As after a kill: the newest checkpoint is older than what was recorded.
    for step in runs.steps(workdir)[1:]:
        shutil.rmtree(workdir / "checkpoints" / f"{step:08}")
    records = Listed()
    track = cnn.trackers.mlflow("cones", tags={"who": "me"})
    run = cnn.run(runs.SECTIONS, workdir, on_record=lambda record: (records(dict(record)), track(record)))
    assert records[0]["step"] == 12
    experiment = client.get_experiment_by_name("cones")
    (made,) = client.search_runs([experiment.experiment_id])
    assert (made.info.run_id, made.info.run_name, made.info.status) == (run_id, "run", "FINISHED")
    assert (
        made.data.tags.items()
        >= {
            "workdir": str(workdir),
            "fingerprint": run.result["fingerprint"],
            "who": "me",
        }.items()
    )
    assert (
        made.data.params.items()
        >= {
            "optimizer.name": "adam",
            "optimizer.learning_rate": "0.01",
            "model.layers": runs.SECTIONS["model"]["layers"],
            "data.image_shape": "[8, 8, 1]",
            "eval.test": "true",
        }.items()
    )
    found = logged(client, run_id)
    windows, epochs = runs.records(workdir, "train"), runs.records(workdir, "epoch")
    assert found["train/loss"] == [(one["step"], one["loss"]) for one in windows]
    assert found["loss/train"] == [(one["step"], one["train"]["loss"]) for one in epochs]
    assert found["accuracy/valid"] == [(one["step"], one["valid"]["accuracy"]) for one in epochs]
    assert found["final/accuracy/test"] == [(36, run.result["test"]["accuracy"])]


@pytest.mark.slow(seconds=10)
def test_mlflow_gets_the_trials_of_a_sweep(apart):
    package = pytest.importorskip("mlflow")
    assert sweeps.sweep(apart / "sweep", "optimizer.learning_rate=0.01,1e38", "tracker=mlflow") == 0
    client = package.MlflowClient()
    made = client.search_runs([client.get_experiment_by_name("cnn").experiment_id])
    assert {run.info.run_name: run.info.status for run in made} == {"0000": "FINISHED", "0001": "FAILED"}


def test_mlflow_begins_anew_what_its_server_does_not_know_and_cuts_what_is_too_long(apart):
    package = pytest.importorskip("mlflow")
    (apart / "mlflow.json").write_text('{"run_id": "0123456789abcdef0123456789abcdef"}')
    config = {"model": {"layers": 1000 * "relu | "}, "data": {"data_dir": "http://me:secret@host/"}}
    track = cnn.trackers.mlflow()
    track({"kind": "begin", "workdir": str(apart), "step": 0, "config": config})
    made = package.MlflowClient().get_run(runs.saved(apart, "mlflow.json")["run_id"])
    assert made.info.status == "RUNNING"
    longest = importlib.import_module("mlflow.utils.validation").MAX_PARAM_VAL_LENGTH
    assert made.data.params == {
        "model.layers": config["model"]["layers"][:longest],
        "data.data_dir": "http://me:***@host/",
    }


# W&B.


def stored(path):
    """Yields the records of an offline run's file: LevelDB's log format behind a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    content, place, whole = path.read_bytes(), 7, b""
    while len(content) - place >= 7:
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or its last part
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""


@pytest.mark.slow(seconds=20)
def test_wandb_gets_a_run_offline_and_goes_on_with_it_where_it_continues(apart, fault):
    pytest.importorskip("wandb")
    workdir = apart / "run"
    interrupted(workdir, fault, cnn.trackers.wandb("cones"))
    known = runs.saved(workdir, "wandb.json")
    for step in runs.steps(workdir)[1:]:
        shutil.rmtree(workdir / "checkpoints" / f"{step:08}")
    run = cnn.run(runs.SECTIONS, workdir, on_record=cnn.trackers.wandb("cones"))
    assert runs.saved(workdir, "wandb.json")["id"] == known["id"]
    files = sorted((apart / "wandb").glob("offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    assert len(files) == 2
    records = [record for path in files for record in stored(path)]
    begun = [record.run for record in records if record.HasField("run")]
    assert {(one.run_id, one.project, one.display_name) for one in begun} == {(known["id"], "cones", "run")}
    assert [record.exit.exit_code for record in records if record.HasField("exit")] == [1, 0]
    assert sum(record.HasField("preempting") for record in records) == 1
    points = [
        (record.history.step.num, item.key or "/".join(item.nested_key), item.value_json)
        for record in records
        if record.HasField("history")
        for item in record.history.item
    ]
    losses = [(step, float(value)) for step, name, value in points if name == "loss/train"]
    assert losses == [(one["step"], one["train"]["loss"]) for one in runs.records(workdir, "epoch")]
    assert [step for step, name, _ in points if name == "train/loss"] == [5, 10, 15, 20, 25, 30, 35]
    summary = {
        item.key or "/".join(item.nested_key): item.value_json
        for record in records
        if record.HasField("summary")
        for item in record.summary.update
    }
    assert float(summary["final/accuracy/test"]) == run.result["test"]["accuracy"]
    assert summary["fingerprint"] == f'"{run.result["fingerprint"]}"'


# TensorBoard's table of hyperparameters.


def hyperparameters(event, name):
    """Returns what an event says to the plugin under a name, `None` where it says nothing."""
    for value in event.summary.value:
        if value.tag == f"_hparams_/{name}":
            assert value.metadata.plugin_data.plugin_name == "hparams"
            return getattr(HParamsPluginData.FromString(value.metadata.plugin_data.content), name)
    return None


def session_end(event):
    return hyperparameters(event, "session_end_info")


def test_tensorboard_has_the_hyperparameters_and_the_final_metrics_at_the_top(heard):
    run, _ = heard
    events = [event for folder, event in runs.written(run.workdir) if folder == "."]
    (begun,) = filter(None, (hyperparameters(event, "session_start_info") for event in events))
    values = {name: getattr(value, value.WhichOneof("kind")) for name, value in begun.hparams.items()}
    assert (
        values.items()
        >= {
            "optimizer.learning_rate": 0.01,
            "optimizer.name": "adam",
            "eval.test": True,
            "data.image_shape": "[8, 8, 1]",
        }.items()
    )
    (ended,) = filter(None, map(session_end, events))
    assert ended.status == 1, "a success"
    scalars = {tag: shown for (folder, tag, _), shown in runs.scalars(run.workdir)[0].items() if folder == "."}
    assert scalars["final/accuracy/test"] == [pytest.approx(run.result["test"]["accuracy"])]
    assert scalars["final/loss/valid"] == [pytest.approx(run.result["valid"]["loss"])]
    assert not [event for event in events if hyperparameters(event, "experiment") is not None]


@pytest.mark.slow
def test_tensorboard_reads_both_splits_as_one_chart_and_compares_runs(heard, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing import data_provider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import backend_context

    other = cnn.configure(runs.SECTIONS, optimizer={"name": "lion", "learning_rate": 0.001})
    cnn.run(other, tmp_path / "other")
    shutil.copytree(heard[0].workdir / "tensorboard", tmp_path / "one" / "tensorboard")
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    folders = ("", "/train", "/valid")
    assert set(multiplexer.Runs()) == {f"{name}/tensorboard{part}" for name in ("one", "other") for part in folders}
    for split in ("train", "valid"):
        epochs = runs.records(heard[0].workdir, "epoch")
        points = multiplexer.Tensors(f"one/tensorboard/{split}", "loss")
        assert [point.step for point in points] == [12, 24, 36]
        values = [float(np.squeeze(point.tensor_proto.float_val or point.tensor_proto.double_val)) for point in points]
        assert values == [pytest.approx(epoch[split]["loss"]) for epoch in epochs]
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(tmp_path))
    context = backend_context.Context(TBContext(data_provider=provider, logdir=str(tmp_path)))
    metadata = context.hparams_metadata(RequestContext(), "")
    table = context.experiment_from_metadata(RequestContext(), "", True, metadata, [])
    assert {"optimizer.b1", "optimizer.eps", "optimizer.name"} <= {info.name for info in table.hparam_infos}
    assert {info.name for info in table.hparam_infos if info.differs} == {
        *("optimizer.learning_rate", "optimizer.name", "optimizer.b2"),
    }
    metrics = {(info.name.group, info.name.tag) for info in table.metric_infos}
    assert {("", "final/accuracy/test"), ("valid", "loss"), ("train", "loss")} <= metrics
