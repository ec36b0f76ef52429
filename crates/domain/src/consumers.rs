//! Administers durable consumers: returns their state and positions, and resets and deletes them.

use std::{collections::HashMap, sync::Arc};

use parley_eventlog::{
    consumer::{self, Consumer},
    log::LogRange,
    mark::Mark,
    subscription::Start,
};
use parley_types::{
    error::Result,
    id::{AccountId, Seq},
};

use crate::{
    auth::caller::Caller,
    context::Context,
    write::{
        call::{Answer, Call},
        response_subject::ResponseSubject,
    },
};

/// A durable consumer, and the range of the event log that it reads.
#[derive(Clone, Debug)]
pub struct ConsumerState {
    pub consumer: Consumer,
    /// The earliest and the newest seq in the log.
    pub range: LogRange,
    /// For each seq at which a shard of the consumer is positioned, the [`Mark`] of the event with that seq.
    pub marks: HashMap<Seq, Mark>,
}

impl ResponseSubject for ConsumerState {}

/// Selects from `marks` the entries for the events at which the shards of one consumer are positioned.
fn marks_of(consumer: &Consumer, marks: &HashMap<Seq, Mark>) -> HashMap<Seq, Mark> {
    let at = |shard: &consumer::Shard| Some((shard.seq, *marks.get(&shard.seq)?));
    consumer.shards.iter().filter_map(at).collect()
}

/// Operations on durable consumers.
#[derive(Clone, Debug)]
pub struct Consumers {
    context: Arc<Context>,
}

impl Consumers {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Self {
            context: Arc::clone(context),
        }
    }

    /// Returns the consumer with this name.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::NotMember`] if the caller has no access to the account, and
    /// [`parley_types::error::Error::NotFound`] if there is no such consumer.
    pub async fn get(&self, caller: &Caller, account: AccountId, name: &str) -> Result<ConsumerState> {
        caller.access(account)?;
        let consumer = consumer::one(self.context.db.read(), account, name).await?;
        let range = self.context.events.log.range(account).await?;
        let marks = consumer::marks(self.context.db.read(), account, [name]).await?;
        Ok(ConsumerState { consumer, range, marks })
    }

    /// Returns up to `limit` consumers whose names sort after `after`, sorted by name.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::NotMember`] if the caller has no access to the account.
    pub async fn list(&self, caller: &Caller, account: AccountId, after: &str, limit: u64) -> Result<Vec<ConsumerState>> {
        caller.access(account)?;
        let found = consumer::list(self.context.db.read(), account, after, limit).await?;
        let range = self.context.events.log.range(account).await?;
        let names = found.iter().map(|consumer| consumer.row.name.as_str());
        let marks = consumer::marks(self.context.db.read(), account, names).await?;
        let state = |consumer: Consumer| ConsumerState {
            marks: marks_of(&consumer, &marks),
            consumer,
            range,
        };
        Ok(found.into_iter().map(state).collect())
    }

    /// Resets a consumer, which moves it to another position in the log.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::Denied`] unless the caller is an administrator, [`parley_types::error::Error::NotFound`] if
    /// there is no such consumer, and [`parley_types::error::Error::Cursor`] if the log does not contain the position.
    pub async fn reset(&self, call: Call<ConsumerState>, name: String, start: Start) -> Result<Answer<ConsumerState>> {
        call.caller.administer(call.account)?;
        let range = self.context.events.log.range(call.account).await?;
        let begin = self.context.events.broadcaster.resolve(&range, start).await?;
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let consumer = consumer::reset(&write.txn, range.account, &name, begin).await?;
                    Ok(ConsumerState {
                        consumer,
                        range,
                        marks: begin.mark.map(|mark| (begin.seq, mark)).into_iter().collect(),
                    })
                })
            })
            .await
    }

    /// Deletes a consumer.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::Denied`] unless the caller is an administrator, and [`parley_types::error::Error::NotFound`]
    /// if there is no such consumer.
    pub async fn delete(&self, call: Call<()>, name: String) -> Result<Answer<()>> {
        call.caller.administer(call.account)?;
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = write.account().id;
                    consumer::delete(&write.txn, account, &name).await
                })
            })
            .await
    }
}
