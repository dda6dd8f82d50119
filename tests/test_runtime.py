"""What is set before JAX starts, and that the person's own setting wins."""

import pytest

from cnn import runtime


@pytest.fixture
def environment(monkeypatch):
    """Stands for a shell in which nothing is set yet."""
    for name in ("NPROC", "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_the_threads_are_those_that_this_process_may_use(environment):
    assert runtime.threads() == runtime.available() >= 1
    runtime.prepare()
    assert runtime.os.environ["NPROC"] == str(runtime.available())
    assert runtime.os.environ["TF_CPP_MIN_LOG_LEVEL"] == "2"


def test_what_a_person_set_stays(environment):
    environment.setenv("NPROC", "7")
    environment.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    runtime.prepare()
    assert runtime.threads() == 7
    assert (runtime.os.environ["NPROC"], runtime.os.environ["TF_CPP_MIN_LOG_LEVEL"]) == ("7", "0")


@pytest.mark.parametrize("given", ["", "0", "-1", "many"])
def test_a_number_of_threads_that_is_none_is_passed_over(environment, given):
    environment.setenv("NPROC", given)
    assert runtime.threads() == runtime.available()
