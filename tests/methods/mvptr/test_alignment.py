"""Alignment by level: what is asked, what is right, and that a training does not notice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.tasks import lab as making
from vlp.batching.inputs import Inputs, Paths
from vlp.config import Experiment, build
from vlp.config.launch import Resources
from vlp.data.tables import SCHEMAS, read_table, write_table
from vlp.launch import run
from vlp.methods.mvptr.alignment import BOXES, LABELS, Alignment, Asked, chosen_right, first_right
from vlp.methods.mvptr.method import METHOD
from vlp.methods.mvptr.model import Mvptr
from vlp.methods.mvptr.start import new_model
from vlp.models.directory import WEIGHTS
from vlp.runs.pretrain import pretrain


def changed(**parts: Any) -> Experiment:
    """The tiny experiment with some values of some parts changed."""
    value = making.experiment().model_dump(mode="json", exclude={"sources"})
    for part, values in parts.items():
        value[part] |= values
    return build(value, "alignment")


def with_tables(paths: Paths, folder: Path, **records: list[dict[str, Any]]) -> Paths:
    """The same inputs beside other tables."""
    for name in SCHEMAS:
        write_table(folder, name, records[name] if name in records else read_table(paths.tables, name).to_pylist())
    return Paths(folder, paths.corpus, paths.regions, paths.vocabulary)


def asked(paths: Paths, images: int = 64, experiment: Experiment | None = None) -> Alignment:
    inputs = Inputs(experiment or changed(), paths)
    return Alignment(inputs, images, cross_modal=True, matching=True)


def fresh(paths: Paths, experiment: Experiment | None = None) -> Mvptr:
    return new_model(Inputs(experiment or changed(), paths)).eval()


# -- the two measures -------------------------------------------------------------------------------------------
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_what_is_most_similar_is_chosen(groups: int, regions: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    region_RD = np.linalg.qr(rng.normal(size=(8, 8)))[0][:regions]
    wanted = rng.integers(regions, size=groups)
    states = torch.from_numpy(np.concatenate([3 * region_RD[wanted], region_RD])[None]).float()
    only = [Asked(np.array([g]), np.arange(regions) == w) for g, w in enumerate(wanted)]
    others = [Asked(a.positions, ~a.right_R) for a in only]
    mask = torch.ones(1, regions, dtype=torch.bool)
    assert chosen_right(states, groups, mask, [only]) == [1.0] * groups
    assert chosen_right(states, groups, mask, [others]) == [0.0] * groups


def test_a_region_that_is_padding_is_never_chosen() -> None:
    states = torch.tensor([[[1.0, 0.0], [0.6, 0.8], [1.0, 0.0]]])
    one = [[Asked(np.array([0]), np.array([True, False]))]]
    assert chosen_right(states, 1, torch.tensor([[True, True]]), one) == [0.0]
    assert chosen_right(states, 1, torch.tensor([[True, False]]), one) == [1.0]


def test_equal_texts_are_both_right() -> None:
    cosine = torch.tensor([[0.1, 0.9, 0.0], [0.2, 0.8, 0.3], [0.5, 0.0, 0.4]])
    # Images choose texts 1, 1, 0; texts choose images 2, 0, 2.
    assert first_right(cosine, np.array([7, 8, 9])) == [0, 1, 0, 0, 0, 1]
    assert first_right(cosine, np.array([7, 7, 9])) == [1, 1, 0, 0, 1, 1]


# -- what is asked ----------------------------------------------------------------------------------------------
def test_levels_on_annotated_phrases(lab: Paths) -> None:
    """Three images of val with three regions, two tags and two phrases each; one phrase has no box."""
    a = asked(lab)
    assert a.images == ["t/06", "t/07", "t/08"]
    found = {name: (level.truth, level.n, level.chance, level.best) for name, level in a.levels.items()}
    third = pytest.approx(100 / 3)
    assert found == {
        "region_tag": (LABELS, 6, third, 100.0),
        "phrase_region_unimodal": (BOXES, 5, third, 100.0),
        "phrase_region": (BOXES, 5, third, 100.0),
        "image_text": ("captions", 6, third, 100.0),
        "itm": ("captions", 6, 50.0, 100.0),
    }
    assert len(asked(lab, 2).images) == 2


def test_annotated_objects_are_the_truth_of_tags(lab: Paths, tmp_path: Path) -> None:
    """A star was detected at the first box and is annotated at the second: only what lies there is right."""
    store = Inputs(changed(), lab).store
    (name, *_) = store.tags("t/06")
    own = {"image_id": "t/06", "class_name": name.upper(), "box": making.BOXES[1], "split": "val"}
    a = asked(with_tables(lab, tmp_path, objects=[{"object_id": "t/o", **own}]))
    level = a.levels["region_tag"]
    assert (level.truth, level.n, level.best) == (BOXES, 1, 100.0)
    assert [each.right_R.tolist() for each in a.parts[0].tags[0]] == [[False, True, False]]


def test_without_annotated_phrases_the_detectors_labels_tell(lab: Paths, tmp_path: Path) -> None:
    a = asked(with_tables(lab, tmp_path, phrase_boxes=[]))
    level = a.levels["phrase_region"]
    assert level.truth == LABELS and level.n > 0 and level.chance == pytest.approx(100 / 3)
    texts, store = a.collator.texts, a.inputs.store
    for row, image, each in zip(a.rows, a.images, a.parts[0].phrases, strict=True):
        words, phrases, _ = a.collator.text(int(row))
        for one in each:
            noun = a._nouns[int(phrases[one.positions[0] - 1 - len(words)])]
            shown = [store.class_names[c] == noun for c in store.regions(image).classes]
            assert one.right_R.tolist() == shown and noun in store.tags(image), texts.ids[row]


# -- what the model answers -------------------------------------------------------------------------------------
def test_measured_as_one_pair_after_the_other_would_be(lab: Paths) -> None:
    """Another way to the same numbers: no batch, no mask, loops."""
    a, m = asked(lab), fresh(lab)
    hits: dict[str, list[bool]] = {name: [] for name in a.levels}
    vectors = []
    with torch.no_grad():
        for i, (row, image) in enumerate(zip(a.rows, a.images, strict=True)):
            batch = a.collator(np.array([row]), [image])
            s, layers = m.unimodal(batch), m.joint(batch)
            length = batch.text_ids_BL.shape[1]
            joint = layers[m.architecture.grounding_layer - 1][0]
            pairs = (
                ("region_tag", s.tags_BTD[0], s.regions_BRD[0], a.parts[0].tags[i]),
                ("phrase_region_unimodal", s.text_BLD[0], s.regions_BRD[0], a.parts[0].phrases[i]),
                ("phrase_region", joint[:length], joint[length:], a.parts[0].phrases[i]),
            )
            for name, first, regions, each in pairs:
                for one in each:
                    mean = first[torch.from_numpy(one.positions)].mean(0)
                    cosines = [float(torch.cosine_similarity(mean, r, dim=0)) for r in regions]
                    hits[name].append(bool(one.right_R[int(np.argmax(cosines))]))
            vectors.append(m.contrast_vectors(s))
            for other, match in ((a.images[i], True), (a.images[i - 1], False)):
                logits = m.itm_logits(m.joint(a.collator(np.array([row]), [other]))[-1])
                hits["itm"].append(bool(logits[0, 0] > logits[0, 1]) == match)
        text, image = (torch.cat(v) for v in zip(*vectors, strict=True))
        for cosine in (image @ text.T, text @ image.T):
            hits["image_text"] += (cosine.argmax(1) == torch.arange(len(a.rows))).tolist()
    assert a.measure(m) == pytest.approx({name: 100 * np.mean(found) for name, found in hits.items()})


def test_parts_change_nothing(lab: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, m = asked(lab), fresh(lab)
    monkeypatch.setattr("vlp.methods.mvptr.alignment.SIZE", 2)
    parted = asked(lab)
    assert len(parted.parts) == 2 and parted.about == whole.about
    same = {name for name in whole.levels if name != "itm"}  # its other pairs are of one part
    first, second = whole.measure(m), parted.measure(m)
    assert {n: first[n] for n in same} == {n: second[n] for n in same}


def test_merged_attention_has_no_unimodal_levels(lab: Paths) -> None:
    shape = {"fusion": "merged", "text_layers": 0, "visual_layers": 0, "multimodal_layers": 2}
    stage2 = making.experiment().pretraining.stage2.model_dump(mode="json") | {"losses": ["mlm", "itm", "wpg"]}
    e = changed(model=shape, pretraining={"stage1": None, "stage2": stage2})
    a = asked(lab, experiment=e)
    assert set(a.levels) == {"region_tag", "phrase_region", "itm"} == set(a.measure(fresh(lab, e)))


# -- in a training ----------------------------------------------------------------------------------------------
def trained(paths: Paths, folder: Path, stage: str, every: int, resources: Resources) -> list[Any]:
    """Pre-trains in `folder`; the events of its journal."""
    base = making.experiment().pretraining.model_dump(mode="json")
    parts = {"stage1": {"epochs": 4}, "stage2": {"epochs": 4}, "alignment": {"every": every}}
    e = changed(pretraining={k: (base[k] | v) for k, v in parts.items()})
    arguments = {"experiment": e, "stage": stage, "paths": paths, "init": None}
    arguments |= {"out": folder / "model", "run_dir": folder / "run"}
    run(pretrain, arguments, resources, folder / "run", "alignment")
    return [json.loads(line) for line in (folder / "run" / "journal.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_a_training_has_the_same_bits_with_and_without(lab: Paths, tmp_path: Path, stage: str) -> None:
    """With dropout, whose streams a careless measurement would move."""
    assert changed().model.dropout > 0
    inline = Resources(executor="inline")
    seen = trained(lab, tmp_path / "with", stage, 2, inline)
    plain = trained(lab, tmp_path / "without", stage, 0, inline)
    weights = [(tmp_path / name / "model" / WEIGHTS).read_bytes() for name in ("with", "without")]
    assert weights[0] == weights[1]
    losses = [[e["value"] for e in events if e.get("key") == "loss"] for events in (seen, plain)]
    assert losses[0] == losses[1] and len(losses[0]) > 2
    assert not [e for e in plain if "alignment" in e["event"] or "alignment" in e.get("key", "")]
    (about,) = [e for e in seen if e["event"] == "alignment"]
    cross_modal = {"phrase_region", "itm"} if stage == "stage2" else set()
    assert set(about["levels"]) == {"region_tag", "phrase_region_unimodal", "image_text"} | cross_modal
    total = max(e["step"] for e in seen if e["event"] == "metric")
    for name in about["levels"]:
        points = [e for e in seen if e.get("key") == f"alignment/{name}"]
        assert [p["step"] for p in points] == sorted({*range(0, total, 2), total})
        assert all(0 <= p["value"] <= 100 for p in points)


@pytest.mark.long
def test_ranks_measure_together(lab: Paths, tmp_path: Path) -> None:
    events = trained(lab, tmp_path, "stage2", 3, Resources(executor="local", tasks_per_node=2))
    found = [e["value"] for e in events if e.get("key") == "alignment/region_tag"]
    assert len(found) > 1 and all(0 <= value <= 100 for value in found)


def test_nothing_is_asked_without_val(tiny_inputs: Path) -> None:
    from tests.training import tiny_run

    inputs = Inputs(tiny_run.experiment(), tiny_run.paths(tiny_inputs))
    assert METHOD.probe("stage2", new_model(inputs), inputs) is None
