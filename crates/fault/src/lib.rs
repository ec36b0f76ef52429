//! Protections that a test can turn off, one at a time, to show that the test fails without them. Without the feature `faults`, which no
//! release enables, all protections are always on.

mod slices;

pub use slices::{measured, measured_bodies, off_worker};

#[cfg(feature = "faults")]
static SWITCH: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// A protection that tests can turn off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Commits from an older session of a durable consumer are rejected.
    Fencing,
    /// A reader checks the range of the log if a page does not begin with the seq that the reader expects next.
    GapCheck,
    /// A cursor from another epoch is rejected.
    EpochCheck,
    /// A repeated request with the same id receives the stored response.
    IdempotencyKey,
    /// A durable consumer's session is sent no more events and bytes than its credit allows.
    Credit,
    /// If an agent views a conversation without unread messages, nothing is written, and no view by an agent is published at `/cable`.
    SilentViews,
    /// The contact filter ignores the case of labels, both in the condition and in the stored labels.
    LabelCase,
    /// A snapshot omits resources about which no later event can match the filter.
    SnapshotFilter,
    /// Every status that ends an opened stream contains the stream's last cursor.
    EndCursor,
    /// A receipt that would move a message's delivery status backwards is ignored.
    ReceiptOrder,
    /// Times are limited to the years 1 to 9999: requests with other times are rejected, and stored times outside of the range are sent as
    /// the nearest valid time.
    TimeRange,
    /// A visitor's subscription follows its session when the session's contact is merged into another one.
    FollowedMerges,
    /// The events of an erased contact are redacted.
    Erasure,
    /// The buffers of a stream, a page of the log, and the tail cache are bounded.
    Buffers,
    /// Deleting a contact also erases the copies of its data in other tables.
    ErasedCopies,
    /// A page token is rejected if its values do not have the types of the list's sort keys.
    TypedPageTokens,
    /// A contact session sees only what the client API exposes, and an unverified session sees only what it submitted.
    VisitorView,
    /// A contact session is attached to a contact, and may change the contact, only as far as the session's proof of identity allows.
    IdentityProof,
    /// Only callers that see the whole account may vouch for a contact's identity.
    Vouching,
    /// Responses omit contact sessions in inboxes that the caller is not allowed to see.
    SessionScope,
    /// A service limited to inboxes sees only contacts with a session in one of these inboxes.
    ContactScope,
    /// New users receive random ids, so that ids cannot be enumerated.
    UserIds,
    /// An unverified session that merely supplied a contact's address does not make the contact visible to a service limited to the inbox.
    MatchedSessions,
    /// The number of values, objects, keys and reported paths that parsing a request can produce is bounded.
    RequestTree,
    /// The preamble and the part headers of a multipart form are bounded.
    MultipartHeaders,
    /// The caller is checked before a large body is read.
    CheckBeforeBody,
    /// A connection at `/cable` holds a bounded number of subscriptions, including pending ones.
    CableSubscriptions,
    /// A connection at `/cable` that sends too many frames is closed.
    CableFrames,
    /// The bodies of all requests in flight share a memory budget.
    RequestMemory,
    /// A body is charged to the memory budget as it arrives. Callers without a valid token may use only part of the budget, so that there
    /// is room for other callers.
    MemoryShares,
    /// The elements that decoding a request would produce are counted before the request is decoded.
    WireBudget,
    /// The size of a status stays below the metadata limit of clients.
    StatusSize,
    /// A body that is read as a whole is copied into one buffer.
    ContiguousBodies,
    /// A request body must arrive within its time limit.
    BodyTime,
    /// A token that is limited to inboxes cannot open a durable consumer.
    ConsumerScope,
    /// An agent bot reads and receives only data from the inboxes that it is connected to.
    BotScope,
    /// Calls with a read-only token cannot change anything.
    ReadOnly,
    /// A token cannot be used to create a token with more access or a longer lifetime than its own.
    TokenLimits,
    /// An expiring file link cannot be exchanged for another link.
    LinkExpiry,
    /// Large values in the changes of an event are truncated, and the changes or the resource of an event that is too large are omitted.
    EventBytes,
    /// Pages and responses are limited in bytes, not only in rows.
    PageBytes,
    /// The size, depth and number of keys of attribute maps are limited.
    AttributeLimits,
    /// An idempotency key belongs to the caller that used it.
    IdempotencyOwner,
    /// Callers without a token are limited per client address and per inbox.
    AnonymousLimits,
    /// A forwarding header from an untrusted peer neither increases the number of streams, downloads and uploads that the caller may have
    /// open, nor exempts the caller from rate limits.
    ProxyLimits,
    /// A client address may open only a limited number of reflection streams, and each stream is charged to the memory budget for requests.
    ReflectionStreams,
    /// Contact sessions leave half of the upload slots to callers with a token.
    UploadShare,
    /// The content of a template is limited before the template is parsed.
    TemplateLimits,
    /// Files uploaded with a form are discarded if the request did not use them.
    RefusedUploads,
    /// The number of connections per client address is limited.
    ConnectionsPerAddress,
    /// The length of indexed text is limited.
    IndexedTexts,
    /// The number of bytes that a search reads is limited.
    SearchBytes,
    /// An account sees only those details of a member that the account itself supplied.
    MemberView,
    /// A user's pubsub token must carry a valid signature for the access token from which it is derived.
    PubsubSignature,
    /// The number of downloads that a caller may have open at once is limited.
    DownloadPermits,
    /// A stream is closed if its client stops reading.
    StallTimeout,
    /// Client connections leave enough file descriptors for the admin listener, the database and files.
    DescriptorShares,
    /// Values in a log line cannot start a new line.
    EscapedFields,
    /// Responses that the client does not read are charged to the memory budget for requests, and are dropped after a timeout.
    UnreadResponses,
    /// A cursor is rejected if the event at its seq is not the one for which it was issued.
    CursorMark,
    /// While the database is known to be down, calls are rejected at once.
    Outage,
    /// A connection that has not sent a complete request does not delay a drain.
    DrainedConnections,
    /// A draining listener waits until clients have received complete responses.
    DrainedResponses,
    /// A restore locks other processes out of the database, and checks the database again after it has acquired the locks.
    RestoreLocks,
    /// A pubsub stream sends the presence list at most once per second.
    PresencePace,
    /// Each write to an account has a later time than all earlier writes, even if the clock is set back.
    MonotonicTimes,
    /// Callers without a token wait for processing slots, so that they cannot occupy all processors.
    AnonymousSlots,
    /// CPU-heavy steps of large requests and responses run outside of the runtime's workers.
    HeavySteps,
}

#[cfg(feature = "faults")]
impl Protection {
    fn name(self) -> &'static str {
        match self {
            Self::Fencing => "fencing",
            Self::GapCheck => "gap_check",
            Self::EpochCheck => "epoch_check",
            Self::IdempotencyKey => "idempotency_key",
            Self::Credit => "credit",
            Self::SilentViews => "quiet_views",
            Self::LabelCase => "label_case",
            Self::SnapshotFilter => "snapshot_filter",
            Self::EndCursor => "end_cursor",
            Self::ReceiptOrder => "receipt_order",
            Self::TimeRange => "time_range",
            Self::FollowedMerges => "followed_merges",
            Self::Erasure => "erasure",
            Self::Buffers => "buffers",
            Self::ErasedCopies => "erased_copies",
            Self::TypedPageTokens => "typed_page_tokens",
            Self::VisitorView => "visitor_view",
            Self::IdentityProof => "identity_proof",
            Self::Vouching => "vouching",
            Self::SessionScope => "session_scope",
            Self::ContactScope => "contact_scope",
            Self::UserIds => "user_ids",
            Self::MatchedSessions => "matched_sessions",
            Self::RequestTree => "request_tree",
            Self::MultipartHeaders => "multipart_ahead",
            Self::CheckBeforeBody => "early_check",
            Self::CableSubscriptions => "cable_subscriptions",
            Self::CableFrames => "cable_frames",
            Self::RequestMemory => "request_memory",
            Self::MemoryShares => "memory_shares",
            Self::WireBudget => "wire_budget",
            Self::StatusSize => "status_size",
            Self::ContiguousBodies => "body_pieces",
            Self::BodyTime => "body_time",
            Self::ConsumerScope => "consumer_scope",
            Self::BotScope => "bot_scope",
            Self::ReadOnly => "read_only",
            Self::TokenLimits => "token_limits",
            Self::LinkExpiry => "link_expiry",
            Self::EventBytes => "event_bytes",
            Self::PageBytes => "page_bytes",
            Self::AttributeLimits => "attribute_limits",
            Self::IdempotencyOwner => "idempotency_owner",
            Self::AnonymousLimits => "anonymous_limits",
            Self::ProxyLimits => "proxy_limits",
            Self::ReflectionStreams => "reflection_streams",
            Self::UploadShare => "upload_share",
            Self::TemplateLimits => "template_limits",
            Self::RefusedUploads => "refused_uploads",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::IndexedTexts => "indexed_texts",
            Self::SearchBytes => "search_bytes",
            Self::MemberView => "member_view",
            Self::PubsubSignature => "pubsub_signature",
            Self::DownloadPermits => "download_permits",
            Self::StallTimeout => "stall_timeout",
            Self::DescriptorShares => "descriptor_shares",
            Self::EscapedFields => "escaped_fields",
            Self::UnreadResponses => "unread_answers",
            Self::CursorMark => "cursor_mark",
            Self::Outage => "outage",
            Self::DrainedConnections => "drained_connections",
            Self::DrainedResponses => "drained_responses",
            Self::RestoreLocks => "restore_locks",
            Self::PresencePace => "presence_pace",
            Self::MonotonicTimes => "rising_stamps",
            Self::AnonymousSlots => "anonymous_turns",
            Self::HeavySteps => "heavy_steps",
        }
    }
}

/// The prefix of a switch that requests a panic. The rest of the switch names the task that panics, as in `panic:writer shard`.
#[cfg(feature = "faults")]
const PANIC: &str = "panic:";

/// Whether a test requested a panic at `place` that has not happened yet.
#[cfg(feature = "faults")]
fn panic_due(place: &str) -> bool {
    static DONE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    let named = SWITCH.get().and_then(|switch| switch.strip_prefix(PANIC));
    named == Some(place) && !DONE.swap(true, std::sync::atomic::Ordering::Relaxed)
}

/// Runs a task. If a test requests it, the task panics once, 500 ms after it started.
#[cfg(feature = "faults")]
pub async fn with_requested_panic<T>(name: &str, task: impl Future<Output = T>) -> T {
    if !panic_due(name) {
        return task.await;
    }
    tokio::select! {
        done = task => done,
        () = tokio::time::sleep(std::time::Duration::from_millis(500)) => panic!("{name}: a test asked for this panic"),
    }
}

/// Returns the task unchanged: panics can be requested only with the feature `faults`.
#[cfg(not(feature = "faults"))]
pub fn with_requested_panic<F: Future>(_: &str, task: F) -> F {
    task
}

/// Panics if a test has requested a panic at `place` that has not happened yet.
///
/// # Panics
/// Panics on the first call for the place at which a test has requested a panic.
#[cfg(feature = "faults")]
pub fn panic_if_requested(place: &str) {
    assert!(!panic_due(place), "{place}: a test asked for this panic");
}

/// Does nothing: panics can be requested only with the feature `faults`.
#[cfg(not(feature = "faults"))]
pub fn panic_if_requested(_: &str) {}

/// Whether a test requested that the CPU time of tasks is measured.
#[cfg(feature = "faults")]
fn is_measuring() -> bool {
    SWITCH.get().is_some_and(|switch| switch == "measure")
}

/// Turns off the protection `name` until the process ends. Only the first call has an effect.
#[cfg(feature = "faults")]
pub fn turn_off(name: &str) {
    let _ = SWITCH.set(name.to_owned());
}

/// Whether a protection is on. Every protection is on except the one that was turned off, if any.
#[cfg(feature = "faults")]
pub fn is_on(protection: Protection) -> bool {
    SWITCH.get().is_none_or(|off| off != protection.name())
}

/// Returns true: protections can be turned off only with the feature `faults`.
#[cfg(not(feature = "faults"))]
pub fn is_on(_: Protection) -> bool {
    true
}
