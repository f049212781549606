"""Finds secrets in command lines, URLs and messages by how they are written there.

What is found has a form that says so: the value of a flag or an assignment with a secret's name, a
header with a credential, the password of a URL, the first characters that issuers give their
tokens. References such as ``$PASSWORD`` are no secrets.

A line at a time is read, and only if it has a word that secrets come with. Each expression takes
time in proportion to the length of what it reads, and what is read is bounded: of more than that,
whole lines are hidden. So nobody's text keeps the server busy.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

from taskyard.core.access.secret_names import (
    contains_secret_word,
    is_certain_name,
    is_secret_header,
    is_secret_name,
)

HIDDEN: Final = "***"
"""Stands in place of a hidden value."""

Span = tuple[int, int]

_TRIGGERS: Final = (
    *(
        "pass",
        "pwd",
        "secret",
        "token",
        "key",
        "cred",
        "auth",
        "cookie",
        "sig",
        "dsn",
        "otp",
        "cvv",
    ),
    *("bearer", "basic", "client", "://", "private key-----", "curl", "wget", "http", "mysql"),
    *("maria", "mongo", "redis", "login", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat"),
    *(
        "glpat",
        "xox",
        "sk_",
        "rk_",
        "akia",
        "asia",
        "aiza",
        "eyj",
        "npm_",
        "pypi-",
        "sg.",
        "ty_",
        "tyj1.",
    ),
)
"""Something of this, in any case, is in every line with a secret that can be found."""
READ_LIMIT: Final = 32 * 1024
"""Characters of lines with triggers that are read for one object."""
_LOOKED_AT: Final = 16
"""Characters that may be looked through for triggers at the price of reading one."""
_NAMED: Final = re.compile(
    r"""(?P<lead>["']?)(?<![\w.-])(?P<dash>-{0,2})(?P<name>[A-Za-z_][\w.-]*+)"""
    r"""(?P<sep>(?P<quote>["']?)[ \t]*+(?:=|:(?!/))[ \t]*+|[ \t]++)"""
)
_BARE: Final = re.compile(r"""\$\{[^}\s]*+\}|[^\s"'`;|&<>)\]},]++""")
_ARGUMENT: Final = re.compile(r"(?P<dash>-{0,2})(?P<name>[A-Za-z_][\w.-]*+)(?P<sep>[=:])")
_FLAG: Final = re.compile(r"--?(?P<name>[A-Za-z_][\w.-]*+)\Z")
_NO_SECRET: Final = re.compile(
    r"(?:\$[A-Za-z_]\w*+|\$\{[^}]*+\}|\$\(.*+|true|false|null|none|yes|no)\Z",
    re.IGNORECASE | re.DOTALL,
)
_PATH: Final = re.compile(r"\.{0,2}/|~")
_HEADER: Final = re.compile(r"(?<![\w-])(?P<name>[A-Za-z][A-Za-z0-9-]*+):[ \t]*+")
_HEADER_VALUE: Final = re.compile(r"""[^\r\n"']++""")
_SCHEME: Final = re.compile(
    r"(?<![\w-])(?:bearer|basic)[ \t]++(?P<value>[\w.~+/-]{16,}+=*+)", re.IGNORECASE
)
_URL: Final = re.compile(
    r"""(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*+://"""
    r"""(?P<user>[^\s/?#"'<>@:]*+)(?::(?P<password>[^\s/"'<>]*))?@""",
    re.IGNORECASE,
)
_QUERY: Final = re.compile(r"""[?&;#](?P<name>[\w.%-]++)=(?P<value>[^\s&;#"'<>]++)""")
_QUERY_NAMES: Final = frozenset({"key", "sig", "code", "auth", "hmac", "jwt", "pass"})
_LONG_USER: Final = 20
"""Characters; a longer user in a URL without a password is a token."""
_ISSUED: Final = re.compile(
    r"(?<![\w-])(?:gh[pousr]_\w{20,}+|github_pat_\w{20,}+|glpat-[\w-]{16,}+|xox[a-z]-[\w-]{10,}+"
    r"|ty_[0-9A-Za-z]{4,40}_[\w-]{20,}+|tyj1\.[\w-]{20,}+|[sr]k_(?:live|test)_\w{10,}+|(?:AKIA|ASIA)[A-Z0-9]{16}(?!\w)|AIza[\w-]{35}|npm_\w{30,}+"
    r"|pypi-[\w-]{30,}+|SG\.[\w-]{16,}+\.[\w-]{16,}+|whsec_[\w+/=]{16,}+"
    r"|eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*+)"
)
_ISSUER: Final = re.compile(
    r"gh[pousr]_|github_pat_|glpat-|xox[a-z]-|[sr]k_(?:live|test)_|AKIA|ASIA|AIza|npm_|pypi-|SG\."
    r"|whsec_|ty_|tyj1\.|eyJ"
)
_MASKED_FORM: Final = re.compile(
    rf"(?:(?<![\w-])(?:{_ISSUER.pattern})|(?i:bearer|basic)[ \t]+){re.escape(HIDDEN)}"
)
_PEM: Final = re.compile(r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----(?P<value>[^-]++)")
_PROGRAMS: Final = tuple(
    (re.compile(rf"(?<![\w-])(?:{program})(?=\s)[^|;\n]{{0,4000}}+"), re.compile(rf"(?<!\S){flag}"))
    for program, flag in (
        (
            r"curl|wget|https?|xh",
            r"""(?:-[A-Za-z]{0,8}[uU]|--(?:proxy-)?user|-a|--auth)(?:=|\s*)["']?"""
            r"""[^\s:"']*+:(?P<value>[^\s"']++)""",
        ),
        (r"mysql\w*+|mariadb[\w-]*+", r"""-p["']?(?P<value>[^\s"']++)"""),
        (r"sshpass|mongo\w*+", r"""-p\s*+["']?(?P<value>[^\s"'-][^\s"']*+)"""),
        (r"(?:docker|podman|helm|oc)\s++login", r"""-p\s*+["']?(?P<value>[^\s"'-][^\s"']*+)"""),
        (r"redis-cli", r"""-a\s++["']?(?P<value>[^\s"']++)"""),
    )
)
"""Programs whose short flags hold passwords, and those flags."""
_KNOWN: Final = re.compile(r"curl|wget|http|xh|mysql|mariadb|sshpass|mongo|login|redis-cli")
_ARGUMENT_COST: Final = 4
"""What each argument counts for at least, as looking at it takes its time."""
_RANDOM: Final = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9_-]{16,}\Z|[A-Za-z0-9]{20,}\Z")


class Allowance:
    """How much may still be read for one object, such as a task with all its members."""

    __slots__ = ("left",)

    def __init__(self, left: int = READ_LIMIT) -> None:
        self.left = left

    def take(self, size: int) -> bool:
        """Whether so many characters may be read; then there are fewer left."""
        if size > self.left:
            return False
        self.left -= size
        return True


def redact_text(text: str, allowance: Allowance | None = None) -> str:
    """A command line, message or other text with the secrets in it hidden."""
    return _without(text, _spans(text, allowance or Allowance()))


def redact_argv(argv: Sequence[str], allowance: Allowance | None = None) -> tuple[str, ...]:
    """A program's arguments with secrets hidden, also where a flag says what the next one is."""
    allowance = allowance or Allowance()
    joined = "\n".join(argv)
    if not allowance.take(len(joined) // _LOOKED_AT):
        return (HIDDEN,)
    if not _has_trigger(joined):
        return tuple(argv)
    return tuple(map(_without, argv, _spans_of_argv(argv, allowance)))


def redact_url(url: str, allowance: Allowance | None = None) -> str:
    """A URL that something is sent to, which may be a secret itself: what looks random is hidden.

    Scheme, host, and readable parts of the path stay, so that targets can be told apart.
    """
    head, slash, rest = url.partition("://")
    if not slash:
        return redact_text(url, allowance)
    place, *segments = re.split(r"([/?&#;=])", rest)
    hidden = [HIDDEN if _RANDOM.match(one) else one for one in segments]
    return redact_text(f"{head}://{place}{''.join(hidden)}", allowance)


def is_masked(text: str, allowance: Allowance | None = None) -> bool:
    """Whether a mask stands where a secret would: the text was shown once, and came back."""
    if HIDDEN not in text:
        return False
    spans = _spans(text, allowance or Allowance())
    return (
        any(text[start:end] == HIDDEN for start, end in spans)
        or _MASKED_FORM.search(text) is not None
        or HIDDEN in text.split("\n")[1:]  # What was too long to be read
    )


def is_masked_argv(argv: Sequence[str], allowance: Allowance | None = None) -> bool:
    """The same for a program's arguments."""
    if not any(HIDDEN in one for one in argv):
        return False
    spans = _spans_of_argv(argv, allowance or Allowance())
    return any(
        _MASKED_FORM.search(one) is not None
        or any(one[start:end] == HIDDEN for start, end in found)
        for one, found in zip(argv, spans, strict=True)
        if HIDDEN in one
    )


def is_masked_url(url: str) -> bool:
    """The same for a URL that something is sent to."""
    return HIDDEN in url


def _without(text: str, spans: Sequence[Span]) -> str:
    if not spans:
        return text
    pieces: list[str] = []
    position = 0
    for start, end in sorted(spans):
        if start >= position:
            pieces += (text[position:start], HIDDEN)
        position = max(position, end)
    pieces.append(text[position:])
    return "".join(pieces)


def _has_trigger(text: str) -> bool:
    lowered = text.lower()
    return any(word in lowered for word in _TRIGGERS)


def _spans(text: str, allowance: Allowance) -> list[Span]:
    """Where secrets are, not in order; spans may overlap."""
    if not allowance.take(len(text) // _LOOKED_AT):
        return [(0, len(text))]
    if not _has_trigger(text):
        return []
    found: list[Span] = []
    if "PRIVATE KEY-----" in text:
        found += (one.span("value") for one in _PEM.finditer(text))
    for start, end in _lines(text):
        if not _has_trigger(text[start:end]):
            continue
        if allowance.take(end - start):
            found += _named(text, start, end)
            found += _in_headers(text, start, end)
            found += _in_urls(text, start, end)
            found += _by_form(text, start, end)
            if _KNOWN.search(text, start, end):
                found += _by_program(text, start, end)
        else:
            found.append((start, len(text)))
            break
    return found


def _lines(text: str) -> Iterator[Span]:
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield start, end
        start = end + 1
    yield start, len(text)


def _spans_of_argv(argv: Sequence[str], allowance: Allowance) -> list[list[Span]]:
    found: list[list[Span]] = []
    before = ""
    for one in argv:
        if not allowance.take(_ARGUMENT_COST):
            found.append([(0, len(one))])
            continue
        flag = _FLAG.match(before)
        named = None if before == "-c" and " " in one else _ARGUMENT.match(one)
        name, start = "", 0
        if flag is not None and is_secret_name(flag["name"]) and not one.startswith("-"):
            name = flag["name"]
        elif named is not None and _is_value_of(named["name"], named["sep"]):
            name, start = named["name"], named.end()
        if not name:
            found.append(_spans(one, allowance))
        else:
            found.append([(start, len(one))] if _is_secret_value(name, one[start:]) else [])
        before = one
    _add_by_program(argv, found, allowance)
    return found


def _add_by_program(argv: Sequence[str], found: list[list[Span]], allowance: Allowance) -> None:
    """Also those that flags of certain programs have, which only the whole line tells."""
    joined = " ".join(argv)
    if not _KNOWN.search(joined) or not allowance.take(len(joined)):
        return
    starts, position = [], 0
    for one in argv:
        starts.append(position)
        position += len(one) + 1
    for start, end in _by_program(joined, 0, len(joined)):
        place = max(0, bisect_right(starts, start) - 1)
        offset = starts[place]
        found[place].append((start - offset, min(end - offset, len(argv[place]))))


def _is_value_of(name: str, separator: str) -> bool:
    """Whether what stands behind this name and separator is a secret."""
    if separator == "=":
        return is_secret_name(name) or (name.isupper() and contains_secret_word(name))
    return is_certain_name(name)


def _is_secret_value(name: str, value: str) -> bool:
    if not value or _NO_SECRET.match(value):
        return False
    # A key may be said by where it is.
    return not ("key" in name.lower() and _PATH.match(value))


def _named(text: str, start: int, end: int) -> Iterator[Span]:
    for found in _NAMED.finditer(text, start, end):
        name, separator = found["name"], found["sep"].strip()
        if not separator:
            is_secret = bool(found["dash"]) and is_secret_name(name)
        elif found["quote"]:
            is_secret = is_secret_name(name)  # "name": "value"
        else:
            is_secret = _is_value_of(name, separator.strip())
        if not is_secret:
            continue
        at = found.end()
        span = _value(text, at, found["lead"] if not found["quote"] else "")
        if span is None or (not separator and text.startswith("-", at)):
            continue
        if _is_secret_value(name, text[span[0] : span[1]]):
            yield span


def _value(text: str, start: int, inside: str) -> Span | None:
    """Where a value that begins here is; ``inside`` is the quote that its name stands in."""
    quote = inside or (text[start] if text[start : start + 1] in {'"', "'"} else "")
    if quote:
        begin = start if inside else start + 1
        end = text.find(quote, begin)
        return begin, len(text) if end < 0 else end
    bare = _BARE.match(text, start)
    return None if bare is None else bare.span()


def _in_headers(text: str, start: int, end: int) -> Iterator[Span]:
    for found in _HEADER.finditer(text, start, end):
        name = found["name"]
        if is_secret_header(name) and ("-" in name or is_secret_name(name)):
            if name.lower() == "token":
                continue
            value = _HEADER_VALUE.match(text, found.end())
            if value is not None and not _NO_SECRET.match(value.group()):
                yield value.span()


def _in_urls(text: str, start: int, end: int) -> Iterator[Span]:
    for found in _URL.finditer(text, start, end):
        if found["password"]:
            yield found.span("password")
        elif len(found["user"]) >= _LONG_USER:
            yield found.span("user")
    for found in _QUERY.finditer(text, start, end):
        name = found["name"]
        is_secret = name.lower() in _QUERY_NAMES or is_secret_name(name)
        if is_secret and not _NO_SECRET.match(found["value"]):
            yield found.span("value")


def _by_form(text: str, start: int, end: int) -> Iterator[Span]:
    for found in _ISSUED.finditer(text, start, end):
        # Whose it is stays visible.
        issuer = _ISSUER.match(text, found.start())
        yield (found.start() if issuer is None else issuer.end()), found.end()
    for found in _SCHEME.finditer(text, start, end):
        yield found.span("value")


def _by_program(text: str, start: int, end: int) -> Iterator[Span]:
    for program, flag in _PROGRAMS:
        for segment in program.finditer(text, start, end):
            for found in flag.finditer(text, *segment.span()):
                if not _NO_SECRET.match(found["value"]):
                    yield found.span("value")
