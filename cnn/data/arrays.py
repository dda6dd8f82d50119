"""Pictures and labels as NumPy arrays: what a user's own source returns, and what Python code hands to a run."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from cnn.data.types import DataSpec, Source

Pairs = tuple[Any, Any]
"""Images and labels, row by row. Images are [n, height, width] or [n, height, width, channels]: uint8, or floats in
[0, 1] or in 0..255. Labels are whole numbers from 0 on, or the names of classes."""


@dataclasses.dataclass(frozen=True, eq=False)
class Arrays:
    """Pictures in memory, or in a file that is mapped.

    Attributes:
      train: images and labels.
      test: likewise; `None` for none, or for one that is cut from train, as `config.data.test_fraction` says.
      valid: likewise; `None` cuts it from train, as `config.data.valid_fraction` says.
      class_names: one a class; `None` for the names among the labels, sorted, or the numbers.
    """

    train: Pairs
    test: Pairs | None = None
    valid: Pairs | None = None
    class_names: Sequence[str] | None = None

    def as_source(
        self,
        what: str,
        data: DataSpec,
        *,
        field: str = "config.data.name",
        give: str = "Return",
        notes: Sequence[str] = (),
    ) -> Source:
        """Returns the arrays as a source gives them.

        Args:
          what: whose arrays these are, for the errors.
          data: the shape wanted, and how pictures of another are brought to it.
          field: what named them, for the errors.
          give: what the user does with arrays that are right, a verb, for the errors.
          notes: what else the user should hear about the data, a line each.

        Raises:
          DataError: they are no pictures and labels.
        """
        from cnn.data import array_source  # Pillow is not needed to check a config

        given = array_source.Given(self.train, self.test, self.valid, self.class_names)
        return array_source.read(given, array_source.Whose(what, field, give), data, notes)

    def shape_and_classes(self, what: str) -> dict[str, Any]:
        """Returns the fields of a config's section `data` that follow from the arrays: `image_shape` and `classes`.

        Raises:
          DataError: they are no pictures and labels; it calls them `what`.
        """
        from cnn.data import array_source

        given = array_source.Given(self.train, self.test, self.valid, self.class_names)
        return array_source.shape_and_classes(given, array_source.Whose(what, "data", "Give"))
