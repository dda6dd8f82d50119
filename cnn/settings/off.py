"""What is chosen by none."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Off:
    """Nothing."""
