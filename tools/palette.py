"""Finds and checks the colours of the laboratory's figures: `python tools/palette.py [COLOR...]`.

Every pair of colours keeps a distance under normal vision and under the three kinds of dichromacy, and every colour a
contrast with what it is drawn on: a figure's background, and the reports' page and paper, light and dark. The search
exchanges one colour at a time: of a grid of colours with enough contrast, the one that is furthest from the nearest of
the others, from many random starts.

Machado, Oliveira & Fernandes (2009), A physiologically-based model for simulation of color vision deficiency; Sharma,
Wu & Dalal (2005), The CIEDE2000 color-difference formula; WCAG 2.2, relative luminance and contrast ratio.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np

VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
"""Machado's matrices for the severity 1, which are applied to linear RGB."""

TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
"""Of linear sRGB; IEC 61966-2-1."""

LAB = Path(__file__).parents[1] / "src" / "surefoot" / "lab"
UNDER = (
    ("templates/style.css", r"--(?:page|paper): (#[0-9a-f]{6})"),
    ("figures.py", r'"figure\.facecolor": "(#[0-9a-f]{6})"'),
)
"""Where what curves are drawn on is defined: the files, and how they write it."""


def backgrounds() -> list[str]:
    """What curves are drawn on: the reports' page and paper, light and dark, and the background of figures."""
    found = [color for file, written in UNDER for color in re.findall(written, (LAB / file).read_text("utf-8"))]
    return sorted(set(found), reverse=True)


BACKGROUNDS = backgrounds()
DISTANCE = 10.0
CONTRAST = 3.0
STEP = 17
"""Between the values of a channel in the grid of colours, of 255."""

STARTS = 2000
GREY = 10.0
"""Colours of less chroma are left to axes, contour lines and references."""


def linear(colors) -> np.ndarray:
    """Linear RGB in [0, 1], (…, 3), of "#rrggbb"."""
    values = np.array([[int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)] for color in colors])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB under D65, of linear RGB."""
    xyz = rgb @ TO_XYZ.T / TO_XYZ.sum(axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def seen(colors, vision: str) -> np.ndarray:
    """CIELAB of colours as that vision has them."""
    return lab(np.clip(linear(colors) @ VISIONS[vision].T, 0, 1))


def distance(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """ΔE2000 of colours in CIELAB, (…, 3), in the order of equations 2 to 22 of Sharma, Wu & Dalal."""
    mean_chroma = (np.hypot(one[..., 1], one[..., 2]) + np.hypot(two[..., 1], two[..., 2])) / 2
    stretch = 1.5 - 0.5 * np.sqrt(mean_chroma**7 / (mean_chroma**7 + 25.0**7))
    (L1, C1, h1), (L2, C2, h2) = (polar(color, stretch) for color in (one, two))
    turn = (h2 - h1 + 180) % 360 - 180
    grey = C1 * C2 == 0
    hue = np.where(grey, h1 + h2, (h1 + np.where(grey, 0, turn) / 2) % 360)
    lightness, chroma = (L1 + L2) / 2, (C1 + C2) / 2
    weight = (
        1 - 0.17 * cosine(hue - 30) + 0.24 * cosine(2 * hue) + 0.32 * cosine(3 * hue + 6) - 0.20 * cosine(4 * hue - 63)
    )
    dL = (L2 - L1) / (1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2))
    dC = (C2 - C1) / (1 + 0.045 * chroma)
    dH = 2 * np.sqrt(C1 * C2) * np.sin(np.radians(np.where(grey, 0, turn) / 2)) / (1 + 0.015 * chroma * weight)
    turned = np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2))))
    rotation = 2 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7)) * turned
    return np.sqrt(np.maximum(dL**2 + dC**2 + dH**2 - rotation * dC * dH, 0))


def polar(color: np.ndarray, stretch: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lightness, chroma and hue in degrees, with a stretched."""
    a, b = stretch * color[..., 1], color[..., 2]
    return color[..., 0], np.hypot(a, b), np.degrees(np.arctan2(b, a)) % 360


def cosine(degrees: np.ndarray) -> np.ndarray:
    return np.cos(np.radians(degrees))


def distances(colors) -> np.ndarray:
    """ΔE2000 of every pair, the least of all visions, (n, n)."""
    found = np.full((len(colors), len(colors)), np.inf)
    for vision in VISIONS:
        points = seen(colors, vision)
        found = np.minimum(found, distance(points[:, None], points[None]))
    return found


def contrasts(colors, backgrounds=BACKGROUNDS) -> np.ndarray:
    """Contrast ratios, (colours, backgrounds)."""
    own, under = (linear(group) @ TO_XYZ[1] + 0.05 for group in (colors, backgrounds))
    return np.maximum(own[:, None], under) / np.minimum(own[:, None], under)


def candidates() -> list[str]:
    """A grid of colours, those with enough contrast with every background and with a hue."""
    values = np.arange(0, 256, STEP)
    grid = [f"#{r:02x}{g:02x}{b:02x}" for r in values for g in values for b in values]
    chroma = np.linalg.norm(lab(linear(grid))[:, 1:], axis=1)
    enough = (contrasts(grid).min(axis=1) >= CONTRAST) & (chroma >= GREY)
    return [color for color, keep in zip(grid, enough, strict=True) if keep]


def search(colors: int, seed: int = 0) -> list[str]:
    """The best of many starts, ordered so that the first few differ most."""
    grid, rng = candidates(), np.random.default_rng(seed)
    apart = distances(grid)
    best: list[int] = []
    for _ in range(STARTS):
        chosen = exchanged(apart, list(rng.choice(len(grid), colors, replace=False)))
        best = max(best, chosen, key=lambda places: least(apart, places))
    return [grid[place] for place in furthest_first(apart, best)]


def exchanged(apart: np.ndarray, chosen: list[int]) -> list[int]:
    """Gives up one of the closest pair for the colour that is furthest from all others, as long as that helps."""
    while True:
        pairs = apart[np.ix_(chosen, chosen)] + np.diag(np.full(len(chosen), np.inf))
        ways = []
        for place in np.unravel_index(pairs.argmin(), pairs.shape):
            others = chosen[:place] + chosen[place + 1 :]
            way = [*others, int(apart[:, others].min(axis=1).argmax())]
            ways.append((least(apart, way), way))
        value, way = max(ways)
        if value <= least(apart, chosen):
            return chosen
        chosen = way


def least(apart: np.ndarray, places: list[int]) -> float:
    """The least distance of two of these colours."""
    if not places:
        return 0.0
    return float(apart[np.ix_(places, places)][np.triu_indices(len(places), 1)].min())


def furthest_first(apart: np.ndarray, places: list[int]) -> list[int]:
    """The same colours, each the furthest from those before it; of all starts the one whose order keeps most apart."""
    orders = []
    for start in places:
        order = [start]
        while len(order) < len(places):
            order.append(max(set(places) - set(order), key=lambda place: apart[place, order].min()))
        orders.append(order)
    return max(orders, key=lambda order: sum(least(apart, order[:count]) for count in range(2, len(order) + 1)))


def report(colors) -> str:
    """The colours, and the least distances and contrasts that they keep."""
    lines, pairs = [" ".join(colors)], np.triu_indices(len(colors), 1)
    for vision in VISIONS:
        points = seen(colors, vision)
        lines.append(f"{vision:<13} ΔE2000 ≥ {distance(points[:, None], points[None])[pairs].min(initial=np.inf):.1f}")
    for background, ratio in zip(BACKGROUNDS, contrasts(colors).min(axis=0), strict=True):
        lines.append(f"on {background}    contrast ≥ {ratio:.2f} : 1")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(report(sys.argv[1:] or search(12)) + "\n")
