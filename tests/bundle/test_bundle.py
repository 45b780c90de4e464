import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report import fabricate
from vlp.bundle import contents, pack, verify
from vlp.config import Experiment, load
from vlp.errors import InputError
from vlp.files import sha256
from vlp.report import results
from vlp.tracking import journal as journals
from vlp.tracking import track

BOUNDS = "bounds.csv"


def forged(bundle: Path, place: Path, name: str, change: Callable[[Path], object], redone: bool = True) -> Path:
    """The bundle with one file changed; `redone`: with that file's digest in the manifest."""
    known, _ = verify.unpack(bundle, place)
    change(place / name)
    files = {n: place / n for n in known.packed}
    packed = {**known.packed, **contents.entries({name: place / name})} if redone else known.packed
    value = {**known.json(), "packed": {n: vars(entry) for n, entry in packed.items()}}
    value["left_out"] = {n: vars(entry) for n, entry in known.left_out.items()}
    out = place.with_name("forged.tar")
    pack.write(out, pack.text(contents.manifest(value)), files)
    return out


def replaced(old: str, new: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        before = path.read_text()
        assert old in before
        path.write_text(new.join(before.rsplit(old, 1)))

    return change


def other_answer(path: Path) -> None:
    table = pq.read_table(path)
    answers = ["no", *table["answer"].to_pylist()[1:]]
    at = table.column_names.index("answer")
    pq.write_table(table.set_column(at, "answer", pa.array(answers)), path)


def differing(found: verify.Verdict) -> dict[str, list[str]]:
    return {name: lines for name, lines in found.wrong.items() if lines}


def test_an_untouched_bundle_fits_in_another_place(bundle: Path, finished: Experiment, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.tar"
    moved.write_bytes(bundle.read_bytes())
    hidden = finished.folder.rename(tmp_path / "hidden")  # nothing outside the bundle is read
    try:
        found = verify.verify(moved)
    finally:
        hidden.rename(finished.folder)
    assert differing(found) == {}
    table = results.read(finished.folder / "results.csv")
    assert found.checked["results.csv"] == len(table) * len(results.COLUMNS) > 0
    assert all(found.checked[name] > 0 for name in found.checked if name != BOUNDS)
    assert found.fits


def test_the_same_experiment_gives_the_same_bytes(bundle: Path, finished: Experiment, tmp_path: Path) -> None:
    pack.pack(finished, tmp_path / "again.tar")
    assert sha256(tmp_path / "again.tar") == sha256(bundle)


def test_weights_and_features_stay_out_but_their_digests_do_not(bundle: Path, finished: Experiment) -> None:
    with tarfile.open(bundle) as tar:
        names = tar.getnames()
    assert names[0] == contents.MANIFEST
    assert not any(name.endswith(("safetensors", "regions.h5", ".png")) for name in names)
    known, _ = verify.unpack(bundle, finished.folder.parent / "read")
    for name in ("models/vqa.full/model.safetensors", "regions/regions.h5"):
        assert known.left_out[name].sha256 == sha256(finished.folder / name)
    assert known.digest("models/stage2") == sha256(finished.folder / "models" / "stage2")
    assert known.digest("tables") == sha256(finished.folder / "tables")
    assert known.digest("nothing") is None


@pytest.mark.parametrize(
    ("name", "change", "check", "place"),
    [
        ("predictions/vqa.full.test.parquet", other_answer, "results.csv", "vqa / shapes / test"),
        ("predictions/vqa.full.test.parquet", other_answer, "digests in the journals", "predict-vqa.full.test wrote"),
        ("results.csv", replaced(",33.333333,", ",33.333343,"), "results.csv", "computed again '33.333333'"),
        ("report.html", replaced("<b>100.00</b>", "<b>99.00</b>"), "report.html", "'99.00', computed again '100.00'"),
        ("statistics.json", replaced('"seed": 7', '"seed": 8'), "statistics.json", "seed: 8, computed again 7"),
        ("published.json", replaced("95.2", "95.3"), "published numbers", "2 / LightningDot / retrieval"),
        ("costs.csv", replaced("FINISHED", "FAILED"), "costs.csv", "computed again 'FINISHED'"),
        ("regions/quality.json", replaced('"found": 12', '"found": 11'), "regions/quality.json", "test: found: 11"),
        ("tables/summary.json", replaced('"test": 6', '"test": 5'), "tables/summary.json", "test: 5, computed again 6"),
    ],
)
def test_what_was_forged_with_its_digest_is_named(
    bundle: Path, tmp_path: Path, name: str, change: Callable[[Path], None], check: str, place: str
) -> None:
    found = verify.verify(forged(bundle, tmp_path / "open", name, change))
    assert found.wrong["bytes"] == []
    assert any(place in line for line in found.wrong[check]), differing(found)
    assert not found.fits


def test_a_changed_file_and_a_changed_digest_are_named(bundle: Path, tmp_path: Path) -> None:
    name = "predictions/entailment.full.test.parquet"
    found = verify.verify(forged(bundle, tmp_path / "one", name, lambda p: p.write_bytes(b"PAR1"), redone=False))
    assert [line.split(":")[0] for line in found.wrong["bytes"]] == [name]
    assert any(name.rpartition("/")[2] in line for line in found.wrong["results.csv"])
    known, _ = verify.unpack(bundle, tmp_path / "two")
    value = json.loads(pack.text(known))
    value["left_out"]["models/vqa.full/model.safetensors"]["sha256"] = "0" * 64
    pack.write(tmp_path / "digest.tar", json.dumps(value).encode(), {n: tmp_path / "two" / n for n in known.packed})
    found = verify.verify(tmp_path / "digest.tar")
    assert any("checkpoint_sha256" in line and "'0000" in line for line in found.wrong["results.csv"])
    assert any(line.startswith("models/vqa.full: predict-vqa") for line in found.wrong["digests in the journals"])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_changed_byte_anywhere_is_found(
    bundle: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = bundle.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    bit = data.draw(st.integers(0, 7))
    place = tmp_path_factory.mktemp("flipped")
    (place / "b.tar").write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
    try:
        _, wrong = verify.intact(place / "b.tar", place / "open")
    except InputError as error:
        wrong = [str(error)]
    assert wrong


def test_a_cut_bundle_names_what_is_missing(bundle: Path, tmp_path: Path) -> None:
    whole = bundle.read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2])
    _, wrong = verify.intact(tmp_path / "cut.tar", tmp_path / "open")
    assert any("is missing" in line for line in wrong)
    (tmp_path / "none.tar").write_bytes(whole[:100])
    with pytest.raises(InputError, match=r"none\.tar: .*(not a bundle|manifest)"):
        verify.verify(tmp_path / "none.tar")
    with pytest.raises(InputError, match="missing"):
        verify.verify(tmp_path / "nowhere.tar")


def test_an_experiment_that_has_changed_or_is_not_finished_is_not_packed(finished: Experiment, tmp_path: Path) -> None:
    path = finished.folder / "predictions" / "vqa.full.test.parquet"
    before = path.read_bytes()
    path.write_bytes(before + b" ")
    with pytest.raises(InputError, match=r"predictions/vqa\.full\.test\.parquet: predict-vqa\.full\.test wrote"):
        pack.pack(finished, tmp_path / "b.tar")
    path.write_bytes(before)
    page = finished.folder / "report.html"
    hidden = page.rename(tmp_path / "report.html")
    with pytest.raises(InputError, match=r"report\.html: is missing"):
        pack.pack(finished, tmp_path / "b.tar")
    hidden.rename(page)
    assert not (tmp_path / "b.tar").exists()


@pytest.mark.parametrize("said", [{}, {"vqa": "another"}])
def test_a_bundle_of_another_evaluator_is_told(bundle: Path, tmp_path: Path, said: dict[str, str]) -> None:
    """One that was packed before evaluators were named has none."""
    place = tmp_path / "unpacked"
    known, _ = verify.unpack(bundle, place)
    files = {p.relative_to(place).as_posix(): p for p in place.rglob("*") if p.is_file()}
    files = {name: p for name, p in files.items() if name not in (contents.MANIFEST, contents.DIGEST)}
    old = tmp_path / "old.tar"
    pack.write(old, pack.text(replace(known, evaluators=said)), files)
    (line,) = verify.verify(old).wrong["evaluators"]
    assert line.startswith("vqa: its numbers were made by '") and (said.get("vqa") or "an earlier version") in line
    assert "newest" not in line and "rows of this task differ for that reason" in line


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_clock_that_was_set_changes_no_verdict(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """Between the results and the report, and once more after it."""
    real, shift = journals.time.time, [0.0]
    monkeypatch.setattr(journals.time, "time", lambda: real() + shift[0])
    made = fabricate.experiment(tmp_path_factory.mktemp("made"))
    config, _ = fabricate.finish(made, tmp_path / "finished", between=lambda: shift.append(shift.pop() + 3600 * hours))
    shift[0] -= 3600 * hours / 2
    again = load(config)
    with track(again, "another"):
        pass
    pack.pack(again, tmp_path / "b.tar")
    found = verify.verify(tmp_path / "b.tar")
    assert {name: lines for name, lines in found.wrong.items() if lines and name in ("costs.csv", "report.html")} == {}
