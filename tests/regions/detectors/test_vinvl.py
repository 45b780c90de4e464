"""VinVL as a whole, small: the transform, RoIAlign, the way from map to regions beside the slow one, the interface."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import FrozenBatchNorm2d

from tests.regions.detectors import slow
from tests.regions.detectors.small import SMALL, network, save, save_labels
from vlp.errors import InputError
from vlp.regions.detectors import vinvl
from vlp.regions.detectors.base import Detector
from vlp.regions.detectors.vinvl import VinVL, build, resized_to
from vlp.regions.detectors.vinvl_weights import Names
from vlp.regions.detectors.x152c4 import X152C4, Sizes, align


def detector(recipe: str = "vinvl_released", seed: int = 0) -> VinVL:
    names = Names(tuple(f"c{i}" for i in range(1, SMALL.classes)), tuple(f"a{i}" for i in range(1, SMALL.attributes)))
    return VinVL(network(seed), names, "0" * 64, recipe, "cpu")


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((640, 480), (800, 600)),
        ((480, 640), (600, 800)),
        ((600, 600), (600, 600)),
        ((500, 333), (900, 600)),  # 900.9 is cut
        ((1000, 600), (1000, 600)),
        ((2000, 500), (1000, 250)),  # 2400 would exceed 1000
        ((640, 383), (999, 598)),  # 1000 * 383 / 640 = 598.4 is rounded, 598 * 640 / 383 = 999.3 is cut
        ((333, 700), (476, 1000)),  # 475.7 is rounded; 476 * 700 / 333 = 1000.6 is cut
        ((4000, 1), (4000, 1)),  # 0.25 would be 0; side 1 as it is
        ((5000, 3), (1666, 1)),
    ],
)
def test_resized_to(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert resized_to(*size) == expected


def test_prepare_gives_bgr_minus_the_mean() -> None:
    made = detector().prepare(Image.new("RGB", (640, 480), (255, 10, 0)))
    assert made.shape == (3, 600, 800) and made.dtype == torch.float32
    assert made[:, 300, 400].tolist() == pytest.approx([0 - 103.53, 10 - 116.28, 255 - 123.675], abs=1e-4)
    assert (made.flatten(1).std(dim=1) < 1e-3).all()


def test_prepare_is_bilinear() -> None:
    image = picture(300, 200)
    expected = np.asarray(image.resize((900, 600), Image.Resampling.BILINEAR), np.float32)
    made = detector().prepare(image)
    assert np.allclose(made[2].numpy() + 123.675, expected[:, :, 0], atol=1e-4)
    assert np.allclose(made[0].numpy() + 103.53, expected[:, :, 2], atol=1e-4)


def test_a_worker_gets_no_weights_and_the_detector_is_one() -> None:
    made: Detector = detector()
    assert len(pickle.dumps(made.prepare)) < 200
    json.dumps(made.settings)


def test_roi_align_by_hand() -> None:
    # a ramp: the value of a place is its x on the map; the middle of the first cell has x = 0
    ramp = torch.arange(40.0).expand(1, 1, 40, 40).contiguous()
    box = torch.tensor([[32.0, 64.0, 256.0, 288.0]])  # from 2 to 16 on the map: 14 cells of 1, one sample each
    pooled = align(ramp, box)
    assert pooled.shape == (1, 1, 14, 14)
    # cell j is sampled at 2 + j + 0.5: no half pixel is taken off, x2 is not moved by one
    assert torch.allclose(pooled[0, 0, 0], torch.arange(14) + 2.5)
    # twice as wide: two samples a cell, at 1.5 and 2.5, 3.5 and 4.5 ... after the left side
    wide = align(ramp, torch.tensor([[32.0, 64.0, 32.0 + 448, 288.0]]))
    assert torch.allclose(wide[0, 0, 0], 2 + 2 * torch.arange(14) + 1.0)
    # a box of no size is taken as one cell of the map, 1/14 wide each
    point = align(ramp, torch.tensor([[160.0, 160.0, 160.0, 160.0]]))
    assert torch.allclose(point[0, 0, 0], 10 + (torch.arange(14) + 0.5) / 14)


def test_folded_norms_change_no_number() -> None:
    plain, folded = network(), detector().network
    assert not any(isinstance(module, FrozenBatchNorm2d) for module in folded.modules())
    image = 60 * torch.randn(1, 3, 80, 112, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        (maps, (described,)), (folded_maps, (folded_described,)) = plain(image), folded(image)
    assert torch.allclose(folded_maps, maps, rtol=1e-4, atol=1e-5 * maps.abs().max().item())
    assert torch.allclose(folded_described.boxes, described.boxes, atol=1e-2)
    assert torch.allclose(folded_described.features, described.features, rtol=1e-3, atol=1e-3)
    assert maps.abs().mean() > 0.1


def numbers(model: X152C4) -> slow.Weights:
    return {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("recipe", ["vinvl_released", "vinvl_readme", "vinvl_demo"])
def test_boxes_and_features_equal_the_slow_way(recipe: str) -> None:
    made = detector(recipe)
    weights, size = numbers(network()), (96, 64)
    generator = torch.Generator().manual_seed(4)
    image = 60 * torch.randn(3, 64, 96, generator=generator)
    with torch.inference_mode():
        maps, _ = made.network(image[None])
    (found,) = made([image], [(192, 64)])  # the original is twice as wide

    feature_map = maps[0].double().numpy()
    boxes = slow.proposals(feature_map, weights, weights["rpn.anchor_generator.cell_anchors.0"], size)
    assert 10 < len(boxes) < 300
    features = np.array([slow.feature(feature_map, box, weights, SMALL.blocks[3], SMALL.groups) for box in boxes])
    box_head = "roi_heads.box.predictor"
    logits = features @ weights[f"{box_head}.cls_score.weight"].T + weights[f"{box_head}.cls_score.bias"]
    probabilities = np.array([slow.softmax(row) for row in logits])
    regressed = None
    if recipe == "vinvl_demo":
        deltas = features @ weights[f"{box_head}.bbox_pred.weight"].T + weights[f"{box_head}.bbox_pred.bias"]
        rows = [
            [slow.clip(slow.decode(d, box, (10, 10, 5, 5)), *size) for d in row.reshape(-1, 4)]
            for row, box in zip(deltas, boxes, strict=True)
        ]
        regressed = np.array(rows)
    if recipe == "vinvl_released":
        chosen = slow.choose_released(boxes, probabilities)
    else:
        chosen = slow.choose_readme(boxes, probabilities, regressed)

    assert found.classes.tolist() == [label - 1 for _, label in chosen]
    kept = np.array([row for row, _ in chosen])
    final = boxes[kept] if regressed is None else np.array([regressed[row, label] for row, label in chosen])
    told = np.concatenate([final[:, :2], np.maximum(final[:, :2], final[:, 2:])], axis=1)  # sides below a pixel
    assert np.abs(found.boxes - told * [2, 1, 2, 1]).max() / 192 < 1e-4
    assert np.abs(found.features - features[kept]).max() < 1e-4 * np.abs(features).max()
    assert np.abs(found.scores - [probabilities[row, label] for row, label in chosen]).max() < 1e-4
    assert np.abs(features).max() > 0.1 and np.ptp(found.scores) > 0.01

    seen = features[kept]
    if regressed is not None:  # attributes are read off the moved box
        seen = np.array([slow.feature(feature_map, box, weights, SMALL.blocks[3], SMALL.groups) for box in final])
    for row, (_, label) in enumerate(chosen):
        joined = np.concatenate([seen[row], weights["attribute.predictor.cls_embedding.weight"][label]])
        hidden = weights["attribute.predictor.fc_attr.weight"] @ joined + weights["attribute.predictor.fc_attr.bias"]
        scores = weights["attribute.predictor.attr_score.weight"] @ np.maximum(hidden, 0)
        shares = slow.softmax(scores + weights["attribute.predictor.attr_score.bias"])[1:]
        assert found.attributes[row] == shares.argmax()
        assert found.attribute_scores[row] == pytest.approx(shares.max(), abs=1e-4)


def test_an_image_is_the_same_alone_and_among_others() -> None:
    made = detector()
    images = [made.prepare(picture(*size, seed)) for seed, size in enumerate([(96, 64), (64, 96), (96, 64)])]
    images = [image[:, : 96 + 32 * i, :128] for i, image in enumerate(images)]
    images.append(images[0].clone())
    sizes = [(96, 64)] * 4
    together = made(images, sizes)
    for image, size, found in zip(images, sizes, together, strict=True):
        (alone,) = made([image], [size])
        assert np.array_equal(alone.classes, found.classes)
        assert np.allclose(alone.features, found.features, atol=1e-5) and np.allclose(
            alone.boxes, found.boxes, atol=1e-3
        )
    assert not np.array_equal(together[0].boxes, together[1].boxes)


def test_what_an_image_gives_fits_the_interface() -> None:
    made = detector("vinvl_readme")
    (found,) = made([torch.randn(3, 80, 112) * 60], [(224, 160)])
    count = len(found.boxes)
    assert 10 <= count <= 100
    assert found.boxes.shape == (count, 4) and found.boxes.dtype == np.float32
    assert found.features.shape == (count, made.feature_size) and found.features.dtype == np.float32
    assert found.classes.dtype == np.int64 and found.attributes.dtype == np.int64
    assert ((found.classes >= 0) & (found.classes < len(made.class_names))).all()
    assert (np.diff(found.scores) <= 0).all() and found.scores.dtype == np.float32
    assert (found.boxes >= 0).all() and (found.boxes[:, [0, 2]] <= 224).all() and (found.boxes[:, [1, 3]] <= 160).all()
    assert (found.boxes[:, 2:] >= found.boxes[:, :2]).all()
    assert ((found.attributes == -1) == np.isnan(found.attribute_scores)).all()


@pytest.mark.parametrize("recipe", ["vinvl_released", "vinvl_demo"])
def test_a_box_less_than_a_pixel_wide_is_told_as_a_line(recipe: str) -> None:
    """Where the last pixel is inside, x2 = x1 + side - 1 stands before x1; no store takes such a box."""
    made = detector(recipe)
    head = (
        made.network.rpn.head.bbox_pred
        if recipe == "vinvl_released"
        else made.network.roi_heads.box.predictor.bbox_pred
    )
    scale = 1 if recipe == "vinvl_released" else 5
    head.weight.zero_()
    sides = scale * torch.tensor([0.0, 0.0, -9.0, -9.0])  # shrink to nothing
    head.bias = torch.nn.Parameter(sides.repeat(len(head.weight) // 4), requires_grad=False)
    (found,) = made([torch.randn(3, 64, 96) * 60], [(192, 64)])
    assert len(found.boxes) and (found.boxes[:, 2:] == found.boxes[:, :2]).all()
    assert (found.boxes >= 0).all() and (found.boxes <= [192, 64, 192, 64]).all()


def test_no_sure_class_gives_the_whole_image() -> None:
    made = detector()
    made.network.roi_heads.box.predictor.cls_score.weight.zero_()
    made.network.roi_heads.box.predictor.cls_score.bias[0] = 50
    image = torch.randn(3, 64, 96) * 60
    (found,) = made([image], [(192, 128)])
    assert found.boxes.tolist() == [[0, 0, 192, 128]] and found.classes.tolist() == [-1] == found.attributes.tolist()
    assert found.scores.tolist() == [0] and np.isnan(found.attribute_scores).all()
    maps, _ = made.network(image[None])
    feature = made.network.roi_heads.box.feature_extractor(maps, torch.tensor([[0.0, 0, 95, 63]]))
    np.testing.assert_allclose(found.features, feature.numpy(), rtol=1e-5)


def test_build_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = save(tmp_path, network().state_dict(), "module.")
    monkeypatch.setattr(vinvl, "Sizes", lambda: SMALL)
    with pytest.raises(InputError, match="label map is missing"):
        build(weights, "cpu")
    save_labels(tmp_path)
    made = build(weights, "cpu", "vinvl_readme")
    assert made.name == "vinvl_readme" and len(made.weights_sha256) == 64 and made.feature_size == SMALL.feature_size
    assert made.settings["recipe"] == "vinvl_readme" and made.settings["nms_threshold"] == 0.3
    image = torch.randn(3, 64, 96) * 60
    (found,), (other,) = made([image], [(96, 64)]), detector("vinvl_readme")([image], [(96, 64)])
    assert np.array_equal(found.features, other.features)
    plain = build(weights, "cpu")
    assert plain.name == "vinvl" and plain.settings["recipe"] == "vinvl_released"
    with pytest.raises(InputError, match="vinvl, vinvl_released, vinvl_readme, vinvl_demo"):
        build(weights, "cpu", "vinvl_2")


@pytest.mark.long
def test_the_command_runs_with_a_checkpoint_of_full_size(tmp_path: Path) -> None:
    """Random weights in the public form, 594 MB, `module.` in front: half a minute on a quiet core."""
    from typer.testing import CliRunner

    from vlp.cli.regions import app
    from vlp.regions.store import RegionStore

    sizes = Sizes()
    weights, images = save(tmp_path, network(sizes=sizes).state_dict(), "module."), tmp_path / "photos"
    save_labels(tmp_path, sizes)
    images.mkdir()
    for i, size in enumerate(((320, 240), (240, 320))):
        picture(*size, seed=i).save(images / f"{i}.jpg")
    command = ("extract", "--detector", "vinvl", "--weights", weights, "--images", images, "--out", tmp_path / "out")
    result = CliRunner().invoke(app, [*map(str, command), "--threads", "1"], catch_exceptions=False)
    assert result.exit_code == 0 and "2 images, " in result.output
    store = RegionStore(tmp_path / "out" / "regions.h5", verify=True)
    assert (store.feature_size, len(store.class_names), len(store.attribute_names)) == (2048, 1594, 524)
    assert store.image_ids == ["photos/0", "photos/1"] and 0 < store.counts.min() <= store.counts.max() <= 100
    assert store.facts["recipe"] == "vinvl_released" and store.image_size("photos/1") == (240, 320)
