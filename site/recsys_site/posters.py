"""Posters drawn from a movie's title, year and genres; a movie always gets the same poster."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Final

from markupsafe import Markup, escape

from recsys_site.catalog import Movie

WIDTH: Final = 200
HEIGHT: Final = 300
_ART: Final = 196
"""Height of the drawing; the title fills the rest."""
_MARGIN: Final = 14
_SIZES: Final = (35, 30, 26, 22, 19, 16.5, 14.5)
_LETTER: Final = 0.45
"""Mean width of a letter of the condensed font, as a share of the font size."""
_NOTE: Final = 90
"""Position of the line with year and genre, from the top of the title area."""
_ROOM: Final = _NOTE - 14 - _MARGIN

Palette = tuple[str, str, str, str]
"""Colors of the background, the title, and two of the drawing."""
_PALETTES: Final[dict[str, Palette]] = {
    "cream": ("#f1e6d0", "#1d1b18", "#d8412f", "#1f4e5f"),
    "night": ("#15202e", "#f3e9d6", "#e8b23a", "#4b86b4"),
    "blood": ("#160f12", "#f2e4dc", "#b3202a", "#5c2b3a"),
    "sand": ("#e9b872", "#33180f", "#a63d2f", "#f7e3bf"),
    "rose": ("#f3c9c4", "#3a1420", "#c8325a", "#f7efe6"),
    "sea": ("#0e4d5c", "#f4ecd8", "#f28f5b", "#7fc1b8"),
    "moss": ("#2f4a36", "#f3ead2", "#d9a441", "#8fb08c"),
    "sun": ("#f4c430", "#221d12", "#e2542d", "#f9efd6"),
    "violet": ("#2b1f4b", "#f0e7f7", "#e56ba0", "#6f61c0"),
    "steel": ("#c9d1d3", "#16212b", "#d94f30", "#54707f"),
    "mint": ("#cfe5d6", "#12332f", "#ef6f53", "#2f7f74"),
    "ink": ("#22211f", "#efe9dd", "#efe9dd", "#6b665e"),
}


def poster(movie: Movie) -> Markup:
    """Draws the poster as SVG, hidden from screen readers because the page shows the title too."""
    draw = Random(movie.movie_id)  # noqa: S311 - it draws pictures
    genre = next((name for name in _MOTIFS if name in movie.genres), "")
    motifs, palettes = _MOTIFS.get(genre, ((_halves,), ("cream", "steel")))
    motif = draw.choice(motifs)
    ground, ink, first, second = _PALETTES[draw.choice(palettes)]
    title_above = draw.random() < 0.35
    art_top, title_top = (HEIGHT - _ART, 0) if title_above else (0, _ART)
    return Markup(
        '<svg class="poster" viewBox="0 0 {} {}" aria-hidden="true" focusable="false">'
        '<rect width="{}" height="{}" fill="{}"/>'
        '<svg y="{}" width="{}" height="{}" viewBox="0 0 {} {}">{}</svg>{}</svg>'
    ).format(
        *(WIDTH, HEIGHT, WIDTH, HEIGHT, ground),
        *(art_top, WIDTH, _ART, WIDTH, _ART, Markup("".join(motif(draw, first, second, ground)))),  # noqa: S704 - numbers and constants
        _lettering(movie, title_top, ink),
    )


def _lettering(movie: Movie, top: float, ink: str) -> Markup:
    size, lines = _fit(movie.title)
    rows = [
        Markup('<text x="{}" y="{:.1f}" font-size="{}" fill="{}">{}</text>').format(
            _MARGIN, top + _MARGIN + size * (0.74 + 0.98 * place), size, ink, line
        )
        for place, line in enumerate(lines)
    ]
    note = " / ".join([str(movie.year)] * (movie.year is not None) + list(movie.genres[:1]))
    return Markup("").join(rows) + Markup(
        '<text class="note" x="{}" y="{}" font-size="9" fill="{}">{}</text>'
    ).format(_MARGIN, top + _NOTE, ink, escape(note.upper()))


def _fit(title: str) -> tuple[float, list[str]]:
    """Returns the largest font size at which the title fits, and its lines."""
    for size in _SIZES:
        lines = _wrap(title, int((WIDTH - 2 * _MARGIN) / (size * _LETTER)))
        if lines and len(lines) * size * 0.98 <= _ROOM:
            return size, lines
    size = _SIZES[-1]
    letters, rows = int((WIDTH - 2 * _MARGIN) / (size * _LETTER)), int(_ROOM / size)
    broken = [title[at : at + letters] for at in range(0, len(title), letters)]
    lines = (_wrap(title, letters) or broken)[:rows]
    lines[-1] = lines[-1][: letters - 1] + "…"
    return size, lines


def _wrap(text: str, letters: int) -> list[str]:
    """Splits text into lines of at most ``letters``; returns none if a word is longer."""
    lines = [""]
    for word in text.split():
        if len(word) > letters:
            return []
        if len(lines[-1]) + 1 + len(word) > letters:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _circle(x: float, y: float, r: float, fill: str, more: str = "") -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" fill="{fill}" {more}/>'


def _ring(x: float, y: float, r: float, stroke: str, width: float) -> str:
    return _circle(x, y, r, "none", f'stroke="{stroke}" stroke-width="{width:.1f}"')


def _box(x: float, y: float, w: float, h: float, fill: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" fill="{fill}"/>'


def _shape(points: list[tuple[float, float]], fill: str) -> str:
    return f'<path d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}Z" fill="{fill}"/>'


def _quarter(x: float, y: float, r: float, turn: int, fill: str) -> str:
    """A quarter of a disc in a square of side ``r``; its center is one of the corners."""
    corners = [(x, y), (x + r, y), (x + r, y + r), (x, y + r)]
    (cx, cy), (ax, ay), (bx, by) = (corners[(turn + k) % 4] for k in (0, 1, 3))
    return f'<path d="M{cx} {cy}L{ax} {ay}A{r} {r} 0 0 1 {bx} {by}Z" fill="{fill}"/>'


def _halves(draw: Random, a: str, b: str, ground: str) -> list[str]:
    r = draw.uniform(58, 76)
    y = draw.uniform(84, 106)
    turn = draw.choice((0, 90, 180, 270))
    return [
        f'<g transform="rotate({turn} 100 98)">',
        f'<path d="M{100 - r} {y}A{r} {r} 0 0 1 {100 + r} {y}Z" fill="{a}"/>',
        f'<path d="M{100 - r * 0.4} {y}A{r * 0.7} {r * 0.7} 0 0 0 {100 + r} {y}Z" fill="{b}"/></g>',
    ]


def _smiles(draw: Random, a: str, b: str, ground: str) -> list[str]:
    parts = []
    for row in range(3):
        for column in range(3):
            x, y = 37 + 63 * column, 36 + 62 * row
            turn = draw.choice((0, 0, 180, 90, 270))
            color = a if draw.random() < 0.6 else b
            parts.append(
                f'<path d="M{x - 27} {y - 12}A27 27 0 0 0 {x + 27} {y - 12}Z" fill="{color}" '
                f'transform="rotate({turn} {x} {y})"/>'
            )
    return parts


def _lovers(draw: Random, a: str, b: str, ground: str) -> list[str]:
    gap, tilt = draw.uniform(26, 40), draw.uniform(-18, 18)
    return [
        _circle(100 - gap, 98 - tilt, 58, a),
        _circle(100 + gap, 98 + tilt, 58, b, 'fill-opacity="0.82"'),
    ]


def _burst(draw: Random, a: str, b: str, ground: str) -> list[str]:
    x, y, rays = draw.uniform(40, 160), draw.uniform(110, 190), draw.choice((9, 11, 13))
    parts = []
    for k in range(rays):
        at, half = 2 * math.pi * k / rays, math.pi / rays / 2
        ends = [(x + 320 * math.cos(at + s), y + 320 * math.sin(at + s)) for s in (-half, half)]
        parts.append(_shape([(x, y), *ends], a if k % 3 else b))
    return [*parts, _circle(x, y, 24, ground), _circle(x, y, 13, a)]


def _peaks(draw: Random, a: str, b: str, ground: str) -> list[str]:
    sun = draw.uniform(45, 155)
    parts = [_circle(sun, draw.uniform(48, 70), 30, a)]
    for color, low, high in ((b, 70, 110), (a, 115, 140)):
        top = [(0.0, 196.0)] + [
            (40.0 * k - 20, draw.uniform(low, high) + (34 if k % 2 else 0)) for k in range(7)
        ]
        parts.append(_shape([*top, (240, 196)], color))
    return [*parts, _shape([(0, 196), (0, 172), (110, 150), (200, 182), (200, 196)], ground)]


def _vertigo(draw: Random, a: str, b: str, ground: str) -> list[str]:
    at, step = draw.uniform(0, 2 * math.pi), draw.uniform(2.6, 4.4)
    return [
        _circle(
            100 + step * k * math.cos(at), 98 + step * k * math.sin(at), 108 - 12.5 * k,
            (a, ground, b, ground)[k % 4],
        )
        for k in range(8)
    ]  # fmt: skip


def _bars(draw: Random, a: str, b: str, ground: str) -> list[str]:
    odd, parts = draw.randrange(2, 7), []
    for k in range(9):
        parts.append(_box(8 + 21.5 * k, 0, 9, 196, b if k != odd else a))
    y = draw.uniform(60, 110)
    return [*parts, _circle(12.5 + 21.5 * odd, y, 34, a)]


def _orbits(draw: Random, a: str, b: str, ground: str) -> list[str]:
    tilt = draw.uniform(-40, 40)
    parts = [
        _circle(draw.uniform(4, 196), draw.uniform(4, 190), draw.uniform(0.7, 1.8), b)
        for _ in range(28)
    ]
    parts.append(_circle(100, 98, 40, a))
    for k, (rx, ry) in enumerate(((62, 18), (82, 27), (104, 38))):
        parts.append(
            f'<ellipse cx="100" cy="98" rx="{rx}" ry="{ry}" fill="none" stroke="{b}" '
            f'stroke-width="{2.4 - 0.5 * k}" transform="rotate({tilt:.0f} 100 98)"/>'
        )
    return [*parts, f'<g transform="rotate({tilt:.0f} 100 98)">', _circle(18, 98, 9, b), "</g>"]


def _horizon(draw: Random, a: str, b: str, ground: str) -> list[str]:
    x, parts = draw.uniform(60, 140), []
    parts.append(_circle(x, 92, 54, a))
    parts += [_box(0, 60 + 11 * k, 200, 1.5 + 1.1 * k, ground) for k in range(5)]
    parts.append(_box(0, 116, 200, 80, ground))
    for k in range(-9, 10):
        far, near = x + 7 * k, x + 46 * k
        parts.append(_shape([(far, 116), (far + 0.6, 116), (near + 2, 196), (near, 196)], b))
    return [*parts, *(_box(0, 116 + 3.1 * k * k, 200, 1.2, b) for k in range(6))]


def _quarters(draw: Random, a: str, b: str, ground: str) -> list[str]:
    r = 88
    return [
        _quarter(12 + r * column, 10 + r * row, r, draw.randrange(4), a if row == column else b)
        for row in range(2)
        for column in range(2)
    ]


def _teeth(draw: Random, a: str, b: str, ground: str) -> list[str]:
    parts = [_circle(100, 98, draw.uniform(46, 60), b)]
    for k in range(6):
        x = 40.0 * k - 20
        parts.append(_shape([(x, -2), (x + 40, -2), (x + 20, draw.uniform(50, 88))], a))
        parts.append(_shape([(x + 20, 198), (x + 60, 198), (x + 40, draw.uniform(112, 150))], a))
    return parts


def _blocks(draw: Random, a: str, b: str, ground: str) -> list[str]:
    parts = []
    for row in range(3):
        for column in range(3):
            x, y, color = 10 + 60 * column, 8 + 60 * row, draw.choice((a, b))
            if draw.random() < 0.3:
                parts.append(_circle(x + 30, y + 30, 30, color))
            else:
                parts.append(_quarter(x, y, 60, draw.randrange(4), color))
    return parts


def _bubbles(draw: Random, a: str, b: str, ground: str) -> list[str]:
    parts = []
    for k in range(11):
        r = draw.uniform(10, 44) if k else 60
        at = 'fill-opacity="0.86"'
        parts.append(_circle(draw.uniform(20, 180), draw.uniform(20, 176), r, (a, b)[k % 2], at))
    return parts


def _moon(draw: Random, a: str, b: str, ground: str) -> list[str]:
    shift = draw.choice((-1, 1)) * draw.uniform(22, 34)
    parts = [_circle(100, 84, 56, a), _circle(100 + shift, 72, 48, ground)]
    for k in range(3):
        parts.append(_ring(100, 204, 34 + 26 * k, b, 9))
    for _ in range(7):
        x, y, r = draw.uniform(10, 190), draw.uniform(10, 90), draw.uniform(3, 7)
        q = r * 0.22
        parts.append(
            _shape(
                [(x, y - r), (x + q, y - q), (x + r, y), (x + q, y + q),
                 (x, y + r), (x - q, y + q), (x - r, y), (x - q, y - q)], b,
            )
        )  # fmt: skip
    return parts


def _keyhole(draw: Random, a: str, b: str, ground: str) -> list[str]:
    x = draw.uniform(80, 120)
    rings = [_ring(x, 86, 52 + 20 * k, b, 6) for k in range(5)]
    slot: list[tuple[float, float]] = [(x - 9, 96), (x + 9, 96), (x + 24, 166), (x - 24, 166)]
    return [*rings, _circle(x, 86, 30, a), _shape(slot, a)]


def _chevrons(draw: Random, a: str, b: str, ground: str) -> list[str]:
    odd, parts = draw.randrange(1, 5), []
    for k in range(6):
        y = 34.0 * k - 6
        points = [(0, y + 44), (100, y), (200, y + 44), (200, y + 62), (100, y + 18), (0, y + 62)]
        parts.append(_shape([(float(x), py) for x, py in points], a if k == odd else b))
    return parts


def _mesa(draw: Random, a: str, b: str, ground: str) -> list[str]:
    x, parts = draw.uniform(50, 150), []
    parts.append(_circle(x, 110, 62, a))
    parts += [_box(0, 84 + 13 * k, 200, 2.5 + 1.6 * k, ground) for k in range(4)]
    left = draw.uniform(10, 70)
    parts.append(_shape([(left, 196), (left + 10, 118), (left + 66, 118), (left + 78, 196)], b))
    return [*parts, _shape([(0, 196), (0, 164), (90, 158), (200, 172), (200, 196)], b)]


def _record(draw: Random, a: str, b: str, ground: str) -> list[str]:
    bars = [_box(14 + 22 * k, 0, 13, draw.uniform(30, 180), (a, b)[k % 3 == 0]) for k in range(8)]
    grooves = [_ring(138, 140, r, ground, 2) for r in (33, 24)]
    return [*bars, _circle(138, 140, 44, a), *grooves, _circle(138, 140, 12, ground)]


def _blinds(draw: Random, a: str, b: str, ground: str) -> list[str]:
    tilt, x = draw.uniform(-9, 9), draw.uniform(70, 130)
    stripes = [_box(-30, 2 + 19 * k, 260, 9.5, b) for k in range(11)]
    return [
        f'<g transform="rotate({tilt:.1f} 100 98)">{"".join(stripes)}</g>',
        _circle(x, 84, 30, a),
        f'<path d="M{x - 56:.0f} 196A56 66 0 0 1 {x + 56:.0f} 196Z" fill="{a}"/>',
    ]


def _halftone(draw: Random, a: str, b: str, ground: str) -> list[str]:
    x, y = draw.uniform(50, 150), draw.uniform(50, 150)
    return [
        _circle(13 + 17.4 * c, 12 + 17.2 * r, max(1.2, 9 - d / 16), a if d < 70 else b)
        for r in range(11)
        for c in range(11)
        for d in [math.hypot(13 + 17.4 * c - x, 12 + 17.2 * r - y)]
    ]


Motif = Callable[[Random, str, str, str], list[str]]
# Ordered from rare to common genres: the first genre that a movie has decides.
_MOTIFS: Final[dict[str, tuple[tuple[Motif, ...], tuple[str, ...]]]] = {
    "Film-Noir": ((_blinds,), ("ink", "steel")),
    "Western": ((_mesa,), ("sand", "sun")),
    "Musical": ((_record,), ("rose", "violet", "sun")),
    "War": ((_chevrons, _burst), ("moss", "steel", "ink")),
    "Documentary": ((_halftone,), ("cream", "steel", "mint")),
    "Animation": ((_bubbles, _blocks), ("mint", "sun", "rose", "sea")),
    "Horror": ((_teeth, _vertigo), ("blood", "ink")),
    "Sci-Fi": ((_orbits, _horizon, _vertigo), ("night", "violet", "sea")),
    "Mystery": ((_keyhole,), ("violet", "night", "moss", "steel")),
    "Fantasy": ((_moon, _peaks), ("night", "violet", "moss")),
    "Children": ((_blocks, _bubbles), ("sun", "mint", "sea")),
    "Crime": ((_bars, _blinds, _keyhole), ("steel", "blood", "cream")),
    "Thriller": ((_vertigo, _bars), ("sun", "blood", "night", "steel")),
    "Adventure": ((_peaks,), ("sea", "sand", "moss")),
    "Romance": ((_lovers,), ("rose", "cream", "mint")),
    "Action": ((_burst, _chevrons), ("cream", "night", "sun")),
    "Comedy": ((_smiles, _blocks), ("mint", "rose", "sun", "cream")),
    "Drama": ((_halves, _quarters, _lovers), ("cream", "steel", "sea", "sand")),
}
