//! Secrets are visible to callers who may administer them, and never in events.

use parley_proto::{
    ApiChannel, ClientSession, GetClientSessionRequest, GetInboxRequest, Inbox, ListInboxesRequest, Role, UpdateInboxRequest,
    inbox::Channel, subscribe_request::Start,
};
use prost::Message as _;
use prost_types::FieldMask;
use serde_json::Value as Json;

use super::{create, of_user, secret, service};
use crate::support::{
    app::TestApp,
    clients::Clients,
    database::Backend,
    in_time,
    office::{set_members, worker},
    on_both,
    reader::{everything, whole_log},
};

on_both!(secrets_are_visible_to_administrators_only, events_and_snapshots_contain_no_secret);

fn key(inbox: Option<Inbox>) -> Option<String> {
    match inbox.expect("always set").channel {
        Some(Channel::ApiChannel(ApiChannel { hmac_token, .. })) => hmac_token,
        None => None,
    }
}

async fn shown(clients: &Clients) -> [Option<String>; 2] {
    let get = GetInboxRequest {
        account_id: 1,
        inbox_id: 1,
    };
    let list = ListInboxesRequest {
        account_id: 1,
        ..ListInboxesRequest::default()
    };
    let mut inboxes = clients.inboxes.clone();
    let one = inboxes.get_inbox(get).await.expect("the inbox").into_inner().inbox;
    let listed = inboxes.list_inboxes(list).await.expect("the inboxes").into_inner().inboxes;
    [key(one), key(listed.into_iter().next())]
}

async fn secrets_are_visible_to_administrators_only(backend: Backend) {
    for switch in ["", "read_only"] {
        let app = TestApp::builder(backend)
            .platform()
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        let agent = worker(&app, 1, Role::Agent, "Agent").await;
        set_members(&app.clients(), 1, 1, &[agent.user]).await;
        let only_reads = |mut request: parley_proto::CreateTokenRequest| {
            request.read_only = true;
            request
        };
        let kinds = [
            ("the administrator", of_user(1), true),
            ("a service", service(false, vec![]), true),
            ("an administrator's token that may only read", only_reads(of_user(1)), false),
            ("a service that may only read", service(true, vec![]), false),
            ("a service of an inbox", service(false, vec![1]), false),
            ("a service of an inbox that may only read", service(true, vec![1]), false),
            ("an agent", of_user(agent.user), false),
        ];
        let mut unprotected = 0;
        for (who, request, administers) in kinds {
            let made = create(&app.platform(), request).await.expect("the token is created");
            let shown = shown(&app.clients_with(&made.secret)).await;
            let json = app.http().with_token(&made.secret);
            let one = json.send("GET", "/api/v1/accounts/1/inboxes/1", None).await.body;
            let listed = json.send("GET", "/api/v1/accounts/1/inboxes", None).await.body;
            let in_json = [&one["hmac_token"], &listed["payload"][0]["hmac_token"]].map(Json::is_string);
            if switch.is_empty() {
                assert_eq!(
                    (shown.map(|key| key.is_some()), in_json),
                    ([administers; 2], [administers; 2]),
                    "{who}"
                );
            } else if shown[0].is_some() != administers {
                unprotected += 1;
            }
        }
        assert_eq!(unprotected > 0, !switch.is_empty());
    }
}

async fn events_and_snapshots_contain_no_secret(backend: Backend) {
    let app = TestApp::builder(backend)
        .env("PARLEY_BOOTSTRAP_INBOX_IDENTIFIER", "inbox-a")
        .start()
        .await;
    let [hmac, _] = shown(&app.clients()).await;
    let hmac = hmac.expect("the administrator sees it");
    let rename = UpdateInboxRequest {
        account_id: 1,
        inbox: Some(Inbox {
            id: 1,
            name: "Renamed".to_owned(),
            ..Inbox::default()
        }),
        update_mask: Some(FieldMask {
            paths: vec!["name".to_owned()],
        }),
        ..UpdateInboxRequest::default()
    };
    app.clients().inboxes.update_inbox(rename).await.expect("renamed");
    let person = app.fixture().person("Asha Rao").await;
    let talk = app.fixture().conversation(&person).await.id;
    app.fixture().hear(talk, "hello").await;
    let token = secret(&app.clients(), service(false, vec![])).await;
    let session = GetClientSessionRequest {
        session: Some(ClientSession {
            inbox_identifier: "inbox-a".to_owned(),
            source_id: person.source,
        }),
        ..GetClientSessionRequest::default()
    };
    let session = app
        .clients()
        .client
        .get_client_session(session)
        .await
        .expect("the session")
        .into_inner()
        .session;
    let pubsub_token = session.expect("always set").pubsub_token;
    assert!(!pubsub_token.is_empty());
    let secrets = [hmac.as_str(), token.as_str(), pubsub_token.as_str()];
    let clean = |what: &str, bytes: &[u8]| {
        for secret in secrets {
            assert!(
                !bytes.windows(secret.len()).any(|window| window == secret.as_bytes()),
                "{what} holds a secret"
            );
        }
    };
    for delivery in whole_log(&app.clients(), 1).await {
        clean("an event", &delivery.encode_to_vec());
    }
    let mut stream = app
        .clients()
        .events
        .subscribe(everything(1, Start::Snapshot(())))
        .await
        .expect("the snapshot")
        .into_inner();
    in_time("the snapshot", async {
        while let Some(response) = stream.message().await.expect("the snapshot goes on") {
            clean("a snapshot", &response.encode_to_vec());
            if response.snapshot_complete.is_some() {
                return;
            }
        }
    })
    .await;
}
