"""The parts of the container runtime that need no engine."""

import base64
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard.core.errors import InvalidInput
from taskyard.core.image_name import parse_image
from taskyard.core.states import AttemptState, Reason
from taskyard.core.tasks import Volume
from taskyard.runtimes.container.output import Output
from taskyard.runtimes.container.volumes import binds
from taskyard.runtimes.engine.address import EngineAddress, engine_addresses, parse_engine_address
from taskyard.runtimes.engine.container_state import Circumstances, finding, judge
from taskyard.runtimes.engine.credentials import auth_header
from taskyard.runtimes.engine.errors import CannotRun
from taskyard.runtimes.engine.frames import Frames, LogFrames
from taskyard.runtimes.engine.identity import installation_id


def frame(stream: int, data: bytes) -> bytes:
    """As an engine sends it."""
    return struct.pack(">BxxxL", stream, len(data)) + data


def joined(frames: Frames, data: bytes, cut: int) -> dict[int, bytes]:
    """Both streams, fed in pieces of a length."""
    found = {1: b"", 2: b""}
    for start in range(0, len(data), cut):
        for stream, piece in frames.feed(data[start : start + cut]):
            found[stream] += piece
    return found


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40))), st.integers(1, 20))
def test_frames_come_out_as_they_went_in(pieces: list[tuple[int, bytes]], cut: int) -> None:
    """However the bytes were cut on their way."""
    frames = Frames()
    found = joined(frames, b"".join(frame(*piece) for piece in pieces), cut)
    for stream in (1, 2):
        assert found[stream] == b"".join(data for number, data in pieces if number == stream)
    assert frames.is_whole


def test_a_frame_cut_off_is_not_whole() -> None:
    """Whoever reads on can tell."""
    frames = Frames()
    list(frames.feed(frame(1, b"abc")[:-1]))
    assert not frames.is_whole


def test_what_is_no_frame_is_refused() -> None:
    """A plain text is never taken for output."""
    with pytest.raises(ValueError, match="stream 104"):
        list(Frames().feed(b"hello world"))


def test_missing_line_feeds_of_long_lines_are_put_back() -> None:
    """A block that is neither full nor ends a line was the end of one, if more follows."""
    log = (
        frame(1, b"a" * 16384) + frame(1, b"tail") + frame(2, b"e\n") + frame(1, b"next\n")
        + frame(1, b"b" * 16384) + frame(1, b"") + frame(1, b"last")
    )  # fmt: skip
    found = joined(LogFrames(), log, 1000)
    assert found[1] == b"a" * 16384 + b"tail\nnext\n" + b"b" * 16384 + b"\nlast"
    assert found[2] == b"e\n"


def test_output_reads_a_log_again_without_repeating(tmp_path: Path) -> None:
    """What the files hold is passed over, remarks do not count, the limit holds."""
    first = Output(tmp_path, 20)
    first.begin()
    first.remark("pulling")
    first.follow_on()
    first.take(2, b"abc")
    first.take(1, b"out")
    first.close()
    again = Output(tmp_path, 20)
    again.resume(8)
    for _ in range(2):
        again.rewind()
        again.take(2, b"ab")
        again.take(2, b"cdefghijklmnop")
        again.take(1, b"output")
    again.close()
    assert (tmp_path / "stdout").read_bytes() == b"output"
    assert (tmp_path / "stderr").read_bytes() == b"pulling\nabcdefghijkl"
    sizes = again.sizes()
    assert (sizes["stderr"].stored_bytes, sizes["stderr"].dropped_bytes) == (20, 4)


@pytest.mark.parametrize(
    ("text", "tls", "address"),
    [
        ("unix:///run/x.sock", False, EngineAddress(socket="/run/x.sock")),
        ("tcp://10.0.0.1:2375", False, EngineAddress(url="http://10.0.0.1:2375")),
        ("tcp://10.0.0.1", True, EngineAddress(url="https://10.0.0.1:2376")),
        ("https://engine.example:1", False, EngineAddress(url="https://engine.example:1")),
        ("http://[::1]:9", False, EngineAddress(url="http://[::1]:9")),
    ],
)
def test_engine_addresses(text: str, tls: bool, address: EngineAddress) -> None:
    """Every way to say where an engine is."""
    assert parse_engine_address(text, tls=tls) == address


@pytest.mark.parametrize(
    "text", ["", "x", "unix://x", "ftp://h", "tcp://", "tcp://h:port", "tcp://u:p@h", "ssh://h"]
)
def test_invalid_engine_addresses(text: str) -> None:
    """They are refused by the name of the setting."""
    with pytest.raises(InvalidInput, match="container_engine"):
        parse_engine_address(text)


def test_switched_off_there_is_no_engine_address() -> None:
    """Nothing is looked for."""
    assert engine_addresses("off") == []


def test_volumes_are_what_links_lead_to(tmp_path: Path) -> None:
    """The engine gets the real path, so that a link changed later changes nothing."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    asked = [Volume(str(tmp_path / "link"), "/v", read_only=False)]
    assert binds(asked, [str(tmp_path)], []) == [f"{tmp_path}/real:/v:rw"]
    with pytest.raises(CannotRun, match="not allowed"):
        binds([Volume(f"{tmp_path}-other", "/v")], [str(tmp_path)], [])
    with pytest.raises(CannotRun, match="does not exist"):
        binds([Volume(f"{tmp_path}/none", "/v")], [str(tmp_path)], [])


def test_credentials_go_into_a_header() -> None:
    """With the registry they are for."""
    header = auth_header('{"username": "u", "password": "p"}', parse_image("h:1/a"))
    found = json.loads(base64.urlsafe_b64decode(header))
    assert found == {"username": "u", "password": "p", "serveraddress": "h:1"}


@pytest.mark.parametrize(
    "text", ["hunter2", "[]", "{}", '{"username": "hunter2"}', '{"username": 1}']
)
def test_bad_credentials_are_refused_without_showing_them(text: str) -> None:
    """Nothing of the secret gets into a message."""
    with pytest.raises(CannotRun) as refused:
        auth_header(text, parse_image("a"))
    assert "hunter2" not in str(refused.value)


def test_installation_id_is_stable(tmp_path: Path) -> None:
    """Made once, then kept."""
    assert installation_id(tmp_path / "x") == installation_id(tmp_path / "x")
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["installation"]


def _ended(code: int, **state: object) -> dict[str, object]:
    times = {"StartedAt": "2026-11-22T08:00:00.5Z", "FinishedAt": "2026-11-22T08:00:10Z"}
    return {"Id": "x", "State": {"Running": False, "ExitCode": code, **times, **state}}


@pytest.mark.parametrize(
    ("code", "state", "around", "wanted"),
    [
        (0, {}, {}, (AttemptState.SUCCEEDED, None)),
        (3, {}, {}, (AttemptState.FAILED, Reason.EXIT_CODE)),
        (137, {"OOMKilled": True}, {}, (AttemptState.FAILED, Reason.OUT_OF_MEMORY)),
        (137, {}, {"kill_cause": "killed"}, (AttemptState.KILLED, Reason.KILLED)),
        (0, {}, {"kill_cause": "killed"}, (AttemptState.KILLED, Reason.KILLED)),
        (
            143,
            {},
            {"kill_cause": "timeout", "timeout_s": 1.0},
            (AttemptState.FAILED, Reason.TIMEOUT),
        ),
        (137, {}, {"timeout_s": 9.0}, (AttemptState.FAILED, Reason.TIMEOUT)),
        (137, {}, {"timeout_s": 10.0}, (AttemptState.FAILED, Reason.EXIT_CODE)),
        (137, {}, {"engine_was_away": True}, (AttemptState.FAILED, Reason.RUNTIME_TROUBLE)),
        (3, {}, {"engine_was_away": True}, (AttemptState.FAILED, Reason.EXIT_CODE)),
        (
            137,
            {},
            {"is_podman": True, "memory_bytes": 1 << 20},
            (AttemptState.FAILED, Reason.OUT_OF_MEMORY),
        ),
    ],
)
def test_ends(
    code: int,
    state: dict[str, object],
    around: dict[str, object],
    wanted: tuple[AttemptState, Reason | None],
) -> None:
    """What an exit means depends on what else is known."""
    plain: dict[str, object] = {
        "kill_cause": None,
        "timeout_s": None,
        "memory_bytes": None,
        "is_podman": False,
        "engine_was_away": False,
    }
    found = judge(finding(_ended(code, **state)), Circumstances(**{**plain, **around}))  # type: ignore[arg-type]  # one table for all types
    assert found[:2] == wanted
