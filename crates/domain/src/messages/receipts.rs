//! The delivery status of a message, which receipts update. A receipt can arrive more than once, and receipts can arrive in any order.
//!
//! The status moves from sent to delivered to read. Sent and delivered can also become failed, which only a retry can end. A receipt that
//! would not move the status forward is late and changes nothing. Therefore, repeated receipts do not change the result, and receipts that
//! do not report a failure lead to the furthest status they report, in whatever order they arrive. If both a failure and a read receipt are
//! reported, the first one wins: a message that was read did arrive, and a failure stays until a retry.

use parley_fault::Protection;
use parley_storage::entity::kind::MessageStatus;

/// Returns whether a receipt is applied, which is the case if it moves the status forward or repeats it.
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

    /// Ignores exactly the transitions that docs/json-api-differences.md lists.
    #[test]
    fn backward_receipts_are_ignored() {
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
                let accepted = !ignored.contains(&(stored, reported));
                assert_eq!(is_taken(stored, reported), accepted, "{reported:?} after {stored:?}");
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
        fn furthest_receipt_applies_without_a_failure(receipts in receipts()) {
            let delivered: Vec<_> = receipts.into_iter().filter(|receipt| *receipt != Failed).collect();
            let furthest = [Read, Delivered].into_iter().find(|status| delivered.contains(status)).unwrap_or(Sent);
            prop_assert_eq!(after(&delivered), furthest);
        }

        #[test]
        fn first_failure_or_read_receipt_is_final(receipts in receipts()) {
            let last = receipts.iter().find(|receipt| [Failed, Read].contains(receipt)).copied();
            let delivered = if receipts.contains(&Delivered) { Delivered } else { Sent };
            prop_assert_eq!(after(&receipts), last.unwrap_or(delivered));
        }
    }
}
