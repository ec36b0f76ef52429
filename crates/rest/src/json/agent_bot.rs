//! Agent bots.

use parley_proto as pb;
use serde_json::{Value as Json, json};

/// A bot, without its token, of which only the hash is kept.
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
