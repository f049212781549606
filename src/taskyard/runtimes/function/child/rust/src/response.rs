use std::fmt;

use crate::{Body, Headers};

/// The number of an HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusCode(pub u16);

impl StatusCode {
    pub const OK: Self = Self(200);
    pub const CREATED: Self = Self(201);
    pub const ACCEPTED: Self = Self(202);
    pub const NO_CONTENT: Self = Self(204);
    pub const FOUND: Self = Self(302);
    pub const BAD_REQUEST: Self = Self(400);
    pub const UNAUTHORIZED: Self = Self(401);
    pub const FORBIDDEN: Self = Self(403);
    pub const NOT_FOUND: Self = Self(404);
    pub const METHOD_NOT_ALLOWED: Self = Self(405);
    pub const CONFLICT: Self = Self(409);
    pub const UNPROCESSABLE_ENTITY: Self = Self(422);
    pub const TOO_MANY_REQUESTS: Self = Self(429);
    pub const INTERNAL_SERVER_ERROR: Self = Self(500);
    pub const NOT_IMPLEMENTED: Self = Self(501);
    pub const SERVICE_UNAVAILABLE: Self = Self(503);

    pub fn as_u16(self) -> u16 {
        self.0
    }
}

impl From<u16> for StatusCode {
    fn from(number: u16) -> Self {
        Self(number)
    }
}

/// An answer that is none, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable(pub(crate) String);

impl fmt::Display for Unusable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "the handler answered with something unusable: {}",
            self.0
        )
    }
}

impl std::error::Error for Unusable {}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response<T = Body> {
    status: StatusCode,
    headers: Headers,
    body: T,
}

impl Response<()> {
    /// An answer put together piece by piece.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl<T> Response<T> {
    /// An answer with status 200.
    pub fn new(body: T) -> Self {
        Self {
            status: StatusCode::OK,
            headers: Headers::default(),
            body,
        }
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn status_mut(&mut self) -> &mut StatusCode {
        &mut self.status
    }

    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    pub fn headers_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }

    pub fn body(&self) -> &T {
        &self.body
    }

    pub fn into_body(self) -> T {
        self.body
    }

    /// The same with another body.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Response<U> {
        Response {
            status: self.status,
            headers: self.headers,
            body: change(self.body),
        }
    }
}

/// Status and headers of an answer that has no body yet.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    status: Option<StatusCode>,
    headers: Headers,
}

impl Builder {
    pub fn status(mut self, status: impl Into<StatusCode>) -> Self {
        self.status = Some(status.into());
        self
    }

    pub fn header(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.headers.append(name, value);
        self
    }

    /// The answer; an error if its status or a header cannot be sent.
    pub fn body<T>(self, body: T) -> Result<Response<T>, Unusable> {
        let status = self.status.unwrap_or(StatusCode::OK);
        let response = Response {
            status,
            headers: self.headers,
            body,
        };
        check(&response)?;
        Ok(response)
    }
}

pub(crate) fn check<T>(response: &Response<T>) -> Result<(), Unusable> {
    let status = response.status.as_u16();
    if !(200..=599).contains(&status) {
        let text = format!("the status has to be a number from 200 to 599, not {status}");
        return Err(Unusable(text));
    }
    for (name, value) in response.headers.iter() {
        for letter in name.chars().chain(value.chars()) {
            if matches!(letter, '\r' | '\n' | '\0') {
                return Err(Unusable("a header contains a line break".into()));
            }
            if letter > '\u{ff}' {
                let text = "a header contains letters that no header can carry";
                return Err(Unusable(text.into()));
            }
        }
    }
    Ok(())
}
