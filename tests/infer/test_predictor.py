"""What a predictor says is what its model computes, on inputs that are those of training."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.infer.lab import LAYER, TEXTS, Lab
from vlp.batching.inputs import Inputs
from vlp.errors import InputError
from vlp.files import read_json
from vlp.images.pictures import open_picture
from vlp.infer import Predictor
from vlp.methods.mvptr import directory
from vlp.methods.mvptr.reading import Reading
from vlp.tasks import make
from vlp.tasks.grounding import Grounding

pytestmark = pytest.mark.slow

MASKED = "a red [MASK] above a blue disc"


def test_input_is_the_masked_text_with_masked_concepts(lab: Lab, predictor: Predictor) -> None:
    """(square, red) and (square, above, disc) hold the masked word: [MASK] stands in their places too."""
    known = {r.parts: r.id for r in predictor.own._phrases.records}
    words = predictor.own.tokenizer.convert_tokens_to_ids(["[CLS]", "a", "red", "[MASK]", "above", "a", "blue", "disc"])
    mask, sep = predictor.own.tokenizer.convert_tokens_to_ids(["[MASK]", "[SEP]"])
    batch = predictor.batch(lab.image()[1], MASKED)
    assert batch.text_ids_BL[0].tolist() == [*words, mask, mask, known["disc", "blue"], sep]


def test_filled_masks_and_scores_are_the_models_own(lab: Lab, predictor: Predictor) -> None:
    image = lab.image()[1]
    answer, batch, m = predictor(image=image, text=MASKED, top_k=4), predictor.batch(image, MASKED), predictor.model
    with torch.no_grad():
        s = m.unimodal(batch)
        last = m.multimodal(s.text_BLD, batch.text_mask_BL, s.regions_BRD, batch.region_mask_BR)[-1]
        p = m.mlm_logits(last[0, 3]).softmax(-1).numpy()
        match = m.itm_logits(last).softmax(-1)[0, 0].item()
        text, visual = m.contrast_vectors(s)
    best = np.argsort(-p, kind="stable")[:4]
    (filled,) = answer.words
    assert filled.start == MASKED.index("[MASK]")
    assert [w for w, _ in filled.candidates] == predictor.own.tokenizer.convert_ids_to_tokens(best.tolist())
    np.testing.assert_allclose([q for _, q in filled.candidates], p[best], rtol=1e-5)
    assert answer.match == pytest.approx(match, rel=1e-5)
    assert answer.cosine == pytest.approx(float(torch.nn.functional.cosine_similarity(text, visual)[0]), rel=1e-5)


def test_two_masks_are_filled_in_their_order(lab: Lab, predictor: Predictor) -> None:
    answer = predictor(image=lab.image()[1], text="a [mask] square above a blue [MASK]")
    assert answer.text == "a [MASK] square above a blue [MASK]"
    assert [f.start for f in answer.words] == [2, 29]
    assert all(sum(q for _, q in f.candidates) <= 1 and len(f.candidates) == 5 for f in answer.words)


@pytest.mark.parametrize("name", ["stage2", "grounding"])
def test_boxes_are_those_of_the_task(lab: Lab, name: str) -> None:
    """Every test caption, from raw pixels, against the task's predictions from corpus and store."""
    predictor = Predictor.from_pretrained(lab.model(name))
    reading = Reading(1, "concepts") if name == "stage2" else Reading(LAYER, "tokens")
    assert predictor.own.reading == reading
    task = make("grounding", Inputs(lab.experiment, lab.paths), "full")
    assert isinstance(task, Grounding)
    table = task.predict_with(directory.load(lab.model(name)).eval(), "test", [reading]).to_pylist()
    wanted = {r["phrase_id"]: r["box"] for r in table}
    compared = 0
    for row in (r for r in lab.world.images if r["split"] == "test"):
        caption = task.side.reader.texts.ids.index(f"{row['image_id']}#0")
        phrases = task.phrases(caption)
        answer = predictor(image=lab.world.folder / "raw" / row["path"], text=_caption(lab, row["image_id"]))
        boxes = {(p.start, p.end): p.box for p in answer.phrases}
        for phrase in phrases:
            np.testing.assert_allclose(boxes[phrase["start"], phrase["end"]], wanted[phrase["phrase_id"]], atol=0.1)
            compared += 1
    assert compared >= 3


def _caption(lab: Lab, image_id: str) -> str:
    from vlp.data.tables import rows

    return next(r["text"] for r in rows(lab.paths.tables, "captions") if r["image_id"] == image_id)


def test_raw_pixels_and_region_store_say_the_same(lab: Lab, predictor: Predictor) -> None:
    image_id, image = lab.image()
    raw = predictor(image=image, text=MASKED)
    stored = predictor(image=image, text=MASKED, regions=lab.paths.regions, image_id=image_id)
    blank = predictor(text=MASKED, regions=lab.paths.regions, image_id=image_id)
    for other in (stored, blank):
        assert [w for w, _ in other.words[0].candidates] == [w for w, _ in raw.words[0].candidates]
        assert other.match == pytest.approx(raw.match, abs=1e-3)
        for a, b in zip(raw.phrases, other.phrases, strict=True):
            assert a.region == b.region and a.region_class == b.region_class
            np.testing.assert_allclose(a.box, b.box, atol=0.1)


def test_the_image_decides(lab: Lab, predictor: Predictor) -> None:
    answers = [predictor(image=lab.image(split)[1], text=MASKED) for split in ("test", "val")]
    assert answers[0].cosine != answers[1].cosine and answers[0].phrases != answers[1].phrases


def test_model_directory_alone_is_enough_wherever_it_is(lab: Lab, predictor: Predictor, tmp_path: Path) -> None:
    for name in ("stage2", "vqa", "entailment", "grounding"):
        record = read_json(lab.model(name) / "inputs.json")
        assert record["detector"]["carried"] and record["parser_version"].startswith("en_core_web_sm")
        assert (lab.model(name) / "detector/detector.safetensors").read_bytes() == (
            lab.detector / "detector.safetensors"
        ).read_bytes()
    moved = tmp_path / "moved"
    shutil.copytree(lab.model("stage2"), moved)
    image = lab.image()[1]
    again = Predictor.from_pretrained(moved)(image=open_picture(image), text=MASKED)
    assert again.found == predictor(image=image, text=MASKED).found


def test_vqa_model_answers_and_says_what_it_does_not(lab: Lab) -> None:
    answer = Predictor.from_pretrained(lab.model("vqa"))(image=lab.image()[1], text="what is red?")
    assert {name for name, _ in answer.answers} == {"disc", "square"}
    assert answer.answers[0][1] >= answer.answers[1][1] > 0
    with pytest.raises(InputError, match="it answers questions; none of its objectives scores the match"):
        _ = answer.match
    with pytest.raises(InputError, match="grounds phrases"):
        answer.draw("never.png")
    with pytest.raises(InputError, match="fills no masks: it answers questions"):
        Predictor.from_pretrained(lab.model("vqa"))(image=lab.image()[1], text="what is [MASK]?")


def test_entailment_model_tells_the_three_classes(lab: Lab) -> None:
    answer = Predictor.from_pretrained(lab.model("entailment"))(image=lab.image()[1], text="a red disc")
    assert list(answer.entailment) == ["contradiction", "neutral", "entailment"]
    assert sum(answer.entailment.values()) == pytest.approx(1, abs=1e-5)
    assert max(answer.entailment, key=lambda k: answer.entailment[k]) in ("entailment", "neutral")


def test_long_text_is_cut_as_in_training_and_said(lab: Lab, predictor: Predictor) -> None:
    long = TEXTS[0] + " beside a red disc above a red square"
    answer = predictor(image=lab.image()[1], text=long)
    assert any("'disc above a red square'" in note for note in answer.notes)
    assert [p.text for p in answer.phrases] == ["a red square", "a blue disc"]
    with pytest.raises(InputError, match=r"10; a mask stands in what was cut.*Shorten"):
        predictor(image=lab.image()[1], text=long.removesuffix("square") + "[MASK]")


def test_bad_calls_name_the_remedy(lab: Lab, predictor: Predictor, tmp_path: Path) -> None:
    image = lab.image()[1]
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(image.read_bytes()[:200])
    with pytest.raises(InputError, match=r"nowhere.jpg: the image file is missing"):
        predictor(image="nowhere.jpg", text="a disc")
    with pytest.raises(InputError, match=r"bad.jpg: the image cannot be read"):
        predictor(image=bad, text="a disc")
    with pytest.raises(InputError, match="it is empty"):
        predictor(image=image, text="  ")
    with pytest.raises(InputError, match="Give --image"):
        predictor(text="a disc")
    with pytest.raises(InputError, match="Give --image-id"):
        predictor(text="a disc", regions=lab.paths.regions)
    with pytest.raises(InputError, match="not in the store"):
        predictor(text="a disc", regions=lab.paths.regions, image_id="toy/none")
    with pytest.raises(InputError, match="not a model directory: it has no config"):
        Predictor.from_pretrained(tmp_path)


def test_missing_and_other_detectors_are_refused(lab: Lab, tmp_path: Path) -> None:
    from vlp.regions import detector as detectors

    image, bare = lab.image()[1], tmp_path / "bare"
    shutil.copytree(lab.model("stage2"), bare, ignore=shutil.ignore_patterns("detector"))
    digest = read_json(bare / "inputs.json")["detector"]["sha256"]
    with pytest.raises(InputError, match=rf"does not carry its detector .weights {digest}.*--detector"):
        Predictor.from_pretrained(bare)(image=image, text="a disc")
    given = Predictor.from_pretrained(bare, lab.detector)(image=image, text="a disc")
    assert given.found == Predictor.from_pretrained(lab.model("stage2"))(image=image, text="a disc").found
    own, facts = detectors.load(lab.detector / "detector.safetensors")
    own.feature_mean += 1
    detectors.save(tmp_path / "other" / "detector.safetensors", own, facts["training"])
    with pytest.raises(InputError, match=rf"its digest is .* the model's is {digest}"):
        Predictor.from_pretrained(bare, tmp_path / "other")(image=image, text="a disc")
    with pytest.raises(InputError, match="weights are missing"):
        Predictor.from_pretrained(bare, tmp_path / "nowhere")(image=image, text="a disc")


def test_pictures_handed_over_are_read_as_files_are(lab: Lab, predictor: Predictor, tmp_path: Path) -> None:
    """PIL objects and arrays of any depth give what the file gives; what was decided is said."""
    from PIL import Image

    path, text = lab.image()[1], TEXTS[0]
    upright = open_picture(path)
    wanted = predictor(image=path, text=text)
    pixels = np.asarray(upright)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = tmp_path / "turned.png"
    upright.transpose(Image.Transpose.ROTATE_90).save(turned, exif=exif)
    deep = pixels.astype(np.uint16) * 257
    clear = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    with Image.open(turned) as opened:
        for handed in (upright, pixels, deep, pixels / 255, clear, Image.fromarray(clear), turned, opened):
            answer = predictor(image=handed, text=text)
            assert answer.match == wanted.match and [p.box for p in answer.phrases] == [p.box for p in wanted.phrases]
    assert predictor(image=turned, text=text).notes == ("the image: turned upright, as its EXIF data say",)
    assert predictor(image=pixels / 255, text=text).notes == ("the image: float numbers are taken as 0 to 1",)
    for size in ((3000, 3), (3, 3000)):
        thin = predictor(image=Image.new("RGB", size, "red"), text=text)
        assert all(0 <= p.box[0] <= p.box[2] <= size[0] and 0 <= p.box[1] <= p.box[3] <= size[1] for p in thin.phrases)
        thin.draw(tmp_path / "thin.png")
    with pytest.raises(InputError, match=r"^image: an array|^image: the image cannot be read \(an array of 5"):
        predictor(image=np.zeros(5), text=text)
    assert predictor.batch(pixels, text).text_ids_BL.tolist() == predictor.batch(path, text).text_ids_BL.tolist()
