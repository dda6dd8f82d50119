"""Compilation is timed by the name of the function."""

import jax
import jax.numpy as jnp

from cnn.system import compile_times


def test_only_the_first_call_of_a_function_compiles():
    @jax.jit
    def tripled(x):
        return 3 * x

    before = compile_times.compilations.seconds("tripled")
    tripled(jnp.ones(3))
    first = compile_times.compilations.seconds("tripled")
    assert before == 0 < first
    tripled(jnp.zeros(3))
    assert compile_times.compilations.seconds("tripled") == first
    assert compile_times.compilations.seconds("something else") == 0
