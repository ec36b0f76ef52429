//! Names that would forge log lines or control a terminal.

use parley_proto::{
    AgentBot, ApiChannel, CreateAgentBotRequest, CreateInboxRequest, CreateTokenRequest, Inbox, UpdateAgentBotRequest, UpdateInboxRequest,
    inbox::Channel,
};
use prost_types::FieldMask;
use tonic::{Code, Status};

use super::{create, service};
use crate::support::{
    app::TestApp,
    consumer::{Session, plenty},
    database::Backend,
    fault::{assert_bad_fields, fault},
    in_time, on_both,
};

on_both!(names_with_control_characters_are_refused, stored_name_cannot_forge_a_log_line);

const FORGED: &str = "x\n2026-11-29T00:00:00Z INFO parley::audit: administered call=forged";

async fn names_with_control_characters_are_refused(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    for name in [FORGED, "\u{1b}[2J", "a\rb", "a\tb", "\u{9b}2J", "\u{202e}gnp.exe", "a\u{2028}b"] {
        let token = CreateTokenRequest {
            name: name.to_owned(),
            ..service(false, vec![])
        };
        assert_bad_fields(create(&app.clients(), token).await, &["name: INVALID"]);
        let status = Session::try_open(&app.clients(), plenty(1, name))
            .await
            .expect_err("the name is refused");
        assert!(fault(&status).fields.contains("open.consumer: INVALID"), "{status:?}");
        let bot = CreateAgentBotRequest {
            account_id: Some(1),
            name: name.to_owned(),
            ..CreateAgentBotRequest::default()
        };
        assert_bad_fields(app.clients().agent_bots.create_agent_bot(bot).await, &["name: INVALID"]);
        let mask = Some(FieldMask {
            paths: vec!["name".to_owned()],
        });
        let bot = UpdateAgentBotRequest {
            account_id: Some(1),
            agent_bot: Some(AgentBot {
                id: 1,
                name: name.to_owned(),
                ..AgentBot::default()
            }),
            update_mask: mask.clone(),
            ..UpdateAgentBotRequest::default()
        };
        bad(app.clients().agent_bots.update_agent_bot(bot).await);
        let inbox = Inbox {
            id: 1,
            name: name.to_owned(),
            channel: Some(Channel::ApiChannel(ApiChannel::default())),
            ..Inbox::default()
        };
        let new = CreateInboxRequest {
            account_id: 1,
            inbox: Some(inbox.clone()),
            ..CreateInboxRequest::default()
        };
        bad(app.clients().inboxes.create_inbox(new).await);
        let update = UpdateInboxRequest {
            account_id: 1,
            inbox: Some(inbox),
            update_mask: mask,
            ..UpdateInboxRequest::default()
        };
        bad(app.clients().inboxes.update_inbox(update).await);
    }
}

fn bad<T: std::fmt::Debug>(result: Result<T, Status>) {
    let status = result.expect_err("the name is refused");
    let fields = fault(&status).fields;
    assert!(
        status.code() == Code::InvalidArgument && fields.iter().any(|field| field.ends_with("name: INVALID")),
        "{fields:?}"
    );
}

/// The log line with the name of a token that was stored before names were validated.
async fn line_of_forged_name(backend: Backend, switch: &str) -> String {
    let app = TestApp::builder(backend)
        .env("PARLEY_LOG_FORMAT", "text")
        .env("PARLEY_FAULT_SWITCH", switch)
        .start()
        .await;
    let made = create(&app.clients(), service(false, vec![])).await.expect("a token");
    let id = made.token.expect("always set").id;
    app.database
        .run(&format!("UPDATE tokens SET name = '{FORGED}' WHERE id = {id}"))
        .await;
    create(&app.clients_with(&made.secret), service(true, vec![]))
        .await
        .expect("it administers");
    in_time("the line", async {
        loop {
            let log = app.server.log();
            if let Some(line) = log.lines().find(|line| line.contains("call=forged")) {
                return line.to_owned();
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await
}

async fn stored_name_cannot_forge_a_log_line(backend: Backend) {
    let line = line_of_forged_name(backend, "").await;
    assert!(line.contains("parley.v1.AccountsService/CreateToken"), "a line of its own: {line}");
    assert!(line.contains(r"service x\n2026"), "{line}");
    // Shows what the escapes are for: without them, the rest of the name is a separate line.
    let forged = line_of_forged_name(backend, "escaped_fields").await;
    assert!(
        forged.starts_with("2026-11-29T00:00:00Z INFO parley::audit: administered"),
        "{forged}"
    );
}
