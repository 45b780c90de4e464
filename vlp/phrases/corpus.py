"""The corpus: every text and every image's tags, tokenised once; written as ragged arrays, read by gathering."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from vlp.data.tables import QUESTION, read_table
from vlp.errors import InputError
from vlp.files import atomic
from vlp.images.names import AmbiguousError, Same
from vlp.phrases import pieces
from vlp.phrases.encode import encode
from vlp.phrases.graph import Phrase
from vlp.phrases.vocabulary import PhraseVocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from vlp.regions.store import TagSource

SETS = {
    "captions": "captions",
    "questions": "questions",
    "entailment": "entailment",
    "grounding": "captions",
    "referring": "referring",
}
"""Text set -> the table its texts come from."""

TAG_GROUPS: dict[TagSource, str] = {"detector": "tags", "ground_truth": "truth_tags"}
"""Source of tags -> its group; `truth_tags` is there only if the store has ground-truth tags."""

MEANING = "ids_sha256"
"""File attribute: digest of what its ids stand for; files of earlier versions are without."""
_REMEDY = "Build it again: vlp corpus build."
_Ints = NDArray[np.int32]
_Tags = tuple[dict[str, int], NDArray[np.int64], NDArray[np.int64], _Ints]


class Store(Protocol):
    """What the corpus needs of a region store."""

    @property
    def image_ids(self) -> Sequence[str]: ...

    @property
    def has_truth(self) -> bool: ...

    def tags(self, image_id: str, source: TagSource = "detector") -> list[str]: ...

    def truth(self, image_id: str) -> list[str] | None: ...


@dataclass
class CorpusCounts:
    texts: dict[str, int] = field(default_factory=dict)
    """Text set -> texts written."""
    left_out: dict[str, int] = field(default_factory=dict)
    """`captions.train` -> texts whose image has no regions in the store."""
    without_phrase: dict[str, int] = field(default_factory=dict)
    """Text set -> texts without a phrase of the vocabulary."""
    images: int = 0
    tags: int = 0
    annotated: int = 0
    """Images with ground-truth tags."""


def write(
    path: str | Path,
    tables: str | Path,
    phrases: Mapping[str, Sequence[Phrase]] | None,
    vocabulary: PhraseVocabulary | None,
    tokenizer: PreTrainedTokenizerBase,
    store: Store | None,
    progress: Callable[[str, int], None] | None = None,
) -> CorpusCounts:
    """Write `corpus.h5` (layout in docs/architecture.md), texts in the order of their tables.

    Args:
        phrases: text -> phrases, of `mine.read`; None: no text has any.
        store: gives the tags, and only texts of its images are written; None: no image has tags.
        progress: called with each text set's name and its number of texts when it is written.

    Raises:
        InputError: a text was not mined, or no caption is left.
    """
    counts = CorpusCounts()
    images = None if store is None else _Called(store.image_ids)
    with atomic(path) as temporary, h5py.File(temporary, "w", libver="latest") as file:
        for name, table in SETS.items():
            rows = _rows(tables, name, table, images, counts)
            group = _write_set(file, path, name, rows, phrases, vocabulary, tokenizer, counts)
            if name == "captions" and (questions := _questions(tables)):
                group["matchable"] = np.array([r[0] not in questions for r in rows], bool)
            if progress is not None:
                progress(name, len(rows))
        if not counts.texts["captions"]:
            raise InputError(
                Path(tables) / "captions.parquet",
                "no caption is left: there is none, or none of the images has regions in the store.",
                "Look at tables/summary.json; extract or import the regions of these images (vlp regions extract).",
            )
        if store is not None and images is not None:
            counts.images, counts.tags = len(store.image_ids), _write_tags(file, store, images, tokenizer, "detector")
        known = tokenizer.get_vocab()
        file.attrs[MEANING] = pieces.meaning(sorted(known, key=known.__getitem__), vocabulary)
        if store is not None and images is not None and store.has_truth:
            _write_tags(file, store, images, tokenizer, "ground_truth")
            counts.annotated = sum(store.truth(i) is not None for i in store.image_ids)
    return counts


def _rows(
    tables: str | Path, name: str, table: str, images: _Called | None, counts: CorpusCounts
) -> list[tuple[str, str, str, str]]:
    """(id, image_id, text, split) of the set's texts whose images are in the store; None: of all."""
    records = read_table(tables, table)
    key = records.schema.names[0]
    columns = [records[c].to_pylist() for c in (key, "image_id", "text", "split")]
    rows = list(zip(*columns, strict=True))
    if name == "grounding":
        grounded = set(read_table(tables, "phrase_boxes")["caption_id"].to_pylist())
        rows = [r for r in rows if r[0] in grounded]
    kept = rows if images is None else [r for r in rows if images.has(r[1])]
    for split in (r[3] for r in rows if images is not None and not images.has(r[1])):
        label = f"{name}.{split}"
        counts.left_out[label] = counts.left_out.get(label, 0) + 1
    counts.texts[name] = len(kept)
    return kept


def _questions(tables: str | Path) -> set[str]:
    """Ids of the captions table's questions: pre-training reads them, though they do not describe the image."""
    table = read_table(tables, "captions").select(["caption_id", "kind"]).to_pydict()
    return {i for i, kind in zip(table["caption_id"], table["kind"], strict=True) if kind == QUESTION}


def _write_set(
    file: h5py.File,
    path: str | Path,
    name: str,
    rows: list[tuple[str, str, str, str]],
    phrases: Mapping[str, Sequence[Phrase]] | None,
    vocabulary: PhraseVocabulary | None,
    tokenizer: PreTrainedTokenizerBase,
    counts: CorpusCounts,
) -> h5py.Group:
    texts = [r[2] for r in rows]
    for row in rows:
        if phrases is not None and row[2] not in phrases:
            raise InputError(path, f"the text {row[2]!r} was not mined.", "Mine again: vlp phrases mine.", row[0])
    found = [[] if phrases is None else phrases[t] for t in texts]
    encoded = list(encode(texts, found, tokenizer, vocabulary))
    counts.without_phrase[name] = sum(not len(e.phrases) for e in encoded)
    group = file.create_group(name)
    for dataset, column in (("ids", 0), ("image_ids", 1), ("split", 3)):
        _strings(group, dataset, [r[column] for r in rows])
    group["tokens"], group["token_offsets"] = _ragged([e.tokens for e in encoded], ())
    group["token_spans"] = _ragged([e.spans for e in encoded], (2,))[0]
    group["phrases"], group["phrase_offsets"] = _ragged([e.phrases for e in encoded], ())
    group["phrase_words"], group["phrase_word_offsets"] = _ragged([e.phrase_words for e in encoded], (2,))
    return group


class _Called:
    """The store's images, by the names that the tables give them."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._known, self._called = Same(ids), dict[str, str]()

    def has(self, image_id: str) -> bool:
        """Raises InputError: several images of the store are this one."""
        try:
            found = self._known.find(image_id)
        except AmbiguousError as error:
            remedy = "Import the regions again, with each image once."
            raise InputError("regions", f"{error}.", remedy, row=image_id) from error
        if found is not None:
            self._called[found] = image_id
        return found is not None

    def name(self, stored_id: str) -> str:
        return self._called.get(stored_id, stored_id)


def _write_tags(
    file: h5py.File, store: Store, images: _Called, tokenizer: PreTrainedTokenizerBase, source: TagSource
) -> int:
    """The number of tags."""
    image_ids = list(store.image_ids)
    tags = [store.tags(i, source) for i in image_ids]
    names = sorted({t for found in tags for t in found})
    ids = {n: np.asarray(tokenizer.encode(n, add_special_tokens=False), np.int32) for n in names}
    group = file.create_group(TAG_GROUPS[source])
    _strings(group, "image_ids", [images.name(i) for i in image_ids])
    group["tag_offsets"] = _offsets([len(found) for found in tags])
    group["pieces"], group["piece_offsets"] = _ragged([ids[t] for found in tags for t in found], ())
    return sum(map(len, tags))


def _ragged(parts: Sequence[_Ints], shape: tuple[int, ...]) -> tuple[_Ints, NDArray[np.int64]]:
    values = np.concatenate([np.zeros((0, *shape), np.int32), *parts]).astype(np.int32)
    return values, _offsets([len(p) for p in parts])


def _offsets(lengths: Iterable[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.fromiter(lengths, np.int64))]).astype(np.int64)


def _strings(group: h5py.Group, name: str, values: Sequence[str]) -> None:
    # Fixed width: written and read in one go, and the same bytes every time.
    encoded = [v.encode() for v in values]
    width = max([1, *map(len, encoded)])
    group.create_dataset(name, data=np.asarray(encoded, dtype=f"S{width}"))


class TextSet:
    """The texts of one set. Arrays are in memory; `tokens(i)` and so on are views of them."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.ids: list[str] = _decode(arrays["ids"])
        self.image_ids: list[str] = _decode(arrays["image_ids"])
        self.splits: list[str] = _decode(arrays["split"])
        flags = arrays.get("matchable")
        self.matchable: NDArray[np.bool_] | None = flags
        """[n] False where the text is a question, which does not describe its image. None: every text does."""
        self._arrays = arrays

    def __len__(self) -> int:
        return len(self.ids)

    def tokens(self, i: int) -> _Ints:
        """[T] word-piece ids without specials."""
        return self._part("tokens", "token_offsets", i)

    def spans(self, i: int) -> _Ints:
        """[T, 2] characters of each piece."""
        return self._part("token_spans", "token_offsets", i)

    def phrases(self, i: int) -> _Ints:
        """[P] rows of the joint table, in text order, uncapped."""
        return self._part("phrases", "phrase_offsets", i)

    def phrase_words(self, i: int) -> _Ints:
        """[m, 2] pairs (phrase index, piece index) within the text."""
        return self._part("phrase_words", "phrase_word_offsets", i)

    def sizes(self) -> tuple[_Ints, _Ints]:
        """[n], [n] word pieces and phrases of each text, uncapped."""
        return np.diff(self._arrays["token_offsets"]), np.diff(self._arrays["phrase_offsets"])

    def _part(self, values: str, offsets: str, i: int) -> _Ints:
        if not 0 <= i < len(self.ids):
            raise IndexError(f"text {i} of {len(self.ids)}")
        start, stop = self._arrays[offsets][i : i + 2]
        return self._arrays[values][start:stop]


class Corpus:
    """Reads `corpus.h5`. Each group is loaded when it is first asked for; no file stays open, so forks are safe.

    Raises:
        InputError: the file is missing or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise InputError(path, "the file is missing.", _REMEDY)
        self._sets: dict[str, TextSet] = {}
        self._tags: dict[TagSource, _Tags] = {}

    def check_vocabulary(self, folder: Path) -> None:
        """Raises InputError: the corpus was built with other word pieces or phrases than a vocabulary's folder has.

        Its ids would stand for other words, and the last word pieces for phrases.
        """
        try:
            with h5py.File(self.path, "r") as file:
                built = file.attrs.get(MEANING)
        except OSError as error:
            raise InputError(self.path, f"not a whole corpus ({error}).", _REMEDY) from error
        file = folder / "phrases.json"
        phrases = PhraseVocabulary.load(file) if file.exists() else None
        if built is not None and built != pieces.meaning(pieces.read(folder / "tokenizer"), phrases):
            raise InputError(self.path, f"was built with other word pieces or phrases than {folder} has.", _REMEDY)

    def texts(self, name: str) -> TextSet:
        """`captions`, `questions`, `entailment`, `grounding` or `referring`."""
        if name not in SETS:
            raise ValueError(f"no text set {name!r}; known: {', '.join(SETS)}")
        if name not in self._sets:
            self._sets[name] = TextSet(self._load(name))
        return self._sets[name]

    def tags(self, image_id: str, source: TagSource = "detector") -> list[_Ints]:
        """Word pieces of each of the image's tags, best tag first (`source`: as in `RegionStore.tags`).

        Raises:
            InputError: the corpus was built from a store without this image, or without ground-truth tags.
        """
        if source not in self._tags:
            self._tags[source] = self._load_tags(source)
        rows, tag_offsets, piece_offsets, pieces = self._tags[source]
        if image_id not in rows:
            raise InputError(self.path, "the image has no tags in the corpus.", _REMEDY, image_id)
        first, last = tag_offsets[rows[image_id] : rows[image_id] + 2]
        return [pieces[piece_offsets[t] : piece_offsets[t + 1]] for t in range(first, last)]

    def _load_tags(self, source: TagSource) -> _Tags:
        group = TAG_GROUPS[source]
        if source != "detector":
            with h5py.File(self.path, "r") as file:
                if group not in file:
                    remedy = "Add them to the store (vlp regions annotate) and build the corpus again."
                    raise InputError(self.path, "the corpus has no ground-truth tags.", remedy)
        arrays = self._load(group)
        rows = {image_id: i for i, image_id in enumerate(_decode(arrays["image_ids"]))}
        return rows, arrays["tag_offsets"], arrays["piece_offsets"], arrays["pieces"]

    def _load(self, group: str) -> dict[str, NDArray[Any]]:
        try:
            with h5py.File(self.path, "r") as file:
                return {name: np.asarray(dataset) for name, dataset in file[group].items()}  # type: ignore[union-attr]
        except (OSError, KeyError) as error:
            raise InputError(self.path, f"not a whole corpus ({error}).", _REMEDY) from error


def _decode(values: NDArray[Any]) -> list[str]:
    return [v.decode() for v in values.tolist()]
