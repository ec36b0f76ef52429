//! Users and installation-wide bots do not belong to an account: a change of one is published to each of its accounts exactly once, even if
//! the change is requested again or the server crashes before it publishes.

use std::time::Duration;

use parley_proto::{AgentBot, EventKind, Role, UpdateAgentBotRequest, UpdateUserRequest, User};
use prost_types::FieldMask;
use sqlx::{Connection as _, PgConnection};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{
    agent_bots::{bot, connect},
    support::{
        app::TestApp,
        clients::Clients,
        database::{Backend, Database},
        fault::assert_refused,
        in_time,
        office::worker,
        on_both,
        reader::{event, whole_log},
    },
};

on_both!(user_update_is_published_once_per_account, bot_update_is_published_once_per_account);

async fn told(app: &TestApp, kind: EventKind) -> usize {
    let log = whole_log(&app.clients(), 1).await;
    log.iter().filter(|delivery| event(delivery).kind() == kind).count()
}

fn mask(path: &str) -> FieldMask {
    FieldMask {
        paths: vec![path.to_owned()],
    }
}

async fn user_update_is_published_once_per_account(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let agent = worker(&app, 1, Role::Agent, "Ravi").await;
    let change = |request_id: Uuid, name: &str| UpdateUserRequest {
        request_id: request_id.to_string(),
        user: Some(User {
            id: agent.user,
            display_name: Some(name.to_owned()),
            ..User::default()
        }),
        update_mask: Some(mask("display_name")),
    };
    let id = Uuid::new_v4();
    let mut accounts = app.platform().accounts;
    let first = accounts.update_user(change(id, "R.")).await.expect("changed").into_inner();
    assert_eq!(told(&app, EventKind::AgentUpdated).await, 1);
    let again = accounts.update_user(change(id, "R.")).await.expect("the same").into_inner();
    assert_eq!(again, first);
    accounts.update_user(change(Uuid::new_v4(), "R.")).await.expect("nothing to do");
    assert_refused(
        accounts.update_user(change(id, "Q.")).await,
        Code::AlreadyExists,
        "IDEMPOTENCY_KEY_REUSED",
    );
    assert_eq!(
        told(&app, EventKind::AgentUpdated).await,
        1,
        "neither what came again nor what changed nothing"
    );
    accounts.update_user(change(Uuid::new_v4(), "Q.")).await.expect("changed");
    assert_eq!(told(&app, EventKind::AgentUpdated).await, 2);
}

async fn bot_update_is_published_once_per_account(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let helper = bot(&app.platform(), None, "For all").await;
    connect(&app.clients(), 1, Some(helper.id)).await;
    let id = Uuid::new_v4();
    let mut bots = app.platform().agent_bots;
    for request_id in [id, id, Uuid::new_v4()] {
        let request = UpdateAgentBotRequest {
            request_id: request_id.to_string(),
            ..renamed(helper.id, "For some")
        };
        bots.update_agent_bot(request).await.expect("changed, or nothing to do");
    }
    assert_eq!(told(&app, EventKind::AgentBotUpdated).await, 1);
    bots.update_agent_bot(renamed(helper.id, "For nobody")).await.expect("changed");
    assert_eq!(told(&app, EventKind::AgentBotUpdated).await, 2);
}

fn renamed(id: i64, name: &str) -> UpdateAgentBotRequest {
    UpdateAgentBotRequest {
        agent_bot: Some(AgentBot {
            id,
            name: name.to_owned(),
            ..AgentBot::default()
        }),
        update_mask: Some(mask("name")),
        ..UpdateAgentBotRequest::default()
    }
}

/// Checks that a change is published once by the next server after the one that made it was killed.
async fn assert_told_over_a_crash(mut app: TestApp, kind: EventKind, change: impl AsyncFnOnce(Clients) -> Result<(), Status>) {
    let url = app.database.url();
    let mut keeper = PgConnection::connect(&url).await.expect("the database is there");
    for sql in ["BEGIN", "SELECT 1 FROM account_logs FOR UPDATE"] {
        sqlx::query(sql).execute(&mut keeper).await.expect("nobody can write into the log");
    }
    let noted = "SELECT CAST(count(*) AS bigint) FROM announcements";
    let operator = app.platform();
    let died = async {
        in_time("the note", async {
            while Database::number(&url, noted).await == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        app.server.kill();
    };
    let (answer, ()) = tokio::join!(change(operator), died);
    answer.expect_err("it was never answered");
    drop(keeper);
    app.start_again().await;
    in_time("the event", async {
        while told(&app, kind).await == 0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    assert_eq!((told(&app, kind).await, Database::number(&url, noted).await), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_update_is_published_after_a_crash_on_postgres() {
    let app = TestApp::builder(Backend::Postgres).platform().start().await;
    let agent = worker(&app, 1, Role::Agent, "Ravi").await;
    let request = UpdateUserRequest {
        user: Some(User {
            id: agent.user,
            display_name: Some("R.".to_owned()),
            ..User::default()
        }),
        update_mask: Some(mask("display_name")),
        ..UpdateUserRequest::default()
    };
    let change = async |operator: Clients| operator.accounts.clone().update_user(request).await.map(drop);
    Box::pin(assert_told_over_a_crash(app, EventKind::AgentUpdated, change)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bot_update_is_published_after_a_crash_on_postgres() {
    let app = TestApp::builder(Backend::Postgres).platform().start().await;
    let helper = bot(&app.platform(), None, "For all").await;
    connect(&app.clients(), 1, Some(helper.id)).await;
    let change = async |operator: Clients| {
        let request = renamed(helper.id, "For some");
        operator.agent_bots.clone().update_agent_bot(request).await.map(drop)
    };
    Box::pin(assert_told_over_a_crash(app, EventKind::AgentBotUpdated, change)).await;
}
