"""Code in colours, by classes (`hl-k` and so on; console/code.css has the colours)."""

from functools import cache

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name

# Longer code is shown without colours: a page must not wait for them.
MOST_CHARS = 200_000
LANGUAGES = ("bash", "python", "sql", "json")


@cache
def _lexer(language: str) -> Lexer:
    # Nothing is left out or added: lines stay as they are.
    return get_lexer_by_name(language, stripnl=False, ensurenl=False)


_FORMATTER = HtmlFormatter(nowrap=True, classprefix="hl-")


def highlighted(code: str, language: str) -> SafeString:
    """The code as HTML, escaped; `language` is one of LANGUAGES, any other leaves it plain."""
    if language not in LANGUAGES or len(code) > MOST_CHARS:
        return escape(code)
    # Pygments escapes all that it does not write itself.
    return mark_safe(highlight(code, _lexer(language), _FORMATTER))  # noqa: S308
