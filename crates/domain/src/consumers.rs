//! Looking after durable consumers: who they are, how far they are, and where they go on.

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

/// A consumer beside the log that it reads.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The consumer.
    pub consumer: Consumer,
    /// How far the log reaches.
    pub reach: LogRange,
    /// The marks of the events at its shards' positions.
    pub marks: HashMap<Seq, Mark>,
}

impl ResponseSubject for Standing {}

/// Those of `marks` that a consumer's shards are at.
fn marks_of(consumer: &Consumer, marks: &HashMap<Seq, Mark>) -> HashMap<Seq, Mark> {
    let at = |shard: &consumer::Shard| Some((shard.seq, *marks.get(&shard.seq)?));
    consumer.shards.iter().filter_map(at).collect()
}

/// The durable consumers of accounts.
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

    /// One consumer.
    ///
    /// # Errors
    /// [`parley_types::error::Error::NotMember`]; [`parley_types::error::Error::NotFound`].
    pub async fn get(&self, caller: &Caller, account: AccountId, name: &str) -> Result<Standing> {
        caller.access(account)?;
        let consumer = consumer::one(self.context.db.read(), account, name).await?;
        let reach = self.context.events.log.reach(account).await?;
        let marks = consumer::marks(self.context.db.read(), account, [name]).await?;
        Ok(Standing { consumer, reach, marks })
    }

    /// Up to `limit` consumers whose names sort after `after`, by name.
    ///
    /// # Errors
    /// [`parley_types::error::Error::NotMember`].
    pub async fn list(&self, caller: &Caller, account: AccountId, after: &str, limit: u64) -> Result<Vec<Standing>> {
        caller.access(account)?;
        let found = consumer::list(self.context.db.read(), account, after, limit).await?;
        let reach = self.context.events.log.reach(account).await?;
        let names = found.iter().map(|consumer| consumer.row.name.as_str());
        let marks = consumer::marks(self.context.db.read(), account, names).await?;
        let standing = |consumer: Consumer| Standing {
            marks: marks_of(&consumer, &marks),
            consumer,
            reach,
        };
        Ok(found.into_iter().map(standing).collect())
    }

    /// Moves a consumer to another position of the log.
    ///
    /// # Errors
    /// [`parley_types::error::Error::Denied`] for agents; [`parley_types::error::Error::NotFound`]; [`parley_types::error::Error::Cursor`]
    /// for a position that the log does not have.
    pub async fn reset(&self, call: Call<Standing>, name: String, start: Start) -> Result<Answer<Standing>> {
        call.caller.administer(call.account)?;
        let reach = self.context.events.log.reach(call.account).await?;
        let begin = self.context.events.broadcaster.resolve(&reach, start).await?;
        self.context
            .writer
            .write(call, move |write| {
                Box::pin(async move {
                    let consumer = consumer::reset(&write.txn, reach.account, &name, begin).await?;
                    Ok(Standing {
                        consumer,
                        reach,
                        marks: begin.mark.map(|mark| (begin.seq, mark)).into_iter().collect(),
                    })
                })
            })
            .await
    }

    /// Deletes a consumer.
    ///
    /// # Errors
    /// [`parley_types::error::Error::Denied`] for agents; [`parley_types::error::Error::NotFound`].
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
