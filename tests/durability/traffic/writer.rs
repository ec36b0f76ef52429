//! Writers of messages over the gRPC API, by unary calls and by a stream.

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
    support::api_fixture::{ApiFixture, incoming},
};

/// Composes the nth message. Its text names the writer, so that it is unique.
fn compose(post: &Post, fixture: &ApiFixture, number: usize) -> (String, CreateMessageRequest) {
    let text = format!("{} message {number}", post.name);
    let conversation = post.conversations[number % post.conversations.len()];
    let request = fixture.request(conversation, incoming(&text));
    (text, request)
}

/// Sends one message after another, each until it gets a response.
pub async fn call(post: Post) -> Writing {
    let mut acknowledged = Vec::new();
    let fixture = post.fixture();
    for number in 0.. {
        // Each writer writes at least once: its first response may take as long as the traffic lasts.
        if post.stopped() && number > 0 {
            break;
        }
        let (text, request) = compose(&post, &fixture, number);
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

/// A message on a stream that has not been acknowledged yet.
struct Open {
    text: String,
    request: SendMessagesRequest,
    repeated: bool,
}

/// Keeps a window of unacknowledged messages on a stream, and resends them on the next stream.
pub async fn stream(post: Post, window: usize) -> Writing {
    let mut acknowledged = Vec::new();
    let mut open: VecDeque<Open> = VecDeque::new();
    let mut number = 0;
    // Each writer writes at least once: opening its first stream may take as long as the traffic lasts.
    while !post.stopped() || !open.is_empty() || number == 0 {
        let mut fixture = post.fixture();
        let (sender, receiver) = mpsc::channel(window);
        // Resend unacknowledged messages first, in their order and with the same `request_id`.
        for unanswered in &mut open {
            unanswered.repeated = true;
            sender.send(unanswered.request.clone()).await.expect("there is room for a window");
        }
        let call = fixture.clients.messages.send_messages(ReceiverStream::new(receiver));
        let Ok(Ok(answers)) = tokio::time::timeout(GIVE_UP, call).await else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        let mut answers = answers.into_inner();
        let mut sender = Some(sender);
        loop {
            while open.len() < window && (!post.stopped() || number == 0) {
                let (text, request) = compose(&post, &fixture, number);
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
                    // A closed stream shows as a failed read of responses below.
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

/// Removes acknowledged messages from the front of the window. Returns false if a message must be resent, and with it all later ones, to
/// keep the order.
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
