//! What a function in Rust gets and gives, and the member that calls it.
//!
//! The types have the shape of those of `hyper` and `http`, as functions for OpenFaaS's rust-http
//! template use them, and need no other crate:
//!
//! ```ignore
//! use taskyard::{Body, Request, Response};
//!
//! pub fn handle(request: Request<Body>) -> Response<Body> {
//!     Response::new(Body::from("Hello"))
//! }
//! ```
//!
//! A handler may be `async`, and may answer with a `Result`, or with a body alone.

mod answer;
mod body;
mod frames;
mod headers;
mod json;
mod output;
mod progress;
mod request;
mod response;
mod serve;

pub use answer::{Answer, Handler};
pub use body::Body;
pub use headers::Headers;
pub use request::Request;
pub use response::{Builder, Response, StatusCode, Unusable};
#[doc(hidden)]
pub use serve::serve;
