//! The JSON representation of agent bots.

use parley_proto as pb;

use super::json_type::json_type;

json_type! {
    /// An agent bot. Its token is not included, because only the hash of the token is stored.
    pub struct AccountAgentBot(bot: pb::AgentBot) {
        id: i64 = bot.id,
        name: String = bot.name,
        description: String = bot.description,
        thumbnail: String = bot.avatar_url,
        outgoing_url: String = bot.outgoing_url,
        account_id: Option<i64> = bot.account_id,
    }
}
