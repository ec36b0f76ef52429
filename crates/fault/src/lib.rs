//! Protections that a test may turn off, one at a time, to show that it goes red without them. Without the feature `faults`, which no release
//! has, all of them are always on.

mod slices;

pub use slices::{measured, measured_bodies, off_worker};

#[cfg(feature = "faults")]
static SWITCH: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// One protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// What an older session of a durable consumer commits is not taken.
    Fencing,
    /// A page that does not begin with the very next event makes a reader ask how far the log reaches.
    GapCheck,
    /// A cursor of another history is refused.
    EpochCheck,
    /// A request that comes again under its id is answered with the first answer.
    IdempotencyKey,
    /// A session is sent no more than it has credit for.
    Credit,
    /// An agent's view of a conversation without unread messages writes nothing, and no view by an agent is published at `/cable`.
    QuietViews,
    /// The contact filter compares labels without case on both sides.
    LabelCase,
    /// A snapshot leaves out resources whose later events do not pass the filter.
    SnapshotFilter,
    /// Every status that ends an opened stream has the stream's last cursor.
    EndCursor,
    /// A receipt that would move the delivery of a message back is ignored.
    ReceiptOrder,
    /// Times lie within the years 1 to 9999: others are refused, and stored ones are sent as the nearest that does.
    TimeRange,
    /// A visitor's subscription follows its session when the session's contact is merged into another one.
    FollowedMerges,
    /// What an erased contact left is covered.
    Erasure,
    /// What a stream holds in its hands, a page of the log and the tail are bounded.
    Buffers,
    /// The deletion of a contact takes the copies of its data in other tables along.
    ErasedCopies,
    /// A page token is refused when its values are not of the types that its list is sorted by.
    TypedPageTokens,
    /// A contact's session is shown what the client API shows: an unverified one what it submitted.
    VisitorView,
    /// A session joins, moves and changes contacts only as far as its proof goes.
    IdentityProof,
    /// Only who sees the whole account may vouch for an identity.
    Vouching,
    /// Sessions in inboxes that a caller does not see are left out.
    SessionScope,
    /// A service that is limited to inboxes sees only contacts with a session there.
    ContactScope,
    /// The ids of new users are random.
    UserIds,
    /// An unverified session that only named a contact's address does not make the contact visible to a service limited to the inbox.
    MatchedSessions,
    /// What a request builds from its text is bounded: values, objects, keys, reported paths.
    RequestTree,
    /// The preamble and the part headers of a multipart form are bounded.
    MultipartAhead,
    /// The caller is checked before a body that takes room is read.
    EarlyCheck,
    /// A connection at `/cable` holds a bounded number of subscriptions, pending ones included.
    CableSubscriptions,
    /// A connection at `/cable` that sends too many frames is closed.
    CableFrames,
    /// The bodies of all requests in flight share a budget of memory.
    RequestMemory,
    /// A body holds memory as it arrives, and callers without a good token have shares of the memory that leave room for others.
    MemoryShares,
    /// What a request builds is counted before it is decoded.
    WireBudget,
    /// Statuses stay below what clients take of metadata.
    StatusSize,
    /// The pieces of a body that is read whole are copied together.
    BodyPieces,
    /// A body must come within its time.
    BodyTime,
    /// A token limited to inboxes may not open a consumer.
    ConsumerScope,
    /// An agent bot reaches and receives only what is about the inboxes that it is connected to.
    BotScope,
    /// A token that may only read changes nothing.
    ReadOnly,
    /// A token creates none that reaches further or lasts longer than itself.
    TokenLimits,
    /// A file link that expires is not exchanged for another.
    LinkExpiry,
    /// Large values in the changes of an event are cut, and an event that is too large loses its changes or its resource.
    EventBytes,
    /// Pages and answers are cut by bytes, not only by rows.
    PageBytes,
    /// Attribute maps have limits.
    AttributeLimits,
    /// An idempotency key belongs to the caller that used it.
    IdempotencyOwner,
    /// Callers without a token are limited per client address and per inbox.
    AnonymousLimits,
    /// A forwarding header that nobody vouches for buys a caller no more open streams, downloads and uploads, and no freedom from rates.
    ProxyLimits,
    /// A client address has a bounded number of reflection streams, each charged to the memory of requests.
    ReflectionStreams,
    /// Contact sessions leave half of the upload slots to callers with a token.
    UploadShare,
    /// What a template may hold is limited before it is parsed.
    TemplateLimits,
    /// Files of a form that its request did not take are discarded.
    RefusedUploads,
    /// A client address has a bounded number of connections.
    ConnectionsPerAddress,
    /// Texts that feed an index are short.
    IndexedTexts,
    /// A search reads a bounded number of bytes.
    SearchBytes,
    /// An account sees of a member what it supplied itself.
    MemberView,
    /// A user's pubsub token must carry the signature of the token that it belongs to.
    PubsubSignature,
    /// Downloads are counted per caller.
    DownloadPermits,
    /// A stream whose reader takes nothing is closed.
    StallTimeout,
    /// Clients leave descriptors for the admin listener, the database and files.
    DescriptorShares,
    /// No value of a log line begins another line.
    EscapedFields,
    /// Answers that their client does not take are charged to the memory of requests, and dropped in time.
    UnreadAnswers,
    /// A cursor is refused when another event is at its seq than the one that it was given out for.
    CursorMark,
    /// While the database is known to be away, calls are refused at once.
    Outage,
    /// A connection without a complete request does not hold up a drain.
    DrainedConnections,
    /// A drain waits for what a client has not taken yet of complete responses.
    DrainedResponses,
    /// A restore keeps others from the database, and looks at it again behind its locks.
    RestoreLocks,
    /// A stream of pubsub sends who is there once a second at most.
    PresencePace,
    /// Each write of an account has a later time than those before it, also while the clock goes back.
    RisingStamps,
    /// Callers without a token wait where they would use up the processors.
    AnonymousTurns,
    /// Steps of large requests and answers leave the runtime's workers.
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
            Self::QuietViews => "quiet_views",
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
            Self::MultipartAhead => "multipart_ahead",
            Self::EarlyCheck => "early_check",
            Self::CableSubscriptions => "cable_subscriptions",
            Self::CableFrames => "cable_frames",
            Self::RequestMemory => "request_memory",
            Self::MemoryShares => "memory_shares",
            Self::WireBudget => "wire_budget",
            Self::StatusSize => "status_size",
            Self::BodyPieces => "body_pieces",
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
            Self::UnreadAnswers => "unread_answers",
            Self::CursorMark => "cursor_mark",
            Self::Outage => "outage",
            Self::DrainedConnections => "drained_connections",
            Self::DrainedResponses => "drained_responses",
            Self::RestoreLocks => "restore_locks",
            Self::PresencePace => "presence_pace",
            Self::RisingStamps => "rising_stamps",
            Self::AnonymousTurns => "anonymous_turns",
            Self::HeavySteps => "heavy_steps",
        }
    }
}

/// Names a task that shall panic, by a switch such as `panic:writer shard`.
#[cfg(feature = "faults")]
const PANIC: &str = "panic:";

/// Whether the panic that a test asked for is due at this place; each place panics once.
#[cfg(feature = "faults")]
fn panics(place: &str) -> bool {
    static DONE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    let named = SWITCH.get().and_then(|switch| switch.strip_prefix(PANIC));
    named == Some(place) && !DONE.swap(true, std::sync::atomic::Ordering::Relaxed)
}

/// A task that panics once, a moment after it began, where a test asks for it.
#[cfg(feature = "faults")]
pub async fn fragile<T>(name: &str, task: impl Future<Output = T>) -> T {
    if !panics(name) {
        return task.await;
    }
    tokio::select! {
        done = task => done,
        () = tokio::time::sleep(std::time::Duration::from_millis(500)) => panic!("{name}: a test asked for this panic"),
    }
}

/// A task as it is.
#[cfg(not(feature = "faults"))]
pub fn fragile<F: Future>(_: &str, task: F) -> F {
    task
}

/// Panics once where a test asks for it.
///
/// # Panics
/// Where a test asks for it.
#[cfg(feature = "faults")]
pub fn strike(place: &str) {
    assert!(!panics(place), "{place}: a test asked for this panic");
}

/// Does nothing.
#[cfg(not(feature = "faults"))]
pub fn strike(_: &str) {}

/// Whether a test asked for the slices of work to be measured.
#[cfg(feature = "faults")]
fn measures() -> bool {
    SWITCH.get().is_some_and(|switch| switch == "measure")
}

/// Turns a protection off for the life of the process.
#[cfg(feature = "faults")]
pub fn turn_off(name: &str) {
    let _ = SWITCH.set(name.to_owned());
}

/// Whether a protection is on.
#[cfg(feature = "faults")]
pub fn is_on(protection: Protection) -> bool {
    SWITCH.get().is_none_or(|off| off != protection.name())
}

/// Whether a protection is on.
#[cfg(not(feature = "faults"))]
pub fn is_on(_: Protection) -> bool {
    true
}
