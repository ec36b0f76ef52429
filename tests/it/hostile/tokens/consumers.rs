//! Durable consumers are reserved for callers who may see everything that a consumer delivers.

use parley_proto::{DeleteConsumerRequest, GetConsumerRequest, ResetConsumerRequest, Role, reset_consumer_request::Start};
use tonic::Code;

use super::service_clients;
use crate::support::{
    api_fixture::ApiFixture,
    app::TestApp,
    clients::Clients,
    consumer::{Session, plenty},
    database::Backend,
    fault::fault,
    office::{inbox, worker},
    on_both,
};

on_both!(
    statement_13_consumers_require_full_access,
    without_the_protection_a_limited_token_takes_over_a_consumer
);

async fn position(app: &TestApp) -> u64 {
    let request = GetConsumerRequest {
        account_id: 1,
        name: "crm-sync".to_owned(),
    };
    let answer = app.clients().consumers.clone().get_consumer(request).await.expect("it is there");
    answer.into_inner().consumer.expect("always set").shards[0].seq
}

async fn reset(clients: &Clients) -> Result<(), tonic::Status> {
    let request = ResetConsumerRequest {
        account_id: 1,
        name: "crm-sync".to_owned(),
        start: Some(Start::Latest(())),
        ..ResetConsumerRequest::default()
    };
    clients.consumers.clone().reset_consumer(request).await.map(drop)
}

async fn delete(clients: &Clients) -> Result<(), tonic::Status> {
    let request = DeleteConsumerRequest {
        account_id: 1,
        name: "crm-sync".to_owned(),
        ..DeleteConsumerRequest::default()
    };
    clients.consumers.clone().delete_consumer(request).await.map(drop)
}

async fn statement_13_consumers_require_full_access(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    app.fixture().talk().await;
    let mut owner = Session::open(&app.clients(), plenty(1, "crm-sync")).await;
    let first = owner.next().await;
    owner.commit(&first.cursor).await.expect("the owner commits");
    let before = position(&app).await;
    let callers = [
        ("a service limited to an inbox", service_clients(&app, false, vec![1]).await),
        ("a service that may only read", service_clients(&app, true, vec![]).await),
        ("an agent", worker(&app, 1, Role::Agent, "Agent").await.clients),
        ("the operator", app.platform()),
    ];
    for (who, clients) in &callers {
        for name in ["crm-sync", "of-its-own"] {
            let status = Session::try_open(clients, plenty(1, name)).await.expect_err(who);
            assert_eq!(fault(&status).code, Code::PermissionDenied, "{who} opens {name}: {status:?}");
        }
        for status in [reset(clients).await.expect_err(who), delete(clients).await.expect_err(who)] {
            assert_eq!(fault(&status).code, Code::PermissionDenied, "{who}: {status:?}");
        }
    }
    assert_eq!(position(&app).await, before);
    // The owner's session continues: nobody has taken over the shard.
    let next = owner.next().await;
    owner.commit(&next.cursor).await.expect("the owner still holds the shard");
    let whole = service_clients(&app, false, vec![]).await;
    Session::open(&whole, plenty(1, "crm-sync")).await;
    reset(&whole).await.expect("a service without a list of inboxes moves it");
}

/// With the protection turned off, the owner loses events of an inbox that the token cannot see.
async fn without_the_protection_a_limited_token_takes_over_a_consumer(backend: Backend) {
    for (switch, opens) in [("", false), ("consumer_scope", true)] {
        let app = TestApp::builder(backend).env("PARLEY_FAULT_SWITCH", switch).start().await;
        let other = inbox(&app.clients(), 1, "Other").await;
        ApiFixture::new(app.clients(), 1, other).talk().await;
        drop(Session::open(&app.clients(), plenty(1, "crm-sync")).await);
        let scoped = service_clients(&app, false, vec![1]).await;
        assert_eq!(Session::try_open(&scoped, plenty(1, "crm-sync")).await.is_ok(), opens, "{switch}");
    }
}
