//! A front end on the WebSocket: it receives what happens while it is connected, and nothing of what happens while it is not.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value as Json, json};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

use super::{AGAIN, GIVE_UP, Post};
use crate::{
    history::Heard,
    support::{app::ADMINISTRATOR, http::client},
};

/// How long a connection may be silent: the server sends a ping every three seconds.
const SILENCE: Duration = Duration::from_secs(8);

/// Listens until the traffic ends.
pub async fn listen(post: Post) {
    let mut heard = Heard {
        account: post.account,
        ..Heard::default()
    };
    while post.due().is_none() {
        connect(&post, &mut heard).await;
        heard.connections += 1;
        tokio::time::sleep(AGAIN).await;
    }
    post.note(|history| history.heard.push(heard));
}

/// The channel identifier with the administrator's `pubsub_token`, as the server at `address` returns it. Servers of the previous release
/// refuse tokens of this version.
async fn identifier(post: &Post, address: &str) -> Option<Json> {
    let url = format!("http://{address}/api/v1/profile");
    let asked = client().get(url).header("api_access_token", ADMINISTRATOR).timeout(GIVE_UP);
    let profile: Json = asked.send().await.ok()?.json().await.ok()?;
    let token = profile["pubsub_token"].as_str()?;
    Some(json!({
        "channel": "RoomChannel",
        "pubsub_token": token,
        "account_id": post.account,
        "user_id": profile["id"],
    }))
}

/// One connection, until it breaks or the traffic ends.
async fn connect(post: &Post, heard: &mut Heard) -> Option<()> {
    let mut end = post.end.clone();
    end.borrow_and_update();
    let address = post.listeners().http;
    let identifier = identifier(post, &address).await?;
    let mut request = format!("ws://{address}/cable").into_client_request().ok()?;
    let protocol = "actioncable-v1-json, actioncable-unsupported".parse().ok()?;
    request.headers_mut().insert("sec-websocket-protocol", protocol);
    let connecting = tokio::time::timeout(GIVE_UP, tokio_tungstenite::connect_async(request));
    let (mut socket, _) = connecting.await.ok()?.ok()?;
    let subscribe = json!({"command": "subscribe", "identifier": identifier.to_string()});
    socket.send(Message::text(subscribe.to_string())).await.ok()?;
    while post.due().is_none() {
        let frame = tokio::select! {
            frame = tokio::time::timeout(SILENCE, socket.next()) => frame.ok()??.ok()?,
            _ = end.changed() => continue,
        };
        let Message::Text(text) = frame else { continue };
        let frame: Json = serde_json::from_str(text.as_str()).ok()?;
        match frame["type"].as_str() {
            Some("disconnect") => return None,
            Some("reject_subscription") => {
                post.note(|history| history.refused.push(format!("{}: {frame}", post.name)));
                return None;
            }
            _ => {}
        }
        let (event, data) = (&frame["message"]["event"], &frame["message"]["data"]);
        if event == "message.created" {
            heard.messages.extend(data["id"].as_i64());
        }
        if event.is_string() {
            heard.said.insert(data.to_string());
        }
    }
    Some(())
}
