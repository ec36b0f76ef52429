//! What a visitor gains by submitting an address, a phone number or a signature of its own identifier.

use parley_proto::{EventKind, Inbox, PubsubKey, SubscribePubsubRequest, event::Resource, pubsub_service_client::PubsubServiceClient};
use serde_json::{Value as Json, json};

use super::{Public, begin, contact, shown, start};
use crate::support::{app::TestApp, database::Backend, in_time, office::inbox, on_both};

on_both!(
    signature_of_one_identity_reaches_no_other_contact,
    address_on_a_verified_contact_collects_no_conversations,
    unverified_session_reads_and_changes_no_stored_data,
    session_keeps_its_own_contact_up_to_date,
    anonymous_contact_joins_the_contact_with_its_address,
    inbox_can_refuse_to_attach_unverified_sessions,
    signature_is_invalid_once_its_identifier_changes
);

async fn require_signatures(app: &TestApp) {
    let change = json!({"channel": {"hmac_mandatory": true}});
    let answer = app.http().send("PATCH", "/api/v1/accounts/1/inboxes/1", Some(&change)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Mallory has a session and a valid signature of its own identifier, and submits the victim's address. Returns what Mallory reaches then.
async fn steal(app: &TestApp, victim: &Json, stolen: &Json) -> Stolen {
    let second = inbox(&app.clients(), 1, "Second").await;
    require_signatures(app).await;
    let public = Public::of(app, 1).await;
    let victim = contact(app, second, victim.clone()).await;
    let theirs = begin(app, second, victim).await;
    let session = public.create("m1", public.signed("mallory", json!({}))).await;
    public.update("m1", public.signed("mallory", json!({}))).await;
    let own = public.talk("m1").await;
    let record = public.update("m1", public.signed("mallory", stolen.clone())).await;
    let received = first_received(app, &session, &[theirs, own]).await;
    Stolen {
        victim,
        contact: app.fixture().contact_of("m1").await,
        record,
        listed: public.listed("m1").await == [own],
        reach: public.reach("m1", theirs).await,
        isolated: received == own,
    }
}

struct Stolen {
    victim: i64,
    /// The contact of Mallory's session.
    contact: i64,
    record: Json,
    /// Whether only its own conversation is listed.
    listed: bool,
    reach: (u16, u16),
    /// Whether it receives only its own conversation.
    isolated: bool,
}

/// The conversation of the first message that a session receives while members write to these conversations in order.
pub(super) async fn first_received(app: &TestApp, session: &Json, conversations: &[i64]) -> i64 {
    let clients = crate::support::clients::Clients::new(&app.server.listeners.grpc, None);
    let request = SubscribePubsubRequest {
        key: Some(PubsubKey {
            pubsub_token: session["pubsub_token"].as_str().unwrap_or_default().to_owned(),
            ..PubsubKey::default()
        }),
    };
    let mut pubsub = PubsubServiceClient::new(clients.service);
    let mut stream = pubsub.subscribe_pubsub(request).await.expect("it opens").into_inner();
    for conversation in conversations {
        app.fixture().say(*conversation, "from an agent").await;
    }
    loop {
        let response = in_time("an event", stream.message()).await.expect("no refusal").expect("no end");
        for event in response.events.into_iter().filter_map(|delivery| delivery.event) {
            if let (EventKind::MessageCreated, Some(Resource::Message(about))) = (event.kind(), event.resource) {
                return about.message.expect("always set").conversation_id;
            }
        }
    }
}

async fn signature_of_one_identity_reaches_no_other_contact(backend: Backend) {
    // With an identifier of its own and without one: a signature verifies no address.
    for (victim, stolen) in [
        (
            json!({"name": "Victim", "identifier": "victim-1", "email": "victim@bank.org"}),
            json!({"email": "victim@bank.org"}),
        ),
        (
            json!({"name": "Victim", "phone_number": "+351912345678"}),
            json!({"phone_number": "+351912345678"}),
        ),
    ] {
        let app = start(backend, "").await;
        let stolen = steal(&app, &victim, &stolen).await;
        assert_ne!(stolen.contact, stolen.victim, "{}", stolen.record);
        assert_ne!(stolen.record["name"], "Victim");
        assert_eq!(stolen.reach, (404, 404));
        assert!(stolen.listed && stolen.isolated);
        let mallory = shown(&app, stolen.contact).await;
        assert_eq!(
            mallory["contact_inboxes"][0]["possible_duplicate_contact_id"], stolen.victim,
            "{mallory}"
        );
        assert_eq!((&mallory["email"], &mallory["phone_number"]), (&Json::Null, &Json::Null));
        assert_eq!(shown(&app, stolen.victim).await["name"], "Victim");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_protection_a_signature_reaches_other_contacts() {
    let app = start(Backend::Sqlite, "identity_proof").await;
    let victim = json!({"name": "Victim", "identifier": "victim-1", "email": "victim@bank.org"});
    let stolen = steal(&app, &victim, &json!({"email": "victim@bank.org"})).await;
    assert_eq!((stolen.contact, stolen.reach), (stolen.victim, (200, 200)));
    assert!(!stolen.listed);
}

/// Mallory stores the victim's address on its own, verified contact before the victim arrives. Returns whether the victim is attached to
/// that contact, and what Mallory reaches of the victim's conversation.
async fn wait_for_the_victim(app: &TestApp) -> (bool, bool, (u16, u16)) {
    let public = Public::of(app, 1).await;
    public.create("m1", public.signed("mallory", json!({}))).await;
    public.prove("m1", "mallory").await;
    public.update("m1", json!({"email": "victim@bank.org"})).await;
    public.create("v", json!({"email": "victim@bank.org"})).await;
    let theirs = public.talk("v").await;
    let listed = public.listed("m1").await.contains(&theirs);
    let fixture = app.fixture();
    let attached = fixture.contact_of("v").await == fixture.contact_of("m1").await;
    (attached, listed, public.reach("m1", theirs).await)
}

async fn address_on_a_verified_contact_collects_no_conversations(backend: Backend) {
    let app = start(backend, "").await;
    assert_eq!(wait_for_the_victim(&app).await, (true, false, (404, 404)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_protection_an_address_collects_conversations() {
    let app = start(Backend::Sqlite, "identity_proof").await;
    assert_eq!(wait_for_the_victim(&app).await, (true, true, (200, 200)));
}

/// A stranger submits Alice's address, and then Bob's with another name. Returns the responses, and both contacts afterwards.
async fn pretend(app: &TestApp) -> (Json, Json, Json, Json) {
    let public = Public::of(app, 1).await;
    let alice = json!({
        "name": "Alice", "email": "alice@x.org", "phone_number": "+351912345678", "identifier": "alice-identifier",
        "custom_attributes": {"plan": "platinum-plan"}, "additional_attributes": {"company_name": "Secret Ltd"},
    });
    let alice = contact(app, 1, alice).await;
    let bob = contact(app, 1, json!({"name": "Bob", "email": "bob@x.org", "identifier": "bob-identifier"})).await;
    let theirs = begin(app, 1, alice).await;
    let made = public.create("s", json!({"email": "alice@x.org"})).await;
    assert_eq!(app.fixture().contact_of("s").await, alice, "agents see one person");
    let said =
        json!({"email": "bob@x.org", "name": "pwned", "phone_number": "+351999999999", "custom_attributes": {"plan": "none", "vip": true}});
    let changed = public.update("s", said).await;
    assert_eq!(public.listed("s").await, Vec::<i64>::new());
    assert_eq!(public.reach("s", theirs).await, (404, 404));
    let talk = public.talk("s").await;
    assert_eq!(public.reach("s", talk).await, (200, 200));
    (made, changed, shown(app, alice).await, shown(app, bob).await)
}

async fn unverified_session_reads_and_changes_no_stored_data(backend: Backend) {
    let app = start(backend, "").await;
    let (made, changed, alice, bob) = pretend(&app).await;
    for known in [
        "Alice",
        "+351912345678",
        "alice-identifier",
        "platinum-plan",
        "Secret Ltd",
        "Bob",
        "bob-identifier",
    ] {
        assert!(
            !made.to_string().contains(known) && !changed.to_string().contains(known),
            "{known}: {made} {changed}"
        );
    }
    assert_eq!(made["email"], "alice@x.org", "its own word");
    assert_eq!((&changed["name"], &changed["email"]), (&json!("pwned"), &json!("bob@x.org")));
    assert_eq!((&alice["name"], &alice["email"]), (&json!("Alice"), &json!("alice@x.org")));
    assert_eq!(alice["phone_number"], "+351912345678");
    assert_eq!(alice["custom_attributes"], json!({"plan": "platinum-plan"}));
    assert_eq!((&bob["name"], &bob["email"]), (&json!("Bob"), &json!("bob@x.org")));
    let session = alice["contact_inboxes"]
        .as_array()
        .expect("a list")
        .last()
        .cloned()
        .expect("a session");
    assert_eq!(
        (
            &session["source_id"],
            &session["hmac_verified"],
            &session["possible_duplicate_contact_id"]
        ),
        (&json!("s"), &json!(false), &bob["id"])
    );
    // Neither the conversation nor the messages contain the stored data.
    let public = Public::of(&app, 1).await;
    let listed = public.ask(reqwest::Method::GET, "/s/conversations", None).await.body.to_string();
    for known in ["Alice", "+351912345678", "alice-identifier", "platinum-plan", "Secret Ltd"] {
        assert!(!listed.contains(known), "{known}: {listed}");
    }
    // A session sees no difference between a new contact and one to which only members gave a name.
    let new = public.create("n", json!({"email": "new@x.org"})).await;
    let keys = |json: &Json| {
        json.as_object()
            .expect("an object")
            .iter()
            .map(|(key, value)| (key.clone(), value.is_null()))
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&new), keys(&made));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_protection_a_stranger_sees_the_stored_contact() {
    let app = start(Backend::Sqlite, "visitor_view").await;
    let (made, ..) = pretend(&app).await;
    assert_eq!((&made["name"], &made["phone_number"]), (&json!("Alice"), &json!("+351912345678")));
}

async fn session_keeps_its_own_contact_up_to_date(backend: Backend) {
    let app = start(backend, "").await;
    let public = Public::of(&app, 1).await;
    public.create("s", json!({"email": "asha@x.org"})).await;
    let id = app.fixture().contact_of("s").await;
    public
        .update("s", json!({"name": "Asha", "custom_attributes": {"plan": "basic"}}))
        .await;
    public
        .update(
            "s",
            json!({"name": "Asha Rao", "email": "rao@x.org", "custom_attributes": {"plan": "platinum-plan"}}),
        )
        .await;
    let stored = shown(&app, id).await;
    assert_eq!((&stored["name"], &stored["email"]), (&json!("Asha Rao"), &json!("rao@x.org")));
    assert_eq!(stored["custom_attributes"], json!({"plan": "platinum-plan"}));
    // Data that members set is kept, and the session does not see it.
    let path = format!("/api/v1/accounts/1/contacts/{id}");
    let change = json!({"name": "Asha (fraud?)", "custom_attributes": {"plan": "closed"}});
    app.http().send("PATCH", &path, Some(&change)).await;
    let record = public
        .update(
            "s",
            json!({"name": "A. Rao", "custom_attributes": {"plan": "platinum-plan", "size": "L"}}),
        )
        .await;
    assert_eq!(
        (&record["name"], &record["custom_attributes"]),
        (&json!("A. Rao"), &json!({"plan": "platinum-plan", "size": "L"}))
    );
    let stored = shown(&app, id).await;
    assert_eq!(stored["name"], "Asha (fraud?)");
    assert_eq!(stored["custom_attributes"], json!({"plan": "closed", "size": "L"}));
    // A verified session reads and updates the contact as it is stored.
    public.create("v", public.signed("v-1", json!({"name": "Vera"}))).await;
    public.update("v", public.signed("v-1", json!({}))).await;
    let id = public.prove("v", "v-1").await.body["id"].clone();
    let path = format!("/api/v1/accounts/1/contacts/{id}");
    app.http().send("PATCH", &path, Some(&json!({"name": "Vera Cruz"}))).await;
    assert_eq!(public.prove("v", "v-1").await.body["name"], "Vera Cruz");
    assert_eq!(public.update("v", json!({"name": "V. Cruz"})).await["name"], "V. Cruz");
}

async fn anonymous_contact_joins_the_contact_with_its_address(backend: Backend) {
    let app = start(backend, "").await;
    let public = Public::of(&app, 1).await;
    let alice = contact(&app, 1, json!({"name": "Alice", "email": "alice@x.org"})).await;
    public
        .create("s", json!({"name": "stranger", "custom_attributes": {"vip": true}}))
        .await;
    let talk = public.talk("s").await;
    let record = public.update("s", json!({"email": "alice@x.org"})).await;
    assert_eq!((app.fixture().contact_of("s").await, &record["name"]), (alice, &json!("stranger")));
    assert_eq!(public.listed("s").await, [talk]);
    let stored = shown(&app, alice).await;
    assert_eq!(
        (&stored["name"], &stored["custom_attributes"]),
        (&json!("Alice"), &json!({})),
        "nothing came along"
    );
    // The contact has an address now, so another address does not attach the session elsewhere.
    let bob = contact(&app, 1, json!({"name": "Bob", "email": "bob@x.org"})).await;
    public.update("s", json!({"email": "bob@x.org"})).await;
    assert_eq!(app.fixture().contact_of("s").await, alice);
    let sessions = shown(&app, alice).await["contact_inboxes"].clone();
    assert_eq!(
        sessions.as_array().expect("a list").last().expect("a session")["possible_duplicate_contact_id"],
        bob
    );
    // Members decide whether to merge.
    app.http()
        .post(
            "/actions/contact_merge",
            &json!({"base_contact_id": alice, "mergee_contact_id": bob}),
        )
        .await;
    let sessions = shown(&app, alice).await["contact_inboxes"].clone();
    assert!(
        sessions
            .as_array()
            .expect("a list")
            .iter()
            .all(|session| session["possible_duplicate_contact_id"].is_null()),
        "{sessions}"
    );
}

async fn inbox_can_refuse_to_attach_unverified_sessions(backend: Backend) {
    let app = start(backend, "").await;
    let public = Public::of(&app, 1).await;
    let change = json!({"channel": {"attach_unverified_sessions": false}});
    let changed = app.http().send("PATCH", "/api/v1/accounts/1/inboxes/1", Some(&change)).await;
    assert_eq!(changed.body["attach_unverified_sessions"], false, "{}", changed.body);
    let alice = contact(
        &app,
        1,
        json!({"name": "Alice", "email": "alice@x.org", "identifier": "alice-identifier"}),
    )
    .await;
    public.create("s", json!({"email": "alice@x.org", "name": "stranger"})).await;
    let made = app.fixture().contact_of("s").await;
    assert_ne!(made, alice);
    let stored = shown(&app, made).await;
    assert_eq!((&stored["name"], &stored["email"]), (&json!("stranger"), &Json::Null));
    assert_eq!(stored["contact_inboxes"][0]["possible_duplicate_contact_id"], alice);
    public.create("bare", json!({})).await;
    let made = app.fixture().contact_of("bare").await;
    public.update("bare", json!({"email": "alice@x.org"})).await;
    assert_eq!(app.fixture().contact_of("bare").await, made);
    // A valid signature attaches a session regardless of this setting.
    public.create("p", public.signed("alice-identifier", json!({}))).await;
    assert_eq!(app.fixture().contact_of("p").await, alice);
    let mut inboxes = app.clients().inboxes;
    let read = inboxes.get_inbox(parley_proto::GetInboxRequest {
        account_id: 1,
        inbox_id: 1,
    });
    let Inbox { channel, .. } = read.await.expect("it is there").into_inner().inbox.expect("always set");
    let Some(parley_proto::inbox::Channel::ApiChannel(channel)) = channel else {
        panic!("an API channel")
    };
    assert_eq!(channel.attach_unverified_sessions, Some(false));
}

async fn signature_is_invalid_once_its_identifier_changes(backend: Backend) {
    let app = start(backend, "").await;
    let second = inbox(&app.clients(), 1, "Second").await;
    let public = Public::of(&app, 1).await;
    public.create("s", public.signed("s-1", json!({}))).await;
    public.prove("s", "s-1").await;
    let id = app.fixture().contact_of("s").await;
    let elsewhere = begin(&app, second, id).await;
    assert_eq!(public.reach("s", elsewhere).await, (200, 200));
    let path = format!("/api/v1/accounts/1/contacts/{id}");
    app.http().send("PATCH", &path, Some(&json!({"identifier": "s-2"}))).await;
    assert_eq!(public.reach("s", elsewhere).await, (404, 404));
    assert_eq!(public.prove("s", "s-1").await.status, 401);
    public.prove("s", "s-2").await;
    assert_eq!(public.reach("s", elsewhere).await, (200, 200));
    // After a merge by members, a signature of the identifier that remains stays valid, and one of the other identifier does not.
    public.create("o", public.signed("o-1", json!({}))).await;
    public.prove("o", "o-1").await;
    let other = app.fixture().contact_of("o").await;
    let mine = public.talk("o").await;
    app.http()
        .post(
            "/actions/contact_merge",
            &json!({"base_contact_id": id, "mergee_contact_id": other}),
        )
        .await;
    assert_eq!(public.reach("s", elsewhere).await, (200, 200));
    assert_eq!(
        (public.reach("o", elsewhere).await, public.reach("o", mine).await),
        ((404, 404), (200, 200))
    );
}
