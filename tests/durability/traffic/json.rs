//! Writers through the JSON door, each request under an `Idempotency-Key` until it is answered.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{AGAIN, GIVE_UP, Post, Writing};
use crate::{
    history::Acknowledged,
    support::{app::ADMINISTRATOR, http::client},
};

/// Sends one message after another, each until it is answered.
pub async fn write(post: Post) -> Writing {
    let (client, mut acknowledged) = (client(), Vec::new());
    for number in 0.. {
        if post.stopped() {
            break;
        }
        let text = format!("{} message {number}", post.name);
        let conversation = post.conversations[number % post.conversations.len()];
        let key = Uuid::new_v4().to_string();
        let told = loop {
            let path = format!("/api/v1/accounts/{}/conversations/{conversation}/messages", post.account);
            let request = client
                .post(format!("http://{}{path}", post.doors().http))
                .timeout(GIVE_UP)
                .header("api_access_token", ADMINISTRATOR)
                .header("idempotency-key", &key)
                .json(&json!({ "content": text, "message_type": "incoming" }));
            match answer(request).await {
                Some(Ok((id, cursor))) => {
                    break Some(Acknowledged {
                        account: post.account,
                        text,
                        conversation,
                        message: id,
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

/// Id and cursor; a refusal; or nothing that could be relied on.
async fn answer(request: reqwest::RequestBuilder) -> Option<Result<(i64, Option<Bytes>), String>> {
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    if matches!(status, 408 | 429 | 502 | 503 | 504) {
        return None;
    }
    let cursor = response
        .headers()
        .get("parley-cursor")
        .and_then(|text| URL_SAFE_NO_PAD.decode(text.as_bytes()).ok());
    let body = response.text().await.ok()?;
    let id = serde_json::from_str::<Value>(&body).ok().and_then(|body| body["id"].as_i64());
    Some(match id {
        Some(id) if status == 200 => Ok((id, cursor.map(Bytes::from))),
        _ => Err(format!("{status}: {body}")),
    })
}
