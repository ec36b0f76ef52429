//! Implements `ConsumersService`, which manages durable consumers.

use std::collections::HashMap;

use bytes::Bytes;
use parley_domain::{
    Domain,
    consumers::{ConsumerState, Consumers},
    page::{Key, Sort, SortValue},
};
use parley_eventlog::{consumer, cursor::Cursor, log::LogRange, mark::Mark};
use parley_proto::{
    self as pb, consumers_service_server::ConsumersService, reset_consumer_request, rpc::PagedRequest as _, subscribe_request::Start,
    value::timestamp,
};
use parley_types::{
    error::{Error, Result, Rule},
    id::{AccountId, Seq},
    time::Micros,
};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{
    request::{caller, idempotent_call, resource_call},
    response::{resource_response, to_response},
};
use crate::{
    status::{OrStatus as _, to_status},
    validation::{fields::Validator, page, subscriptions::start},
};

/// Implements `ConsumersService`.
#[derive(Clone, Debug)]
pub struct ConsumersApi {
    consumers: Consumers,
}

impl ConsumersApi {
    pub fn new(domain: &Domain) -> Self {
        Self {
            consumers: domain.consumers.clone(),
        }
    }
}

#[tonic::async_trait]
impl ConsumersService for ConsumersApi {
    async fn get_consumer(&self, request: Request<pb::GetConsumerRequest>) -> Result<Response<pb::GetConsumerResponse>, Status> {
        let req = request.get_ref();
        let found = self
            .consumers
            .get(&*caller(&request).or_status()?, AccountId(req.account_id), &req.name)
            .await
            .or_status()?;
        Ok(Response::new(pb::GetConsumerResponse {
            consumer: Some(consumer_to_proto(&found)),
        }))
    }

    async fn list_consumers(&self, request: Request<pb::ListConsumersRequest>) -> Result<Response<pb::ListConsumersResponse>, Status> {
        let req = request.get_ref();
        let mut fields = Validator::default();
        let page = page::requested(&mut fields, req, 100);
        fields.finish().or_status()?;
        page.check_key(&[Sort::by_text_column("name")]).or_status()?;
        let after = match page.after.as_ref().map(|key| &key.value) {
            Some(SortValue::Text(name)) => name.as_str(),
            _ => "",
        };
        let (caller, account) = (caller(&request).or_status()?, AccountId(req.account_id));
        let mut found = self.consumers.list(&caller, account, after, page.size + 1).await.or_status()?;
        let size = usize::try_from(page.size).unwrap_or(usize::MAX);
        let more = found.len() > size;
        found.truncate(size);
        let next = found.last().filter(|_| more).map(|last| Key {
            value: SortValue::Text(last.consumer.row.name.clone()),
            id: 0,
        });
        Ok(Response::new(pb::ListConsumersResponse {
            consumers: found.iter().map(consumer_to_proto).collect(),
            next_page_token: page::write(&req.without_paging(), next.as_ref()),
        }))
    }

    async fn reset_consumer(&self, request: Request<pb::ResetConsumerRequest>) -> Result<Response<pb::ResetConsumerResponse>, Status> {
        let account = AccountId(request.get_ref().account_id);
        caller(&request).or_status()?.administer(account).or_status()?;
        let respond = |state: &ConsumerState, cursor: Bytes| pb::ResetConsumerResponse {
            consumer: Some(consumer_to_proto(state)),
            cursor,
        };
        let mut fields = Validator::default();
        let call = idempotent_call(&mut fields, &request, account, respond).or_status()?;
        let req = request.into_inner();
        let begin = match req.start {
            None => return Err(to_status(Error::invalid("start", Rule::Required, "must be given"))),
            Some(reset_consumer_request::Start::Earliest(())) => Start::Earliest(()),
            Some(reset_consumer_request::Start::Latest(())) => Start::Latest(()),
            Some(reset_consumer_request::Start::After(cursor)) => Start::After(cursor),
            Some(reset_consumer_request::Start::At(time)) => Start::At(time),
        };
        let begin = start(&mut fields, Some(&begin)).or_status()?;
        fields.finish().or_status()?;
        to_response(self.consumers.reset(call, req.name, begin).await.or_status()?, respond)
    }

    async fn delete_consumer(&self, request: Request<pb::DeleteConsumerRequest>) -> Result<Response<pb::DeleteConsumerResponse>, Status> {
        let req = request.get_ref();
        let mut fields = Validator::default();
        let call = resource_call(&mut fields, &request).or_status()?;
        fields.finish().or_status()?;
        let name = req.name.clone();
        resource_response(self.consumers.delete(call, name).await.or_status()?).or_status()
    }
}

fn consumer_to_proto(state: &ConsumerState) -> pb::Consumer {
    let ConsumerState { consumer, range, marks } = state;
    let now = Micros::now();
    let lowest_position = Cursor {
        epoch: consumer.epoch(),
        ..range.cursor(consumer.lowest_position())
    };
    pb::Consumer {
        account_id: range.account.0,
        name: consumer.row.name.clone(),
        filter: Some(pb::EventFilter::decode(consumer.row.filter.as_slice()).unwrap_or_default()),
        shard_count: u32::try_from(consumer.row.shard_count).unwrap_or(1),
        created_at: Some(timestamp(consumer.row.created_at)),
        shards: consumer
            .shards
            .iter()
            .map(|shard| shard_to_proto(shard, range, marks, now))
            .collect(),
        head_seq: range.head.to_wire(),
        lag: consumer::lag(range, consumer.lowest_position()),
        resumable: range.check(lowest_position).is_ok(),
    }
}

fn shard_to_proto(shard: &consumer::Shard, range: &LogRange, marks: &HashMap<Seq, Mark>, now: Micros) -> pb::ConsumerShard {
    let cursor = range.cursor(shard.seq);
    let cursor = Cursor {
        epoch: shard.epoch,
        mark: cursor
            .mark
            .or(marks.get(&shard.seq).copied())
            .filter(|_| shard.epoch == range.epoch),
        ..cursor
    };
    pb::ConsumerShard {
        shard: u32::try_from(shard.shard).unwrap_or_default(),
        cursor: cursor.encode(),
        seq: shard.seq.to_wire(),
        lag: consumer::lag(range, shard.seq),
        fence: shard.fence.cast_unsigned(),
        connected: shard.leased_until > now,
        committed_at: Some(timestamp(shard.committed_at)),
    }
}
