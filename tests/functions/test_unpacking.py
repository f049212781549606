"""Unpacking: hostile, damaged and odd archives, none of which costs more than the limits say."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import anyio
import pytest
from archive_samples import (
    TarKind,
    header,
    in_directory,
    large_header,
    member,
    pax,
    raw_tar,
    tar_of,
    zip_with,
)
from function_world import zip_of

from taskyard.ports.functions import BuildFailed
from taskyard.runtimes.function.unpacking import UnpackLimits, unpack

pytestmark = pytest.mark.anyio
_DEADLINE_S = 60.0


async def refused(tmp_path: Path, bundle: bytes, limits: UnpackLimits | None = None) -> str:
    """Why a bundle is not unpacked."""
    target = tmp_path / uuid4().hex
    with anyio.fail_after(_DEADLINE_S), pytest.raises(BuildFailed) as caught:
        await unpack(bundle, target, "handler.py", limits or UnpackLimits())
    return str(caught.value)


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:bz2", "w:xz"])
async def test_tar_archives_are_unpacked(tmp_path: Path, kind: TarKind) -> None:
    """Whatever they are compressed with; what is not an archive is one file."""
    bundle = tar_of(member("./a/b", size=5), member("d", tarfile.DIRTYPE), kind=kind)
    assert await unpack(bundle, tmp_path / "code", "handler.py") == 1
    assert (tmp_path / "code" / "a" / "b").read_bytes() == bytes(5)
    assert (tmp_path / "code" / "d").is_dir()
    assert await unpack(b"x = 1\n", tmp_path / "single", "handler.py") == 1
    assert (tmp_path / "single" / "handler.py").read_bytes() == b"x = 1\n"


@pytest.mark.parametrize(
    "compression",
    [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA],
)
async def test_zip_archives_are_unpacked(tmp_path: Path, compression: int) -> None:
    """In each way that the format compresses, with names of any script."""
    bundle = bytes(zip_with(["é/木 \u200d.py", "n\u00a0b"], b"x = 1\n" * 999, compression))
    assert await unpack(bundle, tmp_path / "code", "handler.py") == 2
    assert (tmp_path / "code" / "é" / "木 \u200d.py").read_bytes() == b"x = 1\n" * 999


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/x", "a\\..\\x", "C:/x", "x/" * 40 + "x", "n" * 300]
)
async def test_paths_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    """In zip and in tar archives; nothing is written outside."""
    for bundle in (zip_of({name: "x"}), tar_of(member(name))):
        with pytest.raises(BuildFailed):
            await unpack(bundle, tmp_path / f"code{len(bundle)}", "handler.py")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "\x1b[2J", "a\x7f", "a\x85b"])
async def test_names_with_control_characters_are_refused(tmp_path: Path, name: str) -> None:
    """They would be in logs and on terminals."""
    for bundle in (bytes(zip_with([name])), tar_of(member(name))):
        assert "without control characters" in await refused(tmp_path, bundle)


async def test_names_with_nul_or_invalid_utf_8_are_refused(tmp_path: Path) -> None:
    """What is behind a NUL is not silently cut off."""
    with_nul = bytes(zip_with(["a_b.py"])).replace(b"a_b.py", b"a\0b.py")
    odd = zip_with(["é.py"])
    not_utf_8 = bytes(odd).replace("é".encode(), b"\xff\xfe")
    for bundle in (
        with_nul,
        raw_tar(*pax(("path", b"a\0b.py")), header("x")),
        raw_tar(*pax(("path", b"\xff\xfe")), header("x")),
        raw_tar(header("x", tarfile.GNUTYPE_LONGNAME, 3), b"\xff\xfe\0", header("x")),
    ):
        assert "names have to be UTF-8" in await refused(tmp_path, bundle)
    assert "not readable" in await refused(tmp_path, not_utf_8)


async def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    """Of every kind."""
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.BLKTYPE)
    for number, kind in enumerate(kinds):
        bundle = tar_of(member("a", kind, "/etc/passwd"))
        with pytest.raises(BuildFailed, match="link or a device"):
            await unpack(bundle, tmp_path / str(number), "handler.py")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(BuildFailed, match="link or a device"):
        await unpack(buffer.getvalue(), tmp_path / "zip", "handler.py")


async def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    """A link, and then a file below it; or a file where a directory would have to be."""
    (tmp_path / "outside").mkdir()
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        bundle = tar_of(member("a", kind, str(tmp_path / "outside")), member("a/x", size=1))
        assert "link or a device" in await refused(tmp_path, bundle)
    assert not any((tmp_path / "outside").iterdir())
    assert "twice" in await refused(tmp_path, tar_of(member("a"), member("a/x")))
    assert "twice" in await refused(tmp_path, tar_of(member("a/x"), member("a")))
    assert "twice" in await refused(tmp_path, tar_of(member("a"), member("a", tarfile.DIRTYPE)))


async def test_one_file_twice_is_refused(tmp_path: Path) -> None:
    """An archive may not overwrite itself; a directory may be named as often as it is needed."""
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = bytes(zip_with(["a", "a"]))
    for bundle in (tar_of(member("a"), member("a")), tar_of(member("a"), member("./a")), twice):
        assert "twice" in await refused(tmp_path, bundle)
    folder = member("d", tarfile.DIRTYPE)
    bundle = tar_of(member("d/x"), folder, folder, member("d/y"))
    assert await unpack(bundle, tmp_path / "code", "handler.py") == 2


async def test_sparse_files_are_refused(tmp_path: Path) -> None:
    """In each of the ways tar knows: they are larger than what they take in the archive."""
    old = bytearray(header("x", tarfile.GNUTYPE_SPARSE))
    sizes = ("GNU.sparse.size", b"1000000000000"), ("GNU.sparse.numblocks", b"0")
    newer = ("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")
    for bundle in (
        raw_tar(bytes(old)),
        raw_tar(*pax(*sizes), header("x")),
        raw_tar(*pax(("GNU.sparse.map", b"0,1"), sizes[0]), header("x", size=1), b"x"),
        raw_tar(*pax(*newer), header("x", size=512), b"1\n0\n0\n"),
    ):
        assert "sparse" in await refused(tmp_path, bundle)


async def test_bombs_are_refused(tmp_path: Path) -> None:
    """By what they say they hold, and by what they do hold."""
    limits = UnpackLimits(unpacked_bytes=1 << 20, entries=10)
    for kind in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        honest = zip_with(["zeros"], bytes(2 << 20), kind)
        assert "unpacks to more" in await refused(tmp_path, bytes(honest), limits)
        lying = in_directory(honest, 24, "<L", 1000)
        assert "Bad CRC" in await refused(tmp_path, bytes(lying), limits)
    kinds: tuple[TarKind, ...] = ("w", "w:gz", "w:bz2", "w:xz")
    for one in kinds:
        bundle = tar_of(member("zeros", size=2 << 20), kind=one)
        assert "unpacks to more" in await refused(tmp_path, bundle, limits)
    many = bytes(zip_with(["a", "b"], bytes(600 << 10)))
    assert "unpacks to more" in await refused(tmp_path, many, limits)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
async def test_what_is_compressed_has_to_be_a_tar_archive(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    """A compressed file, or nothing, is not an empty archive; zeros without an end are a bomb."""
    for content in (b"print(1)\n" * 99, b"", b"x" * (8 << 20), compress(b"x" * 999)):
        assert "there is no tar archive in it" in await refused(tmp_path, compress(content))
    assert "no files in the archive" in await refused(tmp_path, compress(bytes(10240)))
    limits = UnpackLimits(unpacked_bytes=1 << 20, entries=10)
    zeros = compress(bytes(8 << 20))
    assert "unpacks to more" in await refused(tmp_path, zeros, limits)


@pytest.mark.parametrize(
    "kind",
    [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK],
)
async def test_headers_of_tar_archives_have_limits(tmp_path: Path, kind: bytes) -> None:
    """They are refused by what they announce, before anything of it is read."""
    limits = UnpackLimits(memory_bytes=16 << 20)
    assert "a header of more than 64 KiB" in await refused(
        tmp_path, large_header(kind, 64 << 20), limits
    )
    good = raw_tar(*pax(("comment", b"c" * 60_000), ("path", b"long/" * 9 + b"x")), header("x"))
    assert await unpack(good, tmp_path / "code", "handler.py", limits) == 1


async def test_sizes_that_cannot_be_are_refused(tmp_path: Path) -> None:
    """Negative ones, ones beyond the end, and numbers of thousands of digits."""
    for value in (b"-1", b"-10240", b"99999999999999999999", b"9" * 5000, b"1e3", b""):
        text = await refused(tmp_path, raw_tar(*pax(("size", value)), header("x")))
        assert "not readable" in text, value


async def test_a_chain_of_headers_ends(tmp_path: Path) -> None:
    """Each of which only announces another one."""
    links = [part for _ in range(5000) for part in pax(("comment", b"c"))]
    assert "not readable" in await refused(tmp_path, raw_tar(*links, header("x")))


async def test_damaged_headers_are_not_the_end(tmp_path: Path) -> None:
    """A tar archive with a damaged header would otherwise be one with fewer files."""
    for damage in (b"\xff" * 512, b"\xff" * 100):
        bundle = raw_tar(header("a"))[:-1024] + damage
        assert "a header in it is damaged" in await refused(tmp_path, bundle)
    cut = tar_of(member("a", size=9999), kind="w")[:5000]
    assert "not readable" in await refused(tmp_path, cut)


async def test_damage_behind_the_last_file_is_found(tmp_path: Path) -> None:
    """The checksum of what is compressed stands at its end."""
    bundle = bytearray(tar_of(member("a", size=5)))
    bundle[-6] ^= 1
    assert "not readable" in await refused(tmp_path, bytes(bundle))
    assert "not readable" in await refused(tmp_path, bytes(bundle[:-4]))


async def test_entries_are_counted_with_their_directories(tmp_path: Path) -> None:
    """Also those that no entry stands for."""
    limits = UnpackLimits(entries=100)
    deep = [f"{number}/" * 30 + "x" for number in range(4)]
    many = [str(number) for number in range(101)]
    for names in (deep, many):
        expected = "more than 100 entries, directories included"
        assert expected in await refused(tmp_path, bytes(zip_with(names)), limits)
        assert expected in await refused(tmp_path, tar_of(*map(member, names)), limits)
    assert await unpack(bytes(zip_with(many[:100])), tmp_path / "ok", "handler.py", limits) == 100


async def test_a_zip_archive_with_too_many_directories_is_refused_before_it_is_unpacked(
    tmp_path: Path,
) -> None:
    """Otherwise thousands of directories would have to be made, and removed again."""
    deep = [f"{number}/" * 30 + "x" for number in range(4)]
    limits = UnpackLimits(entries=100)
    assert "more than 100 entries" in await refused(tmp_path, bytes(zip_with(deep)), limits)
    (target,) = [path async for path in anyio.Path(tmp_path).iterdir()]
    assert [path async for path in target.iterdir()] == []
    long = bytes(zip_with(["x/" * 20_000 + "x"]))
    assert "a path of more than 1024 bytes" in await refused(tmp_path, long)


async def test_tables_of_contents_are_looked_at_before_they_are_read(tmp_path: Path) -> None:
    """By what the end of a zip archive says, and by what there is, whatever it says."""
    limits = UnpackLimits(entries=100, memory_bytes=16 << 20)
    many = zip_with([f"{number:x}" for number in range(60_000)])
    assert "more than 100 entries" in await refused(tmp_path, bytes(many), limits)
    end = many.rindex(b"PK\x05\x06")
    many[end + 8 : end + 12] = b"\x01\0\x01\0"
    assert "table of contents is too long" in await refused(tmp_path, bytes(many), limits)
    more = UnpackLimits(entries=6000, memory_bytes=16 << 20)
    assert "more than 6000 entries" in await refused(tmp_path, bytes(many), more)
    some = zip_with([f"{number:x}" for number in range(900)])
    end = some.rindex(b"PK\x05\x06")
    some[end + 8 : end + 12] = b"\x01\0\x01\0"
    assert "more than 100 entries" in await refused(tmp_path, bytes(some), limits)
    some[end + 12 : end + 16] = b"\xff\xff\xff\x7f"
    assert "table of contents" in await refused(tmp_path, bytes(some), limits)


async def test_zip_archives_that_contradict_themselves_are_refused(tmp_path: Path) -> None:
    """Encrypted entries, wrong sizes, wrong checksums, unknown compression, no end."""
    cases = {
        "pack it without a password": in_directory(zip_with(["a"], b"x" * 99), 8, "<H", 1),
        "not the size": in_directory(zip_with(["a"], b"x" * 99), 24, "<L", 100),
        "Bad CRC": in_directory(zip_with(["a"], b"x" * 99), 16, "<L", 7),
        "not supported": in_directory(zip_with(["a"], b"x" * 99), 10, "<H", 98),
        "without an end": bytearray(zip_with(["a"])[:-10]),
        "no files in the archive": zip_with([]),
    }
    for expected, bundle in cases.items():
        assert expected in await refused(tmp_path, bytes(bundle)), expected


@pytest.mark.parametrize("bundle", [b"PK\x03\x04nonsense", b"\x1f\x8bnonsense", b"BZhnonsense"])
async def test_damaged_archives_are_refused(tmp_path: Path, bundle: bytes) -> None:
    """With a word."""
    with pytest.raises(BuildFailed, match="not readable"):
        await unpack(bundle, tmp_path / "code", "handler.py")


async def test_other_kinds_of_archives_are_named(tmp_path: Path) -> None:
    """Rather than taken for a file of source."""
    assert "7-Zip cannot be unpacked" in await refused(tmp_path, b"7z\xbc\xaf\x27\x1c" + bytes(99))
