"""Tables 5 and 8 of the paper (4.5.2, C.1): how many phrases of the vocabulary a corpus has, and which ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from vlp.data.tables import read_table
from vlp.errors import InputError
from vlp.phrases.graph import Phrase
from vlp.phrases.vocabulary import PhraseVocabulary

Text = tuple[str, Sequence[Phrase]]
"""Image id and the text's phrases."""

TEXT_SETS = {"captions": None, "questions": "VQA", "entailment": "SNLI-VE"}
"""Table of texts -> its row of Table 5; captions have the row of their data set."""
CAPTION_ROWS = {"coco": "MSCOCO", "flickr30k": "Flickr30k"}


@dataclass(frozen=True)
class Statistics:
    """Of the valid phrases, which are those of the vocabulary; a phrase counts once for each text that has it."""

    texts: int
    texts_with_phrase: int
    images: int
    mined: int
    """Different phrases, valid or not."""
    all: int
    """Sum of the frequencies."""
    unique: int
    per_text: float
    per_image: float
    """`all` over the number of images: an image's texts together."""
    mean_frequency: float
    """Texts that have a phrase, mean over the phrases that occur."""
    median_frequency: float
    attributes: tuple[str, ...]
    """The most frequent ones, in the paper's spelling."""
    relations: tuple[str, ...]

    @property
    def frequent(self) -> tuple[str, ...]:
        return (*self.attributes[:3], *self.relations[:2])


def statistics(texts: Iterable[Text], vocabulary: PhraseVocabulary, examples: int = 5) -> Statistics:
    """Table 8 (C.1) of a corpus; Table 5 (4.5.2) takes `unique`, `per_text` and the frequent ones of it.

    Args:
        texts: image id and phrases of each text; phrases outside the vocabulary are left out.
        examples: how many of the most frequent phrases to name, attributes and relations apart.
    """
    counts: Counter[tuple[str, ...]] = Counter()
    images: set[str] = set()
    mined: set[tuple[str, ...]] = set()
    number = filled = 0
    for image_id, phrases in texts:
        number += 1
        images.add(image_id)
        every = {p.parts for p in phrases}
        valid = [parts for parts in every if vocabulary.id_of(parts) is not None]
        mined |= every
        filled += bool(valid)
        counts.update(valid)
    total = sum(counts.values())
    ranked = sorted(counts, key=lambda parts: (-counts[parts], parts))
    return Statistics(
        texts=number,
        texts_with_phrase=filled,
        images=len(images),
        mined=len(mined),
        all=total,
        unique=len(counts),
        per_text=total / number if number else 0.0,
        per_image=total / len(images) if images else 0.0,
        mean_frequency=total / len(counts) if counts else 0.0,
        median_frequency=float(median(counts.values())) if counts else 0.0,
        attributes=tuple(spelled(p) for p in ranked if len(p) == 2)[:examples],
        relations=tuple(spelled(p) for p in ranked if len(p) == 3)[:examples],
    )


def spelled(parts: Sequence[str]) -> str:
    """As the paper writes phrases: `(man, young)` young-man, `(man, sit on, bench)` man-sit on-bench."""
    return "-".join(reversed(parts) if len(parts) == 2 else parts)


def table5(
    tables: str | Path, phrases: Mapping[str, Sequence[Phrase]], vocabulary: PhraseVocabulary
) -> dict[str, Statistics]:
    """Row -> statistics of each data set's captions, of the questions and of the hypotheses; all splits.

    Raises:
        InputError: a text was not mined.
    """
    found: dict[str, Statistics] = {}
    for name_of_table, row in TEXT_SETS.items():
        records = list(_texts(tables, name_of_table, phrases))
        for name in sorted({_data_set(image_id) for image_id, _ in records}):
            label = CAPTION_ROWS.get(name, name) if row is None else _row(row, name)
            found[label] = statistics((r for r in records if _data_set(r[0]) == name), vocabulary)
    return found


def table8(tables: str | Path, phrases: Mapping[str, Sequence[Phrase]], vocabulary: PhraseVocabulary) -> Statistics:
    """Of the train captions, which the vocabulary is mined from. Raises InputError: a text was not mined."""
    return statistics(_texts(tables, "captions", phrases, "train"), vocabulary)


def printed(fifth: Mapping[str, Any], eighth: Mapping[str, Any]) -> dict[str, Any]:
    """`table5` and `table8` as the paper prints them, by the names of `Statistics`.

    Args:
        fifth, eighth: `rows` (name -> statistic -> value) and `frequent` of both tables.
    """
    rows = {name: {**values, "frequent": fifth["frequent"][name]} for name, values in fifth["rows"].items()}
    return {"table5": rows, "table8": {**eighth["rows"].get("MVPTR", {}), **eighth["frequent"]}}


def beside_published(
    fifth: Mapping[str, Statistics], eighth: Statistics, paper: Mapping[str, Any]
) -> dict[str, list[dict[str, str | int | float | None]]]:
    """Both tables as rows with the published value (`printed`) beside ours; None where the paper has no such row."""
    rows5: list[dict[str, str | int | float | None]] = []
    for name in dict.fromkeys((*fifth, *paper["table5"])):
        ours, theirs = fifth.get(name), paper["table5"].get(name, {})
        rows5.append(
            {
                "data set": name,
                "unique": None if ours is None else ours.unique,
                "unique (paper)": theirs.get("unique"),
                "per text": None if ours is None else round(ours.per_text, 4),
                "per text (paper)": theirs.get("per_text"),
                "frequent": None if ours is None else ", ".join(ours.frequent),
                "frequent (paper)": ", ".join(theirs["frequent"]) if theirs else None,
            }
        )
    rows8: list[dict[str, str | int | float | None]] = []
    for name, value in asdict(eighth).items():
        theirs = paper["table8"].get(name)
        rows8.append({"statistic": name.replace("_", " "), "ours": _cell(value), "paper": _cell(theirs)})
    return {"table5": rows5, "table8": rows8}


def _cell(value: Any) -> str | int | float | None:
    if isinstance(value, list | tuple):
        return ", ".join(value)
    return round(value, 4) if isinstance(value, float) else value


def _row(row: str, data_set: str) -> str:
    """The paper's row is of COCO's questions and Flickr30k's hypotheses; another data set has a row of its own."""
    home = {"VQA": "coco", "SNLI-VE": "flickr30k"}[row]
    return row if data_set == home else f"{data_set} ({row} task)"


def _data_set(image_id: str) -> str:
    return image_id.split("/", 1)[0]


def _texts(
    tables: str | Path, table: str, phrases: Mapping[str, Sequence[Phrase]], split: str | None = None
) -> Iterator[Text]:
    records = read_table(tables, table, split=split) if split else read_table(tables, table)
    for image_id, text in zip(records["image_id"].to_pylist(), records["text"].to_pylist(), strict=True):
        if text not in phrases:
            path = Path(tables) / f"{table}.parquet"
            raise InputError(path, f"the text {text!r} was not mined.", "Mine again: vlp phrases mine.", image_id)
        yield image_id, phrases[text]
