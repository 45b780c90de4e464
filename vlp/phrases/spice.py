"""SPICE (Anderson et al., 2016) as the parser, where a user has its jar: the tuples of the authors' own program.

Its command line reads a JSON list of {image_id, test, refs} and, with -detailed, writes one of {image_id, scores,
test_tuples: [{tuple, truth_value}], ref_tuples}: so its source says (SpiceScorer, SpiceArguments, SpiceStats).
Every text is parsed once: the tuples are kept in an SQLite file that any number of processes share.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vlp.errors import ConfigError, InputError
from vlp.files import sha256, to_json
from vlp.phrases.graph import Attribute, Relation, SceneGraph, Span, Thing
from vlp.phrases.texts import batched

BATCH = 4096
"""Texts of one run of the program: its models take minutes to load."""
LAST_JAVA = 14
"""SPICE writes its result through Java's JavaScript engine, which Java 15 dropped."""

REFERENCES = ["a dog"]
"""What each text is compared with: SPICE was made to compare, and none of its own runs is without a reference."""

_WORD = re.compile(r"[\w'-]+")
_ENDINGS = (("ies", "y"), ("ied", "y"), ("es", ""), ("s", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", ""))
_TUPLES = "CREATE TABLE IF NOT EXISTS tuples (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"

Tuples = list[list[str]]


class SpiceParser:
    """Args:
        jar: spice-1.0.jar with its `lib/` (and CoreNLP 3.6.0 in it) beside it.
        cache: SQLite file; None: `vlp/spice.sqlite` in the user's cache folder.

    Raises:
        ConfigError: no jar, a library that it names is missing, no `java`, or a Java that is too new.
    """

    def __init__(self, jar: Path, cache: Path | None = None) -> None:
        self._digest, self._jar = jar_digest(jar), jar
        _require_libraries(jar)
        self._java = _java()
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self._cache = cache or home / "vlp" / "spice.sqlite"

    def pipe(self, texts: Iterable[str]) -> Iterator[SceneGraph]:
        """One graph for each text, in order.

        Raises:
            InputError: SPICE failed, or its answer is not one item for each text; or the cache is damaged.
        """
        for part in batched(texts, BATCH):
            known = self._tuples(list(dict.fromkeys(t.lower() for t in part)))
            for text in part:
                yield graph(text, known[text.lower()])

    def _tuples(self, texts: list[str]) -> dict[str, Tuples]:
        keys = {text: hashlib.sha256(f"{self._digest}\0{text}".encode()).hexdigest() for text in texts}
        self._cache.parent.mkdir(parents=True, exist_ok=True)
        try:
            with contextlib.closing(sqlite3.connect(self._cache, timeout=60)) as cache, cache:
                cache.execute(_TUPLES)
                rows = (
                    (t, cache.execute("SELECT value FROM tuples WHERE key = ?", (k,)).fetchone())
                    for t, k in keys.items()
                )
                found: dict[str, Tuples] = {text: json.loads(row[0]) for text, row in rows if row is not None}
            missing = [text for text in texts if text not in found]
            if missing:
                new = dict(zip(missing, self._run(missing), strict=True))
                with contextlib.closing(sqlite3.connect(self._cache, timeout=60)) as cache, cache:
                    values = [(keys[text], to_json(tuples)) for text, tuples in new.items()]
                    cache.executemany("INSERT OR REPLACE INTO tuples VALUES (?, ?)", values)
                found |= new
        except (sqlite3.DatabaseError, json.JSONDecodeError) as error:
            problem = f"the cache of SPICE's tuples can not be used ({error})."
            raise InputError(self._cache, problem, "Remove the file and run again.") from error
        return found

    def _run(self, texts: Sequence[str]) -> list[Tuples]:
        with tempfile.TemporaryDirectory(prefix="vlp-spice-") as folder:
            given, out = Path(folder) / "in.json", Path(folder) / "out.json"
            items = [{"image_id": i, "test": t, "refs": REFERENCES} for i, t in enumerate(texts)]
            given.write_text(to_json(items), encoding="ascii")
            # it writes in the encoding of the locale: another letter would become a question mark
            options = ["-Xmx8G", "-Dfile.encoding=UTF-8"]
            command = [self._java, *options, "-jar", str(self._jar), str(given), "-out", str(out)]
            done = subprocess.run([*command, "-threads", "1", "-detailed"], capture_output=True, text=True, check=False)
            if done.returncode != 0 or not out.exists():
                last = " / ".join(done.stderr.strip().splitlines()[-3:]) or "no message"
                raise InputError(
                    self._jar,
                    f"SPICE ended with exit code {done.returncode} and no result: {last}.",
                    "Check that CoreNLP 3.6.0 lies in lib/ beside the jar and that 8 GB of memory are free.",
                )
            return self._answer(out.read_bytes(), len(texts))

    def _answer(self, text: bytes, number: int) -> list[Tuples]:
        remedy = "Take the published spice-1.0.jar."
        try:
            items: list[dict[str, Any]] = json.loads(text)
            by_id = {int(item["image_id"]): item["test_tuples"] for item in items}
            answer = [[[str(w) for w in t["tuple"]] for t in by_id[i]] for i in range(number)]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                self._jar, f"SPICE's answer is not that of the {number} texts ({error!r}).", remedy
            ) from error
        if any(not 1 <= len(t) <= 3 for tuples in answer for t in tuples):
            raise InputError(self._jar, "SPICE's answer has a tuple of other than one to three parts.", remedy)
        return answer


def graph(text: str, tuples: Tuples) -> SceneGraph:
    """The graph of SPICE's tuples; it names no words, so each part stands where a form of its words is first found.

    As in SPICE a lemma is one object however often it stands in the text.
    """
    places = [(m[0].lower(), m.span()) for m in _WORD.finditer(text)]

    def thing(lemma: str) -> Thing:
        return Thing(next(iter(_found(lemma, places)), (0, 0)), lemma)

    attributes = [Attribute(thing(t[0]), t[1], _found(t[1], places)) for t in tuples if len(t) == 2]
    relations = [Relation(thing(t[0]), t[1], thing(t[2]), _found(t[1], places)) for t in tuples if len(t) == 3]
    named = {thing(t[0]) for t in tuples} | {thing(t[2]) for t in tuples if len(t) == 3}
    return SceneGraph(text, tuple(sorted(named)), tuple(attributes), tuple(relations))


def _found(words: str, places: list[tuple[str, Span]]) -> tuple[Span, ...]:
    spans = (next((span for form, span in places if _is_form(form, word)), None) for word in words.split())
    return tuple(span for span in spans if span is not None)


def _is_form(form: str, lemma: str) -> bool:
    if form == lemma or (form, lemma) in _IRREGULAR:
        return True
    stems = {form.removesuffix(ending) + more for ending, more in _ENDINGS if form.endswith(ending)}
    doubled = {stem[:-1] for stem in stems if len(stem) > 2 and stem[-1] == stem[-2]}
    return lemma in stems | doubled


_IRREGULAR = frozenset(
    (
        *(("men", "man"), ("women", "woman"), ("children", "child"), ("feet", "foot"), ("teeth", "tooth")),
        *(("mice", "mouse"), ("geese", "goose"), ("knives", "knife"), ("leaves", "leaf"), ("shelves", "shelf")),
        *(("lying", "lie"), ("held", "hold"), ("sat", "sit"), ("stood", "stand"), ("ate", "eat"), ("rode", "ride")),
        *(("has", "have"), ("had", "have"), ("made", "make"), ("worn", "wear"), ("ridden", "ride")),
    )
)
"""(form, lemma)."""


def jar_digest(jar: Path) -> str:
    """sha256 of the jar. Raises ConfigError: there is none."""
    if not jar.is_file():
        raise ConfigError(
            f"phrases.parser: {jar} is no file; name SPICE's jar (spice:PATH/spice-1.0.jar), which panderson.me/spice "
            "offers and the package pycocoevalcap holds, or a spaCy model."
        )
    return sha256(jar)


def _require_libraries(jar: Path) -> None:
    """What the jar's manifest wants beside it; pycocoevalcap has all but CoreNLP, which a script fetches later."""
    if not zipfile.is_zipfile(jar):
        return
    with zipfile.ZipFile(jar) as archive:
        manifest = archive.read("META-INF/MANIFEST.MF").decode() if "META-INF/MANIFEST.MF" in archive.namelist() else ""
    lines = re.sub(r"\r?\n ", "", manifest).splitlines()
    wanted = next((line.removeprefix("Class-Path:").split() for line in lines if line.startswith("Class-Path:")), [])
    if missing := [name for name in wanted if not (jar.parent / name).is_file()]:
        raise ConfigError(
            f"phrases.parser: {jar} needs {', '.join(missing)} beside it; CoreNLP 3.6.0 (2015-12-09) is at "
            "stanfordnlp.github.io/CoreNLP, the others come with the jar."
        )


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    remedy = "make the environment of envs/spice.yaml, and set JAVA_HOME to it."
    if java is None:
        raise ConfigError(f"phrases.parser: there is no `java`, which SPICE needs; {remedy}")
    shown = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(?:1\.)?(\d+)', shown)
    if match is None or int(match[1]) > LAST_JAVA:
        what = f"is version {match[1]}" if match else "does not tell its version"
        raise ConfigError(f"phrases.parser: {java} {what}; SPICE runs on Java 8 to {LAST_JAVA}; {remedy}")
    return java
