"""Boxes with x2, y2 the last pixel inside: anchors, coding, overlap, suppression."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.regions.detectors import slow
from vlp.regions.detectors.inclusive import cell_anchors, clip, decode, encode, grid_anchors, iou, nms, nms_by_class


def test_anchors_by_hand() -> None:
    anchors = cell_anchors()
    assert anchors.shape == (15, 4)
    # ratio 0.5: a cell of 16 x 16 = 256 pixels becomes 23 x 12 (22.6 rounded, then 11.5 to even); x 2 is 46 x 24,
    # centred on 7.5: 7.5 - 22.5 = -15, 7.5 - 11.5 = -4
    assert anchors[0].tolist() == [-15, -4, 30, 19]
    # ratio 0.5, size 128: 184 x 96
    assert anchors[2].tolist() == [-84, -40, 99, 55]
    # ratio 1, size 32 and 512
    assert anchors[5].tolist() == [-8, -8, 23, 23]
    assert anchors[9].tolist() == [-248, -248, 263, 263]
    # ratio 2: 11 x 22 (11.3 rounded); x 2 is 22 x 44
    assert anchors[10].tolist() == [-3, -14, 18, 29]
    assert ((anchors[:, 0] + anchors[:, 2]) / 2 == 7.5).all() and ((anchors[:, 1] + anchors[:, 3]) / 2 == 7.5).all()


def test_the_anchors_known_from_the_matlab_code() -> None:
    # py-faster-rcnn prints them counted from 1, sizes 128, 256, 512
    known = np.array(
        [
            [-83, -39, 100, 56],
            [-175, -87, 192, 104],
            [-359, -183, 376, 200],
            [-55, -55, 72, 72],
            [-119, -119, 136, 136],
            [-247, -247, 264, 264],
            [-35, -79, 52, 96],
            [-79, -167, 96, 184],
            [-167, -343, 184, 360],
        ]
    )
    assert (cell_anchors(16, (128, 256, 512)) == known - 1).all()


def test_anchors_of_the_grid_go_by_row_column_anchor() -> None:
    grid = grid_anchors(torch.from_numpy(cell_anchors()), 2, 3, 16)
    assert grid.shape == (2 * 3 * 15, 4)
    row, column, anchor = 1, 2, 4
    expected = cell_anchors()[anchor] + np.array([32, 16, 32, 16])
    assert grid[(row * 3 + column) * 15 + anchor].tolist() == expected.tolist()


def test_decode_by_hand() -> None:
    box = torch.tensor([[10.0, 20.0, 29.0, 59.0]])  # 20 x 40, centre (20, 40)
    # half a width to the right, twice as high
    deltas = torch.tensor([[10 * 0.5, 0.0, 0.0, 5 * np.log(2.0)]], dtype=torch.float32)
    moved = decode(deltas, box, (10, 10, 5, 5))
    assert torch.allclose(moved, torch.tensor([[[20.0, 0.0, 39.0, 79.0]]]), atol=1e-4)
    assert torch.equal(decode(torch.zeros(1, 8), box, (10, 10, 5, 5)), box[:, None].expand(1, 2, 4))


def test_a_side_grows_at_most_1000_over_16_fold() -> None:
    box = torch.tensor([[0.0, 0.0, 15.0, 15.0]])
    wide = decode(torch.tensor([[0.0, 0.0, 1e6, 0.0]]), box, (1, 1, 1, 1))[0, 0]
    assert wide[2] - wide[0] + 1 == pytest.approx(1000)


sides = st.floats(16, 800, width=32)  # no side is more than 62.5 times another's
corners = st.floats(0, 900, width=32)
boxes = st.tuples(corners, corners, sides, sides).map(lambda b: [b[0], b[1], b[0] + b[2] - 1, b[1] + b[3] - 1])


@given(boxes, boxes, st.sampled_from([(10.0, 10.0, 5.0, 5.0), (1.0, 1.0, 1.0, 1.0)]))
@settings(max_examples=100, deadline=None)
def test_coding_there_and_back(box: list[float], reference: list[float], weights: tuple) -> None:
    target = torch.tensor([box], dtype=torch.float64)
    anchor = torch.tensor([reference], dtype=torch.float64)
    deltas = encode(target, anchor, weights)
    assert torch.allclose(decode(deltas, anchor, weights)[:, 0], target, atol=1e-8)


@given(boxes, boxes)
@settings(max_examples=100, deadline=None)
def test_overlap_counts_the_last_pixel(box: list[float], other: list[float]) -> None:
    a, b = np.array(box), np.array(other)
    ours = iou(torch.tensor([box], dtype=torch.float64), torch.tensor([other], dtype=torch.float64)).item()
    assert ours == pytest.approx(slow.iou(a, b), abs=1e-9)


def test_overlap_by_hand() -> None:
    # one pixel is a box; 4 x 1 and 2 x 1 pixels share two
    assert iou(torch.tensor([[3.0, 3, 3, 3]]), torch.tensor([[3.0, 3, 3, 3]])).item() == 1
    assert iou(torch.tensor([[0.0, 0, 3, 0]]), torch.tensor([[2.0, 0, 3, 0]])).item() == 0.5


def test_clip_ends_at_the_last_pixel() -> None:
    clipped = clip(torch.tensor([[-5.0, 3.0, 700.0, 500.0]]), 640, 480)
    assert clipped.tolist() == [[0, 3, 639, 479]]


def test_suppression_is_of_what_exceeds_the_threshold() -> None:
    # 10 x 1 pixels; shared 5 of 15 (1/3), 6 of 14 (3/7)
    rows = torch.tensor([[0.0, 0, 9, 0], [5.0, 0, 14, 0], [4.0, 0, 13, 0]])
    scores = torch.tensor([0.9, 0.5, 0.7])
    assert nms(rows, scores, 0.4).tolist() == [0, 1]
    assert nms(rows, scores, 0.43).tolist() == [0, 2]
    # 6 of 12: equal is not above
    assert nms(torch.tensor([[0.0, 0, 8, 0], [3.0, 0, 11, 0]]), scores[:2], 0.5).tolist() == [0, 1]


def test_suppression_of_all_classes_at_once_is_that_of_each() -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 60, (40, 2))
    rows = np.concatenate([corner, corner + rng.uniform(5, 40, (40, 2))], axis=1)
    scores = rng.uniform(0, 1, (40, 9))
    stays = nms_by_class(torch.tensor(rows), torch.tensor(scores), 0.3)
    for label in range(9):
        assert sorted(slow.nms(rows, scores[:, label], 0.3)) == stays[:, label].nonzero().flatten().tolist()
    assert 0.05 < stays.float().mean() < 0.95
