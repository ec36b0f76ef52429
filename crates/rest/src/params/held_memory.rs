//! The memory that a request holds while its form is read.

use std::sync::Arc;

use parley_admission::request_memory::Charge;

/// What a request holds; an extension of one whose body is charged.
#[derive(Clone, Debug)]
pub struct Held(pub Arc<Charge>);
