//! How far the delivery of a message is, as receipts report it: each at least once, and in any order.
//!
//! Sent becomes delivered, then read. Failed follows from sent and delivered, and ends with a retry alone. A receipt that is not a step forward
//! comes late and changes nothing. So receipts that come twice end where they would have ended anyway, and those without a failure end at the
//! furthest in any order. Of a failure and a read receipt the first one stays: what somebody has read did arrive, and a failure waits for a
//! retry.

use parley_fault::Protection;
use parley_storage::entity::kind::MessageStatus;

/// Whether a receipt moves a message on, or repeats where it is.
pub(crate) fn is_taken(stored: MessageStatus, reported: MessageStatus) -> bool {
    use MessageStatus::{Delivered, Failed, Read, Sent};
    let forward = match stored {
        Sent => true,
        Delivered => reported != Sent,
        Read => reported == Read,
        Failed => reported == Failed,
    };
    forward || !parley_fault::is_on(Protection::ReceiptOrder)
}

#[cfg(test)]
mod tests {
    use MessageStatus::{Delivered, Failed, Read, Sent};
    use proptest::prelude::*;

    use super::*;

    fn after(receipts: &[MessageStatus]) -> MessageStatus {
        receipts.iter().fold(
            Sent,
            |stored, reported| if is_taken(stored, *reported) { *reported } else { stored },
        )
    }

    fn receipts() -> impl Strategy<Value = Vec<MessageStatus>> {
        prop::collection::vec(prop::sample::select(vec![Sent, Delivered, Read, Failed]), 0..8)
    }

    /// Those that docs/json-api-differences.md names are ignored, and no others.
    #[test]
    fn receipts_that_move_the_delivery_back_are_ignored() {
        let ignored = [
            (Delivered, Sent),
            (Read, Sent),
            (Read, Delivered),
            (Read, Failed),
            (Failed, Sent),
            (Failed, Delivered),
            (Failed, Read),
        ];
        for stored in [Sent, Delivered, Read, Failed] {
            for reported in [Sent, Delivered, Read, Failed] {
                let taken = !ignored.contains(&(stored, reported));
                assert_eq!(is_taken(stored, reported), taken, "{reported:?} after {stored:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn repeated_receipts_change_nothing(receipts in receipts(), again in 0..8_usize) {
            let mut twice = receipts.clone();
            twice.extend(receipts.iter().take(again));
            prop_assert_eq!(after(&twice), after(&receipts));
            let each_twice: Vec<_> = receipts.iter().flat_map(|receipt| [*receipt; 2]).collect();
            prop_assert_eq!(after(&each_twice), after(&receipts));
        }

        #[test]
        fn receipts_without_a_failure_end_at_the_furthest(receipts in receipts()) {
            let delivered: Vec<_> = receipts.into_iter().filter(|receipt| *receipt != Failed).collect();
            let furthest = [Read, Delivered].into_iter().find(|status| delivered.contains(status)).unwrap_or(Sent);
            prop_assert_eq!(after(&delivered), furthest);
        }

        #[test]
        fn the_first_of_a_failure_and_a_read_receipt_stays(receipts in receipts()) {
            let last = receipts.iter().find(|receipt| [Failed, Read].contains(receipt)).copied();
            let delivered = if receipts.contains(&Delivered) { Delivered } else { Sent };
            prop_assert_eq!(after(&receipts), last.unwrap_or(delivered));
        }
    }
}
