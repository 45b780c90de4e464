"""torchvision's and transformers' models as detectors, on tiny models with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import models
from torchvision.ops import box_iou

from tests.regions.tiny_models import NAMES, picture, torchvision_model, transformers_directory
from vlp.config.regions import Selection
from vlp.errors import ConfigError, InputError
from vlp.regions.detectors import torchvision_models, transformers_models
from vlp.regions.detectors.base import Detector, Found
from vlp.regions.detectors.registry import build
from vlp.regions.detectors.selection import select
from vlp.regions.detectors.torchvision_models import Torchvision

RULE = Selection(score_threshold=0.3, min_regions=4, max_regions=9)
SIZES = [(120, 80), (150, 100), (60, 90)]


def _found(detector: Detector) -> list[Found]:
    pictures = [picture(*size, seed=i) for i, size in enumerate(SIZES)]
    return detector([detector.prepare(image) for image in pictures], SIZES)


def _check(detector: Detector, found: list[Found], rule: Selection) -> None:
    """What holds of the regions of every detector."""
    assert len(found) == len(SIZES)
    for regions, (width, height) in zip(found, SIZES, strict=True):
        count = len(regions.scores)
        assert 1 <= count <= rule.max_regions
        assert regions.features.shape == (count, detector.feature_size) and np.isfinite(regions.features).all()
        assert regions.boxes.shape == (count, 4) and (regions.boxes >= 0).all()
        assert (regions.boxes <= [width, height, width, height]).all()
        assert (regions.boxes[:, 2:] >= regions.boxes[:, :2]).all()
        assert (np.diff(regions.scores) <= 0).all()
        assert ((regions.classes >= 0) <= (regions.scores >= np.float32(rule.score_threshold))).all()
        assert (regions.classes < len(detector.class_names)).all()
        assert (regions.attributes == -1).all() and np.isnan(regions.attribute_scores).all()
        assert [column.dtype.name for column in regions] == [
            "float32",
            "int64",
            "float32",
            "float32",
            "int64",
            "float32",
        ]


@pytest.mark.parametrize(("kind", "feature_size"), [("rcnn", 1024), ("retinanet", 8), ("fcos", 32), ("ssd", 8)])
def test_torchvision_models_give_regions(kind: str, feature_size: int) -> None:
    detector = Torchvision(torchvision_model(kind), kind, NAMES, "0" * 64, RULE)
    assert detector.feature_size == feature_size and detector.class_names == tuple(NAMES)
    found = _found(detector)
    _check(detector, found, RULE)
    for regions in found:
        overlap = box_iou(torch.from_numpy(regions.boxes), torch.from_numpy(regions.boxes)).fill_diagonal_(0)
        assert overlap.max() <= RULE.nms_threshold + 1e-3
    if kind != "ssd":  # SSD squeezes every image to one size, the others see their own padding only at the edge
        assert len({regions.features.tobytes() for regions in found}) == 3


def test_rcnn_features_are_the_box_heads_and_scores_its_classes() -> None:
    """Against torchvision's own path: its best box, score and class; features are its box head's in the final boxes."""
    model = torchvision_model("rcnn")
    rule = Selection(score_threshold=0.0, nms_threshold=1.0, min_regions=1, max_regions=1000)
    detector = Torchvision(model, "rcnn", NAMES, "0" * 64, rule)
    image, size = picture(120, 80), (120, 80)
    found = detector([detector.prepare(image)], [size])[0]
    heads = model.roi_heads
    heads.score_thresh, heads.nms_thresh, heads.detections_per_img = 0.0, 1.0, 10_000
    from vlp.images.decode import to_float, to_pixels

    with torch.inference_mode():
        theirs = model([to_float(to_pixels(image))])[0]
        best, at = theirs["scores"].max(0)
    assert found.scores[0] == pytest.approx(best.item(), rel=1e-4)
    np.testing.assert_allclose(found.boxes[0], theirs["boxes"][at].numpy(), rtol=1e-3, atol=1e-3)
    assert NAMES[found.classes[0]] == NAMES[int(theirs["labels"][at]) - 1]
    with torch.inference_mode():
        scale = detector.prepare(image).shape[-1] / 120
        maps = model.backbone(detector._batch([detector.prepare(image)], detector._divisor))
        sizes = [tuple(detector.prepare(image).shape[-2:])]
        again = heads.box_head(heads.box_roi_pool(maps, [torch.from_numpy(found.boxes[:5]) * scale], sizes))
    np.testing.assert_allclose(found.features[:5], again.numpy(), rtol=1e-3, atol=1e-4)


def test_where_nothing_is_found_the_region_is_the_whole_image() -> None:
    model = torchvision_model("retinanet")
    detector = Torchvision(model, "retinanet", NAMES, "0" * 64, RULE)
    model.score_thresh = 2.0
    for regions, (width, height) in zip(_found(detector), SIZES, strict=True):
        np.testing.assert_allclose(regions.boxes, [[0, 0, width, height]])
        assert regions.classes.tolist() == [-1] and regions.scores.tolist() == [0]
        assert np.abs(regions.features).sum() > 0


@pytest.mark.parametrize("kind", ["detr", "rt_detr", "yolos"])
def test_transformers_models_give_their_queries(kind: str, tmp_path: Path) -> None:
    folder = transformers_directory(kind, tmp_path / kind)
    detector = build(str(folder), None, selection=RULE)
    assert detector.class_names == tuple(NAMES) and detector.feature_size == 16
    assert len(detector.weights_sha256) == 64
    found = _found(detector)
    _check(detector, found, RULE)
    for i, size in enumerate(SIZES):  # a batch gives what each image gives alone
        alone = detector([detector.prepare(picture(*size, seed=i))], [size])[0]
        np.testing.assert_allclose(alone.scores, found[i].scores, atol=1e-4)
        np.testing.assert_allclose(alone.boxes, found[i].boxes, atol=0.05)
        np.testing.assert_allclose(alone.features, found[i].features, atol=1e-3)


def test_detr_boxes_scores_and_states_are_those_of_the_model(tmp_path: Path) -> None:
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    folder = transformers_directory("detr", tmp_path / "detr")
    rule = Selection(score_threshold=0.0, min_regions=1, max_regions=100)
    detector = transformers_models.build(folder, selection=rule)
    image = picture(120, 80)
    found = detector([detector.prepare(image)], [image.size])[0]
    processor = AutoImageProcessor.from_pretrained(folder)
    model = AutoModelForObjectDetection.from_pretrained(folder).eval()
    with torch.inference_mode():
        output = model(**processor(images=image, return_tensors="pt"))
    theirs = processor.post_process_object_detection(output, threshold=-1.0, target_sizes=[(80, 120)])[0]
    order = theirs["scores"].argsort(descending=True, stable=True)
    np.testing.assert_allclose(found.scores, theirs["scores"][order], atol=1e-5)
    assert found.classes.tolist() == theirs["labels"][order].tolist()
    inside = theirs["boxes"][order].clamp(min=0).minimum(torch.tensor([120.0, 80.0, 120.0, 80.0]))
    np.testing.assert_allclose(found.boxes, inside, atol=1e-3)
    np.testing.assert_allclose(found.features, output.last_hidden_state[0][order], atol=1e-5)


def test_select_keeps_the_sure_ones_and_fills_up() -> None:
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 9.5], [20, 20, 30, 30], [40, 0, 50, 10], [0, 40, 9, 50.0]])
    classes, scores = torch.arange(5), torch.tensor([0.9, 0.8, 0.25, 0.1, 0.05])
    rows, kept = select(boxes, classes, scores, Selection(min_regions=1), suppress=True)
    assert (rows.tolist(), kept.tolist()) == ([0, 2], [0, 2])
    rows, kept = select(boxes, classes, scores, Selection(min_regions=3), suppress=True)
    assert (rows.tolist(), kept.tolist()) == ([0, 2, 3], [0, 2, -1])
    rows, kept = select(boxes, classes, scores, Selection(min_regions=1, max_regions=2), suppress=False)
    assert (rows.tolist(), kept.tolist()) == ([0, 1], [0, 1])
    rows, _ = select(boxes[:0], classes[:0], scores[:0], Selection(), suppress=True)
    assert rows.tolist() == []


NAME = "ssdlite320_mobilenet_v3_large"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "mine.pth"
    torch.save(models.get_model(NAME, weights=None, weights_backbone=None, num_classes=4).state_dict(), path)
    return path


def test_a_torchvision_model_by_name_takes_classes_from_its_weights(weights: Path) -> None:
    detector = build(NAME, weights)
    assert detector.class_names == ("class 0", "class 1", "class 2") and detector.feature_size == 672
    weights.with_suffix(".json").write_text(json.dumps({"class_names": NAMES}))
    detector = build(NAME, weights, selection=RULE)
    assert detector.class_names == tuple(NAMES) and detector.settings["max_regions"] == 9
    _check(detector, _found(detector), RULE)
    weights.with_suffix(".json").write_text(json.dumps({"class_names": NAMES[:2]}))
    with pytest.raises(InputError, match=r"mine\.json: 2 class_names, the weights have 3 classes"):
        build(NAME, weights)
    weights.with_suffix(".json").unlink()


def test_weights_that_do_not_fit_or_are_not_there_are_named(weights: Path, tmp_path: Path) -> None:
    state = torch.load(weights)
    first = next(iter(state))
    torch.save({k: v for k, v in state.items() if k != first}, tmp_path / "less.pth")
    with pytest.raises(InputError, match=rf"less\.pth: not weights of {NAME}.*Missing key.*{first}"):
        build(NAME, tmp_path / "less.pth")
    (tmp_path / "cut.pth").write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"cut\.pth: the weights cannot be read"):
        build(NAME, tmp_path / "cut.pth")
    with pytest.raises(InputError, match=r"none\.pth: the detector's weights are missing"):
        build(NAME, tmp_path / "none.pth")


def test_what_is_not_on_disk_is_an_error_that_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match=rf"the weights of {NAME} are not on this disk.*Download http.*--weights"):
        build(NAME, None)
    with pytest.raises(InputError, match=r"someone/detr: no such detector.*hf download someone/detr"):
        build("someone/detr", None)
    with pytest.raises(InputError, match="Did you mean fasterrcnn_resnet50_fpn"):
        build("fasterrcn_resnet50_fpn", tmp_path / "w.pth")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no object-detection model can be read from it"):
        build(str(tmp_path / "empty"), None)
    with pytest.raises(ConfigError, match="the detector vinvl needs a file of weights"):
        build("vinvl", None)
    with pytest.raises(ConfigError, match="vinvl has a rule of its own"):
        build("vinvl", tmp_path / "w.pth", selection=RULE)


def test_published_batch_norm_is_frozen_as_it_was() -> None:
    """Weights without a batch counter were published with frozen batch norm; the four oldest without epsilon."""
    from torchvision.ops import FrozenBatchNorm2d

    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3, eps=0.25), torch.nn.Sequential(torch.nn.BatchNorm2d(2)))
    torchvision_models._freeze(model, None)
    assert isinstance(model[0], FrozenBatchNorm2d) and model[0].eps == 0.25
    torchvision_models._freeze(other := torch.nn.Sequential(torch.nn.BatchNorm2d(3)), 0.0)
    assert isinstance(other[0], FrozenBatchNorm2d) and other[0].eps == 0.0
    published = models.get_model_weights("fasterrcnn_resnet50_fpn")["COCO_V1"].url
    digits = published.rpartition("-")[2].removesuffix(".pth")
    assert torchvision_models._is_published("fasterrcnn_resnet50_fpn", "COCO_V1", digits + "0" * 56)
    assert not torchvision_models._is_published("fasterrcnn_resnet50_fpn", "COCO_V1", "f" * 64)


@pytest.mark.parametrize("kind", ["rcnn", "fcos", "ssd", "detr", "rt_detr"])
def test_narrow_pictures_have_regions(tmp_path: Path, kind: str) -> None:
    """Resized as the model reads them, nothing would be left of their shorter side."""
    if kind in ("rcnn", "fcos", "ssd"):
        detector: Detector = Torchvision(torchvision_model(kind), kind, NAMES, "0" * 64, RULE)
    else:
        detector = build("transformers", transformers_directory(kind, tmp_path / kind), "cpu")
    for size in ((3000, 3), (3, 3000), (1, 1)):
        (found,) = detector([detector.prepare(picture(*size))], [size])
        assert len(found.scores) and np.isfinite(found.features).all()
        assert (found.boxes >= 0).all() and (found.boxes <= [*size, *size]).all()
