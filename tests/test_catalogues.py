"""The catalogues of the console's words are whole and in step with the source, and requests are answered in their language."""

import ast
import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils.translation import override, trans_real

from weops import catalogues

ASKING = {"_", "gettext", "gettext_lazy", "ngettext", "ngettext_lazy", "pgettext", "pgettext_lazy"}

every_share = pytest.mark.parametrize("share", catalogues.SHARES, ids=lambda share: share.name)


@every_share
def test_every_entry_is_translated_with_the_placeholders_of_its_source(share: catalogues.Share) -> None:
    found = [problem for entry in share.read() for problem in catalogues.problems(entry)]
    assert not found, "translate these, then run: python manage.py messages"


@every_share
def test_the_compiled_catalogue_is_that_of_the_text(share: catalogues.Share) -> None:
    assert share.compiled.read_bytes() == share.read().to_binary(), "run: python manage.py messages --compile"


@pytest.mark.skipif(not shutil.which("xgettext"), reason="xgettext is not installed")
@every_share
def test_the_source_asks_for_nothing_else(share: catalogues.Share) -> None:
    asked, kept = ({catalogues.key(entry) for entry in each} for each in (share.extract(), share.read()))
    assert asked - kept == set(), "new in the source; run: python manage.py messages"
    assert kept - asked == set(), "gone from the source; run: python manage.py messages"


@every_share
def test_no_message_stands_inside_an_f_string(share: catalogues.Share) -> None:
    """Where xgettext does not see it."""
    found = [
        f"{path.relative_to(catalogues.ROOT)}:{call.lineno}"
        for path in share.files
        if path.suffix == ".py"
        for text in ast.walk(ast.parse(path.read_text()))
        if isinstance(text, ast.JoinedStr)
        for call in ast.walk(text)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ASKING
    ]
    assert not found


def test_scripts_hold_no_sentence() -> None:
    """They take their words from the page, where they are in the reader's language."""
    found = [
        f"{path.relative_to(catalogues.ROOT)}: {text}"
        for share in catalogues.SHARES
        for path in sorted((catalogues.ROOT / share.home).rglob("static/**/*.js"))
        for text in re.findall(r"""["'`]([^"'`\n]*)["'`]""", _without_comments(path.read_text()))
        if re.search(
            r"(?<![\w-])[A-Za-z]{2,} [a-z]{2,} [a-z]{2,}(?![\w-])|[a-z]{2} [a-z]{2,}(\.$|\. )|[a-z]{3,} ?…",
            text,
        )
    ]
    assert not found


def _without_comments(script: str) -> str:
    return re.sub(r"/\*.*?\*/|(^|\s)//[^\n]*", "", script, flags=re.DOTALL)


def test_the_same_words_are_translated_alike_in_every_share() -> None:
    found = defaultdict(set)
    for share in catalogues.SHARES:
        for entry in share.read():
            found[catalogues.key(entry)].add(catalogues.said(entry))
    assert not {key: words for key, words in found.items() if len(words) > 1}


# Extras of the theme that no page of ours uses.
UNUSED = (
    "contrib/",
    "command_results",
    "dataset_model_admin",
    "nested_inlines_model_admin",
    "unfold_crispy/",
)


@pytest.mark.skipif(not shutil.which("xgettext"), reason="xgettext is not installed")
def test_the_theme_speaks_it_too() -> None:
    import unfold

    home = Path(unfold.__file__).parent
    files = [
        path
        for suffix in ("*.py", "*.html")
        for path in sorted(home.rglob(suffix))
        if not any(unused in path.as_posix() for unused in UNUSED)
    ]
    with override("zh-hans"):
        catalogue: Any = trans_real.translation("zh-hans")
    asked = {entry.msgid for entry in catalogues.extract(files, home) if not entry.msgid_plural}
    assert len(asked) > 50
    assert {message for message in asked if not catalogue._catalog.get(message)} == set(), (
        "weops/console/theme_words.py"
    )


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("%(count)s 个", True),
        ("%(n)s 个", False),
        ("个", False),
        ("<b>%(count)s</b>", False),
        ("%(count)s %%", True),
    ],
)
def test_placeholders_and_tags_are_compared(text: str, same: bool) -> None:
    import polib

    entry = polib.POEntry(msgid="%(count)s row", msgid_plural="%(count)s rows", msgstr_plural={0: text})
    assert (not list(catalogues.problems(entry))) is same


@pytest.mark.django_db
def test_the_console_speaks_the_language_that_the_browser_asks_for(client: Client) -> None:
    answer = client.get("/admin/login/", headers={"accept-language": "zh-CN,zh;q=0.9"})
    assert answer.headers["Content-Language"] == "zh-hans"
    assert "密码" in answer.text
    assert client.get("/admin/login/").headers["Content-Language"] == "en"


@pytest.mark.django_db
def test_programs_are_answered_in_english_whatever_they_ask_for(client: Client) -> None:
    client.get("/admin/login/", headers={"accept-language": "zh-CN"})
    answer = client.get("/api/v1/instances/", headers={"accept-language": "zh-CN"})
    assert answer.status_code == 401
    assert answer.text.isascii()
    assert "Accept-Language" not in answer.headers.get("Vary", "")
