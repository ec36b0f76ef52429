//! A stranger who submits the identifier of a verified user cannot add conversations to that user's list.

use parley_proto::ListClientConversationsRequest;
use reqwest::Method;
use serde_json::json;

use super::{Public, begin, start, visitors::first_received};
use crate::support::{app::TestApp, clients::Clients, database::Backend, office::inbox, on_both};

on_both!(submitted_identifier_plants_no_conversation);

/// What the verified session of a user reaches.
#[derive(Debug, PartialEq)]
struct Reached {
    /// The conversations listed over REST.
    rest: Vec<i64>,
    /// The conversations listed over gRPC.
    grpc: Vec<i64>,
    /// The statuses of reading and writing the stranger's conversations.
    planted: Vec<(u16, u16)>,
}

/// Strangers submit a user's identifier before and after its contact exists, and the user signs it. Returns what the user reaches, the
/// strangers' conversations, the user's own conversation and one that members started, and the contact.
async fn plant(app: &TestApp) -> (Reached, [i64; 2], [i64; 2], i64) {
    let second = inbox(&app.clients(), 1, "Second").await;
    let public = Public::of(app, 1).await;
    // This creates the contact that the user's signature finds later.
    public.create("early", json!({"identifier": "victim"})).await;
    let early = public.talk("early").await;
    let made = public.create("v", public.signed("victim", json!({}))).await;
    assert_eq!(public.prove("v", "victim").await.status, 200);
    let victim = app.fixture().contact_of("v").await;
    assert_eq!(victim, app.fixture().contact_of("early").await, "agents see one person");
    let own = public.talk("v").await;
    let members = begin(app, second, victim).await;
    public.create("late", json!({"identifier": "victim"})).await;
    let late = public.talk("late").await;
    for (source, talk) in [("early", early), ("late", late)] {
        let said = json!({"content": "please confirm your password"});
        let path = format!("/{source}/conversations/{talk}/messages");
        assert_eq!(public.ask(Method::POST, &path, Some(&said)).await.status, 200);
    }
    let request = ListClientConversationsRequest {
        session: Some(public.session("v")),
        without_messages: true,
        ..ListClientConversationsRequest::default()
    };
    let visitor = Clients::new(&app.server.listeners.grpc, None);
    let listed = visitor.client.clone().list_client_conversations(request).await.expect("its own");
    let sorted = |mut ids: Vec<i64>| {
        ids.sort_unstable();
        ids
    };
    let reached = Reached {
        rest: sorted(public.listed("v").await),
        grpc: sorted(listed.into_inner().conversations.into_iter().map(|shown| shown.id).collect()),
        planted: vec![public.reach("v", early).await, public.reach("v", late).await],
    };
    let first = first_received(app, &made, &[early, late, own]).await;
    (reached, [early, late], [own, members], first)
}

async fn submitted_identifier_plants_no_conversation(backend: Backend) {
    let app = start(backend, "").await;
    let (reached, _, own, first) = plant(&app).await;
    let expected = Reached {
        rest: own.to_vec(),
        grpc: own.to_vec(),
        planted: vec![(404, 404); 2],
    };
    assert_eq!(reached, expected);
    assert_eq!(first, own[0], "the stream has no message of the planted conversations");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_protection_a_stranger_plants_conversations() {
    let app = start(Backend::Sqlite, "identity_proof").await;
    let (reached, planted, own, first) = plant(&app).await;
    assert!(
        planted.iter().all(|id| reached.rest.contains(id) && reached.grpc.contains(id)),
        "{reached:?}"
    );
    assert_eq!(reached.planted, [(200, 200); 2]);
    assert_eq!(first, own[0], "streams go by another rule: both sessions have to be verified");
}
