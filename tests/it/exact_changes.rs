//! Ids and times keep their types in the changes of events.

use parley_proto::{Event, EventKind, MergeContactsRequest, exact_value::Kind};
use serde_json::json;

use crate::support::{
    app::TestApp,
    database::Backend,
    on_both,
    reader::{event, whole_log},
};

on_both!(ids_and_times_in_changes_keep_their_types);

/// The exact values of a change, before and after.
fn sides(event: &Event, field: &str) -> [Option<Kind>; 2] {
    let change = event.changes.iter().find(|change| change.field == field).expect(field);
    let kind = |value: &Option<parley_proto::ExactValue>| value.as_ref().and_then(|value| value.kind.clone());
    [kind(&change.exact_before), kind(&change.exact_after)]
}

async fn ids_and_times_in_changes_keep_their_types(backend: Backend) {
    let app = TestApp::start(backend).await;
    let fixture = app.fixture();
    let (base, gone) = (fixture.person("Base").await, fixture.person("Other").await);
    let talk = fixture.conversation(&gone).await.id;
    let until = json!({"status": "snoozed", "snoozed_until": 1_931_000_100});
    app.http().post(&format!("/conversations/{talk}/toggle_status"), &until).await;
    app.http()
        .post(&format!("/conversations/{talk}/assignments"), &json!({"assignee_id": 1}))
        .await;
    let request = MergeContactsRequest {
        account_id: 1,
        base_contact_id: base.contact,
        mergee_contact_id: gone.contact,
        ..MergeContactsRequest::default()
    };
    fixture.clients.contacts.clone().merge_contacts(request).await.expect("merged");
    let log = whole_log(&app.clients(), 1).await;
    let last = |kind: EventKind| log.iter().map(event).rfind(|event| event.kind() == kind).expect("it is there");
    assert_eq!(
        sides(last(EventKind::ContactMerged), "merged_contact_id"),
        [None, Some(Kind::Integer(gone.contact))]
    );
    assert_eq!(
        sides(last(EventKind::ConversationContactChanged), "contact_id"),
        [Some(Kind::Integer(gone.contact)), Some(Kind::Integer(base.contact))]
    );
    assert_eq!(
        sides(last(EventKind::AssigneeChanged), "assignee_id"),
        [None, Some(Kind::Integer(1))]
    );
    let snoozed = log
        .iter()
        .map(event)
        .find(|event| event.kind() == EventKind::ConversationUpdated && event.changes.iter().any(|change| change.field == "snoozed_until"))
        .expect("it was snoozed");
    let [before, after] = sides(snoozed, "snoozed_until");
    let Some(Kind::Time(at)) = after else { panic!("{after:?}") };
    assert_eq!((before, at.seconds), (None, 1_931_000_100));
    // The status is a string, which needs no exact form.
    assert_eq!(sides(snoozed, "status"), [None, None]);
}
