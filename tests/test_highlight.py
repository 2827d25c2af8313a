"""Code in colours: by classes, nothing added, nothing unescaped."""

import html
import re

import pytest

from instances.runners import registry
from weops.console import highlight
from weops.console.highlight import LANGUAGES, MOST_CHARS, highlighted

HOSTILE = (
    """<script>alert('1')</script> "&amp;" '"><img src=x onerror=alert(1)>\n\n  \t$(x) # -- /* {"a": [1,\n"""
)


def text_of(shown: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", shown))


@pytest.mark.parametrize("language", [*LANGUAGES, "", "klingon"])
def test_the_text_stays_and_hostile_code_is_escaped(language: str) -> None:
    shown = highlighted(HOSTILE, language)
    assert text_of(shown) == HOSTILE
    assert set(re.findall(r"<(/?[a-z]+)", shown)) <= {"span", "/span"}
    assert set(re.findall(r"<span ([a-z]+)=", shown)) <= {"class"}


@pytest.mark.parametrize(
    ("language", "code", "word"),
    [
        ("bash", "for x in 1; do echo $x; done", "hl-k"),
        ("python", "def f(): return 'x'", "hl-k"),
        ("sql", "SELECT 1 FROM t", "hl-k"),
        ("json", '{"a": 1}', "hl-nt"),
    ],
)
def test_each_language_has_colours(language: str, code: str, word: str) -> None:
    assert f'class="{word}"' in highlighted(code, language)


def test_long_code_is_left_plain() -> None:
    assert "<span" not in highlighted("echo 1\n" * MOST_CHARS, "bash")


def test_the_languages_of_task_types_are_known() -> None:
    assert {runner.language for runner in registry.runners()} == {*highlight.LANGUAGES, ""}
