"""The package as `pip install .` leaves it: complete, and started from elsewhere by its name."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib.metadata import Distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[1]
TINY = (
    "--config.data.image_shape=(8,8,1)",
    "--config.data.resize=exact",
    "--config.data.augment=",
    "--config.model.layers=flatten | dense(classes) | softmax",
    "--config.train.batch_size=100",
    "--config.train.epochs=1",
)
SOURCES = ("cnn", "configs", "pyproject.toml", "setup.py", "requirements.txt", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that holds nothing but what the installation put there, without a network."""
    pytest.importorskip("setuptools", minversion="77")
    root = tmp_path_factory.mktemp("install")
    for name in SOURCES:  # a copy, since building writes beside the sources
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, root / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPOSITORY / name, root / "source")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", root / "target", root / "source"], check=True)
    return root / "target"


def start(installed, folder, *arguments):
    """Returns what a command of the installed program prints, started in another folder."""
    command = [sys.executable, installed / "bin" / "cnn", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow(seconds=20)
def test_every_source_template_and_config_is_installed(installed):
    inside = {path.relative_to(REPOSITORY) for path in (REPOSITORY / "cnn").rglob("*.*") if path.suffix != ".pyc"}
    inside |= {Path("cnn") / path.relative_to(REPOSITORY) for path in (REPOSITORY / "configs").rglob("*.py")}
    assert {path.suffix for path in inside} >= {".py", ".j2", ".js", ".css"}
    assert not [path for path in inside if not (installed / path).is_file()]
    others = {path.name for path in installed.iterdir() if not path.name.endswith((".dist-info", ".egg-info"))}
    assert others == {"cnn", "bin"}


@pytest.mark.slow
def test_its_metadata_name_licence_and_requirements(installed):
    (about,) = installed.glob("*.dist-info")
    distribution = Distribution.at(about)
    assert distribution.metadata["Name"] == "cnn"
    assert distribution.metadata["License-Expression"] == "Apache-2.0"
    assert (about / "licenses" / "LICENSE").read_bytes() == (REPOSITORY / "LICENSE").read_bytes()
    lines = (line.split("#")[0].strip() for line in (REPOSITORY / "requirements.txt").read_text().splitlines())
    assert set(map(Requirement, distribution.requires)) == {Requirement(line) for line in lines if line}
    (script,) = distribution.entry_points
    assert (script.name, script.value) == ("cnn", "cnn.__main__:run")


@pytest.mark.slow(seconds=20)
def test_it_trains_and_draws_its_page_from_elsewhere(installed, tmp_path):
    assert "conv1" in start(installed, tmp_path, "summary", "--config=lenet5")
    # The default config, which is one of those that were installed; made small.
    start(installed, tmp_path, "train", *TINY, "--workdir=run")
    assert "<script" in (tmp_path / "run" / "report.html").read_text()


def test_a_checkout_says_of_python_what_the_package_says():
    said = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    oldest = said["project"]["requires-python"].removeprefix(">=")
    assert said["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    assert f"Python {oldest} or newer" in (REPOSITORY / "requirements.txt").read_text()


def test_the_citation_names_the_version_of_the_package():
    said = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert (cited["version"], cited["license"]) == (said["version"], said["license"])


@pytest.mark.slow(seconds=20)
def test_a_wheel_is_built_and_runs_in_a_bare_environment_from_elsewhere(installed, tmp_path):
    source, made = installed.parent / "source", tmp_path / "environment"
    offline = ("--quiet", "--no-deps", "--no-index")
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", "-w", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("cnn-*.whl")
    venv.create(made, with_pip=False)
    python = made / "bin" / "python"
    subprocess.run([*pip, "--python", python, "install", *offline, wheel], check=True)
    (site,) = (made / "lib").glob("python*/site-packages")
    (site / "requirements.pth").write_text(sysconfig.get_path("purelib"))  # what it requires, as if installed there
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def said(*words):
        done = subprocess.run(
            [made / "bin" / "cnn", *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    own = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert said("--version").startswith(f"cnn {own}, whose commit is not known")
    assert "conv1" in said("summary", "--config=lenet5")
    where = [python, "-c", "import cnn, importlib.metadata as m; print(cnn.__file__, m.version('cnn'))"]
    file, version = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True).stdout.split()
    assert Path(file).is_relative_to(made)
    assert version == own
