"""How many examples of a batch go through a network together, one microbatch after another. No JAX."""

_FEWEST, _MOST = 16, 64
"""Examples: fewer make the innermost axis too short; more leave the caches and are not faster."""
_NUMBERS = 2**20
"""The most numbers of a map of a microbatch: with what is made of it, more do not stay in the caches."""


def microbatch_size(examples: int, numbers: int, platform: str, *, devices: int = 1) -> int:
    """Returns how many of so many examples are best computed together, where they do not depend on each other.

    A CPU keeps what a few dozen need between two layers in its caches, and uses the same memory for the next ones; so
    one program that takes them in turn trains twice as fast. An accelerator wants all of them.

    Args:
      examples: in the batch; the microbatch divides them.
      numbers: of the largest map of one example.
      platform: cpu, gpu or tpu.
      devices: how many of one CPU take turns in training; with two, longer operations are faster than cached ones.
    """
    if platform != "cpu":
        return examples
    most = min(_MOST, max(_FEWEST, min(devices, 2) * _NUMBERS // numbers))
    sizes = [size for size in range(most // 2, most + 1) if examples % size == 0]
    return max(sizes, default=examples)
