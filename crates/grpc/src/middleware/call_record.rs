//! What traces, metrics and the log record of a call.

use std::time::{Duration, Instant};

use opentelemetry::Context;
use tonic::Code;

use crate::meter;

use super::call_span;

/// The record of a call that has begun. It is written exactly once: by [`CallRecord::finish`], or, if the client disconnects first, by
/// dropping it, which records the call as cancelled.
#[derive(Debug)]
pub struct CallRecord {
    method: &'static str,
    /// The duration of a stream is its client's choice, so it is not measured.
    is_streaming: bool,
    context: Context,
    begun: Instant,
    is_recorded: bool,
}

impl CallRecord {
    /// The record of a call that begins now; `context` holds its span.
    pub fn begin(method: &'static str, is_streaming: bool, context: Context) -> Self {
        Self {
            method,
            is_streaming,
            context,
            begun: Instant::now(),
            is_recorded: false,
        }
    }

    /// The context with the span of the call.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Records how the call was answered.
    pub fn finish(mut self, code: Code) {
        self.is_recorded = true;
        let took = self.record(code);
        tracing::debug!(code = meter::code_name(code), ?took, "answered");
    }

    fn record(&self, code: Code) -> Duration {
        call_span::end(&self.context, code);
        let took = self.begun.elapsed();
        if !self.is_streaming {
            meter::call_ended(self.method, code, took);
        }
        took
    }
}

impl Drop for CallRecord {
    fn drop(&mut self) {
        if self.is_recorded {
            return;
        }
        let took = self.record(Code::Cancelled);
        tracing::debug!(?took, "cancelled: the client disconnected before the answer");
    }
}
