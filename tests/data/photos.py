"""Pictures with the statistics of photographs: amplitudes fall with the frequency, edges and texture on top."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def photo(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """RGB; another seed gives another picture."""
    random = np.random.default_rng(seed)
    width, height = size
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(width) * width, np.fft.fftfreq(height) * height))
    channels = []
    for _ in range(3):
        noise = np.fft.fft2(random.normal(size=(height, width)))
        field = np.fft.ifft2(noise / np.maximum(frequency, 1) ** 1.2).real
        field[:, : width // 3] += random.normal() * field.std()
        field[height // 2 :, width // 2 :] += random.normal() * field.std()
        channels.append(127 + 50 * (field - field.mean()) / max(field.std(), 1e-9))
    return Image.fromarray(np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8))


def copy(image: Image.Image, quality: int = 60, scale: float = 1.0) -> Image.Image:
    """Re-sized and encoded again as JPEG."""
    smaller = image.resize((round(image.width * scale), round(image.height * scale)))
    data = io.BytesIO()
    smaller.save(data, "JPEG", quality=quality)
    return Image.open(io.BytesIO(data.getvalue()))


def save(path: Path, image: Image.Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=85) if path.suffix == ".jpg" else image.save(path)
    return path
