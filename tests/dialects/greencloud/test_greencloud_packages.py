"""Builds that install what a function depends on, from what is in its own archive."""

import base64
import hashlib
import io
import zipfile

import pytest
from greencloud_world import GreenCloudWorld, zipped

pytestmark = pytest.mark.anyio
WHEEL = "greeting-1.0-py3-none-any.whl"
HANDLER = "import greeting\ndef handle(e, c): return greeting.SAID\n"


def wheel() -> bytes:
    """A package ``greeting`` as a wheel."""
    info = "greeting-1.0.dist-info"
    files = {
        "greeting.py": "SAID = 'installed'\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = io.StringIO()
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record.write(f"{name},sha256={digest.decode()},{len(text)}\n")
    record.write(f"{info}/RECORD,,\n")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": record.getvalue()}.items():
            archive.writestr(name, text)
    return buffer.getvalue()


@pytest.mark.parametrize("inside", ["", "function/"])
@pytest.mark.parametrize(
    "lines",
    ["--no-index\n./wheels/{wheel}\n", "--no-index\n--find-links wheels\ngreeting == 1.0\n"],
    ids=["a file", "a folder"],
)
async def test_requirements_of_python(world: GreenCloudWorld, lines: str, inside: str) -> None:
    """Beside the handler, in either layout; paths are those of the archive."""
    function = await world.acme.function()
    files: dict[str, str | bytes] = {
        f"{inside}handler.py": HANDLER,
        f"{inside}requirements.txt": lines.format(wheel=WHEEL),
        f"wheels/{WHEEL}": wheel(),
    }
    built = await world.acme.build(function, zipped(files))
    assert built["status"] == "SUCCESS", built["log"]
    assert "dependencies installed" in built["log"]
    assert (await world.acme.called(function)).text == "installed"
    other = await world.acme.deployed(HANDLER)
    failed = await world.acme.called(other)
    assert "greeting" in failed.json()["message"]
