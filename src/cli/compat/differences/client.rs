//! Differences from Chatwoot in the client API, which requires no token, and in the platform API.

use super::entry::{Entry, always, elsewhere, sometimes, with};

const SESSION: &[&str] = &["* C/contacts", "* C/contacts/{}"];
const CONVERSATIONS: &[&str] = &["GET C/contacts/{}/conversations"];
const UPDATE: &[&str] = &["PATCH C/contacts/{}", "PUT C/contacts/{}"];
const USER: &[&str] = &["GET P/users/{}", "PATCH P/users/{}", "PUT P/users/{}"];
const BOT: &[&str] = &["POST P/agent_bots", "PATCH P/agent_bots/{}", "PUT P/agent_bots/{}"];

pub(super) const ENTRIES: &[Entry] = &[
    sometimes("client API: messages in the list of conversations", CONVERSATIONS),
    sometimes("client API: messages of one conversation", &["GET C/contacts/{}/conversations/{}"]),
    sometimes("client API: a hash that does not sign the identifier", SESSION),
    sometimes("client API: the identifier that a hash signs", SESSION),
    sometimes(
        "client API: writing to another inbox's conversation of the same contact",
        &["POST C/contacts/{}/conversations/{}/messages"],
    ),
    sometimes("client API: a hash in requests for conversations and messages", CONVERSATIONS),
    sometimes("client API: conversations of a verified session", CONVERSATIONS),
    sometimes("client API: messages of a conversation", &["GET C/contacts/{}/conversations/**"]),
    sometimes(
        "client API: an answer to a survey after 14 days",
        &[
            "PATCH C/contacts/{}/conversations/{}/messages/{}",
            "PUT C/contacts/{}/conversations/{}/messages/{}",
        ],
    ),
    sometimes("client API: contact_type of the raw record", SESSION),
    always(
        "client API: what a session without a proof (identifier_hash) sees of its contact",
        SESSION,
    ),
    always(
        "client API: id and contact_id of the contact, also as sender and in frames, for a session without a proof",
        &["* C/contacts/**"],
    ),
    always("client API: what such a session can change", UPDATE),
    with(
        "client API: an e-mail or number of another contact in an update",
        &["email", "phone_number"],
        UPDATE,
    ),
    with(
        "client API: a new session with a signed identifier and the e-mail of another contact",
        &["identifier_hash"],
        &["POST C/contacts"],
    ),
    sometimes(
        "client API: additional_attributes, location and country_code of the raw record",
        SESSION,
    ),
    with("client API: avatar_url", &["avatar_url"], SESSION),
    sometimes("WebSocket: frames for contacts", &["* /cable"]),
    always(
        "platform API: access_token of users and bots",
        &[
            "GET P/users/{}",
            "PATCH P/users/{}",
            "PUT P/users/{}",
            "GET P/agent_bots/**",
            "PATCH P/agent_bots/{}",
            "PUT P/agent_bots/{}",
        ],
    ),
    always("platform API: pubsub_token of users", USER),
    with(
        "platform API: a user's password",
        &["password"],
        &["POST P/users", "PATCH P/users/{}", "PUT P/users/{}"],
    ),
    with("platform API: outgoing_url of a bot", &["outgoing_url"], BOT),
    always("platform API: a membership's id", &["* P/accounts/{}/account_users"]),
    sometimes("platform API: a deleted user", &["DELETE P/users/{}"]),
    sometimes("platform API: a deleted account", &["DELETE P/accounts/{}"]),
    sometimes("pictures of bots", BOT),
    elsewhere("platform API: what an app was granted"),
    always("platform API: the login link", &["GET P/users/{}/login"]),
    elsewhere("bodies of 404, 400, 429 and 500 of the client API (unconfirmed)"),
    always("GET /platform/api/v1/accounts (unconfirmed)", &["GET P/accounts"]),
    sometimes("raw contacts (unconfirmed)", SESSION),
    sometimes("outgoing_url and secret of bots in later revisions (unconfirmed)", BOT),
    sometimes(
        "client API: typing with a value other than on and off",
        &["POST C/contacts/{}/conversations/{}/toggle_typing"],
    ),
];
