use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::frames::Runtime;
use crate::json::quoted;
use crate::request::Report;

const BETWEEN_REPORTS: Duration = Duration::from_millis(250);

/// How far one call is.
pub struct Progress {
    runtime: Arc<Runtime>,
    call: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    reported: Option<Instant>,
    over: bool,
}

impl Progress {
    pub fn new(runtime: Arc<Runtime>, call: u64) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            call,
            state: Mutex::default(),
        })
    }

    /// What the request of the call reports through.
    pub fn reporter(self: &Arc<Self>) -> Report {
        let progress = Arc::clone(self);
        Box::new(move |fraction, text| progress.report(fraction, text))
    }

    /// What comes now belongs to no call.
    pub fn end(&self) {
        if let Ok(mut state) = self.state.lock() {
            state.over = true;
        }
    }

    fn report(&self, fraction: f64, text: &str) {
        let fraction = if fraction.is_nan() {
            0.0
        } else {
            fraction.clamp(0.0, 1.0)
        };
        let mut state = match self.state.lock() {
            Ok(state) => state,
            Err(_) => return,
        };
        let is_early = state
            .reported
            .map_or(false, |at| at.elapsed() < BETWEEN_REPORTS);
        if state.over || is_early && fraction < 1.0 {
            return;
        }
        state.reported = Some(Instant::now());
        let text: String = text.chars().take(500).collect();
        let call = self.call;
        let text = quoted(&text);
        let header = format!("{{\"call\":{call},\"progress\":{fraction},\"text\":{text}}}");
        // If the runtime is gone, the next read says so.
        let _ = self.runtime.say(&header, &[]);
    }
}
