//! The ordinary clients: ten of them, each at its own address, 500 calls per second together, half over gRPC and half over JSON.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use parley_proto::{
    self as pb, CreateMessageRequest, CreateTokenRequest, GetContactRequest, GetConversationRequest, ListMessagesRequest, TokenKind,
    contacts_service_client::ContactsServiceClient, conversations_service_client::ConversationsServiceClient,
    messages_service_client::MessagesServiceClient,
};
use serde_json::{Value as Json, json};
use tokio::{task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

use crate::support::{api_fixture::outgoing, app::TestApp};

/// The number of clients, and the calls per second of each. The debug build takes about ten times the CPU per call, so it gets a tenth of
/// the calls.
const CLIENTS: usize = 10;
const EACH_PER_SECOND: u32 = 50;
const EACH_PER_SECOND_OF_DEBUG: u32 = 5;

/// The conversations of each client: enough that none exceeds the limit on messages per conversation.
const CONVERSATIONS: usize = 20;

/// After this long a call counts as failed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The number of calls that one client may have in flight.
const UNDER_WAY: usize = 200;

/// The size of the downloaded file, in bytes.
const FILE: usize = 3 << 20;

/// Uploads a file. Returns the path of its permanent link, as a visitor sees it.
pub async fn prepare_file(app: &TestApp) -> String {
    let talk = app.fixture().talk().await;
    let part = reqwest::multipart::Part::bytes(vec![7; FILE]).file_name("large.bin");
    let form = reqwest::multipart::Form::new()
        .text("content", "a file")
        .part("attachments[]", part);
    let path = format!("/api/v1/accounts/1/conversations/{talk}/messages");
    let answer = app
        .http()
        .request("POST", &path)
        .multipart(form)
        .send()
        .await
        .expect("the server answers");
    let answer: Json = answer.json().await.expect("JSON");
    let link = answer["attachments"][0]["data_url"].as_str().unwrap_or_else(|| panic!("{answer}"));
    format!("/files/{}", link.split_once("/files/").expect("a link of the server").1)
}

/// Whether the admin listener reports the server as ready.
pub async fn is_ready(app: &TestApp) -> bool {
    let url = format!("http://{}/readyz", app.server.listeners.admin);
    let answer = tokio::time::timeout(TIMEOUT, crate::support::http::client().get(url).send()).await;
    matches!(answer, Ok(Ok(answer)) if answer.status() == 200)
}

/// The API that a client uses.
enum Way {
    Grpc(Channel),
    Json(reqwest::Client, String),
}

struct Client {
    way: Way,
    token: String,
    /// The ids of conversations and their contacts.
    talks: Vec<(i64, i64)>,
}

pub struct Crowd {
    clients: Vec<Arc<Client>>,
    tally: Mutex<Tally>,
    failed: AtomicU64,
    per_second: u32,
}

/// The figures of all clients.
pub struct Tally {
    /// The number of calls that were made.
    pub calls: u64,
    good: u64,
    latencies: Histogram<u64>,
    /// The latencies since the last call of [`Crowd::lately`].
    lately: Histogram<u64>,
    /// The ids of messages that the server acknowledged.
    pub acknowledged: Vec<i64>,
    first_failures: Vec<String>,
}

impl Tally {
    /// The share of calls that succeeded.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub fn succeeded(&self) -> f64 {
        self.good as f64 / self.calls.max(1) as f64
    }

    /// The 99th percentile of latency, including failed calls.
    pub fn p99(&self) -> Duration {
        Duration::from_micros(self.latencies.value_at_quantile(0.99))
    }

    /// Formats the figures.
    pub fn report(&self) -> String {
        let at = |quantile| Duration::from_micros(self.latencies.value_at_quantile(quantile));
        format!(
            "{} good calls, {:.3} % succeeded, p50 {:?}, p99 {:?}, max {:?}, {} messages acknowledged; first failures: {:?}",
            self.calls,
            100.0 * self.succeeded(),
            at(0.5),
            at(0.99),
            at(1.0),
            self.acknowledged.len(),
            self.first_failures
        )
    }
}

impl Crowd {
    /// Creates the clients with their tokens and conversations. `full` selects the rate that a release build has to serve.
    pub async fn prepare(app: &TestApp, full: bool) -> Self {
        let mut clients = Vec::new();
        for nth in 0..CLIENTS {
            let request = CreateTokenRequest {
                account_id: Some(1),
                kind: TokenKind::Service.into(),
                name: format!("client {nth}"),
                ..CreateTokenRequest::default()
            };
            let token = app
                .clients()
                .accounts
                .create_token(request)
                .await
                .expect("a token")
                .into_inner()
                .secret;
            let fixture = app.fixture();
            let mut talks = Vec::new();
            for _ in 0..CONVERSATIONS {
                let person = fixture.person("Asha Rao").await;
                talks.push((fixture.conversation(&person).await.id, person.contact));
            }
            let address = IpAddr::from([127, 0, 1, u8::try_from(nth + 1).expect("few clients")]);
            let way = if nth % 2 == 0 {
                let endpoint = Endpoint::from_shared(format!("http://{}", app.server.listeners.grpc)).expect("an address");
                Way::Grpc(endpoint.local_address(Some(address)).connect_lazy())
            } else {
                let client = reqwest::Client::builder().local_address(address).build().expect("a client");
                Way::Json(client, format!("http://{}/api/v1/accounts/1", app.server.listeners.http))
            };
            clients.push(Arc::new(Client { way, token, talks }));
        }
        let latencies = Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds that fit");
        let lately = latencies.clone();
        Self {
            clients,
            tally: Mutex::new(Tally {
                calls: 0,
                good: 0,
                latencies,
                lately,
                acknowledged: Vec::new(),
                first_failures: Vec::new(),
            }),
            failed: AtomicU64::new(0),
            per_second: if full { EACH_PER_SECOND } else { EACH_PER_SECOND_OF_DEBUG },
        }
    }

    /// The number of calls that have failed so far.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// The 99th percentile of latency since the last call of this method.
    pub fn lately(&self) -> Duration {
        let mut tally = self.tally.lock().expect("no panic");
        let lately = Duration::from_micros(tally.lately.value_at_quantile(0.99));
        tally.lately.reset();
        lately
    }

    /// Makes calls at a constant rate, whether or not the server keeps up, until `ended` is cancelled. Returns the figures.
    pub async fn call_until(self: Arc<Self>, ended: CancellationToken) -> Tally {
        let mut clients = JoinSet::new();
        for client in &self.clients {
            clients.spawn(Arc::clone(&self).of_one(Arc::clone(client), ended.clone()));
        }
        while let Some(done) = clients.join_next().await {
            done.expect("a client does not panic");
        }
        let mut tally = self.tally.lock().expect("no panic");
        let empty = Tally {
            calls: 0,
            good: 0,
            latencies: Histogram::new(1).expect("a precision"),
            lately: Histogram::new(1).expect("a precision"),
            acknowledged: Vec::new(),
            first_failures: Vec::new(),
        };
        std::mem::replace(&mut *tally, empty)
    }

    async fn of_one(self: Arc<Self>, client: Arc<Client>, ended: CancellationToken) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / self.per_second);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut calls = JoinSet::new();
        let mut number = 0;
        while ended.run_until_cancelled(ticks.tick()).await.is_some() {
            while calls.try_join_next().is_some() {}
            if calls.len() >= UNDER_WAY {
                // The server does not respond: a call that cannot be started counts as failed.
                self.count(TIMEOUT, Err("too many calls are under way".to_owned()));
                continue;
            }
            let (crowd, client) = (Arc::clone(&self), Arc::clone(&client));
            calls.spawn(async move {
                let began = Instant::now();
                let done = tokio::time::timeout(TIMEOUT, client.call(number)).await;
                crowd.count(began.elapsed(), done.unwrap_or_else(|_| Err("no answer".to_owned())));
            });
            number += 1;
        }
        while calls.join_next().await.is_some() {}
    }

    fn count(&self, took: Duration, done: Result<Option<i64>, String>) {
        let mut tally = self.tally.lock().expect("no panic");
        tally.calls += 1;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        tally.latencies.saturating_record(micros);
        tally.lately.saturating_record(micros);
        match done {
            Ok(message) => {
                tally.good += 1;
                tally.acknowledged.extend(message);
            }
            Err(why) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                if tally.first_failures.len() < 5 {
                    tally.first_failures.push(why);
                }
            }
        }
    }
}

impl Client {
    /// Makes one of five calls: two create a message, the others read a message list, a conversation and a contact. Returns the id of a
    /// created message.
    async fn call(&self, number: usize) -> Result<Option<i64>, String> {
        let (conversation_id, contact_id) = self.talks[number % self.talks.len()];
        let text = format!("message {number}");
        match &self.way {
            Way::Grpc(channel) => self.by_grpc(channel.clone(), number % 5, conversation_id, contact_id, &text).await,
            Way::Json(client, root) => self.by_json(client, root, number % 5, conversation_id, contact_id, &text).await,
        }
    }

    async fn by_grpc(
        &self,
        channel: Channel,
        kind: usize,
        conversation_id: i64,
        contact_id: i64,
        text: &str,
    ) -> Result<Option<i64>, String> {
        let account_id = 1;
        let said = |status: tonic::Status| format!("{:?} {}", status.code(), status.message());
        match kind {
            0 | 1 => {
                let request = CreateMessageRequest {
                    account_id,
                    conversation_id,
                    message: Some(outgoing(text)),
                    ..CreateMessageRequest::default()
                };
                let made = MessagesServiceClient::new(channel)
                    .create_message(self.with_token(request))
                    .await
                    .map_err(said)?;
                Ok(made.into_inner().message.map(|message: pb::Message| message.id))
            }
            2 => {
                let request = ListMessagesRequest {
                    account_id,
                    conversation_id,
                    ..ListMessagesRequest::default()
                };
                MessagesServiceClient::new(channel)
                    .list_messages(self.with_token(request))
                    .await
                    .map_err(said)?;
                Ok(None)
            }
            3 => {
                let request = GetConversationRequest {
                    account_id,
                    conversation_id,
                };
                ConversationsServiceClient::new(channel)
                    .get_conversation(self.with_token(request))
                    .await
                    .map_err(said)?;
                Ok(None)
            }
            _ => {
                let request = GetContactRequest { account_id, contact_id };
                ContactsServiceClient::new(channel)
                    .get_contact(self.with_token(request))
                    .await
                    .map_err(said)?;
                Ok(None)
            }
        }
    }

    fn with_token<T>(&self, request: T) -> Request<T> {
        let mut request = Request::new(request);
        request
            .metadata_mut()
            .insert("api_access_token", self.token.parse().expect("a token is ASCII"));
        request
    }

    async fn by_json(
        &self,
        client: &reqwest::Client,
        root: &str,
        kind: usize,
        conversation_id: i64,
        contact_id: i64,
        text: &str,
    ) -> Result<Option<i64>, String> {
        let messages = format!("{root}/conversations/{conversation_id}/messages");
        let request = match kind {
            0 | 1 => client.post(messages).json(&json!({"content": text})),
            2 => client.get(messages),
            3 => client.get(format!("{root}/conversations/{conversation_id}")),
            _ => client.get(format!("{root}/contacts/{contact_id}")),
        };
        let answer = request
            .header("api_access_token", &self.token)
            .send()
            .await
            .map_err(|error| format!("{error:?}"))?;
        let status = answer.status();
        let body: Json = answer.json().await.map_err(|error| error.to_string())?;
        if status != 200 {
            return Err(format!("{status} {body}"));
        }
        Ok(body["id"].as_i64().filter(|_| kind < 2))
    }
}
