//! The sort orders for lists of conversations, and the sort keys that match their indexes.

use parley_storage::{Dialect, entity::conversation};
use sea_orm::{
    ExprTrait,
    sea_query::{Alias, Expr, SimpleExpr},
};

use crate::page::{BucketedSortKey, SideTable, Sort};

/// The value by which a list of conversations is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are self-explanatory
pub enum ConversationOrder {
    LastActivityAt,
    CreatedAt,
    Priority,
    WaitingSince,
}

impl ConversationOrder {
    /// Parses the name of a sort order in a request; an empty name means the default order.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "" | "last_activity_at" => Self::LastActivityAt,
            "created_at" => Self::CreatedAt,
            "priority" => Self::Priority,
            "waiting_since" => Self::WaitingSince,
            _ => return None,
        })
    }

    /// Returns the sort key for this order.
    pub(crate) fn sort(self, descending: bool, dialect: Dialect) -> Sort {
        use conversation::Column;
        let (column, nullable) = match self {
            Self::LastActivityAt => (Column::LastActivityAt, false),
            Self::CreatedAt => (Column::CreatedAt, false),
            Self::Priority => (Column::Priority, true),
            Self::WaitingSince => (Column::WaitingSince, true),
        };
        let column: SimpleExpr = Expr::col((conversation::Entity, column));
        // Priorities are stored as smallint, but page keys are bigint. The index on the priority contains the same cast.
        let by = if self == Self::Priority { column.cast_as("bigint") } else { column };
        Sort {
            by: Some(by),
            coarse: (self == Self::LastActivityAt).then(|| BucketedSortKey {
                by: Expr::col((conversation::Entity, Alias::new("activity_hour"))),
                divisor: 3_600_000_000,
            }),
            aside: dialect.waiting_table().filter(|_| self == Self::WaitingSince).map(waits),
            text: false,
            nullable,
            descending,
        }
    }
}

/// Returns the side table `table`, which has an index on the time since which a contact has been waiting.
fn waits(table: &'static str) -> SideTable {
    let wait = |column: &'static str| Expr::col((Alias::new(table), Alias::new(column)));
    let of = |column: conversation::Column| Expr::col((conversation::Entity, column));
    SideTable {
        table,
        on: wait("account_id")
            .eq(of(conversation::Column::AccountId))
            .and(wait("conversation_id").eq(of(conversation::Column::Id))),
        value: wait("since"),
        id: wait("conversation_id"),
    }
}
