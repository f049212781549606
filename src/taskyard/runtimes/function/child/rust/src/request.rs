use crate::{Body, Headers};

pub(crate) type Report = Box<dyn Fn(f64, &str) + Send + Sync>;

/// One call.
pub struct Request<T = Body> {
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) query: String,
    pub(crate) headers: Headers,
    pub(crate) timeout_s: Option<f64>,
    pub(crate) report: Report,
    pub(crate) body: T,
}

impl<T> Request<T> {
    /// Such as `POST`.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// What the caller called the server.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The query string as it was sent, without the `?`.
    pub fn query(&self) -> &str {
        &self.query
    }

    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    pub fn body(&self) -> &T {
        &self.body
    }

    pub fn into_body(self) -> T {
        self.body
    }

    /// Seconds the call may take.
    pub fn timeout_s(&self) -> Option<f64> {
        self.timeout_s
    }

    /// Tell how far the call is: 0 to 1, and a few words. What comes too fast is left out.
    pub fn progress(&self, fraction: f64, text: &str) {
        (self.report)(fraction, text);
    }
}
