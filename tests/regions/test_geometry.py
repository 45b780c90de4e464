"""Laws of boxes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vlp.regions.geometry import clip, geometry, iou_matrix

SIDES = st.integers(1, 5000)
PARTS = st.tuples(*[st.floats(0, 1, width=32) for _ in range(4)])


def _box(parts: tuple[float, ...], width: int, height: int) -> np.ndarray:
    (x1, x2), (y1, y2) = sorted(parts[:2]), sorted(parts[2:])
    return np.array([[x1 * width, y1 * height, x2 * width, y2 * height]], np.float32)


@given(PARTS, SIDES, SIDES)
def test_geometry_is_relative_and_consistent(parts: tuple[float, ...], width: int, height: int) -> None:
    box = _box(parts, width, height)
    numbers = geometry(box, (width, height))
    assert numbers.shape == (1, 6) and numbers.dtype == np.float32
    assert (numbers >= 0).all() and (numbers <= 1 + 1e-6).all()
    np.testing.assert_allclose(numbers[:, 4:], numbers[:, 2:4] - numbers[:, :2], atol=1e-6)
    np.testing.assert_allclose(numbers[:, :4], box / [width, height, width, height], atol=1e-6)


@given(PARTS, SIDES, SIDES, st.integers(2, 9))
def test_geometry_does_not_depend_on_the_resolution(
    parts: tuple[float, ...], width: int, height: int, times: int
) -> None:
    box = _box(parts, width, height).astype(np.float64)
    np.testing.assert_allclose(
        geometry(box, (width, height)), geometry(box * times, (width * times, height * times)), atol=1e-6
    )


@given(st.lists(st.tuples(PARTS, SIDES, SIDES), min_size=1, max_size=4))
def test_geometry_of_many_images_is_that_of_each(images: list[tuple[tuple[float, ...], int, int]]) -> None:
    boxes = np.stack([_box(parts, width, height) for parts, width, height in images])
    sizes = np.array([[size] for _, *size in images])
    single = np.stack([geometry(box, size[0]) for box, size in zip(boxes, sizes, strict=True)])
    assert geometry(boxes, sizes).tobytes() == single.tobytes()


@given(PARTS, PARTS)
def test_iou_is_symmetric_and_within_bounds(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    first, second = _box(a, 100, 100), _box(b, 100, 100)
    value = iou_matrix(first, second)
    assert value.shape == (1, 1) and 0 <= value[0, 0] <= 1
    assert value[0, 0] == iou_matrix(second, first)[0, 0]
    area = np.prod(first[0, 2:].astype(np.float64) - first[0, :2])
    assert iou_matrix(first, first)[0, 0] == (1 if area > 0 else 0)


def test_iou_of_known_boxes() -> None:
    values = iou_matrix([[0, 0, 2, 2], [10, 10, 12, 12]], [[1, 0, 3, 2], [0, 0, 2, 1], [10, 10, 12, 12]])
    np.testing.assert_allclose(values, [[1 / 3, 1 / 2, 0], [0, 0, 1]])


def test_iou_of_nothing() -> None:
    assert iou_matrix([], [[0, 0, 1, 1]]).shape == (0, 1)
    assert iou_matrix([[0, 0, 1, 1]], np.zeros((0, 4))).shape == (1, 0)


def test_iou_of_large_boxes_does_not_overflow() -> None:
    box = np.array([[0, 0, 60000, 60000]], np.float16)
    assert iou_matrix(box, box)[0, 0] == 1


def test_clip_cuts_at_the_edge() -> None:
    np.testing.assert_array_equal(clip([[-3, 2, 50, 7]], 40, 5), [[0, 2, 40, 5]])
