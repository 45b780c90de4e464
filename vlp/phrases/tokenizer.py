"""The word-piece vocabulary: BERT's own from a directory, or one made from the train texts."""

from __future__ import annotations

import functools
import importlib.util
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp.errors import ConfigError, InputError
from vlp.files import write_text
from vlp.phrases import pieces as listed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Ids 0 to 4."""
TOKENIZER_FILES = (
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_PACKAGE = "package:"


def word_pieces(texts: Iterable[str], class_names: Iterable[str], min_count: int) -> list[str]:
    """A BERT-style (uncased) vocabulary: the specials, every character seen as a word's begin and as `##`-continuation,
    then the words with at least `min_count` occurrences, most frequent first, then by alphabet.

    The words of class names are always whole: tags are anchors, each with a row of its own.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_words(text))
    tags = {word for name in class_names for word in _words(name)}
    for word in tags:
        counts[word] += 0
    characters = sorted({c for word in counts for c in word})
    whole = [w for w, n in counts.items() if len(w) > 1 and (n >= min_count or w in tags)]
    whole.sort(key=lambda w: (-counts[w], w))
    return [*SPECIALS, *characters, *(f"##{c}" for c in characters), *whole]


def save(pieces: list[str], folder: str | Path) -> None:
    """Write a tokenizer directory that `BertTokenizerFast.from_pretrained` reads offline."""
    from transformers import BertTokenizer

    folder = Path(folder)
    tokenizer = BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, do_lower_case=True)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(str(folder))
    write_text(folder / "vocab.txt", "".join(f"{piece}\n" for piece in pieces))


def bert_directory(name: str | Path) -> Path:
    """A directory, or `package:NAME`: the folder inside an installed package that holds a tokenizer.

    Raises:
        ConfigError: there is no such package, or it holds no or several tokenizers.
    """
    text = str(name)
    if not text.startswith(_PACKAGE):
        return Path(text)
    package = text.removeprefix(_PACKAGE)
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise ConfigError(f"{text}: no such package is installed; install it, or name a directory.")
    roots = [Path(p) for p in spec.submodule_search_locations or []]
    found = sorted({f.parent for root in roots for n in TOKENIZER_FILES[:2] for f in root.rglob(n)})
    if len(found) != 1:
        raise ConfigError(f"{text}: {len(found)} folders of the package hold a tokenizer; name the directory itself.")
    return found[0]


def copy(source: str | Path, folder: str | Path) -> None:
    """Copy the tokenizer's files of a BERT directory. Raises InputError where it has none, or damaged ones."""
    source, folder = bert_directory(source), Path(folder)
    listed.read(source)
    names = [n for n in TOKENIZER_FILES if (source / n).is_file()]
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(source / name, folder / name)
    if "tokenizer.json" not in names:
        load(folder).save_pretrained(str(folder))


def load(folder: str | Path) -> PreTrainedTokenizerBase:
    """The fast tokenizer of a directory; truncation and padding are the caller's, never the file's.

    Raises:
        InputError: the directory is missing, its files are damaged or of two tokenizers, or it lacks a special token
            that the models need.
    """
    from transformers import BertTokenizer

    if not Path(folder).is_dir():
        raise InputError(folder, "there is no tokenizer directory.", "Make it: vlp phrases vocabulary.")
    listed.read(Path(folder))
    try:
        tokenizer = BertTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # transformers raises nearly anything on damaged files
        what = f"{type(error).__name__}: {error!s:.120}"
        raise InputError(folder, f"its files are damaged ({what}).", "Fetch or make them again.") from error
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.model_max_length = int(1e30)
    # transformers adds a missing special token behind the vocabulary, where no embedding row is.
    known = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
    missing = [s for s in SPECIALS if s not in known]
    if missing:
        raise InputError(folder, f"the tokenizer has no {', '.join(missing)}.", "Name a BERT tokenizer.")
    return tokenizer


def _words(text: str) -> list[str]:
    """Words as BERT splits them: cleaned, lower case, accents stripped, punctuation apart."""
    normalizer, splitter = _splitter()
    return [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]


@functools.cache
def _splitter() -> tuple[Any, Any]:
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    return BertNormalizer(lowercase=True), BertPreTokenizer()
