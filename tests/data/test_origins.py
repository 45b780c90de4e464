"""The same photo under its names in COCO and on Flickr."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data import published
from tests.data.published import experiment, load, save
from vlp.data.readers import read_experiment
from vlp.data.readers.origins import Origin, coco_id, flickr_id, of_file
from vlp.data.tables import rows


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("COCO_train2014_000000000042.jpg", "42"),
        ("val2014/COCO_val2014_000000391895.jpg", "391895"),
        ("000000000042.jpg", "42"),
        ("000042.jpg", None),
        ("1000268201.jpg", None),
        ("COCO_train2014_42.jpg", None),
    ],
)
def test_a_file_name_in_cocos_form(name: str, number: str | None) -> None:
    assert coco_id(name) == number


@pytest.mark.parametrize(
    ("url", "photo"),
    [
        ("http://farm3.staticflickr.com/2253/1755223462_fabbeb8dc3_z.jpg", "1755223462"),
        ("http://static.flickr.com/2723/4385058960_b0f291553e.jpg", "4385058960"),
        ("https://c2.staticflickr.com/6/5606/15611395595_f51465687d_o.jpg?zz=1", "15611395595"),
        ("https://www.flickr.com/photos/some-one/0123456789", "123456789"),
        ("https://www.flickr.com/photos/some-one", None),
        ("https://example.org/2253/1755223462_fabbeb8dc3_z.jpg", None),
        ("https://evilflickr.com/2253/1755223462_fabbeb8dc3_z.jpg", None),
    ],
)
def test_an_address_of_flickr(url: str, photo: str | None) -> None:
    assert flickr_id(url) == photo


def test_a_number_is_a_photo_of_flickr_only_where_the_file_says_so() -> None:
    assert of_file("1000268201.jpg", "flickr30k") == Origin(flickr_id="1000268201")
    assert of_file("1000268201_693b08cb0e.jpg", "flickr8k") == Origin(flickr_id="1000268201")
    assert of_file("1000268201.jpg") == of_file("1000268201.jpg", "shapes") == Origin()


def test_readers_fill_the_columns(tmp_path: Path) -> None:
    root = published.write(tmp_path / "raw")
    save(root / "karpathy.json", load(root / "karpathy.json") | {"dataset": "flickr30k"})
    read_experiment(experiment(root), tmp_path / "out")
    assert [r["flickr_id"] for r in rows(tmp_path / "out", "images")] == ["4", "1", "2", "3"]
    value = load(root / "captions_val.json")
    (root / "images" / "03.jpg").rename(root / "images" / "000000000003.jpg")
    url = "http://farm1.staticflickr.com/1/77_ab12_z.jpg"
    value["images"][0].update(file_name="000000000003.jpg", flickr_url=url)
    save(root / "captions_val.json", value)
    none = dict.fromkeys(("questions", "entailment", "phrase_boxes", "objects", "referring"))
    read_experiment(experiment(root, captions=published.COCO_CAPTIONS, **none), tmp_path / "coco")
    found = {r["image_id"]: (r["coco_id"], r["flickr_id"], r["vg_id"]) for r in rows(tmp_path / "coco", "images")}
    assert found["toy/000000000003"] == ("3", "77", None)
    assert found["toy/04"] == (None, None, None)
