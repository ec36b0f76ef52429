//! What members may change of themselves: availability, the active account, and their own user.

use parley_proto::{
    ConversationStatus, CreateTokenRequest, EventKind, ReportPresenceRequest, Role, SetActiveAccountRequest, TokenKind,
    UpdateOwnAvailabilityRequest, presence_service_client::PresenceServiceClient,
};
use serde_json::{Value as Json, json};
use tonic::Code;
use uuid::Uuid;

use crate::{
    cable::{Cable, agent},
    support::{
        api_fixture::ApiFixture,
        app::TestApp,
        clients::Clients,
        database::{Backend, Database},
        fault::assert_refused,
        http::Http,
        office::{Worker, other_account, set_members, worker},
        on_both,
        reader::{event, whole_log},
    },
};

on_both!(
    agent_updates_its_own_availability,
    only_available_agents_are_assigned,
    self_service_respects_token_limits,
    active_account_is_listed_first,
    user_updates_its_own_profile,
    unchangeable_profile_fields_are_refused_or_reported
);

const PROFILE: &str = "/api/v1/profile";

async fn send(http: &Http, method: &str, path: &str, body: Json) -> (u16, Json) {
    let answer = http.send(method, &format!("{PROFILE}{path}"), Some(&body)).await;
    (answer.status, answer.body)
}

async fn availability(http: &Http, account: i64, availability: &str) -> (u16, Json) {
    let body = json!({"profile": {"account_id": account, "availability": availability}});
    send(http, "POST", "/availability", body).await
}

fn busy(account: i64) -> UpdateOwnAvailabilityRequest {
    UpdateOwnAvailabilityRequest {
        account_id: account,
        availability: parley_proto::Availability::Busy.into(),
        ..UpdateOwnAvailabilityRequest::default()
    }
}

async fn report_presence(clients: &Clients) {
    let here = ReportPresenceRequest {
        account_id: 1,
        ..ReportPresenceRequest::default()
    };
    PresenceServiceClient::new(clients.service.clone())
        .report_presence(here)
        .await
        .expect("presence is noted");
}

/// A member's entry in the list of agents.
async fn listed(app: &TestApp, user: i64) -> Json {
    let (_, agents) = app.http().ask("/agents").await;
    let found = agents.as_array().into_iter().flatten().find(|agent| agent["id"] == user);
    found.expect("the member is listed").clone()
}

async fn agent_updates_its_own_availability(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let ola = worker(&app, 1, Role::Agent, "Ola").await;
    let http = app.http().with_token(&ola.token);
    report_presence(&ola.clients).await;
    let mut cable = Cable::open(&app).await;
    let present = cable.subscribe(&agent(&http).await).await;
    assert_eq!(present["users"][ola.user.to_string()], "online");

    let (status, profile) = availability(&http, 1, "busy").await;
    assert_eq!(
        (status, &profile["accounts"][0]["availability"]),
        (200, &json!("busy")),
        "{profile}"
    );
    assert_eq!(profile["accounts"][0]["availability_status"], "busy");
    assert_eq!(listed(&app, ola.user).await["availability_status"], "busy");
    let mut cable = Cable::open(&app).await;
    let present = cable.subscribe(&agent(&http).await).await;
    assert_eq!(present["users"][ola.user.to_string()], "busy");
    let log = whole_log(&app.clients(), 1).await;
    let last = event(log.last().expect("an event"));
    assert_eq!(last.kind(), EventKind::AgentUpdated);
    let actor = last.actor.as_ref().expect("somebody did it");
    assert_eq!((actor.id, last.changes[0].field.as_str()), (ola.user, "availability"));

    // With `auto_offline` off, the member stays online without a connection.
    let body = json!({"profile": {"account_id": 1, "auto_offline": false}});
    let (status, profile) = send(&http, "POST", "/auto_offline", body).await;
    assert_eq!((status, &profile["accounts"][0]["auto_offline"]), (200, &json!(false)));
    assert_eq!(listed(&app, ola.user).await["auto_offline"], false);

    // The same over gRPC, once per request id. The role and other fields keep their values.
    let request = UpdateOwnAvailabilityRequest {
        request_id: Uuid::new_v4().to_string(),
        availability: parley_proto::Availability::Offline.into(),
        ..busy(1)
    };
    let mut accounts = ola.clients.accounts.clone();
    let first = accounts
        .update_own_availability(request.clone())
        .await
        .expect("changed")
        .into_inner();
    let again = accounts.update_own_availability(request).await.expect("repeated").into_inner();
    assert_eq!(first, again);
    let after = first.agent.expect("always set");
    assert_eq!((after.id, after.role()), (ola.user, Role::Agent));
    assert_eq!(listed(&app, ola.user).await["availability_status"], "offline");
    assert_eq!(listed(&app, 1).await["role"], "administrator");

    // Each change is audited with the member that it concerns.
    let (_, audit) = app.http().ask("/audit_logs").await;
    let entries = audit["audit_logs"].as_array().expect("a list");
    let own = entries
        .iter()
        .filter(|entry| entry["method"].to_string().contains("UpdateOwnAvailability"));
    assert!(own.count() >= 3, "{audit}");
}

/// The assignee of a new conversation in the inbox.
async fn assignee(fixture: &ApiFixture) -> Option<i64> {
    let person = fixture.person("Asha").await;
    let conversation = fixture.conversation(&person).await;
    assert_eq!(conversation.status(), ConversationStatus::Open);
    conversation.assignee.map(|assignee| assignee.id)
}

async fn only_available_agents_are_assigned(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let ola = worker(&app, 1, Role::Agent, "Ola").await;
    let http = app.http().with_token(&ola.token);
    let assign = json!({"enable_auto_assignment": true});
    app.http().send("PATCH", "/api/v1/accounts/1/inboxes/1", Some(&assign)).await;
    set_members(&app.clients(), 1, 1, &[ola.user]).await;
    report_presence(&ola.clients).await;
    assert_eq!(assignee(&app.fixture()).await, Some(ola.user));
    assert_eq!(availability(&http, 1, "busy").await.0, 200);
    report_presence(&ola.clients).await;
    assert_eq!(assignee(&app.fixture()).await, None, "who is busy gets none");
    assert_eq!(availability(&http, 1, "online").await.0, 200);
    report_presence(&ola.clients).await;
    assert_eq!(assignee(&app.fixture()).await, Some(ola.user));
}

async fn token(app: &TestApp, request: CreateTokenRequest) -> String {
    app.platform()
        .accounts
        .create_token(request)
        .await
        .expect("a token")
        .into_inner()
        .secret
}

fn of_user(worker: &Worker) -> CreateTokenRequest {
    CreateTokenRequest {
        kind: TokenKind::User.into(),
        user_id: Some(worker.user),
        ..CreateTokenRequest::default()
    }
}

async fn self_service_respects_token_limits(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let ola = worker(&app, 1, Role::Agent, "Ola").await;
    let elsewhere = other_account(&app, "Other").await.account;
    let reader = CreateTokenRequest {
        read_only: true,
        ..of_user(&ola)
    };
    let limited = CreateTokenRequest {
        account_id: Some(1),
        ..of_user(&ola)
    };
    let service = CreateTokenRequest {
        kind: TokenKind::Service.into(),
        account_id: Some(1),
        name: "shop".to_owned(),
        inbox_ids: vec![1],
        ..CreateTokenRequest::default()
    };
    let (reader, limited, service) = (token(&app, reader).await, token(&app, limited).await, token(&app, service).await);

    for token in [&reader, &service] {
        let mut accounts = app.clients_with(token).accounts;
        let refused = accounts.update_own_availability(busy(1)).await;
        assert_refused(refused, Code::PermissionDenied, "NOT_ALLOWED");
        let request = SetActiveAccountRequest {
            account_id: 1,
            ..SetActiveAccountRequest::default()
        };
        assert_refused(accounts.set_active_account(request).await, Code::PermissionDenied, "NOT_ALLOWED");
        assert_eq!(availability(&app.http().with_token(token), 1, "busy").await.0, 401);
    }
    let (_, agents) = app.http().ask("/agents").await;
    assert!(!agents.to_string().contains("busy"), "{agents}");

    // A token of one account changes the availability there, but not the user, who may be a member of other accounts.
    let http = app.http().with_token(&limited);
    assert_eq!(availability(&http, 1, "busy").await.0, 200);
    assert_eq!(send(&http, "PUT", "", json!({"profile": {"name": "Olga"}})).await.0, 401);
    for (http, account) in [(&http, elsewhere), (&app.http().with_token(&ola.token), elsewhere), (&http, 99)] {
        assert_eq!(availability(http, account, "busy").await.0, 401, "account {account}");
        let body = json!({"profile": {"account_id": account}});
        assert_eq!(send(http, "PUT", "/set_active_account", body).await.0, 401, "account {account}");
    }
}

async fn active_account_is_listed_first(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let ola = worker(&app, 1, Role::Agent, "Ola").await;
    let elsewhere = other_account(&app, "Other").await.account;
    let request = parley_proto::CreateMembershipRequest {
        account_id: elsewhere,
        user_id: ola.user,
        role: Role::Administrator.into(),
        ..parley_proto::CreateMembershipRequest::default()
    };
    app.platform().accounts.create_membership(request).await.expect("a member");
    let http = app.http().with_token(&ola.token);
    let written = || async {
        Database::number(
            &app.database.url(),
            "SELECT CAST(coalesce(sum(active_at), 0) AS bigint) FROM memberships",
        )
        .await
    };
    for account in [1, elsewhere, 1, elsewhere] {
        let body = json!({"profile": {"account_id": account}});
        let (status, profile) = send(&http, "PUT", "/set_active_account", body.clone()).await;
        assert_eq!(status, 200, "{profile}");
        let before = written().await;
        let (_, profile) = send(&http, "PUT", "/set_active_account", body).await;
        assert_eq!(written().await, before, "it was written a moment ago");
        let active = profile["accounts"]
            .as_array()
            .expect("a list")
            .iter()
            .all(|account| !account["active_at"].is_null());
        // An account that was never active sorts before all others, as in Chatwoot.
        if active {
            assert_eq!(profile["account_id"], account);
        }
    }
    let (_, profile) = app_profile(&http).await;
    assert_eq!(
        (&profile["account_id"], &profile["role"]),
        (&json!(elsewhere), &json!("administrator"))
    );
}

async fn app_profile(http: &Http) -> (u16, Json) {
    let answer = http.send("GET", PROFILE, None).await;
    (answer.status, answer.body)
}

async fn user_updates_its_own_profile(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let ola = worker(&app, 1, Role::Agent, "Ola").await;
    let http = app.http().with_token(&ola.token);
    let settings = json!({"is_contact_sidebar_open": true, "rtl_view": false, "editor": {"height": 3}});
    let (status, profile) = send(&http, "PUT", "", json!({"profile": {"ui_settings": settings}})).await;
    assert_eq!((status, &profile["ui_settings"]), (200, &settings));
    let (_, before) = app_profile(&http).await;
    let body = json!({"profile": {
        "name": "Olga Petrova", "display_name": "Olga", "message_signature": "Kind regards", "email": before["email"],
    }});
    let (status, profile) = send(&http, "PUT", "", body).await;
    assert_eq!(status, 200, "{profile}");
    assert_eq!(
        (
            &profile["name"],
            &profile["available_name"],
            &profile["message_signature"],
            &profile["ui_settings"]
        ),
        (&json!("Olga Petrova"), &json!("Olga"), &json!("Kind regards"), &settings)
    );
    assert_eq!(app_profile(&http).await.1, profile);
    // As a form, and without the root key around the body.
    let form = http
        .request("PUT", PROFILE)
        .header("content-type", "application/x-www-form-urlencoded")
        .body("profile[display_name]=&profile[message_signature]=Bye");
    let answer = http.answer(form).await;
    assert_eq!(
        (answer.status, &answer.body["available_name"], &answer.body["message_signature"]),
        (200, &json!("Olga Petrova"), &json!("Bye"))
    );
    let (status, profile) = send(&http, "PATCH", "", json!({"display_name": "O."})).await;
    assert_eq!((status, &profile["available_name"]), (200, &json!("O.")));
}

async fn unchangeable_profile_fields_are_refused_or_reported(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let ola = worker(&app, 1, Role::Agent, "Ola").await;
    let http = app.http().with_token(&ola.token);
    let (_, before) = app_profile(&http).await;
    for (body, attribute) in [
        (json!({"email": "else@example.org", "name": "Olga"}), "email"),
        (json!({"password": "Secret-1", "current_password": "Secret-0"}), "password"),
        (json!({"name": " "}), "name"),
        (json!({"name": "x".repeat(256)}), "name"),
        (json!({"ui_settings": "wide"}), "ui_settings"),
    ] {
        let (status, refused) = send(&http, "PUT", "", json!({"profile": body})).await;
        assert_eq!((status, &refused["attributes"]), (422, &json!([attribute])), "{refused}");
    }
    for (path, body) in [
        ("/availability", json!({"profile": {"availability": "busy"}})),
        ("/availability", json!({"profile": {"account_id": 1}})),
        ("/availability", json!({"profile": {"account_id": 1, "availability": "away"}})),
        ("/auto_offline", json!({"profile": {"auto_offline": true}})),
        ("/auto_offline", json!({})),
    ] {
        assert_eq!(send(&http, "POST", path, body).await.0, 422, "{path}");
    }
    let answer = http
        .send(
            "PUT",
            PROFILE,
            Some(&json!({"profile": {"phone_number": "+4912345", "display_name": null}})),
        )
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["parley-ignored"], "profile[phone_number]");
    assert_eq!(app_profile(&http).await.1, before, "nothing of it was stored");
}
