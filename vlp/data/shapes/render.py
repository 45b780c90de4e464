"""Scenes to pixels and to tight boxes. PIL draws the outlines, four times enlarged; numpy does the rest."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from vlp.config.data import Shapes
from vlp.data.shapes.scene import Scene, Thing
from vlp.data.shapes.vocabulary import COLOURS

_ENLARGE = 4
_TONES = {"light": (165.0, 195.0), "dark": (85.0, 115.0)}

Patch = tuple[int, int, np.ndarray]
"""x and y of the patch's upper left pixel, and its cover [h, w] in 0..1."""


def outline(scene: Scene) -> Scene:
    """The same scene with every box filled in: tight around the object's visible pixels (cover of at least a half)."""
    owner = np.full((scene.pixels, scene.pixels), -1, np.int16)
    for i in paint_order(scene):
        x, y, cover = patch(scene.things[i])
        region = owner[y : y + cover.shape[0], x : x + cover.shape[1]]
        region[cover >= 0.5] = i
    boxes = []
    for i, thing in enumerate(scene.things):
        if not (owner == i).any():
            raise ValueError(f"image {scene.index}: {thing} is hidden")
        rows, columns = np.flatnonzero((owner == i).any(1)), np.flatnonzero((owner == i).any(0))
        boxes.append((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))
    return replace(scene, things=tuple(replace(t, box=b) for t, b in zip(scene.things, boxes, strict=True)))


def image(scene: Scene, dials: Shapes) -> np.ndarray:
    """Pixels [S, S, 3] uint8."""
    rng = np.random.default_rng([dials.seed, 2, scene.index, scene.attempt])
    pixels = _background(scene, rng)
    for i in paint_order(scene):
        thing = scene.things[i]
        x, y, cover = patch(thing)
        h, w = cover.shape
        region = pixels[y : y + h, x : x + w]
        guests = [(t.x - x, t.y - y, 1.5 * t.radius) for t in scene.things if t.inside == i]
        region += cover[:, :, None] * (_surface(thing, w, h, scene.pixels / 160, guests, rng) - region)
    if dials.pixel_noise:
        pixels += dials.pixel_noise * rng.standard_normal(pixels.shape, dtype=np.float32)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def paint_order(scene: Scene) -> list[int]:
    """What stands inside another object is painted after it."""
    return sorted(range(len(scene.things)), key=lambda i: scene.things[i].inside is not None)


def patch(thing: Thing) -> Patch:
    """The object's cover, cut to a patch around it."""
    half = int(np.ceil(1.5 * thing.radius)) + 1
    x, y = int(np.floor(thing.x)) - half, int(np.floor(thing.y)) - half
    side = 2 * half + 1
    canvas = Image.new("L", (side * _ENLARGE, side * _ENLARGE))
    pen = ImageDraw.Draw(canvas)
    turn = np.deg2rad(thing.angle)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    for outline_, fill in polygons(thing.shape):
        points = (outline_ @ rotation * thing.radius + (thing.x - x, thing.y - y)) * _ENLARGE
        pen.polygon([(float(a), float(b)) for a, b in points], fill=fill)
    cover = np.asarray(canvas.reduce(_ENLARGE), np.float32) / 255
    rows, columns = np.flatnonzero(cover.any(1)), np.flatnonzero(cover.any(0))
    top, left = int(rows[0]), int(columns[0])
    return x + left, y + top, cover[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]


@lru_cache
def polygons(shape: str) -> tuple[tuple[np.ndarray, int], ...]:
    """The shape as polygons [P, 2] in [-1, 1] (y down), each painted (255) or cut out (0), one after the other."""

    def regular(n: int, start: float = -90.0, radius: float = 1.0) -> np.ndarray:
        turns = np.deg2rad(start + 360 * np.arange(n) / n)
        return radius * np.stack([np.cos(turns), np.sin(turns)], 1)

    def solid(*points: tuple[float, float]) -> tuple[tuple[np.ndarray, int], ...]:
        return ((np.array(points, float), 255),)

    match shape:
        case "circle":
            return ((regular(64), 255),)
        case "ring":
            return ((regular(64), 255), (regular(64, radius=0.64), 0))
        case "moon":
            return ((regular(64), 255), (regular(64, radius=0.78) + np.array([0.52, 0.0]), 0))
        case "square":
            return solid((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9))
        case "triangle":
            return solid((0, -0.95), (1, 0.85), (-1, 0.85))
        case "diamond":
            return solid((0, -1), (0.8, 0), (0, 1), (-0.8, 0))
        case "cross":
            a = 0.3
            corners = [(-a, -1), (a, -1), (a, -a), (1, -a), (1, a), (a, a), (a, 1), (-a, 1), (-a, a), (-1, a)]
            return solid(*corners, (-1, -a), (-a, -a))
        case "arrow":
            return solid((-1, -0.36), (0.05, -0.36), (0.05, -0.85), (1, 0), (0.05, 0.85), (0.05, 0.36), (-1, 0.36))
        case "star":
            star = regular(10)
            star[1::2] *= 0.42
            return ((star, 255),)
        case "heart":
            t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
            y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
            return ((np.stack([np.sin(t) ** 3, -(y + 2.5) / 14.5], 1), 255),)
        case "pentagon":
            return ((regular(5), 255),)
        case "hexagon":
            return ((regular(6, start=0.0), 255),)
    raise ValueError(f"no such shape: {shape}")


def _surface(
    thing: Thing, w: int, h: int, unit: float, guests: list[tuple[float, float, float]], rng: np.random.Generator
) -> np.ndarray:
    """Colours [h, w, 3]: the object's colour, with stripes or dots of a much darker (of black: lighter) tone of it.

    Round each guest (x, y, radius in the patch: an object that stands inside) the surface is plain, so both are seen.
    """
    colour = np.array(COLOURS[thing.colour], np.float32) + rng.uniform(-8, 8, 3).astype(np.float32)
    # White's marks are near black and black's are mid grey: neither is the grey of a light or a dark background.
    darker = {"black": -0.5, "white": 0.82}.get(thing.colour, 0.62)
    other = colour * (1 - darker) if darker > 0 else colour - darker * (255 - colour)
    across, down, turn = np.arange(w) / unit, np.arange(h)[:, None] / unit, rng.uniform(0, np.pi)
    shift = rng.uniform(0, 7, 2)
    if thing.texture == "striped":
        marked = (across * np.cos(turn) + down * np.sin(turn) + shift[0]) % 7 < 3
    elif thing.texture == "dotted":
        marked = np.hypot((across + shift[0]) % 7 - 3.5, (down + shift[1]) % 7 - 3.5) < 2.1
    else:
        marked = np.zeros((h, w), bool)
    for x, y, radius in guests:
        marked = marked & (np.hypot(np.arange(w) - x, np.arange(h)[:, None] - y) > radius)
    return np.where(marked[:, :, None], other, colour).astype(np.float32)


@lru_cache
def _grid(pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in 0..1: [1, S] across and [S, 1] down."""
    line = np.linspace(0, 1, pixels, dtype=np.float32)
    return line[None], line[:, None]


def _background(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """[S, S, 3] float32: a pale colour of the scene's tone, with its pattern."""
    across, down = _grid(scene.pixels)
    colour = rng.uniform(*_TONES[scene.tone]) + rng.uniform(-12, 12, 3).astype(np.float32)
    turn, cells, shift = rng.uniform(0, 2 * np.pi), int(rng.integers(4, 9)), rng.uniform(0.3, 0.7, 2)
    slope = (across - 0.5) * np.cos(turn) + (down - 0.5) * np.sin(turn)
    wave: np.ndarray | float
    match scene.pattern:
        case "gradient":
            wave = 24 * slope
        case "radial":
            wave = 14 - 30 * np.hypot(across - shift[0], down - shift[1])
        case "checks":
            wave = 9.0 * ((np.floor(across * cells) + np.floor(down * cells)) % 2) - 4.5
        case "waves":
            wave = 7 * np.sin(2 * np.pi * cells * slope)
        case _:
            wave = 0.0
    level = np.broadcast_to(np.asarray(wave, np.float32), (scene.pixels, scene.pixels))
    return level[:, :, None] + colour.astype(np.float32)
