"""How colours look: their lightness, and how far apart they are to which reader.

Colours are rows of sRGB between 0 and 1. Three of a hundred readers see fewer of their
differences; what they see is simulated by the matrices of Machado, Oliveira and
Fernandes (2009) for the complete loss of one kind of cone. Distances are CIEDE2000.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

READERS = ("normal", "protanopia", "deuteranopia", "tritanopia")
_SEEN = np.array(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ],
    ]
)
# From linear sRGB to CIE XYZ under D65; its second row is the luminance.
_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def luminance(colours: ArrayLike) -> Array:
    """Return the relative luminance of colours, 0 for black and 1 for white.

    Args:
        colours: (…, 3).
    """
    found: Array = _linear(colours) @ _XYZ[1]
    return found


def contrast(first: ArrayLike, second: ArrayLike) -> Array:
    """Return the contrast of two colours as WCAG defines it, from 1 to 21.

    Args:
        first: (…, 3).
        second: (…, 3).
    """
    light, other = luminance(first) + 0.05, luminance(second) + 0.05
    found: Array = np.maximum(light, other) / np.minimum(light, other)
    return found


def seen(colours: ArrayLike) -> Array:
    """Return how colours look to each of the READERS.

    Args:
        colours: (…, 3).

    Returns:
        CIELAB coordinates, (readers, …, 3).
    """
    looks = np.einsum("rij,...j->r...i", _SEEN, _linear(colours))
    return _lab(looks.clip(0, 1))


def distance(first: Array, second: Array) -> Array:
    """Return the CIEDE2000 difference of colours: 1 is barely seen side by side.

    Args:
        first: CIELAB coordinates, (…, 3).
        second: (…, 3).
    """
    a_scale = 1 + _shrunk((_chroma(first) + _chroma(second)) / 2) / 2
    (l_1, c_1, h_1), (l_2, c_2, h_2) = _polar(first, a_scale), _polar(second, a_scale)
    grey = c_1 * c_2 == 0
    turn = np.where(grey, 0, (h_2 - h_1 + 180) % 360 - 180)
    far = np.abs(h_1 - h_2) > 180
    hue = np.where(grey, h_1 + h_2, (h_1 + h_2) / 2 + np.where(far, 180, 0))
    lightness, chroma = (l_1 + l_2) / 2, (c_1 + c_2) / 2
    weight = (
        1
        - 0.17 * _cos(hue - 30)
        + 0.24 * _cos(2 * hue)
        + 0.32 * _cos(3 * hue + 6)
        - 0.20 * _cos(4 * hue - 63)
    )
    squared = (lightness - 50) ** 2
    by_lightness = (l_2 - l_1) / (1 + 0.015 * squared / np.sqrt(20 + squared))
    by_chroma = (c_2 - c_1) / (1 + 0.045 * chroma)
    by_hue = 2 * np.sqrt(c_1 * c_2) * np.sin(np.radians(turn / 2))
    by_hue = by_hue / (1 + 0.015 * chroma * weight)
    blue = 60 * np.exp(-(((hue - 275) / 25) ** 2))
    mixed = -2 * (1 - _shrunk(chroma)) * np.sin(np.radians(blue))
    found: Array = np.sqrt(
        by_lightness**2 + by_chroma**2 + by_hue**2 + mixed * by_chroma * by_hue
    )
    return found


def _linear(colours: ArrayLike) -> Array:
    given = np.asarray(colours, dtype=np.float64)
    found: Array = np.where(
        given <= 0.04045, given / 12.92, ((given + 0.055) / 1.055) ** 2.4
    )
    return found


def _lab(linear: Array) -> Array:
    relative = linear @ _XYZ.T / _XYZ.sum(1)
    x, y, z = np.moveaxis(
        np.where(
            relative > 216 / 24389,
            np.cbrt(relative),
            (24389 / 27 * relative + 16) / 116,
        ),
        -1,
        0,
    )
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def _chroma(lab: Array) -> Array:
    found: Array = np.hypot(lab[..., 1], lab[..., 2])
    return found


def _polar(lab: Array, a_scale: Array) -> tuple[Array, Array, Array]:
    """Return lightness, chroma and hue in degrees."""
    a, b = lab[..., 1] * a_scale, lab[..., 2]
    return lab[..., 0], np.hypot(a, b), np.degrees(np.arctan2(b, a)) % 360


def _shrunk(chroma: Array) -> Array:
    """Return 1 for greys, down to 0 for strong colours."""
    found: Array = 1 - np.sqrt(chroma**7 / (chroma**7 + 25.0**7))
    return found


def _cos(degrees: Array) -> Array:
    found: Array = np.cos(np.radians(degrees))
    return found
