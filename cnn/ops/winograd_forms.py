"""Winograd's algorithms for 3x3 kernels: the matrices that turn 9 products an output into 4 or 2.25.

Exact in real numbers. In float32, a block of 2x2 outputs errs as much as the plain sum, one of 4x4 three times as much:
the points at which the polynomials are evaluated, 0, ±sqrt(1/2), ±sqrt(2) and infinity, lose half of what the usual
0, ±1, ±2 and infinity lose.

Source:
  Lavin and Gray 2016, https://arxiv.org/abs/1509.09308, section 4; the construction is Cook's and Toom's.
"""

from typing import NamedTuple

Matrix = tuple[tuple[float, ...], ...]


class Form(NamedTuple):
    """One such algorithm, by its matrices along one axis.

    Attributes:
      step: outputs of a block.
      inputs: of what inputs each place is made.
      kernel: of what numbers of a kernel each place is made.
      outputs: of what places each output is made.
    """

    step: int
    inputs: Matrix
    kernel: Matrix
    outputs: Matrix


_A, _B = 0.5**0.5, 2**0.5
TWO = Form(
    2,
    ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
    ((1, 1, 1, 0), (0, 1, -1, -1)),
)
FOUR = Form(
    4,
    (
        (1, 0, -2.5, 0, 1, 0),
        (0, -2 * _A, -2, _A, 1, 0),
        (0, 2 * _A, -2, -_A, 1, 0),
        (0, -_B / 2, -0.5, _B, 1, 0),
        (0, _B / 2, -0.5, -_B, 1, 0),
        (0, 1, 0, -2.5, 0, 1),
    ),
    (
        (1, 0, 0),
        (-2 / 3, -2 * _A / 3, -1 / 3),
        (-2 / 3, 2 * _A / 3, -1 / 3),
        (1 / 6, _B / 6, 1 / 3),
        (1 / 6, -_B / 6, 1 / 3),
        (0, 0, 1),
    ),
    ((1, 1, 1, 1, 1, 0), (0, _A, -_A, _B, -_B, 0), (0, 0.5, 0.5, 2, 2, 0), (0, _A / 2, -_A / 2, 2 * _B, -2 * _B, 1)),
)


def form_of(height: int, width: int) -> Form:
    """Returns the algorithm that makes a map of this size with the fewer products."""

    def places(form: Form) -> int:
        down, right = (-(-size // form.step) for size in (height, width))
        return down * right * len(form.inputs) ** 2

    return min(TWO, FOUR, key=places)
