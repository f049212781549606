//! The protocol of functions as container images; nothing here is about your function.
//!
//! What else can be said in frames is on the page "Functions as container images" of Taskyard's
//! reference.

#![allow(dead_code)] // your handler need not use all of it

mod json;

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Arguments;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use json::{quoted, Json};

/// As in the standard library, and counted: the end of a call waits for exactly what it has
/// printed. What other programs and crates print is not counted.
macro_rules! println {
    ($($text:tt)*) => { $crate::taskyard::print(false, format_args!($($text)*)) };
}

/// See `println`.
macro_rules! eprintln {
    ($($text:tt)*) => { $crate::taskyard::print(true, format_args!($($text)*)) };
}

static PRINTED: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Write a line to standard output or error.
pub fn print(to_error: bool, text: Arguments) {
    let line = format!("{text}\n");
    let written = if to_error {
        io::stderr().write_all(line.as_bytes())
    } else {
        let mut output = io::stdout().lock();
        output.write_all(line.as_bytes()).and_then(|()| output.flush())
    };
    if written.is_ok() {
        PRINTED[usize::from(to_error)].fetch_add(line.len() as u64, Ordering::SeqCst);
    }
}

/// A call.
pub struct Request {
    pub task: String,
    pub method: String,
    pub host: String,
    /// The query string as it was sent, without the question mark.
    pub query: String,
    /// Names and values, in the order in which they were sent.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub progress: Progress,
}

impl Request {
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// The first value of a header, in any letter case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|one| one.0.eq_ignore_ascii_case(name));
        found.next().map(|one| one.1.as_str())
    }
}

/// Reports how far a call is; threads may have clones of it.
#[derive(Clone)]
pub struct Progress {
    wire: Arc<Mutex<Wire>>,
    call: u64,
}

impl Progress {
    /// From 0 to 1, a few times a second at most; what comes after the call's end is dropped.
    pub fn report(&self, done: f64, text: &str) {
        let mut wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        if wire.current == self.call && (0.0..=1.0).contains(&done) {
            let head = format!("{{\"call\":{},\"progress\":{done},\"text\":{}}}", self.call, quoted(text));
            // Where it cannot be written, the next call cannot be read, and that is the end.
            let _ = wire.say(&head, &[]);
        }
    }
}

/// The answer to a call.
pub struct Response {
    /// From 200 to 599.
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub fn text(text: impl Into<String>) -> Self {
        Self::new(200, text.into()).with("content-type", "text/plain; charset=utf-8")
    }

    /// Add a header, also one that is there already.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_string(), value.to_string()));
        self
    }
}

/// Answer calls, one at a time, until they are not needed any more.
pub fn serve<F>(handle: F) -> io::Result<()>
where
    F: Fn(&Request) -> Result<Response, Box<dyn Error>>,
{
    let path = std::env::var("TASKYARD_FUNCTION_SOCKET").map_err(io::Error::other)?;
    let mut reader = UnixStream::connect(path)?;
    let wire = Arc::new(Mutex::new(Wire { stream: reader.try_clone()?, current: 0 }));
    let locked = || wire.lock().unwrap_or_else(PoisonError::into_inner);
    panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    locked().say("{\"ready\":true}", &[])?;
    while let Some((header, body)) = read(&mut reader)? {
        let call = header.get("call").and_then(Json::number).unwrap_or(0.0) as u64;
        locked().current = call;
        let request = request_of(&header, body, Progress { wire: Arc::clone(&wire), call });
        let (head, body) = match called(&handle, &request) {
            Ok(response) => (head_of(&response), response.body),
            Err(text) => (format!("\"error\":{}", quoted(&text)), Vec::new()),
        };
        let mut wire = locked();
        wire.current = 0;
        let [out, err] = [0, 1].map(|one| PRINTED[one].load(Ordering::SeqCst));
        wire.say(&format!("{{\"call\":{call},{head},\"printed\":[{out},{err}]}}"), &body)?;
    }
    Ok(())
}

/// What the handler answers; a panic is an error like others, and fails no other call.
fn called<F>(handle: &F, request: &Request) -> Result<Response, String>
where
    F: Fn(&Request) -> Result<Response, Box<dyn Error>>,
{
    match panic::catch_unwind(AssertUnwindSafe(|| handle(request))) {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => {
            eprintln!("{error}");
            Err(error.to_string())
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("panic: {}", text.unwrap_or("see what it printed")))
        }
    }
}

fn request_of(header: &Json, body: Vec<u8>, progress: Progress) -> Request {
    let text = |name| header.get(name).and_then(Json::text).unwrap_or_default().to_string();
    let mut headers = Vec::new();
    for pair in header.get("headers").map(Json::list).unwrap_or_default() {
        if let [Json::Text(name), Json::Text(value)] = pair.list() {
            headers.push((name.clone(), value.clone()));
        }
    }
    Request {
        task: text("task"),
        method: text("method"),
        host: text("host"),
        query: text("query"),
        headers,
        body,
        progress,
    }
}

fn head_of(response: &Response) -> String {
    let pairs = response.headers.iter();
    let pairs: Vec<_> =
        pairs.map(|(name, value)| format!("[{},{}]", quoted(name), quoted(value))).collect();
    format!("\"status\":{},\"headers\":[{}]", response.status, pairs.join(","))
}

/// Where frames go, and the call that has not been answered.
struct Wire {
    stream: UnixStream,
    current: u64,
}

impl Wire {
    fn say(&mut self, header: &str, payload: &[u8]) -> io::Result<()> {
        let mut frame = Vec::with_capacity(8 + header.len() + payload.len());
        frame.extend_from_slice(&(header.len() as u32).to_be_bytes());
        frame.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        frame.extend_from_slice(header.as_bytes());
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame)
    }
}

/// Header and payload of the next frame; `None` when the other end has hung up.
fn read(stream: &mut UnixStream) -> io::Result<Option<(Json, Vec<u8>)>> {
    let mut lengths = [0; 8];
    match stream.read_exact(&mut lengths) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        done => done?,
    }
    let [a, b, c, d, e, f, g, h] = lengths;
    let mut header = vec![0; u32::from_be_bytes([a, b, c, d]) as usize];
    let mut payload = vec![0; u32::from_be_bytes([e, f, g, h]) as usize];
    stream.read_exact(&mut header)?;
    stream.read_exact(&mut payload)?;
    let header = std::str::from_utf8(&header).ok().and_then(Json::read);
    let header = header.ok_or_else(|| io::Error::other("a frame without a header in JSON"))?;
    Ok(Some((header, payload)))
}
