//! A writer that uses all commands of the JSON API. Each request is retried under its `Idempotency-Key` until it gets a response.

use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::{
    AGAIN, GIVE_UP, Post, Writing,
    json::{Answer, answer},
};
use crate::{
    history::Done,
    support::{app::ADMINISTRATOR, http::client},
};

struct Desk {
    post: Post,
    client: reqwest::Client,
}

/// Works until the traffic stops.
pub async fn work(post: Post) -> Writing {
    let desk = Desk { post, client: client() };
    let mut number = 0;
    // At least one round: its first response may take as long as the traffic lasts.
    while !desk.post.stopped() || number == 0 {
        number += 1;
        // A refusal has already been recorded.
        let _ = desk.round(number).await;
    }
    Vec::new()
}

impl Desk {
    /// One round: creates a contact with a conversation, changes both, and adds a note. Every third round deletes the contact.
    async fn round(&self, number: usize) -> Option<()> {
        let name = format!("Person {}", Uuid::new_v4());
        let person = json!({ "name": name, "inbox_id": self.post.inbox });
        let made = self.ask("POST", "contacts", &person).await?;
        let contact = made.body["payload"]["contact"]["id"].as_i64()?;
        self.done("POST contacts", "contact.created", ("contact", contact), made);
        let body = json!({ "inbox_id": self.post.inbox, "contact_id": contact });
        let made = self.ask("POST", "conversations", &body).await?;
        let talk = made.body["id"].as_i64()?;
        self.done("POST conversations", "conversation.created", ("conversation", talk), made);
        let (of_talk, of_contact) = (format!("conversations/{talk}"), format!("contacts/{contact}"));
        let changes = [
            ("toggle_status", json!({ "status": "resolved" }), "conversation.status_changed"),
            ("labels", json!({ "labels": [format!("json-{number}")] }), "conversation.updated"),
            ("toggle_priority", json!({ "priority": "high" }), "conversation.updated"),
            (
                "custom_attributes",
                json!({ "custom_attributes": { "order": number } }),
                "conversation.updated",
            ),
        ];
        for (what, body, kind) in changes {
            let answer = self.ask("POST", &format!("{of_talk}/{what}"), &body).await?;
            self.done("POST conversations/…", kind, ("conversation", talk), answer);
        }
        let body = json!({ "name": format!("{name} of round {number}") });
        let answer = self.ask("PUT", &of_contact, &body).await?;
        self.done("PUT contacts/…", "contact.updated", ("contact", contact), answer);
        let body = json!({ "content": format!("round {number}") });
        let noted = self.ask("POST", &format!("{of_contact}/notes"), &body).await?;
        let note = noted.body["id"].as_i64()?;
        self.done("POST notes", "contact_note.created", ("contact_note", note), noted);
        if number.is_multiple_of(3) {
            let deleted = self.ask("DELETE", &of_contact, &Json::Null).await?;
            self.done("DELETE contacts/…", "contact.deleted", ("contact", contact), deleted);
            let account = self.post.account;
            self.post.note(|history| history.erased.push((account, contact, name)));
        }
        Some(())
    }

    async fn ask(&self, method: &str, path: &str, body: &Json) -> Option<Answer> {
        let key = Uuid::new_v4().to_string();
        loop {
            let url = format!("http://{}/api/v1/accounts/{}/{path}", self.post.listeners().http, self.post.account);
            let method = method.parse().expect("a method");
            let mut request = self
                .client
                .request(method, url)
                .timeout(GIVE_UP)
                .header("api_access_token", ADMINISTRATOR)
                .header("idempotency-key", &key);
            if !body.is_null() {
                request = request.json(body);
            }
            match answer(request).await {
                Some(Ok(answer)) => return Some(answer),
                Some(Err(refusal)) => {
                    self.post
                        .note(|history| history.refused.push(format!("{}: {path}: {refusal}", self.post.name)));
                    return None;
                }
                None => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    fn done(&self, verb: &'static str, kind: &'static str, resource: (&'static str, i64), answer: Answer) {
        let Some(cursor) = answer.cursor else {
            let text = format!("{}: {verb} was answered without its position", self.post.name);
            self.post.note(|history| history.refused.push(text));
            return;
        };
        let account = self.post.account;
        self.post.note(|history| {
            history.done.push(Done {
                account,
                verb,
                kind,
                resource,
                cursor,
            });
        });
    }
}
