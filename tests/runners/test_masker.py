import base64
import html
import json
import shlex
from urllib.parse import quote, quote_plus
from xml.sax import saxutils

import pytest
from django.utils.html import escape
from hypothesis import given
from hypothesis import strategies as st

from instances.runners.base import OUTPUT
from instances.runners.caps import Caps, OutputLog
from instances.runners.masker import Masker
from tests.runners.support import Sink

SECRET = "s3cr3t/+pass?wörd"


def feed(masker: Masker, pieces: list[bytes]) -> bytes:
    return b"".join(masker.feed(piece) for piece in pieces) + masker.flush()


@given(st.lists(st.integers(1, 12), max_size=20))
def test_wherever_the_stream_is_cut(sizes):
    data = f"a {SECRET} b {SECRET}{SECRET} s3cr3t/ s3cr3t/+pass?w".encode()
    pieces, rest = [], data
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    assert feed(Masker([SECRET]), [*pieces, rest]) == b"a *** b ****** s3cr3t/ s3cr3t/+pass?w"


@given(
    st.lists(st.text("ab", min_size=4, max_size=7), min_size=1, max_size=3),
    st.lists(st.text("ab.", max_size=9)),
)
def test_no_secret_survives_any_stream(secrets, texts):
    """Also with secrets that begin or end each other."""
    pieces = [text.encode() for text in texts]
    assert feed(Masker(secrets), pieces) == Masker(secrets).mask(b"".join(pieces))


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET, safe=""),
        json.dumps({"password": SECRET}),
        *(base64.b64encode(b"u" * before + SECRET.encode() + b"!" * 3).decode() for before in range(4)),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        quote_plus(SECRET),
        quote(SECRET, safe="")
        .replace("%2F", "%2f")
        .replace("%2B", "%2b")
        .replace("%3F", "%3f")
        .replace("%C3%B6", "%c3%b6"),
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
        quote(SECRET),
        ascii(SECRET),
        repr(SECRET.encode()),
    ],
)
def test_forms(form):
    masked = Masker([SECRET]).mask_text(form)
    assert "***" in masked
    assert len(masked.replace("***", "")) <= len('{"password": ""}')


QUOTED = """it's "50%" <b>&co/"""


@pytest.mark.parametrize(
    "form",
    [
        html.escape(QUOTED),
        html.escape(QUOTED, quote=False),
        escape(QUOTED),
        saxutils.escape(QUOTED, {'"': "&quot;", "'": "&apos;"}),
        html.escape(QUOTED).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
        shlex.quote(QUOTED),
        r"it\'s\ \"50%\"\ \<b\>\&co/",
        repr(QUOTED),
        quote(QUOTED, safe="!'()*"),
    ],
)
def test_forms_of_one_with_quotes_and_brackets(form):
    """In pages and XML, as bash's `set -x` and `printf %q` and Python show it, and as a browser's script escapes it."""
    assert Masker([QUOTED]).mask_text(form).strip("'") == "***"


@pytest.mark.parametrize("before", ["", "u:", "ab", "user:"])
@pytest.mark.parametrize("ending", ["", "\n"])
def test_base64_leaves_nothing_of_the_end(before, ending):
    """`echo "$TOKEN" | base64` and HTTP's basic authentication: the last characters are the secret's, too."""
    encoded = base64.b64encode(f"{before}{SECRET}{ending}".encode()).decode()
    assert Masker([SECRET]).mask_text(encoded).endswith("***")
    assert Masker([SECRET]).mask_text(encoded.rstrip("=")).endswith("***")


@given(before=st.integers(0, 200), width=st.sampled_from([20, 64, 76]))
def test_base64_in_lines_that_break_a_short_secret(before, width):
    """The secret begins anywhere in a line."""
    secret = "0123456789abcdef"
    encoded = base64.b64encode(b"u" * before + secret.encode() + b"!!").decode()
    text = "\n".join(encoded[n : n + width] for n in range(0, len(encoded), width))
    masked = Masker([secret]).mask_text(text)
    assert "***" in masked
    left = base64.b64decode("".join(masked.partition("***")[0].split())[: before // 3 * 4])
    assert left == b"u" * (before // 3 * 3)


def test_the_end_of_a_line_is_not_held_back_for_a_character_or_two():
    """Who follows a log sees its lines when they are there."""
    encoded = base64.b64encode(SECRET.encode()).decode()
    masker = Masker([SECRET])
    assert masker.feed(f"{encoded[:3]}\n".encode()) == f"{encoded[:3]}\n".encode()
    assert masker.feed(f"{encoded[:9]}\n".encode()) == b""
    assert masker.feed(f"{encoded[9:]}\nnext\n".encode()) == b"***\nnext\n"


def test_a_key_of_several_lines_is_masked_line_by_line():
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----\n"
    printed = "".join(f"  {line}\r\n" for line in key.splitlines())
    assert Masker([key]).mask_text(printed) == "  ***\r\n" * 4


def test_short_values_are_left_alone():
    assert Masker(["a", "12", " x ", ""]).mask(b"a 12 x") == b"a 12 x"


def test_nothing_is_held_back_without_need():
    masker = Masker(["password"])
    assert masker.feed(b"Continue? ") == b"Continue? "
    assert masker.feed(b"pass") == b""
    assert masker.feed(b"ed") == b"passed"


@given(st.integers(1, 60), st.integers(0, 40), st.lists(st.integers(1, 20), max_size=10))
def test_no_part_of_a_secret_shows_where_a_log_is_cut(head, tail, sizes):
    """At the end of the head, at the start of the tail, and at the end of a cut line."""
    secret = "0123456789"
    data = b"...." + (secret.encode() + b"..") * 6
    sink = Sink()
    log = OutputLog(sink, Masker([secret]), Caps(head=head, tail=tail, line=25))
    for size in sizes:
        log.feed(data[:size])
        data = data[size:]
    log.feed(data)
    log.finish()
    assert not set(sink.of(OUTPUT)) & set(b"0123456789")


LONG = "".join(chr(33 + n * 7 % 90) for n in range(150))


@given(
    before=st.integers(0, 3),
    width=st.sampled_from([64, 76]),
    end=st.sampled_from(["\n", "\r\n"]),
    sizes=st.lists(st.integers(1, 90), max_size=12),
)
def test_base64_in_lines_however_it_is_cut(before, width, end, sizes):
    """As `base64` and `openssl` print it, and as the reads of a pipe cut that."""
    encoded = base64.b64encode(b"u" * before + LONG.encode() + b"!!").decode()
    text = end.join(encoded[n : n + width] for n in range(0, len(encoded), width)) + end
    pieces, rest = [], text.encode()
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    masked = feed(Masker([LONG]), [*pieces, rest]).decode()
    assert masked == Masker([LONG]).mask_text(text)
    assert len(masked.replace("***", "").strip()) <= 12, "what does not depend on the secret alone"


def test_the_longer_of_two_that_begin_alike_and_neither_when_only_the_start_is_there():
    """The pattern knows only the head of a long base64 form: what follows decides."""
    longer = LONG + "abcdefghi"
    encoded = base64.b64encode(longer.encode()).decode()
    masker = Masker([LONG, longer])
    assert masker.mask_text(f"<{encoded}>") == "<***>"
    short = base64.b64encode(LONG.encode()).decode()
    assert masker.mask_text(f"<{short}!") == "<***!"
    broken = f"<{encoded[:100]}\n{encoded[100:]}>"
    assert masker.mask_text(broken) == "<***>"
    other = encoded[:60] + "A" * 60
    assert masker.mask_text(f"<{other}>") == f"<{other}>"
    assert Masker([LONG, encoded[:40]]).mask_text(f"<{other}>") == f"<***{other[40:]}>"
