//! Contacts over the JSON API: filters, merging, sessions, pages by cursor.

use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngSeed, TestRunner},
};
use reqwest::Method;
use serde_json::{Value as Json, json};

use crate::support::{app::TestApp, database::Backend, http::Http, on_both};

on_both!(
    filters_respond_as_documented,
    arbitrary_filters_never_cause_a_server_error,
    merge_returns_the_base_contact,
    contact_is_found_by_its_session,
    lists_continue_by_cursor,
    lists_sort_by_several_keys
);

struct RestClient(Http);

impl RestClient {
    fn of(app: &TestApp) -> Self {
        Self(app.http())
    }

    /// Sends a request. Returns the status and the body, which is null if empty.
    async fn send(&self, method: Method, path: &str, body: &Json) -> (u16, Json) {
        let path = format!("/api/v1/accounts/1{path}");
        let answer = self.0.send(method.as_str(), &path, Some(body).filter(|body| !body.is_null())).await;
        (answer.status, answer.body)
    }

    async fn get(&self, path: &str) -> (u16, Json) {
        self.send(Method::GET, path, &Json::Null).await
    }

    async fn post(&self, path: &str, body: Json) -> (u16, Json) {
        self.send(Method::POST, path, &body).await
    }

    async fn contact(&self, body: Json) -> Json {
        let (status, made) = self.post("/contacts", body).await;
        assert_eq!(status, 200, "{made}");
        made["payload"]["contact"].clone()
    }
}

fn ids(payload: &Json) -> Vec<i64> {
    payload
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| row["id"].as_i64().expect("an id"))
        .collect()
}

async fn filters_respond_as_documented(backend: Backend) {
    let app = TestApp::start(backend).await;
    let rest = RestClient::of(&app);
    let ana = rest
        .contact(json!({"name": "Ana", "email": "ana@example.org", "inbox_id": 1}))
        .await;
    rest.contact(json!({"name": "Bea", "email": "bea@example.org"})).await;
    let named = |name: &str| json!({"attribute_key": "name", "filter_operator": "equal_to", "values": [name], "query_operator": null});
    let (status, found) = rest.post("/contacts/filter?page=1", json!({"payload": [named("ANA")]})).await;
    assert_eq!((status, &found["meta"]), (200, &json!({"count": 1, "current_page": "1"})));
    assert_eq!(found["payload"], json!([ana]));
    let (_, bare) = rest
        .post("/contacts/filter?include_contact_inboxes=false", json!({"payload": [named("Ana")]}))
        .await;
    assert!(bare["payload"][0].get("contact_inboxes").is_none());
    let (_, all) = rest.post("/contacts/filter", json!({"payload": []})).await;
    assert_eq!(all["meta"], json!({"count": 2, "current_page": 1}), "no condition lets all through");

    let (_, made) = rest.post("/conversations", json!({"inbox_id": 1, "contact_id": ana["id"]})).await;
    let open = json!({"attribute_key": "status", "filter_operator": "equal_to", "values": ["open"], "query_operator": "and"});
    let nobody = json!({"attribute_key": "assignee_id", "filter_operator": "is_not_present", "values": []});
    let (status, found) = rest.post("/conversations/filter", json!({"payload": [open, nobody]})).await;
    assert_eq!(
        (status, &found["meta"]),
        (200, &json!({"mine_count": 0, "unassigned_count": 1, "all_count": 1}))
    );
    assert_eq!(ids(&found["payload"]), [made["id"].as_i64().expect("an id")]);

    let refused = |text: &str| (422, json!({ "error": text }));
    let bad = json!({"attribute_key": "status", "filter_operator": "contains", "values": [], "query_operator": null});
    assert_eq!(
        rest.post("/conversations/filter", json!({"payload": [bad]})).await,
        refused("Invalid operator. The allowed operators for status are [equal_to,not_equal_to].")
    );
    let mut joined = named("Ana");
    joined["query_operator"] = json!("XOR");
    let query_operator = refused("Query operator must be either \"AND\" or \"OR\".");
    assert_eq!(
        rest.post("/contacts/filter", json!({"payload": [joined, named("Bea")]})).await,
        query_operator
    );
    joined["query_operator"] = json!("OR");
    assert_eq!(
        rest.post("/contacts/filter", json!({"payload": [joined]})).await,
        query_operator,
        "nothing follows"
    );
    assert_eq!(
        rest.post("/contacts/filter", json!({"payload": [named("Ana"), named("Bea")]}))
            .await,
        query_operator,
        "nothing joins"
    );
    let missing = refused("param is missing or the value is empty: payload");
    assert_eq!(rest.post("/contacts/filter", json!({})).await, missing);
    assert_eq!(rest.post("/conversations/filter", json!({"payload": 7})).await, missing);
}

/// Arbitrary JSON in the fields of a filter.
fn payloads() -> impl Strategy<Value = Json> {
    let keys = prop::sample::select(vec![
        "name",
        "phone_number",
        "email",
        "identifier",
        "city",
        "labels",
        "created_at",
        "blocked",
        "status",
        "priority",
        "team_id",
        "display_id",
        "referer",
        "assignee_id",
        "last_activity_at",
        "",
        "'\"",
        "custom_attributes",
    ]);
    let operators = prop::sample::select(vec![
        "equal_to",
        "not_equal_to",
        "contains",
        "does_not_contain",
        "is_present",
        "is_not_present",
        "is_greater_than",
        "is_less_than",
        "days_before",
        "starts_with",
        "like",
    ]);
    let scalar = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|bool| json!(bool)),
        any::<i64>().prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        ".{0,12}".prop_map(|text| json!(text)),
        prop::sample::select(vec![
            "open",
            "all",
            "low",
            "2024-02-30",
            "2024-02-28",
            "1",
            "-1",
            "%",
            "\\",
            "!",
            "\0",
            "1e999"
        ])
        .prop_map(|text| json!(text)),
    ];
    let value = prop_oneof![8 => scalar.clone(), 1 => prop::collection::vec(scalar.clone(), 0..2).prop_map(Json::from), 1 => Just(json!({"a": {}}))];
    let values = prop_oneof![6 => prop::collection::vec(value.clone(), 0..4).prop_map(Json::from), 1 => value.clone()];
    let joiner = prop_oneof![4 => Just(json!("AND")), 4 => Just(json!("or")), 1 => Just(json!(null)), 1 => scalar];
    let condition = (keys, operators, values, joiner).prop_map(|(key, operator, values, joiner)| {
        json!({"attribute_key": key, "filter_operator": operator, "values": values, "query_operator": joiner})
    });
    let condition = prop_oneof![12 => condition, 1 => value];
    (prop::collection::vec(condition, 0..4), any::<bool>()).prop_map(|(mut conditions, tidy)| {
        if tidy && let Some(last) = conditions.last_mut().and_then(Json::as_object_mut) {
            last.insert("query_operator".to_owned(), Json::Null);
        }
        Json::from(conditions)
    })
}

async fn arbitrary_filters_never_cause_a_server_error(backend: Backend) {
    let app = TestApp::start(backend).await;
    let rest = RestClient::of(&app);
    let ana = rest
        .contact(json!({"name": "Ana", "email": "ana@example.org", "phone_number": "+351912345678", "identifier": "crm-7", "inbox_id": 1}))
        .await;
    rest.post(
        "/conversations",
        json!({"inbox_id": 1, "contact_id": ana["id"], "additional_attributes": {"referer": "x"}}),
    )
    .await;
    let config = Config {
        rng_seed: RngSeed::Fixed(11),
        ..Config::default()
    };
    let (mut runner, strategy) = (TestRunner::new(config), payloads());
    let mut answered = 0;
    for _ in 0..400 {
        let body = json!({ "payload": strategy.new_tree(&mut runner).expect("nothing is refused").current() });
        for path in ["/contacts/filter", "/conversations/filter"] {
            let (status, answer) = rest.post(path, body.clone()).await;
            assert!(
                status == 200 || (status == 422 && answer["error"].is_string()),
                "{path} {body}: {status} {answer}"
            );
            answered += usize::from(status == 200);
        }
    }
    assert!(answered > 40, "only {answered} of them made sense");
}

async fn merge_returns_the_base_contact(backend: Backend) {
    let app = TestApp::start(backend).await;
    let rest = RestClient::of(&app);
    let base = rest.contact(json!({"name": "Ana", "custom_attributes": {"plan": "gold"}})).await;
    let other = rest
        .contact(json!({"name": "Maria", "email": "maria@example.org", "custom_attributes": {"plan": "basic", "n": 1}}))
        .await;
    let body = json!({"base_contact_id": base["id"], "mergee_contact_id": other["id"]});
    let (status, merged) = rest.post("/actions/contact_merge", body.clone()).await;
    assert_eq!(
        (status, &merged["id"], &merged["name"], &merged["email"]),
        (200, &base["id"], &json!("Ana"), &json!("maria@example.org"))
    );
    assert_eq!(merged["custom_attributes"], json!({"plan": "gold", "n": 1}));
    assert!(merged.get("contact_inboxes").is_none());
    let not_found = (404, json!({"error": "Resource could not be found"}));
    assert_eq!(rest.post("/actions/contact_merge", body).await, not_found);
    assert_eq!(
        rest.post("/actions/contact_merge", json!({"base_contact_id": base["id"]})).await,
        not_found
    );
    let (status, same) = rest
        .post(
            "/actions/contact_merge",
            json!({"base_contact_id": base["id"], "mergee_contact_id": base["id"]}),
        )
        .await;
    assert_eq!((status, same), (200, merged));
}

async fn contact_is_found_by_its_session(backend: Backend) {
    let app = TestApp::start(backend).await;
    let rest = RestClient::of(&app);
    let ana = rest.contact(json!({"name": "Ana", "inbox_id": 1, "source_id": "ana-1"})).await;
    let (status, found) = rest
        .post("/contact_inboxes/filter", json!({"inbox_id": 1, "source_id": "ana-1"}))
        .await;
    assert_eq!((status, &found), (200, &ana));
    for body in [
        json!({"inbox_id": 1, "source_id": "nobody"}),
        json!({"inbox_id": 7, "source_id": "ana-1"}),
        json!({"inbox_id": 1}),
        json!({"source_id": "ana-1"}),
        json!({}),
    ] {
        assert_eq!(
            rest.post("/contact_inboxes/filter", body.clone()).await,
            (404, Json::Null),
            "{body}"
        );
    }
    let path = format!("/contacts/{}/contactable_inboxes", ana["id"]);
    let (status, inboxes) = rest.get(&path).await;
    assert_eq!(
        (status, &inboxes["payload"][0]["source_id"], &inboxes["payload"][0]["inbox"]["id"]),
        (200, &json!("ana-1"), &json!(1))
    );
    assert_eq!(inboxes["payload"].as_array().map(Vec::len), Some(1));
    assert_eq!(rest.get("/contacts/999999/contactable_inboxes").await.0, 404);
}

async fn lists_continue_by_cursor(backend: Backend) {
    let app = TestApp::start(backend).await;
    let rest = RestClient::of(&app);
    let mut made = Vec::new();
    for nth in 0..7 {
        let contact = rest
            .contact(json!({"name": format!("Ana {}", nth % 2), "email": format!("p{nth}@example.org"), "inbox_id": 1}))
            .await;
        rest.post("/conversations", json!({"inbox_id": 1, "contact_id": contact["id"]}))
            .await;
        made.push(contact["id"].as_i64().expect("an id"));
    }
    let (_, documented) = rest.get("/contacts?sort=name").await;
    assert_eq!(
        documented["meta"],
        json!({"count": 7, "current_page": 1}),
        "nothing is added unless it is asked for"
    );
    for path in [
        "/contacts?sort=name&",
        "/contacts?sort=-last_activity_at,name&",
        "/contacts/search?q=ana&",
        "/conversations?",
    ] {
        let at = if path.starts_with("/conversations") { "/data" } else { "" };
        let (mut found, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let (status, page) = rest.get(&format!("{path}per_page=3&cursor={cursor}")).await;
            assert_eq!(status, 200, "{page}");
            let meta = page.pointer(&format!("{at}/meta")).expect("always there");
            found.extend(ids(page.pointer(&format!("{at}/payload")).expect("always there")));
            pages += 1;
            let Some(next) = meta["next_cursor"].as_str() else {
                assert_eq!(meta["has_more"], false);
                break;
            };
            assert_eq!(meta["has_more"], true);
            next.clone_into(&mut cursor);
        }
        assert_eq!(pages, 3, "{path}");
        let mut sorted = found.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 7, "{path}: each once: {found:?}");
    }
    let (status, refused) = rest.get("/contacts?cursor=nonsense").await;
    assert_eq!((status, &refused["attributes"]), (422, &json!(["cursor"])), "{refused}");
    let (status, refused) = rest.get("/contacts?per_page=101").await;
    assert_eq!(
        (status, refused),
        (
            422,
            json!({"message": "Per page must be between 1 and 100", "attributes": ["per_page"]})
        )
    );
}

async fn lists_sort_by_several_keys(backend: Backend) {
    let app = TestApp::start(backend).await;
    let rest = RestClient::of(&app);
    let mut made = Vec::new();
    for (nth, (name, city)) in [
        ("b", Some("Porto")),
        ("A", None),
        ("a", Some("Pune")),
        ("B", Some("Porto")),
        ("c", None),
    ]
    .into_iter()
    .enumerate()
    {
        let body = json!({"name": name, "email": format!("p{nth}@example.org"), "additional_attributes": {"city": city}});
        made.push(rest.contact(body).await["id"].as_i64().expect("an id"));
    }
    let sorted = async |sort: &str| ids(&rest.get(&format!("/contacts?sort={sort}")).await.1["payload"]);
    let of = |places: [usize; 5]| places.map(|place| made[place]).to_vec();
    assert_eq!(sorted("city").await, of([0, 3, 2, 1, 4]), "missing ones last");
    assert_eq!(sorted("-city").await, of([2, 3, 0, 4, 1]), "missing ones last here too");
    assert_eq!(sorted("city,-name").await, of([0, 3, 2, 4, 1]), "letter case does not count");
    assert_eq!(
        sorted("shoe_size,-name,city").await,
        of([4, 3, 0, 2, 1]),
        "unknown ones are ignored"
    );
    let (_, page) = rest.get("/contacts?sort=-city&page=2&per_page=4").await;
    assert_eq!((ids(&page["payload"]), &page["meta"]["has_more"]), (vec![made[1]], &json!(false)));
    let (_, page) = rest.get("/contacts?sort=-city&page=2&per_page=3").await;
    assert_eq!(
        ids(&page["payload"]),
        [made[4], made[1]],
        "pages by number go over from those with a value to those without"
    );
}
