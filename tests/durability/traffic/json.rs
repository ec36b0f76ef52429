//! Writers over the JSON API. Each request is retried under its `Idempotency-Key` until it gets a response.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{AGAIN, GIVE_UP, Post, Writing};
use crate::{
    history::Acknowledged,
    support::{app::ADMINISTRATOR, http::client},
};

/// Sends one message after another, each until it gets a response.
pub async fn write(post: Post) -> Writing {
    let (client, mut acknowledged) = (client(), Vec::new());
    for number in 0.. {
        // Each writer writes at least once: its first response may take as long as the traffic lasts.
        if post.stopped() && number > 0 {
            break;
        }
        let text = format!("{} message {number}", post.name);
        let conversation = post.conversations[number % post.conversations.len()];
        let key = Uuid::new_v4().to_string();
        let told = loop {
            let path = format!("/api/v1/accounts/{}/conversations/{conversation}/messages", post.account);
            let request = client
                .post(format!("http://{}{path}", post.listeners().http))
                .timeout(GIVE_UP)
                .header("api_access_token", ADMINISTRATOR)
                .header("idempotency-key", &key)
                .json(&json!({ "content": text, "message_type": "incoming" }));
            match answer(request).await {
                Some(Ok(Answer { body, cursor })) => {
                    break Some(Acknowledged {
                        account: post.account,
                        text,
                        conversation,
                        message: body["id"].as_i64().expect("a message has an id"),
                        number: None,
                        cursor,
                        in_order: true,
                    });
                }
                Some(Err(refusal)) => {
                    post.note(|history| history.refused.push(format!("{text}: {refusal}")));
                    break None;
                }
                None => tokio::time::sleep(AGAIN).await,
            }
        };
        acknowledged.extend(told);
    }
    acknowledged
}

/// A successful response.
pub struct Answer {
    /// The body, or null if it was empty.
    pub body: Value,
    /// The cursor of the write.
    pub cursor: Option<Bytes>,
}

/// Decodes the text form of a cursor. The previous release uses standard base64 with padding.
fn decoded(cursor: &str) -> Vec<u8> {
    let cursor = cursor.trim_end_matches('=').replace('+', "-").replace('/', "_");
    URL_SAFE_NO_PAD.decode(cursor).expect("it is base64")
}

/// Sends a request. Returns the response, the error text of a refusal, or `None` if the outcome is unknown and the request must be retried.
pub async fn answer(request: reqwest::RequestBuilder) -> Option<Result<Answer, String>> {
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    if matches!(status, 408 | 429 | 502 | 503 | 504) {
        return None;
    }
    let cursor = response
        .headers()
        .get("parley-cursor")
        .map(|text| decoded(text.to_str().expect("it is ASCII")));
    let text = response.text().await.ok()?;
    Some(if status == 200 {
        Ok(Answer {
            body: serde_json::from_str(&text).unwrap_or_default(),
            cursor: cursor.map(Bytes::from),
        })
    } else {
        Err(format!("{status}: {text}"))
    })
}
