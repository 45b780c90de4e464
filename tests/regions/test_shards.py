"""Stores of many files, their batches and their ground-truth tags; what is damaged is named."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.regions.many_files import COUNTS, NAMES, write_file, write_folder
from vlp.errors import InputError
from vlp.files import STORE_MANIFEST, sha256
from vlp.regions.annotate import annotate, truth_tags
from vlp.regions.folder import write_manifest
from vlp.regions.shard import Shard
from vlp.regions.staging import stage
from vlp.regions.store import RegionStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "store")


def test_a_folder_reads_as_its_files_do(folder: Path) -> None:
    store = pickle.loads(pickle.dumps(RegionStore(folder)))
    assert store.image_ids == [f"t/{10**i}" for i in range(6)] and len(store) == 6
    assert (store.rows, store.feature_size, store.class_names) == (77, 4, NAMES)
    assert store.counts.tolist() == [count for counts in COUNTS for count in counts]
    for path in sorted(folder.glob("*.h5")):
        part = RegionStore(path)
        for image_id in part.image_ids:
            ours, theirs = store.regions(image_id), part.regions(image_id)
            for name in ("features", "boxes", "geometry", "classes", "scores", "attributes", "attribute_scores"):
                np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
            assert store.tags(image_id) == part.tags(image_id)
            assert store.image_size(image_id) == part.image_size(image_id)
    assert [store.index(i) for i in store.image_ids] == list(range(6))
    assert "t/7" not in store and "t/1000000000000" not in store


def test_padded_and_ragged_are_the_regions_one_by_one(folder: Path) -> None:
    store = RegionStore(folder)
    wanted = ["t/100000", "t/10", "t/1", "t/1000", "t/1"]
    padded, ragged = store.padded(wanted), store.ragged(wanted)
    assert padded.features.shape == (5, 50, 4) and padded.features.dtype == np.float16
    assert padded.lengths.tolist() == np.diff(ragged.offsets).tolist() == [50, 0, 3, 2, 3]
    for b, image_id in enumerate(wanted):
        one, rows = store.regions(image_id, limit=50), slice(*ragged.offsets[b : b + 2])
        for name in ("features", "boxes", "geometry", "classes", "scores", "attributes", "attribute_scores"):
            alone = getattr(one, name)
            np.testing.assert_array_equal(getattr(padded, name)[b, : len(one)], alone)
            np.testing.assert_array_equal(getattr(ragged, name)[rows], alone)
    rest = ~padded.mask
    assert not padded.features[rest].any() and not padded.geometry[rest].any()
    assert (padded.classes[rest] == -1).all() and (padded.attributes[rest] == -1).all()
    assert np.isnan(padded.scores[rest]).all()
    assert (np.diff(padded.scores[0]) <= 0).all()  # the first 50 by score
    assert store.padded([]).features.shape == (0, 50, 4) and len(store.ragged([]).features) == 0
    with pytest.raises(InputError, match="row t/9: the image is not in the store"):
        store.padded(["t/1", "t/9"])


def test_files_without_attributes_and_digest_still_read(folder: Path) -> None:
    path = folder / "part-0.h5"
    with h5py.File(path, "r+") as file:
        for name in ("attributes", "attribute_scores", "attribute_names"):
            del file[name]
        del file.attrs["index_sha256"]
    store = RegionStore(path)
    found, batch = store.regions("t/100"), store.padded(["t/100"], 8)
    assert found.attributes is not None and found.attributes.tolist() == [-1] * 7
    assert np.isnan(found.attribute_scores).all() and (batch.attributes == -1).all()  # type: ignore[arg-type]
    assert store.attribute_names == [] and not store.has_truth and store.truth("t/1") is None


def test_the_digest_is_the_manifests(folder: Path) -> None:
    before = sha256(folder)
    assert before == sha256(folder / STORE_MANIFEST)
    written = json.loads((folder / STORE_MANIFEST).read_text())
    assert [(s["start"], s["stop"]) for s in written["shards"]] == [(0, 3), (3, 4), (4, 6)]
    assert all(sha256(folder / s["file"]) == s["sha256"] for s in written["shards"])
    write_manifest(folder)
    assert sha256(folder) == before
    (folder / "part-1.h5").unlink()
    write_file(folder / "part-1.h5", 40, [2])
    write_manifest(folder)
    assert sha256(folder) != before


def _flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def _place(path: Path, name: str) -> int:
    with h5py.File(path) as file:
        return file[name].id.get_offset()  # type: ignore[union-attr]


def test_a_flipped_byte_of_the_index_is_noticed_on_opening(folder: Path) -> None:
    path = folder / "part-2.h5"
    for name in ("image_ids", "class_names", "offsets", "image_sizes", "checksums"):
        place = _place(path, name)
        _flip(path, place)
        for store in (path, folder):
            with pytest.raises(InputError, match=r"part-2\.h5: the index \(ids, sizes, names\) is damaged"):
                RegionStore(store)
        _flip(path, place)
    assert len(RegionStore(folder)) == 6


def test_a_flipped_byte_of_a_row_is_named_by_verify_and_staging(folder: Path, tmp_path: Path) -> None:
    path = folder / "part-2.h5"
    _flip(path, _place(path, "boxes") + 5 * 16)  # first row of the second image
    assert list(RegionStore(folder).damaged()) == [(path, "t/100000")]
    with pytest.raises(InputError, match="row t/100000: the bytes do not give the checksum"):
        RegionStore(path, verify=True)
    with pytest.raises(InputError, match=r"part-2\.h5: the bytes do not give the digest of the manifest"):
        stage(folder, tmp_path / "local")
    with pytest.raises(InputError, match="has no manifest"):  # what was begun is no store
        RegionStore(tmp_path / "local" / "store")
    with pytest.raises(InputError, match="row t/100000: the bytes do not give the checksum"):
        write_manifest(folder)


def test_checksums_are_compared_once_in_a_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    whole = Shard.check_whole
    monkeypatch.setattr(Shard, "check_whole", lambda self, remedy: calls.append(self.path) or whole(self, remedy))
    for _ in range(3):
        RegionStore(folder / "part-0.h5", verify=True).padded(["t/1"])
    assert calls == [folder / "part-0.h5"]


def test_other_files_than_the_manifest_tells_of_are_named(folder: Path, tmp_path: Path) -> None:
    path, aside = folder / "part-1.h5", tmp_path / "aside.h5"
    path.rename(aside)
    with pytest.raises(InputError, match=r"row part-1\.h5: the file is missing in the folder"):
        RegionStore(folder)
    path.write_bytes(aside.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"part-1\.h5: the file is cut short or another one"):
        RegionStore(folder)
    path.unlink()
    write_file(path, 3, [2], ["circle", "square", "stir"])
    with pytest.raises(InputError, match=r"part-1\.h5: the file is not the one that the manifest tells of"):
        RegionStore(folder)
    with pytest.raises(InputError, match=r"part-1\.h5: its class_names is not that of part-0\.h5"):
        write_manifest(folder)
    assert not (folder / STORE_MANIFEST).exists()


def test_an_image_in_two_files_is_named(folder: Path) -> None:
    write_file(folder / "part-3.h5", 2, [1])
    with pytest.raises(InputError, match="row t/100: the image id comes twice"):
        write_manifest(folder)
    assert not (folder / STORE_MANIFEST).exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("{}", "not a manifest of a region store"),
        ('{"format": "x"}', "the format is 'x'"),
        ('{"format": "vlp-regions-folder/1", "shards": []}', "do not follow one another"),
        ('{"format": "vlp-regions-folder/1", "shards": [{"file": 1}]}', "file is not a str"),
    ],
)
def test_damaged_manifests_are_named(folder: Path, text: str, message: str) -> None:
    (folder / STORE_MANIFEST).write_text(text)
    with pytest.raises(InputError, match=message):
        RegionStore(folder)


def test_ground_truth_tags_are_kept_beside_the_detectors(folder: Path, tmp_path: Path) -> None:
    objects = [
        {"image_id": image_id, "class_name": name}
        for image_id, name in (("t/1", "zebra"), ("t/1", "apple"), ("t/1", "zebra"), ("t/1000", "star"), ("x/1", "no"))
    ]
    truth = truth_tags(objects) | {"t/10": []}
    assert truth == {"t/1": ["zebra", "apple"], "t/1000": ["star"], "x/1": ["no"], "t/10": []}
    with pytest.raises(InputError, match=r"no ground-truth tags\. Add them \(vlp regions annotate\)"):
        RegionStore(folder).tags("t/1", "ground_truth")
    assert annotate(folder, truth, tmp_path / "new") == 3
    old, new = RegionStore(folder), RegionStore(tmp_path / "new")
    assert list(new.damaged()) == [] and new.truth_names == ["apple", "star", "zebra"]
    assert new.tags("t/1", "ground_truth") == ["zebra", "apple"]  # in the annotation's order, each once
    assert new.tags("t/10", "ground_truth") == [] and new.truth("t/10") == []
    assert new.truth("t/100") is None and new.tags("t/100", "ground_truth") == old.tags("t/100")
    for image_id in old.image_ids:
        assert new.tags(image_id) == old.tags(image_id)
        np.testing.assert_array_equal(new.regions(image_id).features, old.regions(image_id).features)
    with pytest.raises(InputError, match="names none of its images"):
        annotate(folder / "part-0.h5", {"x/1": []}, tmp_path / "none.h5")
    assert not (tmp_path / "none.h5").exists()
    with pytest.raises(ValueError, match="no tag source 'both'"):
        new.tags("t/1", "both")  # type: ignore[arg-type]


def test_a_changed_ground_truth_tag_is_noticed(folder: Path) -> None:
    path = folder / "part-0.h5"
    annotate(path, {"t/1": ["zebra"]}, path)
    assert list(RegionStore(path).damaged()) == []
    with h5py.File(path, "r+") as file:
        file["truth_names"][0] = b"horse"  # type: ignore[index]
        del file.attrs["index_sha256"]
    assert list(RegionStore(path).damaged()) == [(path, "t/1")]
