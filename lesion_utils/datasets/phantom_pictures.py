"""The phantom's pictures: a skin, a lesion with the look of a class, and several views of it.

Nothing is traced from a photograph: everything is random numbers. Every picture carries the word PHANTOM.
"""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

WIDTH, HEIGHT = 200, 150  # px
_SIDE = 240  # px of the square a lesion is drawn on, at scale 1
_SKIN_SIDE = 96  # px of the square of skin, which stands for 480 px of that scale
_WHITE, _VEIL, _KERATIN, _CRUST = (240, 226, 222), (112, 122, 158), (222, 190, 130), (70, 30, 25)
_SKINS = np.array([(232, 152, 146), (224, 200, 176), (208, 184, 204), (242, 194, 156), (196, 184, 174)], float)


@cache
def _grid() -> tuple[np.ndarray, ...]:
    """x, y (px from the centre), distance, and cos and sin of 1 to 9 times the angle; all (_SIDE, _SIDE)."""
    y, x = np.mgrid[:_SIDE, :_SIDE] - (_SIDE - 1) / 2
    angle = np.arctan2(y, x) * np.arange(1, 10)[:, None, None]
    return x, y, np.hypot(x, y), np.cos(angle), np.sin(angle)


def _noise(rng: np.random.Generator, cells: int, side: int = _SIDE) -> np.ndarray:
    """Smooth noise, about standard normal: (side, side), ``cells`` bumps per side."""
    coarse = rng.standard_normal((cells, cells)).astype(np.float32) * 1.4  # interpolation shrinks the spread
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC), float)


class _Lesion:
    """Maps of absorption (melanin, blood) and of what covers the lesion, on a square of _SIDE px."""

    def __init__(self, rng: np.random.Generator, radius: float, ragged: float, soft: float, rough: float) -> None:
        self.rng, self.radius = rng, radius
        x, y, distance, cosines, sines = _grid()
        orders = np.arange(1, 10)
        wave = rng.normal(size=(2, 9)) * ragged / orders**1.1
        # einsum, not BLAS: the result must not depend on the number of threads.
        outline = 1 + np.einsum("k,kyx", wave[0], cosines) + np.einsum("k,kyx", wave[1], sines)
        turn, squeeze = rng.uniform(0, np.pi), rng.uniform(0, 0.3)
        stretch = 1 + squeeze * ((x * np.cos(turn) + y * np.sin(turn)) ** 2 / (distance**2 + 1) - 0.5)
        self.depth = 1 - distance / (radius * np.maximum(outline, 0.4) * stretch)  # 1 in the centre, 0 on the outline
        self.depth += rough * _noise(rng, 26) + 0.5 * rough * _noise(rng, 48)
        edge = np.clip((1.12 - distance / (_SIDE / 2)) * 8, 0, 1)  # nothing is cut off at the side of the square
        self.inside = _step(self.depth / soft + 0.5) * edge
        self.melanin, self.blood = np.zeros((2, _SIDE, _SIDE))
        self.over = np.zeros((_SIDE, _SIDE, 4))  # colour times opacity, opacity

    def uniform(self, low: float, high: float) -> float:
        return self.rng.uniform(low, high)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def patches(self, cells: int, threshold: float, soft: float = 0.5) -> np.ndarray:
        """Smooth patches inside the lesion, 0 to 1; a higher threshold (standard deviations) leaves fewer."""
        return self.inside * _step((_noise(self.rng, cells) - threshold) / soft + 0.5)

    def mesh(self, period: float, warp: float) -> np.ndarray:
        """A warped honeycomb of lines, 0 to 1, inside the lesion; ``period`` and ``warp`` in px."""
        x, y = _grid()[:2]
        x, y = x + warp * _noise(self.rng, 16), y + warp * _noise(self.rng, 16)
        k = 2 * np.pi / period
        holes = np.cos(k * x) + np.cos(k * (x / 2 + y * 0.866)) + np.cos(k * (x / 2 - y * 0.866))
        strength = np.clip(0.7 + 0.4 * _noise(self.rng, 9), 0.05, 1.2)
        return self.inside * strength * np.clip(1 - (holes + 1.5) / 3.2, 0, 1)

    def cover(self, colour: tuple[int, int, int], opacity: np.ndarray) -> None:
        """Lays an opaque colour (0 to 255) over the lesion."""
        opacity = np.clip(opacity, 0, 1)[..., None]
        self.over *= 1 - opacity
        self.over += opacity * np.array([*colour, 255])

    def dots(
        self, number: tuple[int, int], size: tuple[float, float], zone: tuple[float, float], blur: float = 0.7
    ) -> np.ndarray:
        """A number of discs, radius ``size`` px, centred between two fractions of the lesion's radius; 0 to 1."""
        n = self.rng.integers(*number, endpoint=True)
        angle = self.rng.uniform(0, 2 * np.pi, n)
        away = self.radius * np.sqrt(self.rng.uniform(zone[0] ** 2, zone[1] ** 2, n))
        radius = self.rng.uniform(*size, n)
        image = Image.new("L", (_SIDE, _SIDE))
        draw = ImageDraw.Draw(image)
        for x, y, r in zip(away * np.cos(angle), away * np.sin(angle), radius, strict=True):
            draw.ellipse([_SIDE / 2 + v for v in (x - r, y - r, x + r, y + r)], fill=255)
        return np.asarray(image.filter(ImageFilter.GaussianBlur(blur)), float) / 255

    def vessels(self, number: tuple[int, int], width: float, length: int, branching: float) -> np.ndarray:
        """Winding vessels that may branch into thinner ones; ``width`` px, ``length`` steps of 4 px; 0 to 1."""
        rng, n = self.rng, self.rng.integers(*number, endpoint=True)
        image = Image.new("L", (2 * _SIDE, 2 * _SIDE))
        draw = ImageDraw.Draw(image)
        angles, away = rng.uniform(0, 2 * np.pi, n), self.radius * rng.uniform(0.2, 1, n)
        # Heading inwards, more or less.
        stack = [
            (r * np.cos(a), r * np.sin(a), a + np.pi + rng.normal(0, 0.7), width, length)
            for a, r in zip(angles, away, strict=True)
        ]
        while stack:
            x, y, heading, thick, steps = stack.pop()
            path = [(_SIDE + 2 * x, _SIDE + 2 * y)]
            for step in range(steps):
                heading += rng.normal(0, 0.35)
                x, y = x + 4 * np.cos(heading), y + 4 * np.sin(heading)
                path.append((_SIDE + 2 * x, _SIDE + 2 * y))
                if step and thick > 0.8 and rng.random() < branching:
                    side = rng.choice([-1, 1]) * rng.uniform(0.5, 1)
                    stack.append((x, y, heading + side, thick * 0.7, (steps - step) * 2 // 3))
            draw.line(path, fill=255, width=max(1, round(2 * thick)), joint="curve")
        return np.asarray(image.reduce(2), float) / 255 * self.inside

    def layers(self) -> tuple[Image.Image, Image.Image]:
        """What the skin's light is multiplied by (RGB, 255: clear) and what covers it (colour, opacity)."""
        # Real tissue is uneven at every scale; flat patches look painted.
        fine, coarse = _noise(self.rng, 40), _noise(self.rng, 18)
        melanin = (np.maximum(self.melanin, 0) * np.clip(1 + 0.2 * fine + 0.15 * coarse, 0.1, 2))[..., None]
        blood = (np.maximum(self.blood, 0) * np.clip(1 + 0.2 * coarse - 0.1 * fine, 0.1, 2))[..., None]
        through = np.exp(-melanin * [0.38, 0.72, 1.0] - blood * [0.14, 0.95, 0.72])
        over = np.rint(self.over * np.clip(0.85 + 0.15 * coarse + 0.1 * fine, 0.2, 1)[..., None]).astype(np.uint8)
        # CMYK as four plain channels: Pillow multiplies RGBA by its alpha when it resamples.
        return (
            Image.fromarray(np.rint(255 * through).astype(np.uint8)),
            Image.frombytes("CMYK", (_SIDE, _SIDE), over.tobytes()),
        )


def _step(t: np.ndarray) -> np.ndarray:
    """A smooth step from 0 at t = 0 to 1 at t = 1."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def _akiec(rng: np.random.Generator) -> _Lesion:
    """Red, scaly, without a clear border; a red net around pale follicles."""
    a = _Lesion(rng, rng.uniform(44, 78), 0.12, rng.uniform(0.6, 1.0), 0.09)
    a.blood += a.inside * (a.uniform(0.2, 0.42) + 0.1 * _noise(rng, 10))
    a.melanin += a.uniform(0, 0.3) * a.patches(5, 0.2, 1)
    if a.chance(0.8):
        a.blood += a.uniform(0.25, 0.5) * a.mesh(a.uniform(9, 13), 3)
    if a.chance(0.75):
        a.cover(_KERATIN if a.chance(0.4) else _WHITE, a.uniform(0.4, 0.65) * a.patches(18, 0.9, 1.5))
    if a.chance(0.6):
        a.cover(_WHITE, 0.45 * a.dots((15, 44), (1.0, 2.2), (0, 0.9), 0.9))
    if a.chance(0.3):
        a.cover(_CRUST, 0.7 * a.dots((2, 5), (1.5, 4), (0, 0.6), 1.5))
    return a


def _bcc(rng: np.random.Generator) -> _Lesion:
    """Pearly pink, branching vessels, blue-grey nests, sometimes a small ulcer."""
    b = _Lesion(rng, rng.uniform(36, 66), 0.12, rng.uniform(0.4, 0.8), 0.04)
    b.blood += b.inside * (b.uniform(0.12, 0.38) + 0.1 * _noise(rng, 6))
    b.cover((238, 208, 212), b.uniform(0.25, 0.5) * b.patches(5, 0, 1.5))
    if b.chance(0.85):
        b.cover((172, 46, 52), b.uniform(0.5, 0.8) * b.vessels((3, 7), b.uniform(0.9, 1.5), 16, 0.16))
    if b.chance(0.65):
        b.cover((96, 98, 120), b.uniform(0.5, 0.85) * b.dots((3, 9), (2, 6.5), (0.3, 0.95), 2))
    if b.chance(0.4):
        b.cover((112, 32, 30), 0.8 * b.dots((1, 3), (3, 8), (0, 0.4), 2.5))
    return b


def _bkl(rng: np.random.Generator) -> _Lesion:
    """Waxy and sharply cut, with milia-like white dots and dark crypts."""
    b = _Lesion(rng, rng.uniform(40, 72), 0.13, rng.uniform(0.1, 0.25), 0.06)
    b.melanin += b.inside * np.maximum(b.uniform(0.35, 0.85) + 0.14 * _noise(rng, 9), 0.1)
    b.cover(_KERATIN if b.chance(0.7) else (150, 138, 132), b.uniform(0.2, 0.45) * b.patches(6, -0.2, 1.6))
    if b.chance(0.8):
        b.cover(_WHITE, 0.75 * b.dots((12, 39), (1.2, 2.8), (0, 0.85), 0.9) * b.inside)
    if b.chance(0.75):
        b.cover((72, 46, 32), 0.8 * b.dots((8, 25), (1.4, 3.6), (0, 0.85), 1) * b.inside)
    if b.chance(0.4):
        b.melanin += 0.4 * b.patches(18, 0.2, 1)
    return b


def _df(rng: np.random.Generator) -> _Lesion:
    """A white central patch in a faint brown ring of fine net."""
    d = _Lesion(rng, rng.uniform(32, 58), 0.07, rng.uniform(0.6, 0.95), 0.03)
    d.melanin += d.inside * d.uniform(0.2, 0.5)
    d.blood += d.inside * d.uniform(0.05, 0.3)
    if d.chance(0.8):
        d.melanin += d.uniform(0.2, 0.5) * d.mesh(d.uniform(6, 9), 2.5)
    if d.chance(0.85):
        core = d.uniform(0.35, 0.6)
        d.cover(_WHITE, d.uniform(0.45, 0.8) * _step((d.depth - 1 + core) / 0.4 + 0.12 * _noise(rng, 10)))
    return d


def _mel(rng: np.random.Generator) -> _Lesion:
    """Asymmetric, ragged, several colours, blue-white veil, dots at the border."""
    m = _Lesion(rng, rng.uniform(42, 76), rng.uniform(0.15, 0.26), rng.uniform(0.12, 0.4), 0.06)
    m.melanin += m.inside * np.maximum(m.uniform(0.5, 1.1) + 0.3 * _noise(rng, 6), 0.2)
    m.melanin += m.uniform(0.6, 1.4) * m.patches(5, 0.3, 1.2)
    if m.chance(0.6):
        m.melanin += m.uniform(0.3, 0.7) * m.mesh(m.uniform(8, 13), 5)
    if m.chance(0.55):
        m.blood += m.uniform(0.4, 0.8) * m.patches(5, 0.5, 1)
    if m.chance(0.75):
        m.cover(_VEIL, m.uniform(0.4, 0.7) * m.patches(4, 0.2, 1.2) * _step(m.depth * 2.5))
    if m.chance(0.4):
        m.cover(_WHITE, 0.45 * m.patches(6, 0.9, 1))
    if m.chance(0.8):
        m.melanin += 1.2 * m.dots((8, 29), (1.0, 3.0), (0.5, 1.0), 1)
    return m


def _nv(rng: np.random.Generator) -> _Lesion:
    """Regular, brown, one or two shades, an even net that thins out at the border."""
    n = _Lesion(rng, rng.uniform(32, 64), rng.uniform(0.05, 0.12), rng.uniform(0.25, 0.7), 0.035)
    n.melanin += n.inside * (n.uniform(0.4, 1.1) + 0.1 * _noise(rng, 5))
    n.melanin += n.uniform(-0.1, 0.4) * _step(n.depth * 1.6)
    n.blood += n.inside * n.uniform(0, 0.3)
    if n.chance(0.7):
        n.melanin += n.uniform(0.2, 0.55) * n.mesh(n.uniform(6, 10), 3)
    if n.chance(0.35):
        n.melanin += 0.5 * n.dots((15, 49), (1.2, 2.4), (0, 0.9), 1) * n.inside
    return n


def _vasc(rng: np.random.Generator) -> _Lesion:
    """Well-bounded red to purple lacunae, pale septa between them."""
    v = _Lesion(rng, rng.uniform(22, 50), rng.uniform(0.05, 0.13), rng.uniform(0.2, 0.5), 0.03)
    v.blood += v.inside * v.uniform(0.35, 0.9)
    lacunae = v.dots((12, 33), (v.radius / 9, v.radius / 4), (0, 0.85), 1.5) * v.inside
    v.blood += v.uniform(0.3, 0.9) * lacunae
    if v.chance(0.5):
        v.melanin += v.uniform(0.2, 0.7) * lacunae
    if v.chance(0.5):
        v.cover((116, 62, 128), v.uniform(0.25, 0.5) * v.inside * v.patches(4, -0.2, 1.5))
    if v.chance(0.5):
        v.cover(_WHITE, 0.3 * v.inside * (1 - lacunae) * v.patches(8, 0, 1.5))
    return v


LOOKS = {"akiec": _akiec, "bcc": _bcc, "bkl": _bkl, "df": _df, "mel": _mel, "nv": _nv, "vasc": _vasc}


class Subject:
    """One lesion on its skin, the same in all its views."""

    def __init__(self, look: str, rng: np.random.Generator) -> None:
        tone = rng.dirichlet([0.7] * len(_SKINS)) @ _SKINS * rng.uniform(0.88, 1.04)
        mottle = 0.03 * _noise(rng, 24, _SKIN_SIDE)[..., None] * [0.5, 1, 1.2]
        red = rng.choice([0.0, 0.04])
        mottle = mottle + red * (np.maximum(_noise(rng, 40, _SKIN_SIDE), 0)[..., None] * [0.6, 1.5, 2])
        mottle = mottle + 0.03 * _noise(rng, 6, _SKIN_SIDE)[..., None] * [0.3, 1.4, 1]
        self.skin = Image.fromarray(np.clip(tone * (1 - mottle), 0, 255).astype(np.uint8))
        self.hairs = []
        if rng.random() < 0.28:
            comb = rng.uniform(0, 2 * np.pi)
            for _ in range(rng.integers(3, 16)):
                start, heading, bend = rng.uniform(-110, 110, 2), comb + rng.normal(0, 0.6), rng.normal(0, 0.012)
                along = np.arange(0, rng.uniform(30, 150), 6)
                turn = heading + bend * along
                self.hairs.append(start + np.cumsum(np.column_stack([np.cos(turn), np.sin(turn)]) * 6, 0))
        self.hair_colour = tuple(int(v) for v in np.array([62, 44, 36]) * rng.uniform(0.4, 1.5))
        # Last, so that the skin does not depend on how many numbers a look needs.
        self.through, self.over = LOOKS[look](rng).layers()

    def view(self, rng: np.random.Generator, marked: bool) -> Image.Image:
        """One picture of it in its own pose and light, RGB, WIDTH x HEIGHT px."""
        angle, zoom, flip = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1.2), rng.choice([-1, 1])
        shift = rng.uniform(-0.09, 0.09, 2) * [WIDTH, HEIGHT]
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        to_lesion = np.diag([flip, 1]) @ turn / zoom
        middle = np.array([WIDTH, HEIGHT]) / 2 + shift

        def posed(image: Image.Image, scale: float, fill: tuple | None) -> np.ndarray:
            matrix = to_lesion * scale
            data = np.column_stack([matrix, np.array(image.size) / 2 - matrix @ middle]).ravel()
            method, filter_ = Image.Transform.AFFINE, Image.Resampling.BILINEAR
            return np.asarray(
                image.transform((WIDTH, HEIGHT), method, tuple(data), filter_, fillcolor=fill), np.float32
            )

        through = posed(self.through, 1.0, (255, 255, 255)) / 255
        over = posed(self.over, 1.0, (0, 0, 0, 0))
        pixels = posed(self.skin, _SKIN_SIDE / 480, None) * through * (1 - over[..., 3:] / 255) + over[..., :3]
        picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        draw = ImageDraw.Draw(picture)
        for hair in self.hairs:
            path = hair @ np.linalg.inv(to_lesion).T + middle
            draw.line([tuple(point) for point in path], fill=self.hair_colour, width=1 + (len(hair) % 3 == 0))
        return _expose(picture, rng, marked)


@cache
def _lens() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x and y from -1 to 1, and the squared distance from the middle in half diagonals; (HEIGHT, WIDTH)."""
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j].astype(np.float32)
    return x, y, (x * x * WIDTH**2 + y * y * HEIGHT**2) / (WIDTH**2 + HEIGHT**2)


@cache
def _stamp() -> tuple[Image.Image, tuple[int, int], Image.Image]:
    """The word PHANTOM for every picture, its position and its opacity."""
    word, mask = Image.new("RGB", (WIDTH, HEIGHT), (20, 20, 20)), Image.new("L", (WIDTH, HEIGHT))
    font, corner = ImageFont.load_default(size=9), (WIDTH - 3, HEIGHT - 2)
    ImageDraw.Draw(mask).text(corner, "PHANTOM", fill=170, font=font, anchor="rd", stroke_width=1)
    ImageDraw.Draw(word).text(corner, "PHANTOM", fill=(255, 255, 255), font=font, anchor="rd")
    return word, (0, 0), mask


def _expose(picture: Image.Image, rng: np.random.Generator, marked: bool) -> Image.Image:
    """Gel, lens, light and sensor; the mark of the marked source; the word PHANTOM."""
    draw = ImageDraw.Draw(picture, "RGBA")
    if rng.random() < 0.15:
        for x, y, r in rng.uniform((0, 0, 2), (WIDTH, HEIGHT, 6), (rng.integers(1, 7), 3)):
            draw.ellipse((x - r, y - r, x + r, y + r), outline=(255, 255, 255, 110), fill=(255, 255, 255, 25))
            draw.ellipse((x - r / 2, y - r / 2, x - r / 2 + 1, y - r / 2 + 1), fill=(255, 255, 255, 200))
    if rng.random() < 0.3:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.1)))
    x, y, off = _lens()
    slope = rng.normal(0, 0.05, 2).astype(np.float32)
    dark = np.float32(rng.uniform(0, 0.5) if rng.random() < 0.5 else 0.05)
    light = np.float32(rng.uniform(0.86, 1.1)) * (1 + slope[0] * x + slope[1] * y) * (1 - dark * off * off)
    cast = rng.normal(1, 0.03, 3).astype(np.float32)
    grain = rng.standard_normal((HEIGHT, WIDTH), np.float32) * np.float32(rng.uniform(1.5, 4))
    if marked:
        light = light * np.clip((np.float32(0.78) - off) * 30, np.float32(0.03), 1)  # a round black frame
    pixels = np.asarray(picture, np.float32) * light[..., None] * cast + grain[..., None]
    picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    if marked:
        draw = ImageDraw.Draw(picture)
        for k, left in enumerate(range(8, 90, 8)):  # a ruler at the lower left
            draw.line((left, HEIGHT - 1, left, HEIGHT - (14 if k % 5 == 0 else 8)), fill=(235, 235, 235), width=2)
    picture.paste(*_stamp())
    return picture
