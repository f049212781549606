"""Secrets in texts are found by their form, and harmless texts stay as they are."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard.core.access.secret_names import is_secret_name
from taskyard.core.access.secret_text import (
    is_masked,
    is_masked_argv,
    redact_argv,
    redact_text,
    redact_url,
)

TEXTS = [
    ("mysql -u root -pMARK db", "mysql -u root -p*** db"),
    ("mysql --password=MARK", "mysql --password=***"),
    ("curl -u ann:MARK http://x", "curl -u ann:*** http://x"),
    ("curl -su ann:MARK x", "curl -su ann:*** x"),
    ("curl --user 'ann:MARK' x", "curl --user 'ann:***' x"),
    ("wget --password MARK x", "wget --password *** x"),
    ("TOKEN=MARK run", "TOKEN=*** run"),
    ("export API_KEY='MARK x' && run", "export API_KEY='***' && run"),
    ("curl -H 'Authorization: Bearer MARK' x", "curl -H 'Authorization: ***' x"),
    ('curl -H "X-Api-Key: MARK" x', 'curl -H "X-Api-Key: ***" x'),
    ("git clone https://ann:MARK@host/x.git", "git clone https://ann:***@host/x.git"),
    ("psql postgres://u:M@RK@h/db", "psql postgres://u:***@h/db"),
    ("get 'http://x/y?a=b&token=MARK&c=d'", "get 'http://x/y?a=b&token=***&c=d'"),
    ("get 'http://x/y?key=MARK'", "get 'http://x/y?key=***'"),
    ("""put '{"password": "MARK", "a": "b"}'""", """put '{"password": "***", "a": "b"}'"""),
    ("sshpass -p MARK ssh host", "sshpass -p *** ssh host"),
    ("docker login -u ann -p MARK", "docker login -u ann -p ***"),
    ("redis-cli -a MARK ping", "redis-cli -a *** ping"),
    ('run "--password=MARK x" y', 'run "--password=***" y'),
    ("password: MARK", "password: ***"),
    ("java -password MARK", "java -password ***"),
    ("clone ghp_0123456789abcdefghijABCDEFGHIJ", "clone ghp_***"),
    ("use AKIAIOSFODNN7EXAMPLE now", "use AKIA*** now"),
    ("send eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "send eyJ***"),
    ("asked with Bearer abcDEF0123456789xyz", "asked with Bearer ***"),
    (
        "-----BEGIN RSA PRIVATE KEY-----\nMARK\nMARK\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----",
    ),
    ("one\nTOKEN=MARK two\nthree", "one\nTOKEN=*** two\nthree"),
]
HARMLESS = [
    "max_tokens=100 --password-file /run/x --token-ttl 5",
    'echo $PASSWORD --password=$PW --token ${T} --password "$PASS" --secret $(cat x)',
    "unexpected token: }",
    "author: bob, keyboard=us, primary key: id, monkey=1",
    "docker run --user 1000:1000 -p 80:80 -e PATH image",
    "clone git@github.com:x/y ssh://git@host/x https://ann@host/",
    "ssh --private-key /etc/x.pem --ssh-key=~/.ssh/id",
    "--author bob --token --verbose",
    "no worker has the runtime 'key'",
    "make --auth=none --password=false",
    "",
]
ARGUMENTS = [
    (("mysql", "-pMARK"), ("mysql", "-p***")),
    (("x", "--password", "MARK y"), ("x", "--password", "***")),
    (("x", "--password=MARK y", "z"), ("x", "--password=***", "z")),
    (("/usr/bin/curl", "-u", "ann:MARK"), ("/usr/bin/curl", "-u", "ann:***")),
    (("env", "TOKEN=MARK z", "x"), ("env", "TOKEN=***", "x")),
    (("sh", "-c", "TOKEN=MARK y | z"), ("sh", "-c", "TOKEN=*** y | z")),
    (("curl", "-H", "Authorization: Bearer MARK"), ("curl", "-H", "Authorization: ***")),
    (("x", "--header=X-Token: MARK"), ("x", "--header=X-Token: ***")),
    (("sshpass", "-p", "MARK", "ssh"), ("sshpass", "-p", "***", "ssh")),
    (("x", "--token", "--flag", "a"), ("x", "--token", "--flag", "a")),
    (("docker", "run", "--user", "1:1"), ("docker", "run", "--user", "1:1")),
    (("x", "--password", "$PASSWORD"), ("x", "--password", "$PASSWORD")),
]
URLS = [
    (
        "https://x.example/services/T00/B00/abcdefghijklmnopqrst",
        "https://x.example/services/T00/B00/***",
    ),
    ("https://x.example/cb/550e8400-e29b-41d4-a716-446655440000", "https://x.example/cb/***"),
    (
        "http://x.example:1/a-readable-name-of-a-hook?b=c",
        "http://x.example:1/a-readable-name-of-a-hook?b=c",
    ),
    ("http://x.example/?token=abc&b=c", "http://x.example/?token=***&b=c"),
    ("http://ann:abc@x.example/", "http://ann:***@x.example/"),
]


@pytest.mark.parametrize(("text", "shown"), TEXTS)
def test_secrets_in_a_text_are_hidden(text: str, shown: str) -> None:
    """And nothing else of it, once or twice."""
    assert redact_text(text) == shown
    assert redact_text(shown) == shown
    assert is_masked(shown)
    assert not is_masked(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_texts_stay_as_they_are(text: str) -> None:
    """Also with the same words in them."""
    assert redact_text(text) == text


@pytest.mark.parametrize(("argv", "shown"), ARGUMENTS)
def test_secrets_among_arguments_are_hidden(argv: tuple[str, ...], shown: tuple[str, ...]) -> None:
    """As values of flags, as flags with values, as scripts."""
    assert redact_argv(argv) == shown
    assert is_masked_argv(shown) == (argv != shown)


@pytest.mark.parametrize(("url", "shown"), URLS)
def test_secrets_in_targets_are_hidden(url: str, shown: str) -> None:
    """Random-looking parts of a path too: often the URL itself is the secret."""
    assert redact_url(url) == shown


@pytest.mark.parametrize(
    "name",
    [
        *("password", "db_password", "DB_PASSWORD", "dbPassword", "pwd", "api-key", "apiKey"),
        *("x.secret", "private_key", "clientSecret", "auth_token", "basic_auth", "client_id"),
    ],
)
def test_names_of_secrets(name: str) -> None:
    """In every way of writing compound names."""
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("author", "key", "keyboard", "max_tokens", "password_file", "tokenTTL", "secretName"),
        *("primary_key", "auth", "oauth_url", "compass", "", "日本", "token_count"),
    ],
)
def test_names_of_other_things(name: str) -> None:
    """With parts of the same words in them, or saying where a secret is."""
    assert not is_secret_name(name)


def test_a_star_in_a_text_is_no_mask() -> None:
    """Only where a secret would stand."""
    assert not is_masked("ls a/***/b && echo '***'")
    assert not is_masked_argv(("echo", "***"))


@pytest.mark.parametrize(
    "text",
    [
        *("a" * 2_000_000, "--token " * 100_000, "curl -u " * 100_000, "a:" * 500_000),
        *("://" * 300_000, "'" * 1_000_000, "key=\n" * 200_000, "a-" * 500_000 + "key"),
        *("-----BEGIN PRIVATE KEY-----" * 50_000, "eyJaaaaaaaaa." * 100_000, '" "key' * 100_000),
        *("mysql -p " * 100_000, "u://x:" + "y:" * 500_000, "basic " * 100_000, "?a=" * 300_000),
        *((" " * 30_000 + "key\n") * 3, "key" + "(" * 30_000, "key " + "a" * 31_000),
        *("bearer " + "a.b" * 10_000, "x://" * 8_000, "curl " + "-u" * 15_000),
    ],
    ids=lambda text: text[:8],
)
def test_reading_takes_bounded_time(text: str) -> None:
    """Whatever is submitted: it is read in the server's loop."""
    began = time.process_time()
    redact_text(text)
    redact_argv((text,))
    assert time.process_time() - began < 1.5


def test_what_is_too_long_to_be_read_is_hidden() -> None:
    """From there on, rather than shown unread; long texts without such words are shown."""
    lines = "".join(f"TOKEN=MARK{number} run\n" for number in range(10_000))
    shown = redact_text(lines)
    assert "MARK" not in shown
    assert shown.endswith("***")
    assert shown.startswith("TOKEN=*** run\nTOKEN=*** run\n")
    plain = "make all\n" * 10_000
    assert redact_text(plain) == plain


@given(text=st.text(alphabet=st.sampled_from("key=: -'\"\n$:/@?&pastoken"), max_size=60))
def test_nothing_is_added_but_masks(text: str) -> None:
    """What is shown is the text with pieces replaced, and is stable."""
    shown = redact_text(text)
    position = 0
    for piece in shown.split("***"):
        position = text.index(piece, position) + len(piece)
    assert (shown == text) == ("***" not in shown)


def test_join_strings_are_hidden() -> None:
    """Whoever reads one can join as a worker."""
    line = "taskyard worker --join tyj1.eyJ1cmxzIjpbXX0abcdefghijkl --data d"
    assert redact_text(line) == "taskyard worker --join tyj1.*** --data d"
    assert redact_text(redact_text(line)) == redact_text(line)
