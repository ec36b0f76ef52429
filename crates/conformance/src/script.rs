//! The scenarios: what the server does in each, and what result a client must end with.

/// An action that the server performs on one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sends this number of correct events after the requested position.
    Send(u64),
    /// Sends all remaining events, then bookmarks until the stream ends.
    Finish,
    /// Sends the event with the first number as its seq and the second as its `prev_seq`.
    Event(u64, u64),
    /// Sends the next event with a kind that no client knows.
    UnknownKind,
    /// Sends a bookmark, which claims that everything up to this seq was sent.
    Bookmark(u64),
    /// Ends the stream as a lost connection would.
    Disconnect,
    /// Sends nothing more, and keeps the stream open.
    GoSilent,
    /// Accepts the call, but never opens the stream. Must be the first step.
    NeverOpens,
    /// Ends the stream with the status that the API contract specifies for this reason.
    End(&'static str),
}

/// The result that a client must end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The client received every event once, in order.
    Everything,
    /// The client stopped with an error: an event is missing, repeated or out of order, or a bookmark is wrong.
    StreamError,
    /// The client stopped and reported that its position is lost, with this reason.
    Lost(&'static str),
    /// The client stopped and reported that the server rejected the request.
    Refused,
    /// The client stopped and reported that another session owns its shard.
    TakenOver,
}

/// One way in which the server misbehaves, and the result that a client must end with.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// The steps on the first stream, the second, and so on. On all further streams, the server behaves correctly.
    pub streams: &'static [&'static [Step]],
    pub expect: Expect,
    /// Whether the scenario only applies to durable consumers.
    pub consumers_only: bool,
}

const fn scenario(name: &'static str, streams: &'static [&'static [Step]], expect: Expect) -> Scenario {
    Scenario {
        name,
        streams,
        expect,
        consumers_only: false,
    }
}

use Step::{Bookmark, Disconnect, End, Event, Finish, GoSilent, NeverOpens, Send, UnknownKind};

/// All scenarios, including one in which the server behaves correctly.
pub const SCENARIOS: &[Scenario] = &[
    scenario("behaves", &[], Expect::Everything),
    scenario(
        "cut",
        &[&[Send(3), Disconnect], &[Disconnect], &[Send(2), Disconnect]],
        Expect::Everything,
    ),
    scenario("cut-before-anything", &[&[Disconnect], &[Disconnect]], Expect::Everything),
    scenario("rotated", &[&[Send(4), End("STREAM_ROTATED")]], Expect::Everything),
    scenario("busy", &[&[End("BUSY")], &[Send(1), Disconnect]], Expect::Everything),
    scenario("falls-silent", &[&[Send(3), GoSilent]], Expect::Everything),
    scenario("silent-from-the-start", &[&[GoSilent]], Expect::Everything),
    scenario(
        "never-answers",
        &[&[NeverOpens], &[Send(3), Disconnect], &[NeverOpens]],
        Expect::Everything,
    ),
    scenario("bookmark-then-cut", &[&[Send(3), Bookmark(3), Disconnect]], Expect::Everything),
    scenario("unknown-kind", &[&[Send(2), UnknownKind, Finish]], Expect::Everything),
    scenario("skips", &[&[Send(3), Event(5, 4), Finish]], Expect::StreamError),
    scenario("duplicates", &[&[Send(3), Event(3, 2), Finish]], Expect::StreamError),
    scenario("goes-back", &[&[Send(3), Event(2, 1), Finish]], Expect::StreamError),
    scenario("forgets-what-came-before", &[&[Send(3), Event(4, 0), Finish]], Expect::StreamError),
    scenario(
        "skips-after-a-break",
        &[&[Send(3), Disconnect], &[Event(5, 4), Finish]],
        Expect::StreamError,
    ),
    scenario(
        "repeats-after-a-break",
        &[&[Send(3), Disconnect], &[Event(3, 2), Finish]],
        Expect::StreamError,
    ),
    scenario("bookmark-too-far", &[&[Send(3), Bookmark(8), Send(1), Finish]], Expect::StreamError),
    scenario("bookmark-goes-back", &[&[Send(3), Bookmark(2), Finish]], Expect::StreamError),
    scenario(
        "expired",
        &[&[Send(3), Disconnect], &[End("CURSOR_EXPIRED")]],
        Expect::Lost("CURSOR_EXPIRED"),
    ),
    scenario(
        "ahead-of-log",
        &[&[End("CURSOR_AHEAD_OF_LOG")]],
        Expect::Lost("CURSOR_AHEAD_OF_LOG"),
    ),
    scenario(
        "history-replaced",
        &[&[Send(3), End("EPOCH_CHANGED")]],
        Expect::Lost("EPOCH_CHANGED"),
    ),
    scenario("token-revoked", &[&[Send(3), End("TOKEN_INVALID")]], Expect::Refused),
    Scenario {
        consumers_only: true,
        ..scenario("taken-over", &[&[Send(3), End("CONSUMER_TAKEN_OVER")]], Expect::TakenOver)
    },
];
