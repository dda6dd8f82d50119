"""The kinds of augmentation a chain may name, as plain values.

Integers shape the compiled program; real numbers may be traced, so nothing here looks at a value.
"""

import dataclasses

from cnn.fields import Count, Fraction, NonNegative, Positive


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """Pads with zeros and crops back to the old size, at a random place.

    Attributes:
      pad: zeros added on each side, in pixels.

    Source:
      He et al. 2016, https://arxiv.org/abs/1512.03385, section 4.2.
    """

    pad: Count


@dataclasses.dataclass(frozen=True)
class Flip:
    """Mirrors left and right.

    Attributes:
      probability: share of the images that are mirrored.
    """

    probability: Fraction = 0.5


@dataclasses.dataclass(frozen=True)
class Erase:
    """Fills a random box with zeros: 2 to 33 % of the area, height / width from 0.3 to 3.3.

    Attributes:
      probability: share of the images that lose a box.

    Source:
      Zhong et al. 2017, https://arxiv.org/abs/1708.04896. There a box that does not fit is drawn anew; here its side
      is cut to that of the image.
    """

    probability: Fraction = 0.25


@dataclasses.dataclass(frozen=True)
class Rotate:
    """Turns about the centre, bilinear, with zeros from outside.

    Attributes:
      degrees: the largest angle in either direction; angles are uniform.
    """

    degrees: NonNegative


@dataclasses.dataclass(frozen=True)
class Shift:
    """Moves by whole pixels, with zeros from outside; the distribution is that of `RandomCrop(pad=pixels)`.

    Attributes:
      pixels: the largest shift along either axis.
    """

    pixels: Count


@dataclasses.dataclass(frozen=True)
class Mixup:
    """Blends each image and its label with its partner's, in the same proportion.

    Attributes:
      alpha: both parameters of the Beta distribution of that proportion; towards 0 nothing is mixed.

    Source:
      Zhang et al. 2018, https://arxiv.org/abs/1710.09412.
    """

    alpha: Positive


@dataclasses.dataclass(frozen=True)
class Cutmix:
    """Replaces a box by the partner's, and the label in proportion to the box's area.

    Attributes:
      alpha: both parameters of the Beta distribution of the share that stays; the paper takes 1.

    Source:
      Yun et al. 2019, https://arxiv.org/abs/1905.04899.
    """

    alpha: Positive


AUGMENTATIONS: dict[str, type] = {
    "random_crop": RandomCrop,
    "flip": Flip,
    "erase": Erase,
    "rotate": Rotate,
    "shift": Shift,
    "mixup": Mixup,
    "cutmix": Cutmix,
}
