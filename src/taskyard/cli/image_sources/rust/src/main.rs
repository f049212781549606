//! A function for Taskyard: what `handle` returns is the answer to a call.

#[macro_use]
mod taskyard;

use std::error::Error;

use taskyard::{Request, Response};

fn handle(request: &Request) -> Result<Response, Box<dyn Error>> {
    let text = request.text();
    let who = if text.is_empty() { "world" } else { &*text };
    println!("greeting {who}");
    Ok(Response::text(format!("Hello, {who}!")))
}

fn main() -> std::io::Result<()> {
    // Connections, models: what takes long belongs here, before the first call.
    taskyard::serve(handle)
}
