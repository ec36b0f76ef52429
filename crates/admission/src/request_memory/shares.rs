//! Tracks how much of the memory budget each holder uses, and limits it to its share.
//!
//! All callers without a token that is known to be valid may together hold half of the budget, and one address may hold a quarter. One
//! address therefore leaves room for other anonymous callers, and all anonymous callers together leave room for callers with a token.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use parley_fault::Protection;

/// The error for a request that does not fit into the memory budget at the moment. It may be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

/// The share of the budget that a request is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryShare {
    /// A caller whose token is known to be valid.
    Authenticated,
    /// A caller without a token that is known to be valid, identified by the client address if that is known.
    Anonymous(Option<IpAddr>),
}

/// How much of the memory budget each holder uses, in body bytes.
#[derive(Debug)]
pub struct Shares {
    capacity: usize,
    /// The maximum for all callers without a token that is known to be valid, combined.
    anonymous: usize,
    /// The maximum for one client address without a token that is known to be valid.
    address: usize,
    /// A standard mutex suffices, because the lock is only held for a few additions.
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    known: usize,
    anonymous: usize,
    /// Bytes held by each anonymous address. An address that holds nothing has no entry.
    addresses: HashMap<IpAddr, usize>,
}

impl Shares {
    /// Creates a budget of `capacity` bytes. Each share has room for one body of `largest` bytes, however small the budget.
    pub fn new(capacity: usize, largest: usize) -> Self {
        let capacity = capacity.max(largest.saturating_mul(2));
        let is_shared = parley_fault::is_on(Protection::MemoryShares);
        let share = |part: usize| if is_shared { (capacity / part).max(largest) } else { capacity };
        Self {
            capacity,
            anonymous: share(2),
            address: share(4),
            held: Mutex::default(),
        }
    }

    /// Returns the total number of bytes charged to all holders.
    pub fn used(&self) -> usize {
        let held = self.held();
        held.known + held.anonymous
    }

    /// Checks whether a holder's share of the memory budget has room for `bytes` more bytes.
    pub fn check(&self, holder: MemoryShare, bytes: usize) -> Result<(), Exhausted> {
        self.held().check(self, holder, bytes)
    }

    /// Charges bytes to a holder if its share has room for them.
    pub fn take(&self, holder: MemoryShare, bytes: usize) -> Result<(), Exhausted> {
        let mut held = self.held();
        held.check(self, holder, bytes)?;
        held.add(holder, bytes);
        Ok(())
    }

    /// Charges bytes to a holder even if that exceeds its share.
    pub fn charge_unchecked(&self, holder: MemoryShare, bytes: usize) {
        self.held().add(holder, bytes);
    }

    /// Releases bytes that were charged to a holder.
    pub fn release(&self, holder: MemoryShare, bytes: usize) {
        self.held().remove(holder, bytes);
    }

    /// Moves charged bytes from one holder to another, without checking for room.
    pub fn transfer(&self, from: MemoryShare, to: MemoryShare, bytes: usize) {
        let mut held = self.held();
        held.remove(from, bytes);
        held.add(to, bytes);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn check(&self, shares: &Shares, holder: MemoryShare, bytes: usize) -> Result<(), Exhausted> {
        let fits = |held: usize, share: usize| held.saturating_add(bytes) <= share;
        let is_room = match holder {
            // Bytes charged to anonymous callers beyond their share (for responses, for example) must not reduce the room for callers with
            // a token.
            MemoryShare::Authenticated => fits(self.known + self.anonymous.min(shares.anonymous), shares.capacity),
            MemoryShare::Anonymous(address) => {
                let of_address = address
                    .and_then(|address| self.addresses.get(&address).copied())
                    .unwrap_or_default();
                fits(self.known + self.anonymous, shares.capacity)
                    && fits(self.anonymous, shares.anonymous)
                    && (address.is_none() || fits(of_address, shares.address))
            }
        };
        if is_room { Ok(()) } else { Err(Exhausted) }
    }

    fn add(&mut self, holder: MemoryShare, bytes: usize) {
        match holder {
            MemoryShare::Authenticated => self.known += bytes,
            MemoryShare::Anonymous(address) => {
                self.anonymous += bytes;
                if let Some(address) = address
                    && bytes > 0
                {
                    *self.addresses.entry(address).or_default() += bytes;
                }
            }
        }
    }

    fn remove(&mut self, holder: MemoryShare, bytes: usize) {
        match holder {
            MemoryShare::Authenticated => self.known -= bytes,
            MemoryShare::Anonymous(address) => {
                self.anonymous -= bytes;
                let Some(address) = address else { return };
                if let Some(of_address) = self.addresses.get_mut(&address) {
                    *of_address -= bytes;
                    if *of_address == 0 {
                        self.addresses.remove(&address);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> MemoryShare {
        MemoryShare::Anonymous(Some([192, 0, 2, last].into()))
    }

    #[test]
    fn anonymous_shares_are_a_quarter_and_a_half() {
        let shares = Shares::new(100, 10);
        assert_eq!(shares.take(address(1), 25), Ok(()));
        assert_eq!(shares.take(address(1), 1), Err(Exhausted));
        assert_eq!(shares.take(address(2), 25), Ok(()));
        assert_eq!(shares.take(address(3), 1), Err(Exhausted));
        assert_eq!(shares.take(MemoryShare::Anonymous(None), 1), Err(Exhausted));
        assert_eq!(shares.take(MemoryShare::Authenticated, 50), Ok(()));
        assert_eq!(shares.take(MemoryShare::Authenticated, 1), Err(Exhausted));
        shares.release(address(2), 25);
        assert_eq!(
            shares.take(MemoryShare::Authenticated, 25),
            Ok(()),
            "half is a limit of strangers, not theirs"
        );
        assert_eq!(shares.take(address(2), 1), Err(Exhausted));
        shares.release(MemoryShare::Authenticated, 75);
        shares.transfer(address(1), MemoryShare::Authenticated, 25);
        shares.release(MemoryShare::Authenticated, 25);
        assert_eq!((shares.used(), shares.held().addresses.len()), (0, 0));
    }

    #[test]
    fn unchecked_anonymous_charges_leave_room_for_tokens() {
        let shares = Shares::new(100, 10);
        shares.charge_unchecked(address(1), 1000);
        assert_eq!(shares.check(address(1), 0), Err(Exhausted));
        assert_eq!(shares.check(address(2), 0), Err(Exhausted));
        assert_eq!(shares.take(MemoryShare::Authenticated, 50), Ok(()));
        assert_eq!(shares.take(MemoryShare::Authenticated, 1), Err(Exhausted));
    }

    #[test]
    fn each_share_accepts_the_largest_body() {
        let shares = Shares::new(0, 1000);
        assert_eq!(shares.take(address(1), 1001), Err(Exhausted));
        assert_eq!(shares.take(address(1), 1000), Ok(()));
        assert_eq!(shares.take(MemoryShare::Authenticated, 1000), Ok(()));
    }
}
