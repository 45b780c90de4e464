"""The table "which loss sees what" against the code: an input, a sample or a state that a loss must not see is changed,
and the loss keeps its bits; one that it sees is changed, and the loss changes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from tests.batching.draws import draw
from tests.objectives.batches import FIRST_PHRASE, GROUNDING_LAYER, LAYERS, MASK, batch, model
from vlp.config import load
from vlp.methods.mvptr.batch import Batch
from vlp.methods.mvptr.config import Loss
from vlp.methods.mvptr.objectives.table import TABLE, Row, markdown
from vlp.methods.mvptr.reader import add_negative_noise
from vlp.methods.mvptr.steps import PretrainingStep

ROOT = Path(__file__).parents[4]
SIZE, UNMATCHED = 6, 3
ROWS = pytest.mark.parametrize("row", TABLE, ids=lambda r: r.loss)


def given() -> Batch:
    b = batch(SIZE, seed=1, phrases=2)
    b.matchable_B = torch.arange(SIZE) != UNMATCHED
    return b


def losses(b: Batch, m: nn.Module | None = None, wpg_negatives: str = "replaced") -> dict[str, tuple[float, float]]:
    """(sum, count) of each loss; floats of doubles: equal means equal bits."""
    step = PretrainingStep(m or model(), get_args(Loss), wpg_negatives=wpg_negatives)  # type: ignore[arg-type]
    with torch.no_grad():
        return {name: (float(x.total), float(x.count)) for name, x in step(b).items()}


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, tuple[float, float]]:
    return losses(given())


def changed(change: Callable[[Batch], None]) -> dict[str, tuple[float, float]]:
    b = copy.deepcopy(given())
    change(b)
    return losses(b)


# -- the table itself -------------------------------------------------------------------------------------------
PAPERS = {"mcr_visual", "mcr_text", "vsc", "mlm", "itm", "wpg"}
"""Losses of the paper; the demo has all of them. Others are asked for by name."""


def test_rows_are_the_losses_of_the_config() -> None:
    assert sorted(r.loss for r in TABLE) == sorted(get_args(Loss))
    stages = load(ROOT / "configs" / "demo.yaml").pretraining
    assert stages.stage1 is not None
    for number, losses in ((1, stages.stage1.losses), (2, stages.stage2.losses)):
        may = {r.loss for r in TABLE if number in r.stages}
        assert set(losses) <= may and PAPERS & may == set(losses)


def test_documentation_prints_the_table() -> None:
    assert markdown() in (ROOT / "vlp/methods/mvptr/equations.md").read_text(encoding="utf-8")


# -- views ------------------------------------------------------------------------------------------------------
def other_words(b: Batch) -> None:
    seen = b.text_mask_BL & (b.text_ids_BL > MASK) & (b.text_ids_BL < FIRST_PHRASE)
    b.text_ids_BL = torch.where(seen, 5 + (b.text_ids_BL - 4) % 25, b.text_ids_BL)


def other_phrases(b: Batch) -> None:
    seen = b.text_ids_BL >= FIRST_PHRASE
    assert seen.any()
    b.text_ids_BL = torch.where(seen, FIRST_PHRASE + (b.text_ids_BL - FIRST_PHRASE + 1) % 4, b.text_ids_BL)


def other_tags(b: Batch) -> None:
    b.tag_ids_BT = torch.where(b.tag_ids_BT > MASK, 5 + (b.tag_ids_BT - 4) % 25, b.tag_ids_BT)


def other_regions(b: Batch) -> None:
    b.regions_BRF = b.regions_BRF.roll(1, 0)


INPUTS = {"words": other_words, "phrases": other_phrases, "tags": other_tags, "regions": other_regions}


@ROWS
@pytest.mark.parametrize("what", INPUTS)
def test_a_loss_sees_the_inputs_of_its_row(row: Row, what: str, undisturbed: dict) -> None:
    found = changed(INPUTS[what])
    assert (found[row.loss] == undisturbed[row.loss]) is (getattr(row, what) == "unseen")


@pytest.mark.parametrize(
    ("targets", "loss", "what"),
    [("words", "mlm", "words"), ("phrases", "mcr_text", "phrases"), ("tags", "mcr_visual", "tags")],
)
def test_views_are_masked(targets: str, loss: str, what: str, undisturbed: dict) -> None:
    """Behind the masks stands another original: only the loss whose labels they are knows of it."""

    def other_originals(b: Batch) -> None:
        labels = getattr(b, targets).label_M
        labels.copy_((labels + 1) % 4)

    found = changed(other_originals)
    assert {name for name in found if found[name] != undisturbed[name]} == {loss}
    assert all(getattr(r, what) in ("masked", "unseen") for r in TABLE)


# -- samples ----------------------------------------------------------------------------------------------------
@ROWS
def test_a_sample_without_a_match_is_seen_by_those_that_take_all(row: Row, undisturbed: dict) -> None:
    def other_sample(b: Batch) -> None:
        for change in (other_words, other_tags, other_regions):
            one = copy.deepcopy(b)
            change(one)
            for name in ("text_ids_BL", "tag_ids_BT", "regions_BRF"):
                getattr(b, name)[UNMATCHED] = getattr(one, name)[UNMATCHED]

    found = changed(other_sample)
    assert (found[row.loss] == undisturbed[row.loss]) is row.samples.startswith("matchable")


@ROWS
def test_negatives_are_seen_by_itm_and_wpg(row: Row, undisturbed: dict) -> None:
    def other_draws(b: Batch) -> None:
        assert b.replace_image_B is not None
        kept = b.replace_image_B
        add_negative_noise(b, draw(len(b), 17))
        b.replace_image_B = kept

    found = changed(other_draws)
    assert (found[row.loss] != undisturbed[row.loss]) is (row.loss in ("itm", "wpg"))


def counts(b: Batch, wpg_negatives: str) -> dict[str, int]:
    """The normalisers of the table, counted one by one."""
    assert b.words and b.phrases and b.tags and b.matchable_B is not None and b.replace_image_B is not None
    matchable = [i for i in range(SIZE) if b.matchable_B[i]]
    phrased = [i for i in matchable if bool(b.phrase_mask_BP[i].any())]
    return {
        "masked tags": len(set(b.tags.concept_M.tolist())),
        "masked phrases": len(b.phrases.label_M),
        "matchable samples": len(matchable),
        "masked word pieces": len(b.words.label_M),
        "matchable samples and their negatives": 2 * len(matchable),
        "these texts": len(phrased if wpg_negatives == "all" else [i for i in phrased if b.replace_image_B[i]]),
    }


@pytest.mark.parametrize("wpg_negatives", ["replaced", "all"])
def test_sums_are_divided_by_what_the_table_says(wpg_negatives: str) -> None:
    b = batch(SIZE, seed=6)
    b.matchable_B = torch.arange(SIZE) != UNMATCHED
    found, want = losses(b, wpg_negatives=wpg_negatives), counts(b, wpg_negatives)
    assert 0 < want["these texts"] < want["matchable samples"]
    assert {r.loss: found[r.loss][1] for r in TABLE} == {r.loss: want[r.normaliser] for r in TABLE}


# -- states -----------------------------------------------------------------------------------------------------
def layer(m: nn.Module, encoder: str, number: int) -> nn.Module:
    return m.get_submodule(f"{encoder}.layers.{number - 1}")


READS = {
    "text encoder": {"text_encoder"},
    "visual encoder": {"visual_encoder"},
    "both encoders": {"text_encoder", "visual_encoder"},
    "multimodal: grounding layer": {"text_encoder", "visual_encoder", *(f"multimodal {i + 1}" for i in range(2))},
    "multimodal: last": {"text_encoder", "visual_encoder", *(f"multimodal {i + 1}" for i in range(3))},
}


@ROWS
@pytest.mark.parametrize("place", sorted(READS["multimodal: last"]))
def test_a_loss_reads_the_states_of_its_row(row: Row, place: str, undisturbed: dict) -> None:
    """The output of one layer is disturbed: what reads this layer or one above it changes, all else does not."""
    assert (GROUNDING_LAYER, LAYERS) == (2, 3)
    m = model()
    encoder, _, number = place.partition(" ")
    disturbed = layer(m, "multimodal_encoder" if number else encoder, int(number) if number else LAYERS)
    noise = torch.Generator().manual_seed(0)

    def disturb(_module: nn.Module, _inputs: tuple, out: Tensor) -> Tensor:
        return out + 0.1 * torch.randn(out.shape, generator=noise, dtype=out.dtype)

    disturbed.register_forward_hook(disturb)
    found = losses(given(), m)
    assert (found[row.loss] != undisturbed[row.loss]) is (place in READS[row.states])


@ROWS
def test_a_loss_trains_the_parts_of_its_row(row: Row) -> None:
    m = model()
    PretrainingStep(m, get_args(Loss))(given())[row.loss].total.backward()
    moved = {n for n, p in m.named_parameters() if p.grad is not None and bool((p.grad != 0).any())}
    assert {n.partition(".")[0] for n in moved} == set(row.trains)
    layers = {int(n.split(".")[2]) + 1 for n in moved if n.startswith("multimodal_encoder")}
    top = {"multimodal: grounding layer": GROUNDING_LAYER, "multimodal: last": LAYERS}.get(row.states, 0)
    assert layers == set(range(1, top + 1))
