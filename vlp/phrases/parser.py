"""Text -> dependency parse (spaCy) -> mended, prepositions hung by association -> scene graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from vlp.errors import ConfigError
from vlp.phrases.attachment import FILE, associations, attach
from vlp.phrases.graph import Attribute, Relation, SceneGraph
from vlp.phrases.repair import REPAIRS
from vlp.phrases.rules import RULES
from vlp.phrases.sentence import Sentence
from vlp.phrases.words import Lexicon

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc

BATCH = 256
"""Texts that the parser sees at once: fixed, so that rounding is the same however the work is divided."""


class SceneGraphParser:
    """Args:
        name: a spaCy model that is installed as a package, or one whose package bears a suffix (`en_core_web_sm_x`).

    Raises:
        ConfigError: no such model.
    """

    def __init__(self, name: str) -> None:
        self.nlp = _load(name)
        lookups = self.nlp.get_pipe("lemmatizer").lookups  # type: ignore[attr-defined]
        index, irregular = lookups.get_table("lemma_index"), lookups.get_table("lemma_exc")["noun"]
        self.lexicon = Lexicon(
            frozenset(index["verb"]),
            frozenset(index["noun"]),
            frozenset(index["adj"]),
            frozenset(index["adv"]),
            {form: lemmas[0] for form, lemmas in irregular.items()},
        )

    def parse(self, text: str) -> SceneGraph:
        return next(self.pipe([text]))

    def pipe(self, texts: Iterable[str]) -> Iterator[SceneGraph]:
        """One graph for each text, in order."""
        pairs = ((_lower(text), text) for text in texts)
        for doc, text in self.nlp.pipe(pairs, as_tuples=True, batch_size=BATCH):
            yield self.graph(doc, text)

    def sentences(self, texts: Iterable[str]) -> Iterator[Sentence]:
        """Every text as parsed and mended, its prepositional phrases where the model hangs them."""
        for doc in self.nlp.pipe((_lower(text) for text in texts), batch_size=BATCH):
            yield self._mended(doc)

    def doc(self, text: str) -> Doc:
        """The parsed text, in lower case; characters stay in their places."""
        return self.nlp(_lower(text))

    def graph(self, doc: Doc, text: str) -> SceneGraph:
        """The graph of a parsed text; what the parser got wrong is mended in `doc` itself."""
        sentence = self._mended(doc)
        attach(sentence, associations())
        sentence = Sentence(doc, self.lexicon)
        edges = [edge for rule in RULES for edge in rule(sentence)]
        attributes = tuple(dict.fromkeys(e for e in edges if isinstance(e, Attribute)))
        relations = tuple(dict.fromkeys(e for e in edges if isinstance(e, Relation)))
        named = {sentence.thing(t) for t in sentence.things()}
        named |= {a.thing for a in attributes} | {t for r in relations for t in (r.subject, r.object)}
        return SceneGraph(text, tuple(sorted(named)), attributes, relations)

    def _mended(self, doc: Doc) -> Sentence:
        for repair in REPAIRS:
            repair(doc, self.lexicon)
        return Sentence(doc, self.lexicon)


def _lower(text: str) -> str:
    """Lower case, where that keeps every character's place."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def model_name(name: str) -> str:
    """Package and version of the spaCy model that `name` stands for, without loading it. Raises ConfigError."""
    import importlib.metadata

    package = _package(name)
    return f"{package} {importlib.metadata.version(package)}"


def rules_digest() -> str:
    """Of the source of all that decides the tuples of a parsed text: shards of other rules are made again."""
    import hashlib
    from pathlib import Path

    names = ("attachment", "graph", "parser", "reattach", "repair", "rules", "sentence", "words")
    files = (FILE, *(Path(__file__).with_name(f"{name}.py") for name in names))
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()


def _package(name: str) -> str:
    import importlib.metadata

    installed = sorted(e.name for e in importlib.metadata.entry_points(group="spacy_models"))
    package = next((p for p in (name, *installed) if (p == name and p in installed) or p.startswith(f"{name}_")), None)
    if package is None:
        raise ConfigError(
            f"phrases.parser: the spaCy model {name} is not installed (found: {', '.join(installed) or 'none'}); "
            "install it as a package or name another."
        )
    return package


def _load(name: str) -> Language:
    import spacy
    from spacy.util import compile_infix_regex

    nlp = spacy.load(_package(name), exclude=["ner", "senter"])
    # `t-shirt`, `long-sleeved` stay one word.
    infixes = [p for p in nlp.Defaults.infixes or [] if "--" not in str(p) or "(?=[" not in str(p)]
    nlp.tokenizer.infix_finditer = compile_infix_regex(infixes).finditer  # type: ignore[attr-defined]
    return nlp
