use std::any::Any;
use std::env;
use std::io::Result;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::Arc;

use crate::frames::Runtime;
use crate::json::{quoted, Json};
use crate::output::{has_children, printed, renew, tidy};
use crate::progress::Progress;
use crate::request::Report;
use crate::response::{check, Unusable};
use crate::{Body, Handler, Headers, Request, Response};

/// Answer calls until the runtime hangs up; never returns.
pub fn serve<Kind, H: Handler<Kind>>(handler: H) -> ! {
    let output = PathBuf::from(env::var_os("TASKYARD_OUTPUT").unwrap_or_default());
    let limit = env::var("TASKYARD_RESULT_BYTES")
        .ok()
        .and_then(|text| text.parse().ok());
    for name in ["HANDLER", "ENTRY", "OUTPUT", "RESULT_BYTES"] {
        env::remove_var(format!("TASKYARD_{name}"));
    }
    // Sound: this is how the function runtime starts us, and nobody has run before.
    let connected = unsafe { Runtime::connect() };
    match (connected, env::current_dir(), limit) {
        (Ok(runtime), Ok(home), Some(limit)) => {
            // It fails when the runtime has hung up.
            let _ = answer_all(&handler, &Arc::new(runtime), &home, &output, limit);
            exit(0)
        }
        _ => exit(1),
    }
}

fn answer_all<Kind>(
    handler: &impl Handler<Kind>,
    runtime: &Arc<Runtime>,
    home: &Path,
    output: &Path,
    limit: usize,
) -> Result<()> {
    runtime.say("{\"ready\":true}", &[])?;
    loop {
        let (header, body) = runtime.read()?;
        if header.get("fresh").map_or(false, Json::is_true) {
            renew(output)?;
        }
        let call = header.get("call").and_then(Json::number).unwrap_or(0.0) as u64;
        let progress = Progress::new(Arc::clone(runtime), call);
        let request = request_of(&header, body, progress.reporter());
        let answered = called(handler, request).and_then(|response| {
            let head = head_of(&response, limit).map_err(|error| error.to_string())?;
            Ok((head, response.into_body().into_bytes()))
        });
        progress.end();
        let (head, content) =
            answered.unwrap_or_else(|text| (format!("\"error\":{}", quoted(&text)), Vec::new()));
        let kids = has_children();
        let said = printed();
        let sizes = format!("[{},{},{}]", content.len(), said.out.len(), said.err.len());
        let spill = said.spill;
        let head = format!("{{\"call\":{call},{head},\"sizes\":{sizes},\"spill\":{spill},\"kids\":{kids}}}");
        runtime.say(&head, &[&content, &said.out, &said.err])?;
        tidy(home)?;
    }
}

/// What the handler answers; a panic is an error, and the log has what it said.
fn called<Kind>(
    handler: &impl Handler<Kind>,
    request: Request<Body>,
) -> std::result::Result<Response<Body>, String> {
    match catch_unwind(AssertUnwindSafe(|| handler.call(request))) {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(text)) => {
            eprintln!("{text}");
            Err(text)
        }
        Err(reason) => Err(format!("panic: {}", words(reason.as_ref()))),
    }
}

fn words(reason: &(dyn Any + Send)) -> &str {
    match (
        reason.downcast_ref::<&str>(),
        reason.downcast_ref::<String>(),
    ) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "of a kind that has no words",
    }
}

fn request_of(header: &Json, body: Vec<u8>, report: Report) -> Request<Body> {
    let text = |name| {
        header
            .get(name)
            .and_then(Json::text)
            .unwrap_or_default()
            .to_string()
    };
    let mut headers = Headers::default();
    for pair in header.get("headers").map_or(&[][..], Json::list) {
        if let [Json::Text(name), Json::Text(value)] = pair.list() {
            headers.append(name.as_str(), value);
        }
    }
    Request {
        method: text("method"),
        host: text("host"),
        query: text("query"),
        headers,
        timeout_s: header.get("timeout_s").and_then(Json::number),
        report,
        body: body.into(),
    }
}

fn head_of(response: &Response<Body>, limit: usize) -> std::result::Result<String, Unusable> {
    check(response)?;
    let size = response.body().len();
    if size > limit {
        return Err(Unusable(format!(
            "the answer has {size} bytes; {limit} are allowed"
        )));
    }
    let mut pairs: Vec<_> = response.headers().iter().collect();
    if !response.headers().contains_key("content-type") {
        pairs.extend(response.body().kind().map(|kind| ("content-type", kind)));
    }
    let pairs: Vec<_> = pairs
        .into_iter()
        .map(|(name, value)| format!("[{},{}]", quoted(name), quoted(value)))
        .collect();
    let status = response.status().as_u16();
    Ok(format!(
        "\"status\":{status},\"headers\":[{}]",
        pairs.join(",")
    ))
}
