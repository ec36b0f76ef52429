//! What a running server reports: to a collector over OTLP, to Prometheus, and in its log.

mod audit;
pub mod collector;
mod exports;
mod figures;
mod log;
mod traces;
mod variables;

use parley_client::{Server, Step, Subscriber};
use parley_proto::{Event, EventFilter, EventKind, event::Resource, subscribe_request::Start};
use serde_json::{Value as Json, json};

use crate::support::{
    app::{ADMINISTRATOR, TestApp},
    http::client,
    in_time,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// Message content that only its readers may see.
const CONTENT: &str = "my card is 4111 1111 1111 1111";

/// Sends an integrator's request with its own trace over the JSON API.
async fn speak(app: &TestApp) -> Json {
    let conversation = app.fixture().talk().await;
    let url = format!(
        "http://{}/api/v1/accounts/1/conversations/{conversation}/messages",
        app.server.listeners.http
    );
    let answer = client()
        .post(url)
        .header("api_access_token", ADMINISTRATOR)
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"))
        .json(&json!({"content": CONTENT}))
        .send()
        .await
        .expect("the server responds");
    assert_eq!(answer.status(), 200);
    answer.json().await.expect("JSON")
}

/// The event of that request, as a subscriber receives it.
async fn told(app: &TestApp) -> Event {
    let server = Server::connect(&format!("http://{}", app.server.listeners.grpc), ADMINISTRATOR).expect("an address");
    let filter = EventFilter {
        kinds: vec![EventKind::MessageCreated.into()],
        ..EventFilter::default()
    };
    let mut subscriber = Subscriber::new(server, 1, Some(Start::Earliest(())), filter);
    in_time("the event", async {
        loop {
            let Ok(Step::Response(response)) = subscriber.next().await else {
                panic!("the stream is lost")
            };
            let events = response.events.into_iter().filter_map(|delivery| delivery.event);
            let said = |event: &Event| matches!(&event.resource, Some(Resource::Message(told)) if told.message.as_ref().is_some_and(|message| message.content() == CONTENT));
            if let Some(event) = events.into_iter().find(said) {
                return event;
            }
        }
    })
    .await
}

/// The log lines that match, as JSON objects.
fn lines(app: &TestApp, wanted: impl Fn(&Json) -> bool) -> Vec<Json> {
    let log = app.server.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
    lines.filter(wanted).collect()
}

/// The same, once there are at least `count`: the response may arrive before the line has passed through the pipe.
async fn lines_in_time(app: &TestApp, count: usize, wanted: impl Fn(&Json) -> bool) -> Vec<Json> {
    in_time("lines of the log", async {
        loop {
            let found = lines(app, &wanted);
            if found.len() >= count {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await
}

/// The content of `/metrics`.
async fn metrics(app: &TestApp) -> String {
    let request = client().get(format!("http://{}/metrics", app.server.listeners.admin));
    request.send().await.expect("metrics").text().await.expect("text")
}

/// The value of the first sample in `/metrics` with this name and these labels.
fn value(metrics: &str, name: &str, labels: &[&str]) -> f64 {
    sample(metrics, name, labels).unwrap_or_else(|| panic!("no {name} {labels:?} in\n{metrics}"))
}

/// Like [`value`], or `None` if there is no such sample yet: what is measured at intervals has none at first.
fn sample(metrics: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let mut lines = metrics.lines();
    let line = lines.find(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)))?;
    Some(line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number"))
}
