"""The colours of every picture: one signed scale, blue positive, orange negative, its zero the paper; grey for pixels.

Neither sign is darker than the other. Pictures are never smoothed.
"""

import base64
import dataclasses
import io
import struct
from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from markupsafe import Markup
from PIL import Image

RGB = tuple[int, int, int]

Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")

ANCHORS: dict[Theme, tuple[str, ...]] = {
    "light": ("673200", "a25202", "cf8149", "e4bba0", "f5f5f5", "abc7ec", "6299df", "216abf", "014182"),
    "dark": ("feb079", "db7a29", "9f5618", "5c3b23", "1f1f1f", "2d4563", "376daf", "5198f1", "9dc7fe"),
}
"""The colours of -1, -3/4, ..., 1: hues 55 and 255 of OKLCH, equally luminous on both sides; 0 is the paper."""
STEPS, SHADES = 255, 15
"""Colours on either side of zero, and those of sheets of many maps."""
PALEST = 0.55
"""The share of the scale from which on a line in its colour has a contrast of 3:1 with the paper, in both themes."""


def rgb(code: str) -> RGB:
    """Returns the three bytes of "rrggbb"."""
    return int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16)


PAPER, INK = rgb(ANCHORS["light"][4]), rgb("1f1f1f")


def _colours(shares: Float[np.ndarray, "*shape"], theme: Theme) -> UInt8[np.ndarray, "*shape 3"]:
    """Returns the colours of numbers in [-1, 1], on straight lines between the anchors; beyond, the end's."""
    anchors = np.array(list(map(rgb, ANCHORS[theme])), np.float64)
    places = np.linspace(-1, 1, len(anchors))
    return np.round(np.stack([np.interp(shares, places, column) for column in anchors.T], axis=-1)).astype(np.uint8)


def signed(values: Float[np.ndarray, "*shape"], bound: float) -> UInt8[np.ndarray, "*shape 3"]:
    """Returns the light theme's colours of numbers in [-bound, bound], not in steps as a `Scale` gives them.

    Args:
      values: any numbers but NaN.
      bound: at least the largest size among them, so that nothing is clipped; 0 where all are 0.
    """
    return _colours(np.asarray(values, np.float64) / (bound or 1.0), "light")


def luminance(colour: Sequence[int] | UInt8[np.ndarray, " 3"]) -> float:
    """Returns the relative luminance of red, green and blue in 0..255.

    Source:
      W3C, WCAG 2.1, relative luminance and contrast ratio, https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio.
    """
    channels = np.asarray(colour, float) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def ink_on(colour: Sequence[int] | UInt8[np.ndarray, " 3"]) -> RGB:
    """Returns black or white, whichever is read better on a colour."""
    return (0, 0, 0) if (luminance(colour) + 0.05) ** 2 > 0.05 * 1.05 else (255, 255, 255)


@cache
def table(theme: Theme) -> UInt8[np.ndarray, "511 3"]:
    """Returns the colours from -1 to +1; that of zero is row 255."""
    return _colours(np.linspace(-1, 1, 2 * STEPS + 1), theme)


@dataclasses.dataclass(frozen=True)
class Scale:
    """Signed numbers as colours, symmetric about zero; pictures and their legend come from the same one.

    Attributes:
      limit: the number whose colour is the last, positive.
    """

    limit: float

    @classmethod
    def over(cls, numbers: Float[np.ndarray, "..."]) -> "Scale":
        """Returns the scale that just holds these numbers."""
        finite = numbers[np.isfinite(numbers)]
        return cls(float(np.abs(finite).max(initial=0.0)) or 1.0)

    def colours(self, numbers: Float[np.ndarray, "..."], theme: Theme) -> UInt8[np.ndarray, "... 3"]:
        """Returns red, green and blue of each number; one that is not finite has the colour of zero."""
        shares = np.clip(np.nan_to_num(numbers / self.limit, nan=0, posinf=0, neginf=0), -1, 1)
        return table(theme)[np.rint(shares * STEPS).astype(int) + STEPS]

    def indexed(self, numbers: Float[np.ndarray, "height width"], theme: Theme, shades: int) -> bytes:
        """Returns the numbers as a small PNG file, in so many colours on either side of zero; NaN is transparent."""
        shares = np.clip(np.nan_to_num(numbers / self.limit, nan=0, posinf=0, neginf=0), -1, 1)
        places = np.where(np.isnan(numbers), 2 * shades + 1, np.rint(shares * shades) + shades)
        image = Image.fromarray(places.astype(np.uint8), "L")
        colours = table(theme)[np.rint(np.linspace(0, 2 * STEPS, 2 * shades + 1)).astype(int)]
        image.putpalette(colours.tobytes() + bytes(3))
        stream = io.BytesIO()
        image.save(stream, "PNG", optimize=True, transparency=2 * shades + 1)
        return stream.getvalue()

    def sheet(
        self, numbers: Float[np.ndarray, "height width"], width: int, height: int, label: str, kind: str
    ) -> Markup:
        """Returns many numbers as an `<img>` in both themes, in fewer colours, which make half the bytes."""
        contents = {theme: self.indexed(numbers, theme, SHADES) for theme in THEMES}
        return Markup("").join(
            _img(contents[theme], width, height, label, f"pixels {kind} {theme}") for theme in THEMES
        )

    def printed(self, numbers: Float[np.ndarray, "height width"], width: int, height: int, label: str) -> Markup:
        """Returns such a picture for paper, and for pages without script, in the light theme alone."""
        return _img(self.indexed(numbers, "light", SHADES), width, height, label, "pixels")

    def legend(self, *, above: bool = False) -> Markup:
        """Returns the scale as a strip with its least and greatest number; `above`: only of what is not negative."""
        strip = np.linspace(-self.limit, self.limit, 2 * STEPS + 1)[None]
        pictures = themed({theme: self.colours(strip, theme) for theme in THEMES}, 160, 12, "", "scale")
        low = "0" if above else f"{-self.limit:.3g}"
        ends = Markup("<span>{}</span>{}<span>{}</span>").format(low, pictures, f"{self.limit:+.3g}")
        told = Markup('<span class="muted">orange negative, blue positive</span>')
        return Markup('<p class="legend{}">{} {}</p>').format(" above" if above else "", ends, told)


def png(pixels: UInt8[np.ndarray, "height width *channels"]) -> bytes:
    """Returns a picture as a PNG file; equal pixels give equal bytes."""
    stream = io.BytesIO()
    drawable(pixels).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def drawable(pixels: UInt8[np.ndarray, "height width *channels"]) -> Image.Image:
    """Returns pixels as a picture: of three channels in colours, of any other number the mean of them in grey."""
    if pixels.ndim == 3 and pixels.shape[-1] != 3:
        pixels = np.rint(pixels.mean(-1)).astype(np.uint8)
    return Image.fromarray(pixels)


def address(content: bytes, kind: str = "image/png") -> str:
    """Returns a file as the address of an `<img>`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def enclosed(content: bytes) -> bytes:
    """Returns a PNG picture as an SVG file that shows it pixel by pixel."""
    width, height = struct.unpack(">II", content[16:24])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<image width="{width}" height="{height}" image-rendering="pixelated" href="{address(content)}"/></svg>\n'
    ).encode()


def picture(pixels: UInt8[np.ndarray, "height width *channels"], width: int, height: int, label: str) -> Markup:
    """Returns a picture of data as an `<img>` of so many CSS pixels; `label` is what it shows, in words."""
    return _img(png(pixels), width, height, label, "pixels")


def themed(
    pixels: dict[Theme, UInt8[np.ndarray, "height width *channels"]], width: int, height: int, label: str, kind: str
) -> Markup:
    """Returns a picture in both themes' colours, of which the page shows one."""
    pictures = [_img(png(pixels[theme]), width, height, label, f"pixels {kind} {theme}") for theme in THEMES]
    return Markup("").join(pictures)


def _img(content: bytes, width: int, height: int, label: str, classes: str) -> Markup:
    return Markup('<img class="{}" width="{}" height="{}" alt="{}" src="{}">').format(
        classes, width, height, label, address(content)
    )
