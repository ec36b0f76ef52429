//! Gives parsers access to the memory charge of a request while they read its multipart form.

use std::sync::Arc;

use parley_admission::request_memory::MemoryCharge;

/// The memory charge of a request's body, stored in its extensions.
#[derive(Clone, Debug)]
pub struct BodyCharge(pub Arc<MemoryCharge>);
