use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{current, park, Thread};

use crate::{Body, Request, Response};

/// What a handler may answer with.
pub trait Answer {
    /// The response, or the words of an error.
    fn answer(self) -> Result<Response<Body>, String>;
}

impl<T: Into<Body>> Answer for Response<T> {
    fn answer(self) -> Result<Response<Body>, String> {
        Ok(self.map(Into::into))
    }
}

impl<T: Answer, E: Display> Answer for Result<T, E> {
    fn answer(self) -> Result<Response<Body>, String> {
        self.map_err(|error| error.to_string())?.answer()
    }
}

macro_rules! bodies {
    ($($kind:ty),*) => {
        $(impl Answer for $kind {
            fn answer(self) -> Result<Response<Body>, String> {
                Ok(Response::new(self.into()))
            }
        })*
    };
}
bodies!(Body, String, &str, Vec<u8>, ());

/// Handlers that answer when they return.
pub struct Plain;

/// Handlers that return a future.
pub struct Asynchronous;

/// What can be called with a request.
pub trait Handler<Kind> {
    /// The response, or the words of an error.
    fn call(&self, request: Request<Body>) -> Result<Response<Body>, String>;
}

impl<F, A> Handler<Plain> for F
where
    F: Fn(Request<Body>) -> A,
    A: Answer,
{
    fn call(&self, request: Request<Body>) -> Result<Response<Body>, String> {
        self(request).answer()
    }
}

impl<F, P, A> Handler<Asynchronous> for F
where
    F: Fn(Request<Body>) -> P,
    P: Future<Output = A>,
    A: Answer,
{
    fn call(&self, request: Request<Body>) -> Result<Response<Body>, String> {
        wait(self(request)).answer()
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait<P: Future>(future: P) -> P::Output {
    let mut future = Box::pin(future);
    let waker = Waker::from(Arc::new(Unpark(current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => park(),
        }
    }
}
