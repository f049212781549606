"""Names of images are taken apart as registries do."""

import pytest

from taskyard.core.errors import InvalidInput
from taskyard.core.image_name import ImageName, parse_image

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("busybox", (None, "busybox", "latest", None)),
        ("busybox:1.36", (None, "busybox", "1.36", None)),
        ("library/busybox", (None, "library/busybox", "latest", None)),
        ("registry:5000/img", ("registry:5000", "img", "latest", None)),
        ("registry:5000/img:tag", ("registry:5000", "img", "tag", None)),
        ("registry:5000/a/b/c:v1.2-x", ("registry:5000", "a/b/c", "v1.2-x", None)),
        ("localhost/img", ("localhost", "img", "latest", None)),
        ("quay.example/a/b", ("quay.example", "a/b", "latest", None)),
        ("[::1]:5000/a:b", ("[::1]:5000", "a", "b", None)),
        (f"a/b@{DIGEST}", (None, "a/b", None, DIGEST)),
        (f"h.example:1/a:t@{DIGEST}", ("h.example:1", "a", "t", DIGEST)),
        ("my__img-x.y", (None, "my__img-x.y", "latest", None)),
    ],
)
def test_parts(text: str, parts: tuple[str | None, str, str | None, str | None]) -> None:
    """Host, path, tag and digest, with ``latest`` where nothing is said."""
    assert parse_image(text) == ImageName(*parts)


@pytest.mark.parametrize(
    ("text", "whole", "repository", "version"),
    [
        ("a", "a:latest", "a", "latest"),
        ("h:1/a:t", "h:1/a:t", "h:1/a", "t"),
        (f"h:1/a:t@{DIGEST}", f"h:1/a@{DIGEST}", "h:1/a", DIGEST),
    ],
)
def test_whole(text: str, whole: str, repository: str, version: str) -> None:
    """What engines are given; a digest stands above a tag."""
    name = parse_image(text)
    assert (str(name), name.repository, name.version) == (whole, repository, version)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "A", "a b", "a:", ":a", "a@", "a@sha256:12", "/a", "a/", "a//b", "-a", "a:b:c",
        "a\n", "a:t\n", "h:x/a", "h:123456/a", "../etc", "a?b", "http://h/a", "a:-t", "a" * 300,
        f"@{DIGEST}",
    ],
)  # fmt: skip
def test_what_is_no_name(text: str) -> None:
    """It is refused, naming the field."""
    with pytest.raises(InvalidInput) as refused:
        parse_image(text)
    assert refused.value.field == "image"
