"""One rule for what an image is called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp.images.names import AmbiguousError, Names, Same, both_sides, key_of, number_of, parts

ONE = [
    "1", 1, 1.0, "1.0", "000000000001", "000000000001.jpg", "COCO_train2014_000000000001", "1.JPEG", " 1 ",
    "COCO_train2014_000000000001.jpg", "train2014/COCO_train2014_000000000001.jpg", "val2017/000000000001.png",
    "./000000000001.jpg",
]  # fmt: skip


@pytest.mark.parametrize("name", ONE)
def test_all_of_these_are_cocos_image_1(name: str | int | float) -> None:
    for ours in ("coco/000000000001", "coco/1", "coco/val2014/COCO_val2014_000000000001", "coco/1.0"):
        ids = ["coco/2", ours, "coco/11"]
        assert Names(ids, "coco").find(name) == ours and Names(ids).find(name) == ours
    assert number_of(name.rpartition("/")[2] if isinstance(name, str) else name) == 1
    assert Names(["coco/10", "coco/000000000011"]).find(name) is None


@pytest.mark.parametrize(
    "name", [-1, 1.5, float("nan"), float("inf"), True, "", "1.5", "1_1", "a1", "1e0", "0x1", "１"]
)
def test_what_is_no_number_is_a_name(name: str | int | float) -> None:
    assert number_of(name) is None
    assert Names(["coco/000000000001"]).find(name) is None


def test_ids_stay_what_they_were() -> None:
    for name, key in {
        "COCO_val2014_000000000042.jpg": "000000000042",
        "000000000042.jpg": "000000000042",
        "1000268201.jpg": "1000268201",
        "shapes/images/000017.jpg": "000017",
        "2f0a.b1.png": "2f0a.b1",
        "a.b": "a.b",
    }.items():
        assert key_of(name) == key, name


def test_the_longest_tail_of_the_path_decides() -> None:
    ids = ["set/a/1", "set/b/1", "set/2", "set/x/a/3", "set/y/a/3"]
    names = Names(ids, "set")
    assert names.find("a/1.jpg") == "set/a/1" and names.find("raw/images/b/1.jpg") == "set/b/1"
    assert names.find("set/b/1") == "set/b/1" and Names(ids).find("set/b/1") == "set/b/1"
    assert names.find("any/2.png") == "set/2"
    assert names.find("c/1.jpg") is None  # two files of one name in two folders are two images
    for name, those in (("1.jpg", ids[:2]), ("a/3.jpg", ids[3:])):
        with pytest.raises(AmbiguousError) as error:
            names.find(name)
        assert error.value.ids == those and all(repr(i) in str(error.value) for i in those)
    assert names.find("y/a/3.jpg") == "set/y/a/3"


def test_a_name_as_it_stands_comes_before_its_number() -> None:
    names = Names(["set/1", "set/001", "set/01"])
    assert [names.find(name) for name in ("1", 1, "001.jpg", "01")] == ["set/1", "set/1", "set/001", "set/01"]
    with pytest.raises(AmbiguousError):
        Names(["set/001", "set/01"]).find(1)


def test_names_of_several_data_sets_begin_with_theirs_or_are_ambiguous() -> None:
    names = Names(["coco/000000000001", "vg/1", "vg/2"])
    assert names.find("coco/1") == "coco/000000000001" and names.find("vg/000000000001") == "vg/1"
    assert names.find(2) == "vg/2"
    assert names.find("1") == "vg/1"  # as it stands
    with pytest.raises(AmbiguousError):
        Names(["coco/1", "vg/1"]).find("000000000001")


def test_ids_of_two_sides_are_compared_whole() -> None:
    """A tail is not enough: a/1 and b/1 are not both the image 1."""
    known = Same(["coco/1", "set/1", "flickr30k/7"])
    assert known.find("coco/000000000001") == "coco/1" and "coco/val2014/COCO_val2014_000000000001" in known
    assert known.find("set/a/1") is None and known.find("vg/1") is None and known.find("flickr30k/7") == "flickr30k/7"
    with pytest.raises(AmbiguousError):
        Same(["coco/1", "coco/01"]).find("coco/000000000001")


def test_three_of_each_side_are_shown() -> None:
    assert both_sides(["a", "b", "c", "d"], [1]) == "there: 'a', 'b', 'c', ...; here: 1"
    assert both_sides([], iter("x")) == "there: none; here: 'x'"


@given(st.text(max_size=30) | st.integers() | st.floats())
def test_any_name_is_read_without_a_fault(name: str | int | float) -> None:
    assert isinstance(parts(name), tuple)
    Names(["set/a", "set/0", str(name)]).find(name)


@given(st.lists(st.text("ab/.01", min_size=1, max_size=6), unique=True, max_size=8))
def test_an_id_finds_itself(inner: list[str]) -> None:
    ids = [f"set/{name}" for name in inner]
    same = Same(ids)
    assert all(same.find(image_id) == image_id for image_id in ids)
