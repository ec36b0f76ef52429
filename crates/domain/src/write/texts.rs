//! The templates that a write set needs rendered, and the values for rendering them.
//!
//! Rendering is part of the rules (`messages::liquid`). It is CPU-bound and runs on compute pools, so a write set only collects the
//! templates that have not been rendered. The writer shard has them rendered and plans again.

use std::collections::HashMap;

use parley_storage::joined::{Conversation, Sender};
use parley_types::id::ConversationId;

/// A request to render a template for a conversation.
#[derive(Clone, Debug)]
pub struct TextRequest {
    /// The source text of the template.
    pub text: String,
    /// The conversation whose values the template can use.
    pub conversation: Conversation,
    /// The sender of the message; `None` for automatic messages.
    pub sender: Option<Sender>,
}

/// Rendered templates by conversation and template; `None` for a template that cannot be rendered.
pub type RenderedTexts = HashMap<(ConversationId, String), Option<String>>;
