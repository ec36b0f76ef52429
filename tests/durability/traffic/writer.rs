//! Writers of messages through the gRPC door: by calls, and by a stream.

use std::collections::VecDeque;

use bytes::Bytes;
use parley_proto::{CreateMessageRequest, SendMessagesRequest, SendResult};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{
    AGAIN, GIVE_UP, Post, Writing,
    asking::{insist, repeat},
};
use crate::{
    history::Acknowledged,
    support::scene::{Scene, incoming},
};

/// The nth message: its text says who wrote it, so that each is unlike all others.
fn compose(post: &Post, scene: &Scene, number: usize) -> (String, CreateMessageRequest) {
    let text = format!("{} message {number}", post.name);
    let conversation = post.conversations[number % post.conversations.len()];
    let request = scene.request(conversation, incoming(&text));
    (text, request)
}

/// Sends one message after another, each until it is answered.
pub async fn call(post: Post) -> Writing {
    let mut acknowledged = Vec::new();
    let scene = post.scene();
    for number in 0.. {
        // Each writes once at least: its first answer may take as long as the traffic lasts.
        if post.stopped() && number > 0 {
            break;
        }
        let (text, request) = compose(&post, &scene, number);
        let answer = insist(&post, &text, |clients| {
            let request = request.clone();
            async move { clients.messages.clone().create_message(request).await }
        });
        let Some(answer) = answer.await else { continue };
        let message = answer.message.expect("always set");
        acknowledged.push(Acknowledged {
            account: post.account,
            text,
            conversation: message.conversation_id,
            message: message.id,
            number: Some(message.number),
            cursor: Some(answer.cursor),
            in_order: true,
        });
    }
    acknowledged
}

/// A message of a stream that was not answered yet.
struct Open {
    text: String,
    request: SendMessagesRequest,
    repeated: bool,
}

/// Keeps a window of messages open on a stream, and repeats what was not answered on the next one.
pub async fn stream(post: Post, window: usize) -> Writing {
    let mut acknowledged = Vec::new();
    let mut open: VecDeque<Open> = VecDeque::new();
    let mut number = 0;
    // Each writes once at least: its first stream may take as long to open as the traffic lasts.
    while !post.stopped() || !open.is_empty() || number == 0 {
        let mut scene = post.scene();
        let (sender, receiver) = mpsc::channel(window);
        // Whatever was not answered goes first, in its order and under its own request_id.
        for unanswered in &mut open {
            unanswered.repeated = true;
            sender.send(unanswered.request.clone()).await.expect("there is room for a window");
        }
        let call = scene.clients.messages.send_messages(ReceiverStream::new(receiver));
        let Ok(Ok(answers)) = tokio::time::timeout(GIVE_UP, call).await else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        let mut answers = answers.into_inner();
        let mut sender = Some(sender);
        loop {
            while open.len() < window && (!post.stopped() || number == 0) {
                let (text, request) = compose(&post, &scene, number);
                number += 1;
                let request = SendMessagesRequest {
                    account_id: request.account_id,
                    request_id: request.request_id,
                    conversation_id: request.conversation_id,
                    message: request.message,
                };
                open.push_back(Open {
                    text,
                    request: request.clone(),
                    repeated: false,
                });
                match &sender {
                    // A receiver that is gone shows as a broken answer below.
                    Some(sender) => drop(sender.try_send(request)),
                    None => break,
                }
            }
            if post.stopped() && open.is_empty() {
                sender = None;
            }
            let Ok(Ok(Some(answer))) = tokio::time::timeout(GIVE_UP, answers.message()).await else {
                break;
            };
            if !settle(&post, answer.results, &mut open, &mut acknowledged) {
                break;
            }
        }
        if !open.is_empty() {
            tokio::time::sleep(AGAIN).await;
        }
    }
    acknowledged
}

/// Takes answers off the front of what is open. False: one must be repeated, and all after it, to keep the order.
fn settle(post: &Post, results: Vec<SendResult>, open: &mut VecDeque<Open>, acknowledged: &mut Writing) -> bool {
    let refused = |text: String| post.note(|history| history.refused.push(text));
    for result in results {
        let Some(Open { text, request, repeated }) = open.front() else {
            refused(format!("an answer to nothing: {result:?}"));
            return false;
        };
        match result.error {
            None => acknowledged.push(Acknowledged {
                account: post.account,
                text: text.clone(),
                conversation: request.conversation_id,
                message: result.message_id,
                number: Some(result.number),
                cursor: Some(result.cursor),
                in_order: !repeated,
            }),
            Some(error) => {
                let status = Status::with_details(Code::from(error.code), error.message, Bytes::from_static(b"as told"));
                if repeat(&status) {
                    return false;
                }
                refused(format!("{text}: {status:?}"));
            }
        }
        open.pop_front();
    }
    true
}
