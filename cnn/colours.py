"""The one signed colour scale: blue positive, orange negative, paper zero; neither sign is darker than the other."""

import numpy as np
from jaxtyping import Float, UInt8

RGB = tuple[int, int, int]

ANCHORS = ("#673200", "#a25202", "#cf8149", "#e4bba0", "#f5f5f5", "#abc7ec", "#6299df", "#216abf", "#014182")
"""The colours of -1, -3/4, ..., 1: OKLCH hues 55 and 255 of equal luminance."""


def rgb(code: str) -> RGB:
    """Returns the three bytes of "#rrggbb"."""
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


PAPER = rgb(ANCHORS[4])
INK = rgb("#1f1f1f")
_TABLE = np.array([rgb(code) for code in ANCHORS], np.float64)


def signed(values: Float[np.ndarray, "*shape"], bound: float) -> UInt8[np.ndarray, "*shape 3"]:
    """Returns the colours of numbers in [-bound, bound], on straight lines between the anchors; beyond, the end's.

    Args:
      values: any numbers but NaN.
      bound: at least the largest size among them, so that nothing is clipped; 0 where all are 0.
    """
    at = (np.clip(np.asarray(values, np.float64) / (bound or 1.0), -1, 1) + 1) / 2 * (len(ANCHORS) - 1)
    low = np.minimum(at.astype(int), len(ANCHORS) - 2)
    part = (at - low)[..., None]
    return np.round(_TABLE[low] * (1 - part) + _TABLE[low + 1] * part).astype(np.uint8)


def ink_on(colour: RGB) -> RGB:
    """Returns black or white, whichever is read better on a colour.

    Source:
      W3C, WCAG 2.1, relative luminance and contrast ratio, https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio.
    """
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in np.array(colour) / 255]
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return (0, 0, 0) if (luminance + 0.05) ** 2 > 0.05 * 1.05 else (255, 255, 255)
