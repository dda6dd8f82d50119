"""What is set before JAX starts, and that the person's own setting wins."""

import pytest

from cnn.system import environment as environment_module
from cnn.system.environment import available, prepare, threads


@pytest.fixture
def environment(monkeypatch):
    """Stands for a shell in which nothing is set yet."""
    for name in ("NPROC", "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_the_threads_are_those_that_this_process_may_use(environment):
    assert threads() == available() >= 1
    prepare()
    assert environment_module.os.environ["NPROC"] == str(environment_module.available())
    assert environment_module.os.environ["TF_CPP_MIN_LOG_LEVEL"] == "2"


def test_what_a_person_set_stays(environment):
    environment.setenv("NPROC", "7")
    environment.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    environment_module.prepare()
    assert environment_module.threads() == 7
    assert (environment_module.os.environ["NPROC"], environment_module.os.environ["TF_CPP_MIN_LOG_LEVEL"]) == ("7", "0")


@pytest.mark.parametrize("given", ["", "0", "-1", "many"])
def test_a_number_of_threads_that_is_none_is_passed_over(environment, given):
    environment.setenv("NPROC", given)
    assert environment_module.threads() == environment_module.available()
