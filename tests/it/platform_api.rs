//! The platform API over JSON, and responses of the REST gateway to bots.

use parley_proto::{RedeemLoginRequest, logins_service_client::LoginsServiceClient};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    app::{ADMINISTRATOR, PLATFORM, TestApp},
    database::{Backend, Database},
    on_both,
};

on_both!(
    platform_api_admits_only_the_operator,
    platform_api_manages_accounts_users_and_members,
    bot_is_created_with_a_token_and_sends_messages,
    login_link_is_valid_once
);

async fn ask(app: &TestApp, token: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
    let http = app.http().with_token(token);
    let answer = http.send(method.as_str(), path, Some(&body).filter(|body| !body.is_null())).await;
    (answer.status, answer.body)
}

async fn operate(app: &TestApp, method: Method, path: &str, body: Value) -> (u16, Value) {
    ask(app, PLATFORM, method, &format!("/platform/api/v1{path}"), body).await
}

async fn platform_api_admits_only_the_operator(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    for token in ["", "nobody's", ADMINISTRATOR] {
        for path in ["/accounts/1", "/users/1", "/agent_bots", "/accounts/1/account_users"] {
            let refused = ask(&app, token, Method::GET, &format!("/platform/api/v1{path}"), Value::Null).await;
            assert_eq!(refused, (401, json!({"error": "Invalid access_token"})), "{token} {path}");
        }
    }
    let missing = operate(&app, Method::GET, "/accounts/99", Value::Null).await;
    assert_eq!(missing, (404, json!({"status": 404, "error": "Not Found"})));
    let inside = ask(&app, PLATFORM, Method::GET, "/api/v1/accounts/1/inboxes", Value::Null).await;
    assert_eq!(
        inside,
        (401, json!({"error": "Access to this endpoint is not authorized for bots"}))
    );
}

async fn platform_api_manages_accounts_users_and_members(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let (status, account) = operate(&app, Method::POST, "/accounts", json!({"name": "Acme", "locale": "pt"})).await;
    assert_eq!(
        (status, &account["name"], &account["status"]),
        (200, &json!("Acme"), &json!("active"))
    );
    let one = format!("/accounts/{}", account["id"]);
    let (status, account) = operate(&app, Method::PATCH, &one, json!({"name": "Acme Ltd"})).await;
    assert_eq!(
        (status, &account["name"], &account["locale"]),
        (200, &json!("Acme Ltd"), &json!("pt"))
    );
    let details = json!({
        "domain": "acme.example", "support_email": "Help@acme.example", "features": {"inbox_management": true, "help_center": "true", "x": false},
        "limits": {"agents": 5}, "custom_attributes": {"plan": "gold"},
    });
    let (status, account) = operate(&app, Method::PATCH, &one, details).await;
    assert_eq!(status, 200, "{account}");
    let features = json!({"features": {"inbox_management": false, "reports": 1}, "domain": null});
    let (_, account) = operate(&app, Method::PATCH, &one, features).await;
    assert_eq!(account["features"], json!({"help_center": true, "reports": true}));
    assert_eq!(
        (&account["domain"], &account["support_email"]),
        (&Value::Null, &json!("help@acme.example"))
    );
    assert_eq!(
        (&account["limits"], &account["custom_attributes"]),
        (&json!({"agents": 5}), &json!({"plan": "gold"}))
    );
    let (status, bad) = operate(&app, Method::POST, "/accounts", json!({"name": "A", "domain": "d".repeat(101)})).await;
    assert_eq!((status, &bad["attributes"]), (422, &json!(["domain"])));
    let suspended = json!({"name": "Closed", "status": "suspended", "features": {"a": true}});
    let (_, closed) = operate(&app, Method::POST, "/accounts", suspended).await;
    assert_eq!((&closed["status"], &closed["features"]), (&json!("suspended"), &json!({"a": true})));
    let (status, bad) = operate(&app, Method::POST, "/accounts", json!({})).await;
    assert_eq!(
        (status, bad),
        (422, json!({"message": "Name can't be blank", "attributes": ["name"]}))
    );

    let ravi = json!({"name": "Ravi K", "email": "Ravi@acme.example", "password": "Secret#1", "custom_attributes": {"a": 1}});
    let (status, made) = operate(&app, Method::POST, "/users", ravi.clone()).await;
    assert_eq!(
        (status, &made["email"], &made["custom_attributes"]),
        (200, &json!("ravi@acme.example"), &json!({"a": 1}))
    );
    let token = made["access_token"].as_str().expect("shown once").to_owned();
    let (status, again) = operate(&app, Method::POST, "/users", ravi).await;
    assert_eq!((status, &again["id"], &again["access_token"]), (200, &made["id"], &Value::Null));
    let weak = json!({"name": "R", "email": "r@acme.example", "password": "secret1"});
    assert_eq!(operate(&app, Method::POST, "/users", weak).await.0, 422);
    let user = format!("/users/{}", made["id"]);
    let (_, changed) = operate(
        &app,
        Method::PATCH,
        &user,
        json!({"display_name": "Ravi", "custom_attributes": {"b": 2}}),
    )
    .await;
    assert_eq!(
        (&changed["available_name"], &changed["custom_attributes"]),
        (&json!("Ravi"), &json!({"a": 1, "b": 2}))
    );

    let members = format!("{one}/account_users");
    for role in ["agent", "administrator"] {
        let (status, member) = operate(&app, Method::POST, &members, json!({"user_id": made["id"], "role": role})).await;
        assert_eq!((status, &member["role"], &member["user_id"]), (200, &json!(role), &made["id"]));
    }
    let (_, shown) = operate(&app, Method::GET, &user, Value::Null).await;
    assert_eq!(
        (&shown["role"], &shown["accounts"][0]["name"]),
        (&json!("administrator"), &json!("Acme Ltd"))
    );
    let (status, _) = ask(&app, &token, Method::GET, &format!("/api/v1{one}/inboxes"), Value::Null).await;
    assert_eq!(status, 200, "the token is the user's own");
    for _ in 0..2 {
        let gone = operate(&app, Method::DELETE, &members, json!({"user_id": made["id"]})).await;
        assert_eq!(gone, (200, Value::Null));
    }
    let (status, minted) = operate(&app, Method::POST, &format!("{user}/token"), Value::Null).await;
    assert_eq!((status, &minted["user"]["id"]), (200, &made["id"]));
    assert_eq!(minted["access_token"].as_str().map(str::len), Some(24));
}

async fn login_link_is_valid_once(backend: Backend) {
    let app = TestApp::builder(backend).platform().start().await;
    let link = async |id: i64| {
        let (status, made) = operate(&app, Method::GET, &format!("/users/{id}/login"), Value::Null).await;
        assert_eq!(status, 200, "{made}");
        let url = made["url"].as_str().expect("an address").to_owned();
        let begin = format!("http://{}/app/login?email=", app.server.listeners.http);
        assert!(url.starts_with(&begin), "{url}");
        let (_, secret) = url.split_once("&sso_auth_token=").expect("it carries a secret");
        assert!(
            secret.len() == 64 && secret.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{secret}"
        );
        secret.to_owned()
    };
    let body = json!({"name": "Ravi", "email": "a+b@acme.example", "password": "Secret#1"});
    let (_, ravi) = operate(&app, Method::POST, "/users", body).await;
    let ravi = ravi["id"].as_i64().expect("an id");
    assert_eq!(operate(&app, Method::GET, "/users/99/login", Value::Null).await.0, 404);

    let redeem = async |email: &str, secret: &str| {
        let mut logins = LoginsServiceClient::new(app.clients_elsewhere().service);
        let request = RedeemLoginRequest {
            email: email.to_owned(),
            secret: secret.to_owned(),
            ..RedeemLoginRequest::default()
        };
        logins.redeem_login(request).await.map(tonic::Response::into_inner)
    };
    let (first, second) = (link(ravi).await, link(ravi).await);
    assert_ne!(first, second);
    for (email, secret) in [("other@acme.example", &first), ("a+b@acme.example", &"0".repeat(64))] {
        let refused = redeem(email, secret).await.expect_err("not this user's link");
        assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    }
    let many = futures_util::future::join_all((0..16).map(|_| redeem("A+B@acme.example", &first))).await;
    let mut won = many.into_iter().filter_map(Result::ok);
    let entered = won.next().expect("one is let in");
    assert!(won.next().is_none(), "a link was good twice");
    let life = entered.token.expect("a token").expires_at.expect("it ends").seconds - chrono::Utc::now().timestamp();
    assert!((86_000..=86_400).contains(&life), "{life}");
    let (status, profile) = ask(&app, &entered.secret, Method::GET, "/api/v1/profile", Value::Null).await;
    assert_eq!((status, &profile["email"]), (200, &json!("a+b@acme.example")));

    app.database.run("UPDATE logins SET expires_at = 1").await;
    let late = redeem("a+b@acme.example", &second).await.expect_err("too late");
    assert_eq!(late.code(), tonic::Code::Unauthenticated);
    link(ravi).await;
    let left = "SELECT CAST(count(*) AS bigint) FROM logins";
    assert_eq!(Database::number(&app.database.url(), left).await, 1, "old links are forgotten");
    assert_eq!(operate(&app, Method::DELETE, &format!("/users/{ravi}"), Value::Null).await.0, 200);
    assert_eq!(Database::number(&app.database.url(), left).await, 0, "links go with their user");
}

async fn bot_is_created_with_a_token_and_sends_messages(backend: Backend) {
    let app = TestApp::builder(backend)
        .platform()
        .env("PARLEY_AUTH_CACHE_SECONDS", "0")
        .start()
        .await;
    let body = json!({"name": "Order bot", "outgoing_url": "https://bot.example/hook"});
    let (status, bot) = operate(&app, Method::POST, "/agent_bots", body).await;
    assert_eq!(
        (status, &bot["outgoing_url"], &bot["account_id"]),
        (200, &json!("https://bot.example/hook"), &Value::Null)
    );
    let token = bot["access_token"].as_str().expect("shown once").to_owned();
    let conversation = app.fixture().talk().await;
    let messages = format!("/api/v1/accounts/1/conversations/{conversation}/messages");
    let say = async || ask(&app, &token, Method::POST, &messages, json!({"content": "hello"})).await;
    assert_eq!(say().await, (401, json!({"error": "Bot is not authorized to access this account"})));
    let inbox = "/api/v1/accounts/1/inboxes/1";
    let set = ask(
        &app,
        ADMINISTRATOR,
        Method::POST,
        &format!("{inbox}/set_agent_bot"),
        json!({"agent_bot": bot["id"]}),
    )
    .await;
    assert_eq!(set, (200, Value::Null));
    let (_, read) = ask(&app, ADMINISTRATOR, Method::GET, &format!("{inbox}/agent_bot"), Value::Null).await;
    assert_eq!(read["agent_bot"]["name"], "Order bot");
    let (status, said) = say().await;
    let sender = json!({"id": bot["id"], "name": "Order bot", "avatar_url": "", "type": "agent_bot"});
    assert_eq!((status, &said["sender"]), (200, &sender));
    for path in [messages.as_str(), "/api/v1/profile", "/api/v1/accounts/1/contacts"] {
        let refused = ask(&app, &token, Method::GET, path, Value::Null).await;
        assert_eq!(
            refused,
            (401, json!({"error": "Access to this endpoint is not authorized for bots"})),
            "{path}"
        );
    }
    let one = format!("/agent_bots/{}", bot["id"]);
    let (_, changed) = operate(&app, Method::PATCH, &one, json!({"description": "Answers"})).await;
    assert_eq!(
        (&changed["description"], &changed["access_token"]),
        (&json!("Answers"), &Value::Null)
    );
    assert_eq!(operate(&app, Method::DELETE, &one, Value::Null).await, (200, Value::Null));
    assert_eq!(operate(&app, Method::GET, &one, Value::Null).await.0, 404);
    assert_eq!(say().await.0, 401);
}
