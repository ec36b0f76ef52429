//! The JSON of agent bots.

use parley_proto as pb;
use serde_json::{Value as Json, json};

/// An agent bot, without its token: only the hash is stored.
pub fn agent_bot(bot: &pb::AgentBot) -> Json {
    json!({
        "id": bot.id,
        "name": bot.name,
        "description": bot.description,
        "thumbnail": bot.avatar_url,
        "outgoing_url": bot.outgoing_url,
        "account_id": bot.account_id,
    })
}
