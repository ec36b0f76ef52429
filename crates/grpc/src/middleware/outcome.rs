//! How a call ended, as traces, metrics and the audit log tell it: also of a call whose caller goes before it is answered.

use std::time::{Duration, Instant};

use opentelemetry::Context;
use tonic::Code;

use super::{audit::Asked, trace};
use crate::meter;

/// A call that will be told once it is answered, or given up.
#[derive(Debug)]
pub struct Outcome {
    method: &'static str,
    /// How long a stream stays open says nothing about the server.
    is_stream: bool,
    around: Context,
    begun: Instant,
    asked: Option<Asked>,
    is_told: bool,
}

impl Outcome {
    /// A call that begins now: `around` is the context of its span.
    pub fn begin(method: &'static str, is_stream: bool, around: Context) -> Self {
        Self {
            method,
            is_stream,
            around,
            begun: Instant::now(),
            asked: None,
            is_told: false,
        }
    }

    /// Notes what the audit log tells of it, if anything.
    pub fn asks(&mut self, asked: Option<Asked>) {
        self.asked = asked;
    }

    /// Tells how it was answered.
    pub fn answered(mut self, code: Code) {
        self.is_told = true;
        let took = self.tell(code);
        tracing::debug!(code = meter::code_name(code), ?took, "answered");
        if let Some(asked) = &self.asked {
            asked.audit(code);
        }
    }

    fn tell(&self, code: Code) -> Duration {
        trace::end(&self.around, code);
        let took = self.begun.elapsed();
        if !self.is_stream {
            meter::answered(self.method, code, took);
        }
        took
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        if self.is_told {
            return;
        }
        let took = self.tell(Code::Cancelled);
        tracing::debug!(?took, "its caller went before the answer");
        if let Some(asked) = &self.asked {
            asked.gave_up();
        }
    }
}
