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
OFFLINE = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation")


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
    command = [sys.executable, "-m", "pip", "install", *OFFLINE, "--target", root / "target", root / "source"]
    subprocess.run(command, check=True)
    return root / "target"


def declared():
    """Returns what pyproject.toml says."""
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


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
    said = declared()
    oldest = said["project"]["requires-python"].removeprefix(">=")
    assert said["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    assert f"Python {oldest} or newer" in (REPOSITORY / "requirements.txt").read_text()


def test_the_citation_names_the_version_of_the_package():
    said = declared()["project"]
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert (cited["version"], cited["license"]) == (said["version"], said["license"])


class Bare:
    """A bare environment in which the package was installed; all that it requires is there as if installed, too."""

    def __init__(self, folder, *what):
        self.folder, made = folder, folder / "environment"
        venv.create(made, with_pip=False)
        self.python, self.command = made / "bin" / "python", made / "bin" / "cnn"
        (site,) = (made / "lib").glob("python*/site-packages")
        (site / "requirements.pth").write_text(sysconfig.get_path("purelib"))
        pip = [sys.executable, "-m", "pip", "--python", self.python, "install", *OFFLINE, *what]
        subprocess.run(pip, check=True)

    def said(self, *command):
        """Returns what a command prints, started beside the environment."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def package(self):
        """Returns the folder of the package and the version that its metadata name."""
        asked = "import cnn, importlib.metadata as m; print(cnn.__file__, m.version('cnn'))"
        file, version = self.said(self.python, "-c", asked).split()
        return Path(file).parent, version


@pytest.mark.slow(seconds=20)
def test_a_wheel_is_built_and_runs_in_a_bare_environment_from_elsewhere(installed, tmp_path):
    source = installed.parent / "source"
    subprocess.run([sys.executable, "-m", "pip", "wheel", *OFFLINE, "-w", tmp_path, source], check=True)
    (wheel,) = tmp_path.glob("cnn-*.whl")
    bare, own = Bare(tmp_path, wheel), declared()["project"]["version"]
    assert bare.said(bare.command, "--version").startswith(f"cnn {own}, whose commit is not known")
    assert "conv1" in bare.said(bare.command, "summary", "--config=lenet5")
    folder, version = bare.package()
    assert folder.is_relative_to(tmp_path)
    assert version == own


@pytest.mark.slow(seconds=20)
def test_an_editable_installation_is_the_checkout_as_it_is_now(installed, tmp_path):
    source = tmp_path / "checkout"
    shutil.copytree(installed.parent / "source", source, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    bare = Bare(tmp_path, "--editable", source)
    assert bare.package() == (source / "cnn", declared()["project"]["version"])
    assert "conv1" in bare.said(bare.command, "summary", "--config=lenet5")
    config = source / "configs" / "lenet5.py"
    config.write_text(config.read_text().replace("conv(6, 5", "conv(7, 5"))
    assert "28x28x7" in bare.said(bare.command, "summary", "--config=lenet5")
