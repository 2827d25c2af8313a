"""The catalogues of the console's words: which there are, what they must hold, how they are read, written and compiled.

Each share of the source has a catalogue of its own, so that two people who translate do not write the same file. Django
merges them when it starts. Needs polib; extraction needs xgettext (Debian, Ubuntu: the package gettext). Nothing here is
used by a running WeOps, which reads the compiled catalogues that are kept beside the others.
"""

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import polib
from django.utils.translation import templatize

ROOT = Path(__file__).resolve().parent.parent
LANGUAGE = "zh_Hans"
KEYWORDS = (
    "gettext_noop",
    "gettext_lazy",
    "ngettext_lazy:1,2",
    "pgettext:1c,2",
    "npgettext:1c,2,3",
    "pgettext_lazy:1c,2",
    "npgettext_lazy:1c,2,3",
)
HEADER = {
    "Project-Id-Version": "WeOps",
    "Language": LANGUAGE,
    "MIME-Version": "1.0",
    "Content-Type": "text/plain; charset=UTF-8",
    "Content-Transfer-Encoding": "8bit",
    "Plural-Forms": "nplurals=1; plural=0;",
}
# %(name)s and {name}; tags, whose number and kind a translation keeps, too.
_PLACES = re.compile(r"%\(\w+\)[sdr]|%[sd]|\{\w*\}|</?[a-z]+\b")

# What makes an entry itself: context, message, plural.
Key = tuple[str | None, str, str]


@dataclass(frozen=True)
class Share:
    """A part of the source and the catalogue of its words."""

    name: str
    home: str
    sources: tuple[str, ...]
    without: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return ROOT / self.home / "locale" / LANGUAGE / "LC_MESSAGES" / "django.po"

    @property
    def compiled(self) -> Path:
        return self.path.with_suffix(".mo")

    @cached_property
    def files(self) -> list[Path]:
        return sorted(self._files())

    def _files(self) -> Iterator[Path]:
        for source in self.sources:
            for suffix in (".py", ".html"):
                for path in (ROOT / source).rglob(f"*{suffix}"):
                    inside = path.relative_to(ROOT).as_posix()
                    if "/migrations/" not in inside and not inside.startswith(self.without):
                        yield path

    def read(self) -> polib.POFile:
        """The catalogue as it is kept; empty if there is none yet."""
        if self.path.exists():
            return polib.pofile(str(self.path), wrapwidth=0)
        return polib.POFile(wrapwidth=0)

    def extract(self) -> polib.POFile:
        """The entries that the source asks for, without translations."""
        return extract(self.files)

    def update(self, known: dict[Key, str]) -> None:
        """Takes what is new from the source, drops what is gone; what another share has translated already is taken over."""
        catalogue, old = polib.POFile(wrapwidth=0), {key(entry): entry for entry in self.read()}
        catalogue.metadata = HEADER
        for found in sorted(self.extract(), key=lambda entry: (entry.msgid, entry.msgctxt or "")):
            entry = old.get(key(found), found)
            entry.occurrences = sorted({(path, "") for path, _ in found.occurrences})
            entry.comment, entry.flags = found.comment, found.flags
            if not said(entry):
                _say(entry, known.get(key(found), ""))
            catalogue.append(entry)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        catalogue.save(str(self.path))

    def compile(self) -> None:
        self.compiled.write_bytes(self.read().to_binary())


SHARES = (
    Share("pages", "templates", ("templates", "instances/admin")),
    Share("instances", "instances", ("instances",), without=("instances/admin/",)),
    Share("events", "events", ("events",)),
    Share("weops", "weops", ("weops",)),
)


def extract(files: Sequence[Path], root: Path = ROOT) -> polib.POFile:
    """The entries that files below `root` ask for."""
    with TemporaryDirectory() as folder:
        names = []
        for path in files:
            text, inside = path.read_text(), path.relative_to(root).as_posix()
            copy = Path(folder) / inside
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(templatize(text, origin=inside) if path.suffix == ".html" else text)
            names.append(inside)
        keywords = [f"--keyword={word}" for word in KEYWORDS]
        done = subprocess.run(
            [
                *("xgettext", "--language=Python", "--from-code=UTF-8", "--add-location=file"),
                *("--add-comments=Translators", "--output=-", *keywords, *names),
            ],
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
        )
        return polib.pofile(done.stdout) if done.stdout else polib.POFile()


def key(entry: polib.POEntry) -> Key:
    return entry.msgctxt, entry.msgid, entry.msgid_plural


def said(entry: polib.POEntry) -> str:
    """The translation; Chinese has one form for every number."""
    return entry.msgstr_plural.get(0, "") if entry.msgid_plural else entry.msgstr


def _say(entry: polib.POEntry, text: str) -> None:
    if entry.msgid_plural:
        entry.msgstr_plural = {0: text}
    else:
        entry.msgstr = text


def known() -> dict[Key, str]:
    """Every translation of every share."""
    return {key(entry): said(entry) for share in SHARES for entry in share.read() if said(entry)}


def places(text: str) -> list[str]:
    """The placeholders and tags in a text, sorted: those of a translation are those of its source."""
    return sorted(_PLACES.findall(text.replace("%%", "")))


def problems(entry: polib.POEntry) -> Iterator[str]:
    """What is wrong with an entry."""
    text = said(entry)
    if entry.fuzzy:
        yield f"fuzzy: {entry.msgid!r}"
    if not text:
        yield f"not translated: {entry.msgid!r}"
    elif places(text) != places(entry.msgid_plural or entry.msgid):
        yield f"other placeholders or tags: {entry.msgid!r} -> {text!r}"
