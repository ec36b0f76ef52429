//! The flood limit: the maximum number of messages in a conversation within a minute.
//!
//! As in Chatwoot, the limit counts messages of all types within the last 60 seconds; the default is 200.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use parley_storage::entity::conversation;
use parley_types::{
    error::{Error, Result},
    id::ConversationId,
    time::Micros,
};
use sea_orm::{ConnectionTrait, FromQueryResult, Statement};

const WINDOW_SECONDS: i64 = 60;

/// The number of messages in each second of the last minute: at most 61 pairs of a Unix time in seconds and a count.
#[derive(Clone, Debug, Default)]
pub struct Flood(VecDeque<(i64, u32)>);

impl Flood {
    /// Creates a window with `count` messages, the newest at `last`. All are assumed to be as recent as the newest, so the limit is lifted
    /// too late rather than too early.
    pub fn of(count: u32, last: Micros) -> Self {
        Self(if count == 0 {
            VecDeque::new()
        } else {
            [(last.seconds(), count)].into()
        })
    }

    /// Counts `count` more messages that were created at `at`.
    pub fn add(&mut self, at: Micros, count: u32) {
        self.drop_older(at);
        match self.0.back_mut() {
            Some((second, counted)) if *second == at.seconds() => *counted += count,
            _ => self.0.push_back((at.seconds(), count)),
        }
    }

    /// Checks whether the limit allows another message at `at`.
    ///
    /// # Errors
    /// [`Error::Flood`] if the conversation has reached `limit`. A `limit` of 0 means no limit.
    pub fn check(&mut self, at: Micros, limit: u32) -> Result<()> {
        self.drop_older(at);
        let count: u32 = self.0.iter().map(|(_, count)| count).sum();
        if limit == 0 || count < limit {
            return Ok(());
        }
        let oldest = self.0.front().map_or(at.seconds(), |(second, _)| *second);
        let wait = (oldest + WINDOW_SECONDS + 1 - at.seconds()).clamp(1, WINDOW_SECONDS);
        Err(Error::Flood {
            limit,
            retry_after: Duration::from_secs(wait.unsigned_abs()),
        })
    }

    fn drop_older(&mut self, at: Micros) {
        while self.0.front().is_some_and(|(second, _)| second + WINDOW_SECONDS < at.seconds()) {
            self.0.pop_front();
        }
    }
}

#[derive(FromQueryResult)]
struct Recent {
    id: ConversationId,
    count: i64,
}

/// Returns, for each of these conversations of one account, the number of messages within the minute before `now`, counted up to `limit`,
/// and the time of the newest message. Conversations without recent messages are left out. The result is empty if `limit` is 0, which means
/// no limit.
///
/// # Errors
/// [`Error::Database`] or [`Error::Unavailable`] if the query fails.
pub async fn recent(
    db: &impl ConnectionTrait,
    rows: &[&conversation::Model],
    now: Micros,
    limit: u32,
) -> Result<Vec<(ConversationId, u32, Micros)>> {
    let since = now.minus(Duration::from_secs(WINDOW_SECONDS.unsigned_abs()));
    let busy = |row: &&&conversation::Model| row.last_activity_at > since && row.message_count > 0;
    let rows: Vec<_> = rows.iter().filter(busy).collect();
    let Some(first) = rows.first().filter(|_| limit > 0) else {
        return Ok(Vec::new());
    };
    // The SQL contains only numbers that this service produced, so it needs no parameters.
    let ids: Vec<_> = rows.iter().map(|row| row.id.to_string()).collect();
    let sql = format!(
        "SELECT c.id AS id, (SELECT count(*) FROM (SELECT m.created_at FROM messages m WHERE m.account_id = c.account_id \
         AND m.conversation_id = c.id ORDER BY m.id DESC LIMIT {limit}) AS newest WHERE newest.created_at > {}) AS count \
         FROM conversations c WHERE c.account_id = {} AND c.id IN ({})",
        since.0,
        first.account_id,
        ids.join(",")
    );
    let statement = Statement::from_string(db.get_database_backend(), sql);
    let recent = Recent::find_by_statement(statement).all(db).await?;
    let lasts: HashMap<_, _> = rows.iter().map(|row| (row.id, row.last_activity_at)).collect();
    let counted = |row: Recent| {
        let count = u32::try_from(row.count).unwrap_or(u32::MAX);
        (row.id, count, lasts.get(&row.id).copied().unwrap_or_default())
    };
    Ok(recent.into_iter().map(counted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_applies_within_a_minute() {
        let at = |second: i64| Micros(second * 1_000_000);
        let mut flood = Flood::default();
        for second in 0..4 {
            assert!(flood.check(at(second), 4).is_ok());
            flood.add(at(second), 1);
        }
        assert!(matches!(flood.check(at(59), 4), Err(Error::Flood { limit: 4, retry_after }) if retry_after.as_secs() == 2));
        assert!(flood.check(at(61), 4).is_ok());
        assert!(flood.check(at(59), 0).is_ok());
        assert!(Flood::of(4, at(10)).check(at(70), 4).is_err());
        assert!(Flood::of(4, at(10)).check(at(71), 4).is_ok());
    }
}
