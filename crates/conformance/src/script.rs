//! What the server does in each scenario, and how a client has to end.

/// What the server does next, on one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Sends so many events as they should be, after the position that was asked for.
    Send(u64),
    /// Sends all events that are left, then bookmarks for as long as the stream lives.
    Finish,
    /// Sends this event, which claims that the other came before.
    Event(u64, u64),
    /// Sends a kind of event that no client knows, as the next one.
    UnknownKind,
    /// Promises that everything up to here has been sent.
    Bookmark(u64),
    /// Breaks the stream as a lost connection does.
    Cut,
    /// Says nothing any more, and keeps the stream open.
    Silence,
    /// As the first: takes the call, and does not even open the stream.
    NoAnswer,
    /// Ends the stream by the contract, with this reason.
    End(&'static str),
}

/// How a client has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It has every event once, in order.
    Everything,
    /// It has stopped aloud: an event is missing, doubled or out of order, or a bookmark was not true.
    Alarm,
    /// It has stopped, and says that its position is lost, with this reason.
    Lost(&'static str),
    /// It has stopped, and says that it was refused.
    Refused,
    /// It has stopped, and says that another session has its shard.
    TakenOver,
}

/// One way to misbehave.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What the server does on the first stream, the second, and so on; after the last it behaves.
    pub streams: &'static [&'static [Act]],
    /// How a client has to end.
    pub expect: Expect,
    /// Whether it is about durable consumers alone.
    pub consumers_only: bool,
}

const fn scenario(name: &'static str, streams: &'static [&'static [Act]], expect: Expect) -> Scenario {
    Scenario {
        name,
        streams,
        expect,
        consumers_only: false,
    }
}

use Act::{Bookmark, Cut, End, Event, Finish, NoAnswer, Send, Silence, UnknownKind};

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    scenario("behaves", &[], Expect::Everything),
    scenario("cut", &[&[Send(3), Cut], &[Cut], &[Send(2), Cut]], Expect::Everything),
    scenario("cut-before-anything", &[&[Cut], &[Cut]], Expect::Everything),
    scenario("rotated", &[&[Send(4), End("STREAM_ROTATED")]], Expect::Everything),
    scenario("busy", &[&[End("BUSY")], &[Send(1), Cut]], Expect::Everything),
    scenario("falls-silent", &[&[Send(3), Silence]], Expect::Everything),
    scenario("silent-from-the-start", &[&[Silence]], Expect::Everything),
    scenario("never-answers", &[&[NoAnswer], &[Send(3), Cut], &[NoAnswer]], Expect::Everything),
    scenario("bookmark-then-cut", &[&[Send(3), Bookmark(3), Cut]], Expect::Everything),
    scenario("unknown-kind", &[&[Send(2), UnknownKind, Finish]], Expect::Everything),
    scenario("skips", &[&[Send(3), Event(5, 4), Finish]], Expect::Alarm),
    scenario("duplicates", &[&[Send(3), Event(3, 2), Finish]], Expect::Alarm),
    scenario("goes-back", &[&[Send(3), Event(2, 1), Finish]], Expect::Alarm),
    scenario("forgets-what-came-before", &[&[Send(3), Event(4, 0), Finish]], Expect::Alarm),
    scenario("skips-after-a-break", &[&[Send(3), Cut], &[Event(5, 4), Finish]], Expect::Alarm),
    scenario("repeats-after-a-break", &[&[Send(3), Cut], &[Event(3, 2), Finish]], Expect::Alarm),
    scenario("bookmark-too-far", &[&[Send(3), Bookmark(8), Send(1), Finish]], Expect::Alarm),
    scenario("bookmark-goes-back", &[&[Send(3), Bookmark(2), Finish]], Expect::Alarm),
    scenario(
        "expired",
        &[&[Send(3), Cut], &[End("CURSOR_EXPIRED")]],
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
