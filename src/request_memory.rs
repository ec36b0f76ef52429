//! The memory of all requests in flight: one budget for every listener.
//!
//! A request is charged for the bytes of its body, by what it declares or as they arrive. What is built from a byte (text, trees, encoded
//! and decoded messages) takes up to [`FACTOR`] bytes; so a budget of N bytes takes N / [`FACTOR`] bytes of bodies. Beyond it a request is
//! refused and may be sent again. Streams are charged for the message that is being read, uploads for what waits to be stored, WebSockets for
//! their buffers and for what waits for their client, and answers for what their client has not taken yet: an encoded byte takes one byte, so
//! [`FACTOR`] of them count as one byte of a body.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicUsize, Ordering},
};

use opentelemetry::{KeyValue, metrics::Counter};

use crate::{
    fault::{self, Protection},
    telemetry::names::{self, meter},
};

/// Bytes of memory that one byte of a body may take.
pub const FACTOR: usize = 8;

static REFUSED: LazyLock<Counter<u64>> = LazyLock::new(|| meter().u64_counter(names::CALLS_REJECTED).with_unit("{call}").build());

/// There is no room for the request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

impl Exhausted {
    /// The refusal of a request, which is counted.
    fn refused() -> Self {
        REFUSED.add(1, &[KeyValue::new(names::REASON, "memory")]);
        Self
    }
}

/// The budget. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct RequestMemory(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    /// Bytes of bodies.
    capacity: usize,
    used: AtomicUsize,
}

impl RequestMemory {
    /// A budget of `bytes` of memory. A single body of `largest` bytes always has room, however small the budget.
    pub fn new(bytes: usize, largest: usize) -> Self {
        Self(Arc::new(Budget {
            capacity: (bytes / FACTOR).max(largest),
            used: AtomicUsize::new(0),
        }))
    }

    /// A budget without an end.
    pub fn unlimited() -> Self {
        Self::new(usize::MAX, 0)
    }

    /// A request that holds nothing yet.
    pub fn charge(&self) -> Charge {
        Charge {
            memory: self.clone(),
            held: AtomicUsize::new(0),
        }
    }

    /// Bytes of bodies that are charged now.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Whether a request may begin whose body is not charged yet.
    ///
    /// # Errors
    /// [`Exhausted`] while more is held than there is room for.
    pub fn check(&self) -> Result<(), Exhausted> {
        if self.used() > self.0.capacity && fault::is_on(Protection::RequestMemory) {
            return Err(Exhausted::refused());
        }
        Ok(())
    }

    fn take(&self, bytes: usize) -> Result<(), Exhausted> {
        let used = self.0.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if used > self.0.capacity && bytes > 0 && fault::is_on(Protection::RequestMemory) {
            self.give(bytes);
            return Err(Exhausted::refused());
        }
        Ok(())
    }

    fn give(&self, bytes: usize) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one request holds; given back when this is dropped.
#[derive(Debug)]
pub struct Charge {
    memory: RequestMemory,
    held: AtomicUsize,
}

impl Charge {
    /// Holds so many bytes of body more.
    ///
    /// # Errors
    /// [`Exhausted`]; it then holds what it held before.
    pub fn add(&self, bytes: usize) -> Result<(), Exhausted> {
        self.memory.take(bytes)?;
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Gives back so many bytes of body, or all that are held if those are fewer.
    pub fn release(&self, bytes: usize) {
        let rest = |held: usize| Some(held.saturating_sub(bytes));
        if let Ok(held) = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest) {
            self.memory.give(held.min(bytes));
        }
    }

    /// Holds so many bytes of body more, whether or not there is room: for what exists already.
    pub fn grow(&self, bytes: usize) {
        self.memory.0.used.fetch_add(bytes, Ordering::Relaxed);
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Holds exactly so many bytes of body, whether or not there is room: for what exists already. Requests are refused until there is.
    pub fn hold(&self, bytes: usize) {
        let before = self.held.swap(bytes, Ordering::Relaxed);
        self.memory.0.used.fetch_add(bytes, Ordering::Relaxed);
        self.memory.give(before);
    }

    /// Holds exactly so many bytes of body.
    ///
    /// # Errors
    /// [`Exhausted`]; it then holds nothing.
    pub fn set(&self, bytes: usize) -> Result<(), Exhausted> {
        self.memory.give(self.held.swap(0, Ordering::Relaxed));
        self.add(bytes)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.memory.give(*self.held.get_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_are_given_back() {
        let memory = RequestMemory::new(100 * FACTOR, 0);
        let (first, second) = (memory.charge(), memory.charge());
        assert_eq!(first.add(60), Ok(()));
        assert_eq!(second.add(41), Err(Exhausted));
        assert_eq!(second.add(40), Ok(()));
        first.release(20);
        assert_eq!(memory.used(), 80);
        assert_eq!(first.set(60), Ok(()));
        assert_eq!(first.set(61), Err(Exhausted));
        assert_eq!(memory.used(), 40);
        second.release(1000);
        assert_eq!(memory.used(), 0);
        assert_eq!(first.add(7), Ok(()));
        second.hold(101);
        assert_eq!((memory.used(), memory.check(), first.add(1)), (108, Err(Exhausted), Err(Exhausted)));
        second.hold(1);
        assert_eq!((memory.used(), memory.check()), (8, Ok(())));
        second.hold(0);
        drop(first);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn the_largest_body_always_has_room() {
        let memory = RequestMemory::new(0, 1000);
        assert_eq!(memory.charge().add(1000), Ok(()));
        assert_eq!(memory.charge().add(1001), Err(Exhausted));
    }
}
