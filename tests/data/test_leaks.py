"""Planted leaks are caught, by ids and by looks; what is left out and what stops follows the policy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from tests.data.photos import copy, photo, save
from vlp.data.leaks import check, identity, seen
from vlp.data.leaks.match import matches
from vlp.data.tables import SCHEMAS, write_table
from vlp.errors import InputError

TESTS = ("coco/42", "flickr30k/1000268201")


def image(image_id: str, split: str, **ids: str) -> dict[str, Any]:
    blank = {"width": 320, "height": 240, "coco_id": None, "flickr_id": None, "vg_id": None}
    return {"image_id": image_id, "path": f"{image_id}.jpg", "split": split, **blank, **ids}


def write(tables: Path, images: list[dict[str, Any]], **records: list[dict[str, Any]]) -> None:
    captions = [
        {"caption_id": f"{i['image_id']}#0", "image_id": i["image_id"], "text": "a", "split": i["split"]}
        for i in images
    ]
    for name in SCHEMAS:
        write_table(tables, name, {"images": images, "captions": captions, **records}.get(name, []))


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A COCO test image inside GQA under its Visual Genome id, re-encoded; a Flickr30k test photo inside SBU under
    another name and size; other pictures around them."""
    pictures = {TESTS[0]: photo(0), TESTS[1]: photo(1)}
    pictures |= {"gqa/2370799": copy(photo(0), 60), "sbu/0000007": copy(photo(1), 70, 0.45)}
    pictures |= {f"{name}/{seed}": photo(seed) for name in ("coco", "gqa", "sbu") for seed in range(100, 104)}
    pictures["gqa/100"] = photo(200)
    pictures["sbu/100"] = photo(201)
    for number, name in enumerate(("gqa/101", "gqa/102", "gqa/103", "sbu/101", "sbu/102", "sbu/103")):
        pictures[name] = photo(300 + number)
    for name, picture in pictures.items():
        save(tmp_path / "raw" / f"{name}.jpg", picture.convert("RGB"))
    images = [image(name, "test" if name in TESTS else "train") for name in pictures]
    write(tmp_path / "tables", images)
    return tmp_path


def find(folder: Path, policy: str = "as_paper", not_hashed: tuple[str, ...] = ()) -> check.Leaks:
    file = folder / "leaks" / identity.FILE
    identity.identify(folder / "tables", folder / "raw", file, not_hashed)
    return check.find(folder / "tables", file, policy)


def test_planted_photographs_are_caught_by_looks_and_nothing_else_is(planted: Path) -> None:
    found = find(planted)
    assert {(r["image_id"], r["evaluated"], r["by"]) for r in found.shared} == {
        ("gqa/2370799", "coco/42", "hash"),
        ("sbu/0000007", "flickr30k/1000268201", "hash"),
    }
    assert found.excluded == {"gqa/2370799", "sbu/0000007"}
    lines = {(line.corpus, line.evaluation.dataset): line for line in found.lines}
    assert (lines["gqa", "coco"].shared, lines["gqa", "coco"].excluded, lines["gqa", "coco"].images) == (1, 1, 1)
    assert lines["sbu", "flickr30k"].by == {"hash": 1}
    assert lines["coco", "coco"].shared == 0
    with pytest.raises(InputError, match=r"(?s)2 images.*gqa/2370799 is coco/42 .*sbu/0000007 is flickr30k/1000268201"):
        check.require_none(found, planted / "shared.parquet")


def test_a_data_set_that_is_not_hashed_is_compared_by_ids_alone(planted: Path) -> None:
    assert find(planted, not_hashed=("gqa",)).excluded == {"sbu/0000007"}


@pytest.mark.parametrize(
    "leaked, tested, by",
    [
        ({"coco_id": "42"}, {"coco_id": "42"}, "coco_id"),
        ({"flickr_id": "7"}, {"coco_id": "42", "flickr_id": "7"}, "flickr_id"),
        ({"vg_id": "9"}, {"vg_id": "9"}, "vg_id"),
        ({"vg_id": "9"}, {"coco_id": "42"}, "linked"),
        ({"vg_id": "8"}, {"coco_id": "43"}, None),
        ({}, {}, None),
    ],
)
def test_ids_of_other_data_sets_join_images(
    tmp_path: Path, leaked: dict[str, str], tested: dict[str, str], by: str | None
) -> None:
    """`vg/9` of split train says that Visual Genome's 9 is COCO's 42."""
    images = [image("gqa/1", "train", **leaked), image("coco/a", "test", **tested)]
    write(tmp_path / "tables", [*images, image("vg/9", "train", vg_id="9", coco_id="42")])
    found = find(tmp_path, not_hashed=("gqa", "coco", "vg"))
    assert [r["by"] for r in found.shared if r["image_id"] == "gqa/1"] == ([by] if by else [])


def test_the_policy_says_whose_images_are_left_out(tmp_path: Path) -> None:
    """An image of split train that VQA and RefCOCO test on: the paper keeps it, `strict` does not."""
    referring = {
        "ref_id": "coco/r",
        "image_id": "coco/1",
        "text": "it",
        "partition": "testA",
        "box": [0.0, 0.0, 9.0, 9.0],
        "split": "test",
    }
    write(tmp_path / "tables", [image("coco/1", "train"), image("coco/2", "train")], referring=[referring])
    excluded = {policy: find(tmp_path, policy, ("coco",)).excluded for policy in check.POLICIES}
    assert excluded == {"none": set(), "as_paper": set(), "strict": {"coco/1"}}
    assert [r["by"] for r in find(tmp_path, "as_paper", ("coco",)).shared] == ["image_id"]


def test_unreadable_and_flat_pictures_are_counted(planted: Path) -> None:
    (planted / "raw" / "gqa" / "101.jpg").write_bytes(b"no image")
    (planted / "raw" / "gqa" / "102.jpg").unlink()
    save(planted / "raw" / "gqa" / "103.jpg", photo(0).point(lambda _: 200))
    hashed = identity.identify(planted / "tables", planted / "raw", planted / "i.parquet", ("sbu",))
    assert hashed.unreadable == [
        "gqa/101 (the image cannot be read (cannot identify image file))",
        "gqa/102 (the image file is missing)",
    ]
    assert (hashed.images, hashed.flat, hashed.exempt, hashed.hashed) == (16, 1, 5, 8)


def test_a_killed_call_goes_on_with_its_finished_parts(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_PART", 5)
    out, opened = planted / "i.parquet", []
    whole = identity.hash_file

    def counted(path: Path) -> Any:
        opened.append(path)
        if len(opened) == 12:
            raise KeyboardInterrupt
        return whole(path)

    monkeypatch.setattr(identity, "hash_file", counted)
    with pytest.raises(KeyboardInterrupt):
        identity.identify(planted / "tables", planted / "raw", out)
    assert not out.exists()
    identity.identify(planted / "tables", planted / "raw", out)
    assert len(opened) <= 16 + 5 + 1
    again = planted / "j.parquet"
    monkeypatch.setattr(identity, "hash_file", whole)
    identity.identify(planted / "tables", planted / "raw", again)
    assert again.read_bytes() == out.read_bytes()
    assert not list(planted.glob(".*parts"))


def test_damaged_files_are_named(planted: Path) -> None:
    find(planted)
    file = planted / "leaks" / identity.FILE
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"identity\.parquet.*vlp data leaks"):
        check.find(planted / "tables", file, "strict")
    with pytest.raises(InputError, match=r"shared\.parquet: the file is missing"):
        check.excluded(planted / "leaks")


def test_a_model_says_what_it_has_seen(planted: Path) -> None:
    find(planted)
    file = planted / "leaks" / identity.FILE
    known = identity.read(file)
    stage, tuned, unsaid = (planted / name for name in ("stage2", "vqa", "unsaid"))
    used = identity.of_images(known, {"gqa/2370799", "gqa/100"}, file)
    save_model(stage, seen.record(stage, seen.PRETRAINING, used, None))
    assert save_model(tuned, seen.record(tuned, "vqa", identity.of_images(known, {"sbu/0000007"}, file), stage)) == 3
    tests = identity.of_images(known, TESTS, file)
    found = seen.seen(tuned, tests)
    assert found is not None and {(m.used, m.evaluated) for m in found} == {
        ("gqa/2370799", "coco/42"),
        ("sbu/0000007", "flickr30k/1000268201"),
    }
    before = seen.seen(tuned, tests, {seen.PRETRAINING})
    assert before is not None and [m.evaluated for m in before] == ["coco/42"]
    save_model(unsaid, None)
    assert seen.seen(unsaid, tests) is None
    assert seen.record(tuned, "vqa", used, unsaid) is None and not (tuned / seen.FILE).exists()


def test_a_model_that_saw_a_test_image_is_found_by_check(planted: Path) -> None:
    find(planted)
    file, model = planted / "leaks" / identity.FILE, planted / "model"
    used = identity.of_images(identity.read(file), {"sbu/0000007", "coco/100"}, file)
    save_model(model, seen.record(model, seen.PRETRAINING, used, None))
    found = check.find(planted / "tables", file, "as_paper", model)
    with pytest.raises(InputError, match="sbu/0000007 is flickr30k/1000268201"):
        check.require_none(found, model)


def test_the_list_of_another_model_is_refused(planted: Path) -> None:
    find(planted)
    file, model = planted / "leaks" / identity.FILE, planted / "model"
    known = identity.read(file)
    save_model(model, seen.record(model, "vqa", identity.of_images(known, {"coco/100"}, file), None))
    seen.record(model, "vqa", identity.of_images(known, {"coco/101"}, file), None)
    with pytest.raises(InputError, match=r"seen\.parquet: is not the list that inputs\.json names"):
        seen.read(model)
    (model / seen.FILE).unlink()
    with pytest.raises(InputError, match=r"seen\.parquet: the file is missing"):
        seen.read(model)


def save_model(folder: Path, said: dict[str, Any] | None) -> int | None:
    folder.mkdir(exist_ok=True)
    (folder / "inputs.json").write_text(json.dumps({"seen": said}))
    return None if said is None else said["images"]


def test_an_image_that_the_identity_does_not_know_is_named(planted: Path) -> None:
    find(planted)
    file = planted / "leaks" / identity.FILE
    with pytest.raises(InputError, match="row coco/nowhere: says nothing of 1 images"):
        identity.of_images(identity.read(file), {"coco/42", "coco/nowhere"}, file)


def test_no_image_matches_in_empty_sets() -> None:
    empty: pa.Table = identity.IDENTITY.empty_table()
    assert matches(empty, empty) == []


def test_the_command_stops_with_the_list_where_the_config_says_so(
    planted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from typer.testing import CliRunner

    from vlp.cli.data import app

    stage = {"losses": ["vsc"], "epochs": 1, "batch_size": 2, "learning_rate": 1e-4}
    data = {"name": "x", "root": str(planted / "raw"), "captions": {"format": "karpathy"}}
    value = {"name": "planted", "results": str(planted), "pretraining": {"stage2": stage}, "data": data}
    value |= {"regions": {"source": "vinvl_tsv", "tsv": "x"}, "tracking": {"enabled": False}}
    config = planted / "c.yaml"
    config.write_text(yaml.safe_dump(value))
    call = ["leaks", "--config", str(config), "--tables", str(planted / "tables"), "--out", str(planted / "leaks")]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0 and "2 images are kept out of pre-training" in done.stdout, done.output
    assert check.excluded(planted / "leaks") == {"gqa/2370799", "sbu/0000007"}
    table = json.loads((planted / "leaks" / "leaks.json").read_text())["table"]
    assert sum(line["excluded"] for line in table) == 2
    stopped = CliRunner().invoke(app, [*call, "--set", "data.exclusion.on_leak=stop"])
    assert isinstance(stopped.exception, InputError) and "sbu/0000007" in str(stopped.exception)
