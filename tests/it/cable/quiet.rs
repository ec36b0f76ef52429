//! Frames that make a client write: a dashboard marks the shown conversation as seen after each of its frames.

use parley_proto::{EventKind, MarkConversationSeenRequest, Role};
use serde_json::{Value as Json, json};

use super::{Cable, agent};
use crate::support::{
    app::TestApp,
    database::Backend,
    http::Http,
    office::worker,
    on_both,
    reader::{event, log_info, whole_log},
};

on_both!(
    dashboards_do_not_trigger_each_other_endlessly,
    view_without_unread_messages_writes_nothing,
    assignee_has_a_separate_read_state
);

/// More frames than any of these causes sends to one dashboard.
const ENDLESS: usize = 60;

/// An agent's dashboard that shows a conversation.
struct Dashboard {
    cable: Cable,
    http: Http,
    shown: i64,
}

impl Dashboard {
    async fn open(app: &TestApp, http: Http, shown: i64) -> Self {
        let mut cable = Cable::open(app).await;
        cable.subscribe(&agent(&http).await).await;
        Self { cable, http, shown }
    }

    /// Responds to frames until two pings arrive with nothing but presence between them. Returns how many frames arrived, at most
    /// [`ENDLESS`].
    async fn settle(&mut self) -> usize {
        let (mut frames, mut pings) = (0, 0);
        while pings < 2 && frames < ENDLESS {
            let frame = self.cable.next().await;
            if frame["type"] == "ping" {
                pings += 1;
            } else if frame["message"]["event"] != "presence.update" {
                (frames, pings) = (frames + 1, 0);
                let path = format!("/conversations/{}/update_last_seen", self.shown);
                self.http.post(&path, &json!({})).await;
            }
        }
        frames
    }
}

/// Creates a visitor's session. Returns the path of its calls and its conversation.
async fn visitor(app: &TestApp) -> (String, i64) {
    let public = app.http().with_token("");
    let inbox = app.http().ask("/inboxes/1").await.1["inbox_identifier"].clone();
    let contacts = format!("/public/api/v1/inboxes/{}/contacts", inbox.as_str().expect("an identifier"));
    let made = public.send("POST", &contacts, Some(&json!({"name": "Asha"}))).await.body;
    let path = format!("{contacts}/{}/conversations", made["source_id"].as_str().expect("a session"));
    let talk = public.send("POST", &path, None).await.body["id"].as_i64().expect("a number");
    (format!("{path}/{talk}"), talk)
}

async fn dashboards_do_not_trigger_each_other_endlessly(backend: Backend) {
    for (on, switch) in [(true, ""), (false, "quiet_views")] {
        let app = TestApp::builder(backend)
            .platform()
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        let (public, (path, talk)) = (app.http().with_token(""), visitor(&app).await);
        let other = worker(&app, 1, Role::Administrator, "Ravi").await;
        let theirs = app.http().with_token(&other.token);
        let mut first = Dashboard::open(&app, app.http(), talk).await;
        let mut second = Dashboard::open(&app, theirs, talk).await;
        public
            .send("POST", &format!("{path}/messages"), Some(&json!({"content": "is anybody there?"})))
            .await;
        app.fixture().say(talk, "yes").await;
        public.send("POST", &format!("{path}/update_last_seen"), None).await;
        app.http()
            .post(&format!("/conversations/{talk}/toggle_status"), &json!({"status": "resolved"}))
            .await;
        let (frames, others) = tokio::join!(first.settle(), second.settle());
        assert_eq!(
            frames < ENDLESS && others < ENDLESS,
            on,
            "{frames} and {others} frames followed from four changes"
        );
        if !on {
            continue;
        }
        // Open and idle: nothing but pings and presence arrives, and nothing is written.
        let head = log_info(&app.clients(), 1).await.head_seq;
        assert_eq!(tokio::join!(first.settle(), second.settle()), (0, 0));
        assert_eq!(log_info(&app.clients(), 1).await.head_seq, head);
        // Each view of unread messages leaves an event, and there was one unread message.
        let log = whole_log(&app.clients(), 1).await;
        let views = log.iter().map(event).filter(|event| {
            event.kind() == EventKind::ConversationRead && event.changes.iter().all(|change| change.field != "contact_last_seen_at")
        });
        assert_eq!(views.count(), 1, "views by agents");
    }
}

async fn view_without_unread_messages_writes_nothing(backend: Backend) {
    let app = TestApp::start(backend).await;
    let (fixture, http, talk) = (app.fixture(), app.http(), app.fixture().talk().await);
    let look = async |over_grpc: bool| {
        if over_grpc {
            let request = MarkConversationSeenRequest {
                account_id: 1,
                conversation_id: talk,
                ..MarkConversationSeenRequest::default()
            };
            fixture
                .clients
                .conversations
                .clone()
                .mark_conversation_seen(request)
                .await
                .expect("answered");
        } else {
            http.post(&format!("/conversations/{talk}/update_last_seen"), &json!({})).await;
        }
    };
    let state = async || {
        let shown = http.ask(&format!("/conversations/{talk}")).await.1;
        let head = log_info(&app.clients(), 1).await.head_seq;
        (shown["updated_at"].clone(), shown["unread_count"].clone(), head)
    };
    fixture.say(talk, "hello").await;
    let before = state().await;
    look(false).await;
    look(true).await;
    assert_eq!(state().await, before, "nothing was unread");
    fixture.hear(talk, "hello?").await;
    let (updated_at, unread, head) = state().await;
    assert_eq!(unread, json!(1));
    look(false).await;
    assert_eq!(
        state().await,
        (updated_at.clone(), json!(0), head + 1),
        "the view is one event, and no update"
    );
    for over_grpc in [false, true, false] {
        look(over_grpc).await;
    }
    assert_eq!(state().await, (updated_at, json!(0), head + 1));
}

async fn assignee_has_a_separate_read_state(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let (fixture, http, talk) = (app.fixture(), app.http(), app.fixture().talk().await);
    let assignee = worker(&app, 1, Role::Administrator, "Ravi").await;
    http.post(
        &format!("/conversations/{talk}/assignments"),
        &json!({"assignee_id": assignee.user}),
    )
    .await;
    fixture.hear(talk, "hello?").await;
    let path = format!("/conversations/{talk}/update_last_seen");
    let theirs = app.http().with_token(&assignee.token);
    let times = |shown: &Json| (shown["agent_last_seen_at"].as_i64(), shown["assignee_last_seen_at"].as_i64());
    let seen = http.post(&path, &json!({})).await;
    let (by_agent, by_assignee) = times(&seen);
    assert!(by_agent > Some(0) && by_assignee == Some(0), "{seen}");
    let head = log_info(&app.clients(), 1).await.head_seq;
    let seen = theirs.post(&path, &json!({})).await;
    assert!(times(&seen).1 > Some(0), "{seen}");
    for _ in 0..3 {
        theirs.post(&path, &json!({})).await;
    }
    assert_eq!(
        log_info(&app.clients(), 1).await.head_seq,
        head + 1,
        "one event for the assignee's view"
    );
}
