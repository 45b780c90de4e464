"""Every detection model of torchvision as a detector of regions.

Feature of a region: of the R-CNN family the box head's last layer, pooled anew in the final box; of one-stage models
the mean of their feature maps in the box (RoIAlign 7 x 7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign, clip_boxes_to_image, roi_align

from vlp.config.regions import Selection
from vlp.errors import InputError
from vlp.files import read_json, sha256
from vlp.finite import demand_tensors
from vlp.images.decode import to_float, to_pixels
from vlp.images.modes import widened
from vlp.regions.detectors.base import Found, demand_outputs, names_or_numbers, without_attributes
from vlp.regions.detectors.selection import select

if TYPE_CHECKING:
    from PIL import Image

CELLS = 7
LOWEST = 0.01
"""One-stage models score every anchor and class: boxes below it are not looked at."""
COCO_CLASSES = 91
"""What all models of torchvision are published with, background included."""
_NO_EPS = ("fasterrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn", "retinanet_resnet50_fpn")
"""Published with COCO_V1 weights whose batch norm was frozen without epsilon."""

Kept = tuple[Tensor, Tensor, Tensor]  # an image's boxes [K,4], classes [K], scores [K]


class Prepare:
    """The model's own resizing and normalising, without its weights."""

    def __init__(self, transform: GeneralizedRCNNTransform) -> None:
        self._transform = transform

    def __call__(self, image: Image.Image) -> Tensor:
        """-> [3,H,W] float32"""
        return self._transform.resize(self._transform.normalize(to_float(to_pixels(widened(image)))))[0]


class Torchvision:
    """A torchvision detection model in evaluation mode."""

    attribute_names: tuple[str, ...] = ()

    def __init__(
        self,
        model: nn.Module,
        name: str,
        class_names: Sequence[str],
        weights_sha256: str,
        selection: Selection | None = None,
        device: str = "cpu",
    ) -> None:
        """`class_names`: without the background, which is torchvision's label 0."""
        self.name, self.class_names, self.weights_sha256 = name, tuple(class_names), weights_sha256
        self.device, self._rule = device, selection or Selection()
        self._model: Any = model.eval().requires_grad_(False).to(device)
        transform = self._model.transform
        self.prepare, self._divisor = Prepare(transform), transform.size_divisible
        self._batch = transform.batch_images
        self.settings: dict[str, Any] = self._rule.model_dump()
        sides = {"short_side": transform.min_size[-1], "long_side": transform.max_size}
        self.settings |= {"size": list(transform.fixed_size)} if transform.fixed_size else sides
        if isinstance(model, GeneralizedRCNN):
            self.feature_size = int(self._model.roi_heads.box_predictor.cls_score.in_features)
        else:
            self._one_stage_setup(transform)

    @torch.inference_mode()
    def __call__(self, images: list[Tensor], sizes: list[tuple[int, int]]) -> list[Found]:
        inner = [(image.shape[-2], image.shape[-1]) for image in images]
        batch = ImageList(self._batch([image.to(self.device) for image in images], self._divisor), inner)
        boxes, classes, scores, features = self._two_stage(batch) if self._is_rcnn else self._one_stage(batch)
        found = []
        for i, (size, (height, width)) in enumerate(zip(sizes, inner, strict=True)):
            scale = boxes[i].new_tensor([size[0] / width, size[1] / height] * 2)
            limits = boxes[i].new_tensor([*size, *size])
            rows = ((boxes[i] * scale).clamp(min=0).minimum(limits), classes[i], scores[i], features[i])
            found.append(without_attributes(*(row.float().cpu().numpy() for row in rows)))
        return found

    @property
    def _is_rcnn(self) -> bool:
        return isinstance(self._model, GeneralizedRCNN)

    def _two_stage(self, batch: ImageList) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        maps = self._model.backbone(batch.tensors)
        maps = {"0": maps} if isinstance(maps, Tensor) else maps
        demand_outputs(self.name, *maps.values())
        proposals, _ = self._model.rpn(batch, maps)
        heads, sizes = self._model.roi_heads, batch.image_sizes

        def states(boxes: list[Tensor]) -> Tensor:
            return heads.box_head(heads.box_roi_pool(maps, boxes, sizes))

        logits_NC, deltas = heads.box_predictor(states(proposals))
        every_NC4 = heads.box_coder.decode(deltas, proposals)
        scores_N, classes_N = logits_NC.softmax(-1)[:, 1:].max(-1)
        boxes_N4 = every_NC4[torch.arange(len(every_NC4), device=every_NC4.device), classes_N + 1]
        counts = [len(p) for p in proposals]
        parts = zip(boxes_N4.split(counts), classes_N.split(counts), scores_N.split(counts), sizes, strict=True)
        kept = [self._keep(*each) for each in parts]
        boxes = [b for b, _, _ in kept]
        return boxes, [c for _, c, _ in kept], [s for _, _, s in kept], _split(states(boxes).flatten(1), boxes)

    def _one_stage(self, batch: ImageList) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        self._transform.batch = batch
        found = self._model([*batch.tensors])
        demand_outputs(self.name, *self._maps.values())
        parts = zip(found, batch.image_sizes, strict=True)
        kept = [self._keep(f["boxes"], f["labels"] - 1, f["scores"], size) for f, size in parts]
        boxes, maps = [b for b, _, _ in kept], self._maps
        if len(maps) > 1 and len({m.shape[1] for m in maps.values()}) == 1:
            cells = self._pool(maps, boxes, batch.image_sizes)
        else:  # SSD's maps differ in depth: the finest alone
            finest = next(iter(maps.values()))
            cells = roi_align(finest, boxes, CELLS, finest.shape[-1] / batch.tensors.shape[-1], 2)
        return boxes, [c for _, c, _ in kept], [s for _, _, s in kept], _split(cells.mean((2, 3)), boxes)

    def _keep(self, boxes: Tensor, classes: Tensor, scores: Tensor, size: tuple[int, int]) -> Kept:
        """The image's regions; the whole image, without a class, where the model finds nothing."""
        boxes = clip_boxes_to_image(boxes, size)
        large = ((boxes[:, 2:] - boxes[:, :2]) >= 1e-2).all(dim=1)
        boxes, classes, scores = boxes[large], classes[large], scores[large]
        rows, classes = select(boxes, classes, scores, self._rule, suppress=True)
        if len(rows):
            return boxes[rows], classes, scores[rows]
        whole = boxes.new_tensor([[0, 0, size[1], size[0]]])
        return whole, torch.full((1,), -1, device=boxes.device), boxes.new_zeros(1)

    def _one_stage_setup(self, transform: GeneralizedRCNNTransform) -> None:
        """Let the model take prepared images and give back boxes in their pixels; note its feature maps."""
        model = self._model
        self._transform = _Prepared()
        model.transform = self._transform
        model.score_thresh, model.detections_per_img = LOWEST, 3 * self._rule.max_regions
        self.settings["lowest_score"] = LOWEST
        self._maps: dict[str, Tensor] = {}

        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            self._maps = {"0": output} if isinstance(output, Tensor) else dict(output)

        model.backbone.register_forward_hook(note)
        side = transform.fixed_size or (256, 256)
        with torch.inference_mode():
            model.backbone(torch.zeros(1, 3, *side, device=self.device))
        self.feature_size = next(iter(self._maps.values())).shape[1]
        self._pool = MultiScaleRoIAlign(list(self._maps), CELLS, 2)


class _Prepared(nn.Module):
    """In the place of a model's transform: hands over the batch that is made already."""

    batch: ImageList

    def forward(self, images: list[Tensor], targets: Any = None) -> tuple[ImageList, Any]:
        return self.batch, targets

    def postprocess(self, found: list[dict[str, Tensor]], *sizes: Any) -> list[dict[str, Tensor]]:
        return found


def names() -> list[str]:
    """The names that `build` knows."""
    return models.list_models(module=models.detection)


def build(name: str, weights: Path | None, device: str = "cpu", selection: Selection | None = None) -> Torchvision:
    """The model `name` with the weights of a file, or with its published ones if they are on this disk.

    The number of classes is that of the weights; their names stand in a .json beside the file (`class_names`, without
    the background), or are COCO's.

    Raises:
        InputError: no such file (the message says where torchvision has it), or the weights do not fit by name.
    """
    path = weights if weights is not None else _published_file(name)
    state, digest = _read(path), sha256(path)
    with torch.device("meta"):
        usual = models.get_model(name, weights=None, weights_backbone=None, num_classes=COCO_CLASSES)
    classes = _classes(state, usual.state_dict())
    model = models.get_model(name, weights=None, weights_backbone=None, num_classes=classes)
    if not any(key.endswith("num_batches_tracked") for key in state):
        _freeze(model, eps=0.0 if name in _NO_EPS and _is_published(name, "COCO_V1", digest) else None)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        said = " ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise InputError(path, f"not weights of {name} ({said[:300]}).", "Name the model they are of.") from error
    return Torchvision(model, name, _class_names(name, path, classes), digest, selection, device)


def _read(path: Path) -> dict[str, Tensor]:
    remedy = "Give a state dict: .safetensors, or .pth with weights only."
    if not path.is_file():
        raise InputError(path, "the detector's weights are missing.", "Name the file with --weights.")
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each kind of damage has an exception of its own
        raise InputError(path, f"the weights cannot be read ({str(error).splitlines()[0]}).", remedy) from error
    state = state.get("model", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(path, "not a state dict.", remedy)
    demand_tensors(state, path, "Fetch or train the weights again.")
    return state


def _classes(state: Mapping[str, Tensor], usual: Mapping[str, Tensor]) -> int:
    """Number of classes of the weights: rows of the class layer, as many times as the usual number has them."""
    for key in usual:
        layer = key.endswith("weight") and ("cls_score" in key or "classification_head" in key)
        if layer and key in state and len(state[key]) != len(usual[key]):
            return max(1, len(state[key]) * COCO_CLASSES // len(usual[key]))
    return COCO_CLASSES


def _class_names(name: str, path: Path, classes: int) -> tuple[str, ...]:
    beside = path.with_suffix(".json")
    if beside.exists():
        given = read_json(beside).get("class_names") or ()
        if len(given) != classes - 1:
            problem = f"{len(given)} class_names, the weights have {classes - 1} classes beside the background."
            raise InputError(beside, problem, "Give one name a class, in the order of the labels.")
        return tuple(given)
    coco = models.get_model_weights(name)["DEFAULT"].meta["categories"] if classes == COCO_CLASSES else ()
    # of a person's keypoints only two classes are known
    return names_or_numbers(coco[1:] if len(coco) == classes else None, classes - 1)


def _published_file(name: str) -> Path:
    published = models.get_model_weights(name)["DEFAULT"]
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(published.url).name
    if not path.is_file():
        remedy = f"Download {published.url} to this place, or name a file of weights with --weights."
        raise InputError(path, f"the weights of {name} are not on this disk.", remedy)
    return path


def _is_published(name: str, which: str, digest: str) -> bool:
    """Whether a digest is that of the published weights, whose file name ends with its first digits."""
    weights = getattr(models.get_model_weights(name), which, None)
    return weights is not None and digest.startswith(Path(weights.url).stem.rpartition("-")[2])


def _freeze(module: nn.Module, eps: float | None) -> None:
    """Frozen batch norm in the place of batch norm, in which torchvision publishes most weights."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            frozen = FrozenBatchNorm2d(child.num_features, child.eps if eps is None else eps)
            setattr(module, name, frozen)
        else:
            _freeze(child, eps)


def _split(rows: Tensor, boxes: Sequence[Tensor]) -> list[Tensor]:
    return list(rows.split([len(b) for b in boxes]))
