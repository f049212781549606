"""What is particular to functions in Rust: crates, async handlers, what is answered with."""

import pytest
from function_world import FunctionWorld

from taskyard.core.functions.functions import Language
from taskyard.core.states import Reason
from taskyard.ports.functions import BuildFailed

pytestmark = [pytest.mark.anyio, pytest.mark.rust]

LISTED = """
[package]
name = "my-function"
version = "0.1.0"
edition = "2018"

[lib]
name = "mine"

[dependencies]
taskyard = "1"
"""
LIBRARY = """
mod inner;

use taskyard::{Request, Response};

pub async fn handle(request: Request) -> Result<Response<&'static str>, String> {
    match &request.body()[..] {
        b"panic" => panic!("it is over"),
        b"fail" => Err("it failed".to_string()),
        _ => inner::words().await.map(Response::new),
    }
}
"""
INNER = """
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;

struct Later(bool);

impl Future for Later {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        let waker = context.waker().clone();
        thread::spawn(move || waker.wake());
        Poll::Pending
    }
}

pub async fn words() -> Result<&'static str, String> {
    Later(false).await;
    Ok("in the end")
}
"""
TEMPLATE = """
use taskyard::{Body, Request, Response};

const PHRASE: &str = "Hello, World!";

pub fn handle(_req: Request<Body>) -> Response<Body> {
    Response::new(Body::from(PHRASE))
}
"""


async def test_a_crate_with_an_async_handler(fast: FunctionWorld) -> None:
    """Its ``Cargo.toml`` is honoured, whatever it is called; a panic fails its own call."""
    source = {"Cargo.toml": LISTED, "src/lib.rs": LIBRARY, "src/inner.rs": INNER}
    await fast.build(source, language=Language.RUST)
    ended = await fast.call(timeout_s=20.0)
    assert ended.result is not None, ended
    assert ended.result.body == b"in the end"
    assert ended.result.headers == (("content-type", "text/plain; charset=utf-8"),)
    failed = await fast.call("fail")
    assert (failed.reason, failed.message) == (Reason.FUNCTION_ERROR, "it failed")
    panicked = await fast.call("panic")
    assert (panicked.reason, panicked.message) == (Reason.FUNCTION_ERROR, "panic: it is over")
    assert b"src/lib.rs:8" in await fast.output(panicked, "stderr")
    assert b"scratch" not in await fast.output(panicked, "stderr")
    assert (await fast.call("x")).result is not None


async def test_a_handler_in_the_shape_of_the_template(fast: FunctionWorld) -> None:
    """A crate without ``Cargo.toml``, below ``function``."""
    await fast.build({"function/src/lib.rs": TEMPLATE}, language=Language.RUST)
    ended = await fast.call(timeout_s=20.0)
    assert ended.result is not None, ended
    assert ended.result.body == b"Hello, World!"


@pytest.mark.parametrize("listed", ["[package", "[dependencies]\n", "package = 1\n"])
async def test_a_bad_list_fails_the_build(fast: FunctionWorld, listed: str) -> None:
    """With a word."""
    with pytest.raises(BuildFailed, match=r"Cargo\.toml is not readable"):
        await fast.build({"Cargo.toml": listed, "src/lib.rs": TEMPLATE}, language=Language.RUST)


async def test_crates_of_the_source_need_no_registry(fast: FunctionWorld) -> None:
    """Those in a directory of its own, and those it brings along as a registry of its own."""
    source = {
        "Cargo.toml": LISTED + 'inner = { path = "inner" }\nvendored = "2"\n',
        "src/lib.rs": "pub fn handle(_: taskyard::Request) -> String "
        '{ format!("{} {}", inner::WORDS, vendored::WORDS) }',
        "inner/Cargo.toml": '[package]\nname = "inner"\nversion = "0.1.0"\n',
        "inner/src/lib.rs": 'pub const WORDS: &str = "inner";',
        "vendor/vendored/Cargo.toml": '[package]\nname = "vendored"\nversion = "2.1.0"\n',
        "vendor/vendored/src/lib.rs": 'pub const WORDS: &str = "vendored";',
        "vendor/vendored/.cargo-checksum.json": '{"files":{}}',
        ".cargo/config.toml": '[source.crates-io]\nreplace-with = "mine"\n'
        '[source.mine]\ndirectory = "vendor"\n',
    }
    log = await fast.build(source, language=Language.RUST)
    assert "dependencies installed" in log
    ended = await fast.call(timeout_s=20.0)
    assert ended.result is not None, ended
    assert ended.result.body == b"inner vendored"


async def test_crates_that_cannot_be_had_fail_the_build(
    fast: FunctionWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With cargo's words."""
    monkeypatch.setenv("CARGO_NET_OFFLINE", "true")
    source = {"Cargo.toml": LISTED + 'missing-crate = "1"\n', "src/lib.rs": TEMPLATE}
    with pytest.raises(BuildFailed, match="the dependencies could not be installed"):
        await fast.build(source, language=Language.RUST)
    assert any("missing-crate" in line for line in fast.log), fast.log
