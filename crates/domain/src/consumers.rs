//! Looking after durable consumers: who they are, how far they are, and where they go on.

use std::collections::HashMap;

use parley_eventlog::{
    consumer::{self, Consumer},
    log::Reach,
    mark::Mark,
    subscription::Start,
};
use parley_types::{
    error::Result,
    id::{AccountId, Seq},
};

use crate::{
    Chat,
    auth::caller::Caller,
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
    pub reach: Reach,
    /// The marks of the events at its shards' positions.
    pub marks: HashMap<Seq, Mark>,
}

impl ResponseSubject for Standing {}

/// Those of `marks` that a consumer's shards are at.
fn marks_of(consumer: &Consumer, marks: &HashMap<Seq, Mark>) -> HashMap<Seq, Mark> {
    let at = |shard: &consumer::Shard| Some((shard.seq, *marks.get(&shard.seq)?));
    consumer.shards.iter().filter_map(at).collect()
}

impl Chat {
    /// One consumer.
    ///
    /// # Errors
    /// [`parley_types::error::Error::NotMember`]; [`parley_types::error::Error::NotFound`].
    pub async fn consumer(&self, caller: &Caller, account: AccountId, name: &str) -> Result<Standing> {
        caller.access(account)?;
        let consumer = consumer::one(self.db.read(), account, name).await?;
        let reach = self.events.log.reach(account).await?;
        let marks = consumer::marks(self.db.read(), account, [name]).await?;
        Ok(Standing { consumer, reach, marks })
    }

    /// The consumers of an account after a name, by name.
    ///
    /// # Errors
    /// [`parley_types::error::Error::NotMember`].
    pub async fn consumers(&self, caller: &Caller, account: AccountId, after: &str, limit: u64) -> Result<Vec<Standing>> {
        caller.access(account)?;
        let found = consumer::list(self.db.read(), account, after, limit).await?;
        let reach = self.events.log.reach(account).await?;
        let names = found.iter().map(|consumer| consumer.row.name.as_str());
        let marks = consumer::marks(self.db.read(), account, names).await?;
        let standing = |consumer: Consumer| Standing {
            marks: marks_of(&consumer, &marks),
            consumer,
            reach,
        };
        Ok(found.into_iter().map(standing).collect())
    }

    /// Lets a consumer go on somewhere else.
    ///
    /// # Errors
    /// [`parley_types::error::Error::Denied`] for agents; [`parley_types::error::Error::NotFound`]; [`parley_types::error::Error::Cursor`].
    pub async fn reset_consumer(&self, call: Call<Standing>, name: String, start: Start) -> Result<Answer<Standing>> {
        call.caller.administer(call.account)?;
        let reach = self.events.log.reach(call.account).await?;
        let begin = self.events.hub.resolve(&reach, start).await?;
        self.writer
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
    pub async fn delete_consumer(&self, call: Call<()>, name: String) -> Result<Answer<()>> {
        call.caller.administer(call.account)?;
        self.writer
            .write(call, move |write| {
                Box::pin(async move {
                    let account = write.account().id;
                    consumer::delete(&write.txn, account, &name).await
                })
            })
            .await
    }
}
