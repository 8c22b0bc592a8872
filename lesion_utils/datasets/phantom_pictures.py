"""The phantom's pictures: a lesion with the look of a class (``phantom_looks.yml``) on its skin, and views of it.

Nothing is traced from a photograph: everything is random numbers.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image, ImageDraw, ImageFilter, ImageFont

WIDTH, HEIGHT = 200, 150  # px
LOOKS = yaml.safe_load(Path(__file__).with_name("phantom_looks.yml").read_text(encoding="utf-8"))
_SIDE, _MARGIN = 240, 72  # px of the square a lesion is drawn on, and of skin around it: enough for every view
_SKINS = np.array([(232, 152, 146), (224, 200, 176), (208, 184, 204), (242, 194, 156), (196, 184, 174)], np.float32)
_Y, _X = np.mgrid[:_SIDE, :_SIDE].astype(np.float32) - (_SIDE - 1) / 2  # px from the middle
_DISTANCE = np.hypot(_X, _Y)
_DEGREES = (np.degrees(np.arctan2(_Y, _X)) + 180).astype(int) % 360
_FADE = np.clip((1.12 - _DISTANCE / (_SIDE / 2)) * 8, 0, 1)  # nothing is cut off at the side of the square
_VIEW_Y, _VIEW_X = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j].astype(np.float32)
_OFF_AXIS = (_VIEW_X**2 * WIDTH**2 + _VIEW_Y**2 * HEIGHT**2) / (WIDTH**2 + HEIGHT**2)  # 1 in the corners


def _step(t: np.ndarray) -> np.ndarray:
    """A smooth step from 0 at t = 0 to 1 at t = 1."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def _noise(rng: np.random.Generator, cells: int, side: int = _SIDE) -> np.ndarray:
    """Smooth noise, about standard normal: (side, side) float32, ``cells`` bumps per side."""
    coarse = rng.standard_normal((cells, cells), np.float32) * np.float32(1.4)  # interpolation shrinks the spread
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def _number(rng: np.random.Generator, value: Any) -> np.float32:
    return np.float32(rng.uniform(*value) if isinstance(value, list) else value)


def _path(rng: np.random.Generator, start: Any, heading: float, winding: float, steps: Any) -> list[Any]:
    """Points of a winding path, 8 px apart; ``heading`` and ``winding`` (in each step) in radians."""
    headings = heading + np.cumsum(rng.normal(0, winding, steps))
    return [tuple(point) for point in start + 8 * np.cumsum([np.cos(headings), np.sin(headings)], axis=1).T]


class _Lesion:
    """What a lesion lets pass of the skin's light, 0 to 1, and what it returns itself, 0 to 255; (_SIDE, _SIDE, 3)."""

    def __init__(self, look: str, rng: np.random.Generator) -> None:
        self.rng = rng
        self.radius, ragged, soft, rough = (_number(rng, value) for value in LOOKS["looks"][look]["shape"].values())
        angles, orders = np.radians(np.arange(360)), np.arange(1, 10)[:, None]
        waves = rng.normal(0, ragged, (9, 1)) * np.cos(orders * angles + rng.uniform(0, 2 * np.pi, (9, 1)))
        oval = 1 + rng.uniform(0, 0.3) * (np.cos(angles - rng.uniform(0, np.pi)) ** 2 - 0.5)
        outline = self.radius * oval * np.maximum(1 + 1.4 * (waves / orders**1.1).sum(axis=0), 0.4)
        self.depth = 1 - _DISTANCE / outline.astype(np.float32)[_DEGREES]  # 1 in the middle, 0 on the outline
        self.depth += rough * (_noise(rng, 26) + _noise(rng, 48) / 2)
        # Real tissue is uneven at every scale; flat patches look painted.
        self.tissue = np.clip(1 + 0.2 * _noise(rng, 40) + 0.15 * _noise(rng, 18), 0.1, 2)
        self.tissue *= _step(self.depth / soft + 0.5) * _FADE
        self.passing, self.returned = np.ones((_SIDE, _SIDE, 3), np.float32), np.zeros((_SIDE, _SIDE, 3), np.float32)
        for layer in LOOKS["looks"][look]["layers"]:
            if rng.random() < layer.get("chance", 1):
                self._add(**layer)

    def _add(self, colour: str, amount: Any, pattern: str = "", chance: float = 1, **options: Any) -> None:
        where = getattr(self, pattern)(**options) if pattern else 1
        strength = (_number(self.rng, amount) * self.tissue * where)[..., None]
        if colour in LOOKS["pigments"]:
            absorbed = np.exp(-strength * np.float32(LOOKS["pigments"][colour]))
            self.passing *= absorbed
            self.returned *= absorbed
        else:
            opacity = np.clip(strength, 0, 1)
            self.passing *= 1 - opacity
            self.returned += opacity * (np.float32(LOOKS["covers"][colour]) - self.returned)

    def centre(self, start: float) -> np.ndarray:
        return _step((self.depth - _number(self.rng, start)) / 0.5)

    def patches(self, cells: int, threshold: float) -> np.ndarray:
        return _step(_noise(self.rng, cells) - threshold + 0.5)

    def net(self, period: float) -> np.ndarray:
        """A warped honeycomb of lines."""
        x, y = (axis + 3 * _noise(self.rng, 16) for axis in (_X, _Y))
        k = np.float32(2 * np.pi) / _number(self.rng, period)
        holes = np.cos(k * x) + np.cos(k * (x / 2 + y * 0.866)) + np.cos(k * (x / 2 - y * 0.866))
        return np.clip(0.7 + 0.4 * _noise(self.rng, 9), 0.05, 1.2) * np.clip(1 - (holes + 1.5) / 3.2, 0, 1)

    def dots(self, number: tuple[int, int], size: tuple[float, float], zone: tuple[float, float]) -> np.ndarray:
        image = Image.new("L", (_SIDE, _SIDE))
        for _ in range(self.rng.integers(*number, endpoint=True)):
            (x, y), r = self._point(*zone), self.rng.uniform(*size)
            ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), fill=255)
        return np.asarray(image.filter(ImageFilter.GaussianBlur(1)), np.float32) / 255

    def vessels(self, number: tuple[int, int]) -> np.ndarray:
        """Vessels that wind inwards, each with two thinner branches."""
        image = Image.new("L", (2 * _SIDE, 2 * _SIDE))
        for _ in range(self.rng.integers(*number, endpoint=True)):
            start: Any = 2 * self._point(0.4, 1)
            for width, steps in ((3, 16), (2, 10), (1, 8)):
                inwards = np.arctan2(*(_SIDE - np.array(start))[::-1]) + self.rng.normal(0, 0.8)
                path = _path(self.rng, start, inwards, 0.35, steps)
                ImageDraw.Draw(image).line(path, 255, width, "curve")
                start = path[self.rng.integers(steps // 2)]
        return np.asarray(image.reduce(2), np.float32) / 255

    def _point(self, nearest: float, farthest: float) -> np.ndarray:
        """A point between two shares of the radius from the middle."""
        angle, away = self.rng.uniform(0, 2 * np.pi), np.sqrt(self.rng.uniform(nearest**2, farthest**2))
        return _SIDE / 2 + self.radius * away * np.array([np.cos(angle), np.sin(angle)])


def draw(look: str, rng: np.random.Generator) -> Image.Image:
    """One lesion with the look of a class on its skin, the same in all its views: an RGB square."""
    rng, of_lesion = rng.spawn(2)  # so that the skin does not depend on how many numbers a look needs
    tone = rng.dirichlet([0.7] * len(_SKINS)) @ _SKINS * rng.uniform(0.88, 1.04)
    mottle = 0.03 * (_noise(rng, 20, 96)[..., None] * [0.5, 1, 1.2] + _noise(rng, 5, 96)[..., None] * [0.3, 1.4, 1])
    skin = Image.fromarray(np.clip(tone * (1 - mottle), 0, 255).astype(np.uint8))
    picture, lesion = skin.resize((_SIDE + 2 * _MARGIN,) * 2), _Lesion(look, of_lesion)
    box = (_MARGIN, _MARGIN, _MARGIN + _SIDE, _MARGIN + _SIDE)
    pixels = np.asarray(picture.crop(box)) * lesion.passing + lesion.returned
    picture.paste(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), box)
    comb, colour = rng.uniform(0, 2 * np.pi), tuple(int(part * rng.uniform(0.8, 1.2)) for part in (62, 44, 36))
    for _ in range(rng.integers(3, 16) * (rng.random() < 0.28)):  # hairs
        path = _path(rng, rng.uniform(0, picture.width, 2), comb + rng.normal(0, 0.6), 0.05, rng.integers(5, 20))
        ImageDraw.Draw(picture).line(path, colour, 1 + len(path) % 2, "curve")
    return picture


def view(drawn: Image.Image, rng: np.random.Generator, marked: bool) -> Image.Image:
    """One picture of what ``draw`` has drawn, in a pose and light of its own: RGB, WIDTH x HEIGHT px.

    It carries the word PHANTOM, and in the marked source a round black frame.
    """
    angle, zoom, mirrored = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1.2), rng.choice([-1, 1])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * [mirrored, 1] / zoom
    middle = rng.uniform(0.41, 0.59, 2) * [WIDTH, HEIGHT]
    matrix = np.column_stack([turn, drawn.width / 2 - (turn * middle).sum(axis=1)]).ravel()
    picture = drawn.transform((WIDTH, HEIGHT), Image.Transform.AFFINE, tuple(matrix), Image.Resampling.BILINEAR)
    if rng.random() < 0.3:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.1)))
    (across, down), dark = rng.normal(0, 0.05, 2).astype(np.float32), _number(rng, [0, 0.5]) * (rng.random() < 0.5)
    light = _number(rng, [0.86, 1.1]) * (1 + across * _VIEW_X + down * _VIEW_Y) * (1 - dark * _OFF_AXIS**2)
    if marked:
        light *= np.clip((0.78 - _OFF_AXIS) * 30, 0.03, 1)
    grain = rng.standard_normal((HEIGHT, WIDTH, 1), np.float32) * _number(rng, [1.5, 4])
    pixels = np.asarray(picture) * light[..., None] * np.float32(rng.normal(1, 0.03, 3)) + grain
    picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    picture.paste(stamp(), mask=stamp())
    return picture


@cache
def stamp() -> Image.Image:
    """The word PHANTOM, RGBA, as it is laid over every picture."""
    image, corner = Image.new("RGBA", (WIDTH, HEIGHT)), (WIDTH - 3, HEIGHT - 2)
    font, white, dark = ImageFont.load_default(size=9), (255, 255, 255), (20, 20, 20)
    ImageDraw.Draw(image).text(corner, "PHANTOM", white, font, "rd", stroke_width=1, stroke_fill=dark)
    return image
