//! Calls that are retried until they get a definite reply, and calls that must be refused.

use bytes::{BufMut as _, Bytes, BytesMut};
use parley_proto::{GetLogInfoRequest, GetLogInfoResponse, subscribe_request::Start};
use prost::encoding::encode_varint;
use tonic::{Code, Response, Status};

use super::{AGAIN, GIVE_UP, Post};
use crate::{
    history::Ending,
    support::{clients::Clients, reader::everything},
};

/// Whether a call must be retried: its outcome is unknown, or the server asked for a retry.
pub fn repeat(status: &Status) -> bool {
    let broken = status.code() == Code::Unknown || status.code() == Code::Internal && status.details().is_empty();
    let again = matches!(
        status.code(),
        Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Aborted
    );
    broken || again
}

/// Retries a call until it gets a definite reply. Refusals are recorded.
pub async fn insist<T, F>(post: &Post, what: &str, call: impl Fn(Clients) -> F) -> Option<T>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    loop {
        match tokio::time::timeout(GIVE_UP, call(post.clients())).await {
            Ok(Ok(answer)) => return Some(answer.into_inner()),
            Ok(Err(status)) if !repeat(&status) => {
                post.note(|history| history.refused.push(format!("{}: {what}: {status:?}", post.name)));
                return None;
            }
            Ok(Err(_)) | Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// Encodes a cursor in the only format that exists.
pub fn cursor(account: i64, epoch: &str, seq: u64) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(1);
    encode_varint(account.cast_unsigned(), &mut out);
    encode_varint(u64::from_str_radix(epoch, 16).expect("hexadecimal digits"), &mut out);
    encode_varint(seq, &mut out);
    let sum = crc32fast::hash(&out);
    out.put_u32(sum);
    out.freeze()
}

/// The range of an account's log. Retries, because a connection that was just cut may need a while.
pub async fn log_info(post: &Post, account: i64) -> GetLogInfoResponse {
    let request = GetLogInfoRequest { account_id: account };
    let answer = insist(post, "get_log_info", |clients| async move {
        clients.events.clone().get_log_info(request).await
    });
    answer.await.expect("everybody may ask")
}

/// The status with which a cursor is refused; code OK if it is accepted.
async fn refusal(post: &Post, cursor: &Bytes) -> Status {
    loop {
        let request = everything(1, Start::After(cursor.clone()));
        let clients = post.clients();
        let mut events = clients.events.clone();
        let answer = tokio::time::timeout(GIVE_UP, async { events.subscribe(request).await?.into_inner().message().await });
        match answer.await {
            Ok(Err(status)) if !repeat(&status) => return status,
            Ok(Ok(given)) => return Status::new(Code::Ok, format!("{given:?}")),
            Ok(Err(_)) | Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// The refusals of cursors that cannot be resumed.
pub async fn impossible(post: &Post, accounts: &[i64]) -> Vec<(&'static str, Code, String)> {
    let info = log_info(post, 1).await;
    let mut wrong = vec![
        ("what is no cursor", Bytes::from_static(b"no cursor")),
        ("a cursor ahead of the log", cursor(1, &info.epoch, info.head_seq + 1000)),
    ];
    if let Some(other) = accounts.get(1) {
        wrong.push(("a cursor of another account", log_info(post, *other).await.head_cursor));
    }
    let mut refusals = Vec::new();
    for (what, cursor) in wrong {
        let status = refusal(post, &cursor).await;
        let reason = match Ending::of(&status) {
            Ending::Status { reason, .. } => reason,
            _ => String::new(),
        };
        refusals.push((what, status.code(), reason));
    }
    refusals
}
