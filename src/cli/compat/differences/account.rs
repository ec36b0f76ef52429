//! Differences from Chatwoot in account routes, the profile and the WebSocket.

use super::entry::{Entry, always, elsewhere, sometimes, with};

const CONTACT: &[&str] = &["* A/contacts", "* A/contacts/{}"];
const WRITES_CONTACT: &[&str] = &["POST A/contacts", "PATCH A/contacts/{}", "PUT A/contacts/{}"];
const INBOX: &[&str] = &["POST A/inboxes", "PATCH A/inboxes/{}", "PUT A/inboxes/{}"];
const FILTERS: &[&str] = &["POST A/contacts/filter", "POST A/conversations/filter"];
const SEARCHES: &[&str] = &["GET A/search", "GET A/search/messages"];
const MESSAGE: &[&str] = &["POST A/conversations/{}/messages"];
const WITH_ATTRIBUTES: &[&str] = &[
    "POST A/contacts",
    "PATCH A/contacts/{}",
    "PUT A/contacts/{}",
    "POST A/conversations",
    "POST A/conversations/{}/custom_attributes",
    "POST A/conversations/{}/messages",
];
const BY_TEXT: &[&str] = &["GET A/conversations", "GET A/conversations/meta", "GET A/conversations/search"];
const PARTICIPANTS: &[&str] = &["POST A/conversations/{}/participants"];
const CABLE: &[&str] = &["* /cable"];

pub(super) const ENTRIES: &[Entry] = &[
    elsewhere("parameters that a route does not accept, in the body or the query"),
    elsewhere("PATCH or PUT of a resource of an account whose body contains only such parameters, such as content of a message"),
    elsewhere("credential"),
    elsewhere(".json at the end of an identifier"),
    with("from=agent:ID of a search for messages", &["from=agent:"], SEARCHES),
    with("since and until of /search and /search/messages", &["since", "until"], SEARCHES),
    with(
        "contact_id of conversations, their counts, searches and filter",
        &["contact_id"],
        BY_TEXT,
    ),
    elsewhere("CORS"),
    sometimes(
        "setting an unknown status or priority",
        &[
            "POST A/conversations/{}/toggle_status",
            "POST A/conversations/{}/toggle_priority",
            "PATCH A/conversations/{}",
            "PUT A/conversations/{}",
        ],
    ),
    sometimes("missing channel, missing required objects", INBOX),
    sometimes(
        "source id of another contact in an API inbox",
        &["POST A/contacts", "POST A/contacts/{}/contact_inboxes", "POST A/conversations"],
    ),
    sometimes("blank source_id of a session", &["POST A/contacts/{}/contact_inboxes"]),
    with(
        "message_type activity or template, or a number",
        &["message_type=activity", "message_type=template"],
        MESSAGE,
    ),
    sometimes("duplicate contact", WRITES_CONTACT),
    sometimes("source_id without both ids", &["POST A/conversations"]),
    sometimes("numbers that a double cannot represent, in attributes and texts", WITH_ATTRIBUTES),
    sometimes(
        "attributes nested deeper than 24 levels, the character NUL in texts",
        WITH_ATTRIBUTES,
    ),
    sometimes(
        "an attribute object of more than 64 KiB or 250 keys, alone or merged into the stored one",
        WITH_ATTRIBUTES,
    ),
    sometimes(
        "attributes stored before that limit",
        &["GET A/contacts/**", "GET A/conversations/**"],
    ),
    sometimes(
        "truncated_fields",
        &["GET A/contacts/**", "GET A/conversations/**", "GET A/inboxes/**"],
    ),
    sometimes(
        "merging two contacts whose attributes do not fit into one object",
        &["POST A/actions/contact_merge"],
    ),
    sometimes("contact_inboxes of a contact with more than 100 sessions", CONTACT),
    with(
        "pages requested with per_page or cursor",
        &["per_page", "cursor"],
        &["GET A/contacts/**", "GET A/conversations/**", "GET A/search/**"],
    ),
    sometimes(
        "a list that fails while it is written (the database is unavailable)",
        &["GET A/contacts", "GET A/conversations"],
    ),
    elsewhere("Idempotency-Key"),
    always("/audit_logs", &["GET A/audit_logs"]),
    with("message source_id", &["unique_source_id"], MESSAGE),
    sometimes("blank identifier", WRITES_CONTACT),
    sometimes(
        "POST /api/v1/profile/rotate_pubsub_token, POST …/contacts/{contact_identifier}/rotate_pubsub_token",
        &["GET /api/v1/profile"],
    ),
    sometimes("profile access_token", &["GET /api/v1/profile"]),
    elsewhere("overload"),
    elsewhere("a token that exceeds its rate"),
    sometimes("too many messages in a conversation", MESSAGE),
    sometimes("contact_inboxes[].inbox", CONTACT),
    with("webhook_url of an inbox", &["webhook_url", "channel"], INBOX),
    sometimes(
        "activity messages",
        &["POST A/conversations/{}/toggle_status", "POST A/conversations/{}/assignments"],
    ),
    sometimes("deleting a message", &["DELETE A/conversations/{}/messages/{}"]),
    sometimes("deleting a contact or an inbox", &["DELETE A/contacts/{}", "DELETE A/inboxes/{}"]),
    with(
        "per_page and cursor",
        &["per_page", "cursor"],
        &["GET A/contacts/**", "GET A/conversations/**", "GET A/search/**"],
    ),
    sometimes(
        "searches while the index is more than 20,000 messages behind",
        &["GET A/search", "GET A/search/messages", "GET A/search/conversations"],
    ),
    sometimes(
        "messages shown with the conversations of a search",
        &["GET A/conversations/search", "GET A/search/conversations"],
    ),
    with(
        "counts on later pages of a cursor",
        &["cursor"],
        &["GET A/contacts", "GET A/conversations"],
    ),
    sometimes(
        "query operator on the last condition of a filter, none on an earlier one, no payload",
        FILTERS,
    ),
    sometimes("values of a filter that are not a status, priority, id, number or day", FILTERS),
    sometimes("filter by a part of display_id", &["POST A/conversations/filter"]),
    sometimes("filter by an attribute of type currency or percentage", FILTERS),
    sometimes("stored attributes that do not have the type that a filter compares", FILTERS),
    sometimes("filter with an empty payload", FILTERS),
    sometimes("non-ASCII letters in filters and in searches with % or _, on SQLite", FILTERS),
    sometimes(
        "contacts filtered by a label with a capital letter",
        &["POST A/contacts/filter", "GET A/contacts"],
    ),
    sometimes(
        "labels that differ only by case (unconfirmed)",
        &["POST A/contacts/{}/labels", "POST A/conversations/{}/labels"],
    ),
    sometimes("presence", CABLE),
    sometimes("WebSocket: an invalid token", CABLE),
    always("WebSocket: contact_inbox.pubsub_token in frames", CABLE),
    always("WebSocket: typing of a private note", CABLE),
    always("WebSocket: conversation of typing", CABLE),
    always("WebSocket: performer", CABLE),
    always("WebSocket: conversation.mentioned", CABLE),
    always("WebSocket: notifications, calls, orders", CABLE),
    always("WebSocket: frames in quick succession", CABLE),
    sometimes("automatic assignment", &["POST A/conversations"]),
    always("assigning", &["POST A/conversations/{}/assignments"]),
    sometimes(
        "POST …/participants with somebody who cannot be assigned in the inbox (unconfirmed)",
        PARTICIPANTS,
    ),
    sometimes("user_ids missing, or an unknown user in POST …/participants", PARTICIPANTS),
    sometimes("mentions", &["DELETE A/conversations/{}/messages/{}"]),
    sometimes("muting a muted conversation", &["POST A/conversations/{}/mute"]),
    with("updated_within", &["updated_within"], &["GET A/conversations"]),
    sometimes("Liquid", MESSAGE),
    sometimes("Liquid in texts for a session that a contact created without a proof", MESSAGE),
    sometimes("Liquid without bounds", MESSAGE),
    sometimes(
        "greeting_message, out_of_office_message and the survey's message with a template that cannot be rendered",
        INBOX,
    ),
    sometimes(
        "company_name, company, city, country and country_code of a contact's additional_attributes",
        WRITES_CONTACT,
    ),
    sometimes(
        "searches of one or two characters, in a contact's texts that are longer than 255",
        &["GET A/contacts/search", "GET A/search/contacts"],
    ),
    sometimes("searches for messages", SEARCHES),
    sometimes("greeting after a private note", MESSAGE),
    sometimes("out of office once a day", MESSAGE),
    sometimes("content of a survey in an API inbox", &["GET A/conversations/{}/messages"]),
    sometimes("searches for fewer than three characters", SEARCHES),
    with("conversations by a text (q), and their counts", &["q"], BY_TEXT),
    sometimes("% and _ in searches for messages", SEARCHES),
    always("/search/conversations", &["GET A/search/conversations", "GET A/search"]),
    sometimes("conversations that a bot can access", &["GET A/conversations/{}"]),
    sometimes("bots' outgoing_url", &["GET A/agent_bots"]),
    sometimes("marking as read", &["POST A/conversations/{}/update_last_seen"]),
    sometimes("attach_unverified_sessions of an inbox and its channel", INBOX),
    sometimes("contact_inboxes[] of a contact", CONTACT),
    with(
        "hmac_verified of POST …/contact_inboxes and of a new conversation",
        &["hmac_verified"],
        &["POST A/contacts/{}/contact_inboxes", "POST A/conversations"],
    ),
    with(
        "changing the identifier of a contact with sessions in inboxes that the caller cannot see",
        &["identifier"],
        &["PATCH A/contacts/{}", "PUT A/contacts/{}"],
    ),
    always("merging contacts", &["POST A/actions/contact_merge"]),
    sometimes("contacts for a service that is limited to inboxes", CONTACT),
    sometimes(
        "an account that does not exist",
        &["GET A/inboxes", "GET A/contacts", "GET A/conversations"],
    ),
    sometimes("messages of a merged contact", &["POST A/actions/contact_merge"]),
    sometimes(
        "a user who is not a member of the account, in inbox_members",
        &["POST A/inbox_members", "PATCH A/inbox_members", "PUT A/inbox_members"],
    ),
    sometimes(
        "members of inboxes and teams: an unknown user among them",
        &["POST A/inbox_members", "POST A/teams/{}/team_members"],
    ),
    always("a new agent", &["POST A/agents", "POST A/agents/bulk_create"]),
    sometimes("a new agent whose address already belongs to a user", &["POST A/agents"]),
    with(
        "PATCH …/agents/{id} with a name",
        &["name", "agent"],
        &["PATCH A/agents/{}", "PUT A/agents/{}"],
    ),
    sometimes(
        "the sender of old messages, after the member was removed",
        &["GET A/conversations/{}/messages"],
    ),
    always("pubsub_token of the profile", &["GET /api/v1/profile"]),
    sometimes("hmac_token of an inbox", &["GET A/inboxes/**"]),
    sometimes(
        "names of inboxes, bots, agents, teams and accounts with control characters",
        &["POST A/inboxes", "POST A/agents", "POST A/teams"],
    ),
    sometimes(
        "data_url and thumb_url",
        &["GET A/conversations/{}/attachments", "GET A/conversations/{}/messages"],
    ),
    sometimes("a deleted agent without another account", &["DELETE A/agents/{}"]),
    sometimes("an invalid address of a new agent (unconfirmed)", &["POST A/agents"]),
    sometimes("a new conversation with an unknown team_id", &["POST A/conversations"]),
    sometimes(
        "a new conversation with a team and an assignee outside of it",
        &["POST A/conversations"],
    ),
    sometimes("a label with a new title", &["PATCH A/labels/{}", "PUT A/labels/{}"]),
    sometimes(
        "an invalid update of a note",
        &["PATCH A/contacts/{}/notes/{}", "PUT A/contacts/{}/notes/{}"],
    ),
    sometimes("wrong types and wrong values in one request", WITH_ATTRIBUTES),
    with(
        "numbered pages with very large numbers",
        &["page"],
        &["GET A/contacts", "GET A/conversations"],
    ),
    sometimes("transcripts", &["POST A/conversations/{}/transcript"]),
    always(
        "availability_status of a message's sender",
        &["GET A/conversations/{}/messages", "POST A/conversations/{}/messages"],
    ),
    elsewhere("bodies of 404 for an unknown route and 400 for invalid JSON, multipart or names (unconfirmed)"),
    elsewhere("a header named HTTP_API_ACCESS_TOKEN (unconfirmed)"),
    sometimes(
        "unknown status in lists of conversations (unconfirmed)",
        &["GET A/conversations", "GET A/conversations/meta"],
    ),
    sometimes("more than 15 attachments (unconfirmed)", MESSAGE),
    with("template_params without a name (unconfirmed)", &["template_params"], MESSAGE),
    sometimes("account_id and contact_id of a note (unconfirmed)", &["GET A/contacts/{}/notes/**"]),
    sometimes(
        "later revisions: contact search in all contacts and by numeric id, has_more, count of the page",
        &["GET A/contacts/search"],
    ),
    with(
        "later revisions: sort key company_name, emails of a contact",
        &["sort=company_name", "sort=-company_name", "emails"],
        CONTACT,
    ),
    with(
        "PATCH …/messages/{id} with a status that moves the delivery back…",
        &["status"],
        &["PATCH A/conversations/{}/messages/{}", "PUT A/conversations/{}/messages/{}"],
    ),
    sometimes(
        "update_last_seen of an agent when nothing is unread",
        &["POST A/conversations/{}/update_last_seen"],
    ),
    always(
        "later revisions: retry of failed messages only, external_error alone is removed",
        &["POST A/conversations/{}/messages/{}/retry"],
    ),
    with(
        "later revisions: assignee_type in assignments",
        &["assignee_type"],
        &["POST A/conversations/{}/assignments"],
    ),
    with(
        "later revisions: merge and removal of a conversation's custom attributes",
        &["merge"],
        &["POST A/conversations/{}/custom_attributes"],
    ),
    sometimes(
        "later revisions: the text for a bot of another account",
        &["POST A/conversations/{}/messages"],
    ),
    elsewhere("later revisions: name of webhooks"),
    sometimes("a new conversation with an unknown assignee_id", &["POST A/conversations"]),
    sometimes(
        "q of more than 255 characters",
        &["GET A/contacts/search", "GET A/conversations/search", "GET A/search/**"],
    ),
    sometimes("searches for contacts", &["GET A/contacts/search", "GET A/search/contacts"]),
    sometimes("pictures of more than 16 MiB", MESSAGE),
    sometimes("first reply and waiting_since", MESSAGE),
    sometimes(
        "a resolved conversation that returns to its bot",
        &["POST A/conversations/{}/toggle_status"],
    ),
    sometimes(
        "active_at of a membership, and so the profile's account_id and role",
        &["GET /api/v1/profile"],
    ),
    sometimes(
        "messages that a contact's view marks as read",
        &["POST C/contacts/{}/conversations/{}/update_last_seen"],
    ),
    sometimes(
        "WebSocket: more than 16 subscriptions, a sustained rate of more than 20 frames per second, identifiers above 2 KiB",
        CABLE,
    ),
    always("GET /api/v1/accounts/{account_id}", &["GET A"]),
    sometimes("changing the account", &["PATCH A", "PUT A"]),
    sometimes("cache_keys, and those of frames account.cache_invalidated", &["GET A/cache_keys"]),
    with(
        "PUT /api/v1/profile with another email, or a password",
        &["email", "password", "profile"],
        &["PATCH /api/v1/profile", "PUT /api/v1/profile"],
    ),
    sometimes(
        "PUT /api/v1/profile/set_active_account",
        &["PUT /api/v1/profile/set_active_account"],
    ),
    sometimes(
        "POST /api/v1/profile/availability for another user's account",
        &["POST /api/v1/profile/availability"],
    ),
    always(
        "lists of features that Parley does not have…",
        &[
            "GET A/webhooks",
            "GET A/custom_filters",
            "GET A/campaigns",
            "GET A/automation_rules",
            "GET A/portals",
            "GET A/macros",
            "GET A/dashboard_apps",
            "GET A/custom_roles",
            "GET A/sla_policies",
            "GET A/csat_survey_responses",
            "GET A/notifications/**",
        ],
    ),
    always("GET …/notification_settings", &["GET A/notification_settings"]),
    always("GET …/integrations/apps", &["GET A/integrations/apps"]),
    sometimes("GET /api", &["GET /api"]),
    elsewhere("bodies beyond the limits of limits.md (values, keys, form fields, part headers)"),
    elsewhere("a request that takes too long (unconfirmed)"),
    elsewhere("a large body, or a form with files, from a caller who is refused or for a resource that does not exist"),
];
