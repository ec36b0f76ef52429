//! The trace span, metrics and log line of a call.

use std::time::{Duration, Instant};

use opentelemetry::Context;
use tonic::Code;

use crate::meter;

use super::call_span;

/// The record of a call in progress. It is written exactly once: by [`CallRecord::finish`], or, if the client disconnects first, on drop,
/// which records the call as cancelled.
#[derive(Debug)]
pub struct CallRecord {
    method: &'static str,
    /// Whether the client determines how long the call lasts, in which case the duration is not measured.
    is_streaming: bool,
    context: Context,
    begun: Instant,
    is_recorded: bool,
}

impl CallRecord {
    /// Starts the record of a call. `context` contains the span of the call.
    pub fn begin(method: &'static str, is_streaming: bool, context: Context) -> Self {
        Self {
            method,
            is_streaming,
            context,
            begun: Instant::now(),
            is_recorded: false,
        }
    }

    /// Returns the context that contains the span of the call.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Records the status of a completed call.
    pub fn finish(mut self, code: Code) {
        self.is_recorded = true;
        let took = self.record(code);
        tracing::debug!(code = meter::code_name(code), ?took, "call completed");
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
        tracing::debug!(?took, "cancelled: the client disconnected before the response was complete");
    }
}
