"""The public checkpoint's form: exactly its names and shapes, or an error that names what is wrong."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.regions.detectors.small import SMALL, network, public_shapes, save, save_labels
from vlp.errors import InputError
from vlp.regions.detectors.vinvl_weights import LABEL_MAP, load_names, load_network
from vlp.regions.detectors.x152c4 import X152C4, Sizes

ANCHORS = "rpn.anchor_generator.cell_anchors.0"


def test_names_and_shapes_are_the_841_of_the_public_checkpoint() -> None:
    with torch.device("meta"):
        ours = {name: list(tensor.shape) for name, tensor in X152C4().state_dict().items()}
    public = public_shapes()
    assert len(public) == 841
    assert ours == public


def full_size() -> dict[str, Tensor]:
    """A state dict of the public form; one stored number a tensor, so that the file is small."""
    state = {name: torch.rand(1).expand(shape) for name, shape in public_shapes().items()}
    for name in state:
        if name.startswith("attribute.feature_extractor."):
            state[name] = state[name.replace("attribute", "roi_heads.box", 1)]
    state[ANCHORS] = X152C4(SMALL).state_dict()[ANCHORS]
    return state


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("under_model", [True, False])
def test_the_full_size_checkpoint_loads(tmp_path: Path, prefix: str, under_model: bool) -> None:
    state = full_size()
    loaded = load_network(save(tmp_path, state, prefix, under_model)).state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_weights_are_those_of_the_file_in_float32(tmp_path: Path) -> None:
    state = network().state_dict()
    loaded = load_network(save(tmp_path, {k: v.double() for k, v in state.items()}, "module."), SMALL)
    assert not loaded.training
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32 and tensor.device.type == "cpu" and torch.equal(tensor, state[name])
    assert loaded.attribute.feature_extractor is loaded.roi_heads.box.feature_extractor


def refused(folder: Path, state: dict[str, Tensor]) -> str:
    path = save(folder, state, "module.")
    with pytest.raises(InputError) as error:
        load_network(path, SMALL)
    assert error.value.file == str(path)
    return error.value.problem


def test_a_missing_extra_or_misshaped_tensor_is_named(tmp_path: Path) -> None:
    good = network().state_dict()
    name = "rpn.head.conv.bias"
    assert f"1 missing: {name}" in refused(tmp_path, {k: v for k, v in good.items() if k != name})
    assert "1 unknown: relation.weight" in refused(tmp_path, {**good, "relation.weight": torch.ones(2)})
    problem = refused(tmp_path, {**good, name: torch.ones(3)})
    assert f"1 of another shape: {name} is [3], wanted [{SMALL.map_channels}]" in problem
    assert "missing" not in problem and "unknown" not in problem
    problem = refused(tmp_path, {k: v for k, v in good.items() if not k.startswith("backbone.body.layer3.1.")})
    assert "15 missing: backbone.body.layer3.1.bn1.bias" not in problem and " and 10 more" in problem


def test_other_anchors_are_refused_with_both_values(tmp_path: Path) -> None:
    good = network().state_dict()
    anchors = good[ANCHORS].clone()
    anchors[3, 2] += 1
    problem = refused(tmp_path, {**good, ANCHORS: anchors})
    assert "anchor 3 is [-176.0, -88.0, 192.0, 103.0], ours [-176.0, -88.0, 191.0, 103.0]" in problem


def test_two_names_of_one_tensor_must_agree(tmp_path: Path) -> None:
    good = network().state_dict()
    name = "feature_extractor.head.layer4.1.conv3.weight"
    problem = refused(tmp_path, {**good, f"attribute.{name}": good[f"attribute.{name}"] + 1})
    assert f"roi_heads.box.{name} and attribute.{name} are one tensor" in problem


@pytest.mark.parametrize(
    "content",
    [b"", b"not a checkpoint", pickle.dumps({"model": Path("x")}, 2), b"PK\x03\x04 cut"],
    ids=["empty", "text", "objects", "cut"],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"w\.pth: not a checkpoint"):
        load_network(path, SMALL)
    torch.save([torch.ones(1)], path)
    with pytest.raises(InputError, match="neither a state dict"):
        load_network(path, SMALL)
    path.unlink()
    with pytest.raises(InputError, match="the weights are missing"):
        load_network(path, SMALL)


def test_names_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / LABEL_MAP
    labels = {"label_to_idx": {"dog": 2, "a cat": 1, "__background__": 0}, "attribute_to_idx": {"big": 1}}
    path.write_text(json.dumps(labels))
    names = load_names(path, Sizes(classes=3, attributes=2))
    assert names.classes == ("a cat", "dog") and names.attributes == ("big",)
    with pytest.raises(InputError, match="label_to_idx has 2 numbers, the weights want 1 to 1594"):
        load_names(path)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"label_to_idx": {"a": 1}}', '{"label_to_idx": 3, "attribute_to_idx": {}}']
)
def test_what_is_no_label_map_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / LABEL_MAP
    with pytest.raises(InputError, match="the label map is missing"):
        load_names(path)
    path.write_text(text)
    with pytest.raises(InputError, match="not a label map"):
        load_names(path)


def test_the_tests_label_map_fits_the_small_network(tmp_path: Path) -> None:
    names = load_names(save_labels(tmp_path), SMALL)
    assert names.classes[0] == "thing 1" and len(names.classes) == SMALL.classes - 1
