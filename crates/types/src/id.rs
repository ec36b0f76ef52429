//! Ids and positions as newtypes, so that one kind cannot be passed as another. With the feature `sea-orm`, they can also be used as column
//! types.

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[cfg_attr(feature = "sea-orm", derive(sea_orm::DeriveValueType))]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$name> for i64 {
            fn from(id: $name) -> i64 {
                id.0
            }
        }
    )+};
}

ids! {
    AccountId,
    /// The id of a user, unique in the installation.
    UserId,
    /// The id of a token, unique in the installation.
    TokenId,
    /// The id of an agent bot, unique in the installation.
    AgentBotId,
    InboxId,
    ChannelId,
    TeamId,
    /// The id of a label in an account's list of labels.
    LabelId,
    /// The id of a custom attribute definition.
    DefinitionId,
    CannedResponseId,
    /// The id of a note about a contact.
    NoteId,
    ContactId,
    /// The id of a contact's session in an inbox.
    ContactInboxId,
    /// The number of a conversation: 1, 2, 3 … within its account.
    ConversationId,
    /// The number of a message: 1, 2, 3 … within its account, in commit order.
    MessageId,
    /// The position of an event in its account's log: 1, 2, 3 … in commit order. 0 is the position before the first event.
    Seq,
    /// Identifies the history of a log: a log receives a new epoch when its history is replaced.
    Epoch,
}

impl UserId {
    /// The range of ids for new users: above all ids that were assigned sequentially, and below 2^53, the limit up to which JavaScript
    /// represents integers exactly.
    const RANDOM: std::ops::Range<i64> = (1 << 48)..(1 << 53);

    /// Generates a random id for a new user. An account sees the ids of the users whom it adds by email address, and sequential ids would
    /// reveal which of them already existed. A collision is practically impossible, and the primary key would reject it.
    pub fn random() -> Self {
        Self(rand::random_range(Self::RANDOM))
    }
}

impl Seq {
    /// Returns the seq after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Converts a seq from the wire. A number that is too large becomes the largest possible seq.
    pub fn from_wire(seq: u64) -> Self {
        Self(i64::try_from(seq).unwrap_or(i64::MAX))
    }

    /// Converts the seq to its form on the wire.
    pub fn to_wire(self) -> u64 {
        self.0.cast_unsigned()
    }
}

impl Epoch {
    /// Generates an epoch that, with high probability, no other log has had.
    pub fn random() -> Self {
        Self(i64::from(rand::random::<u32>()))
    }
}

/// Formats the epoch as eight hexadecimal digits, as in logs and on the wire.
impl std::fmt::LowerHex for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Generates the secret of a login link: 64 hexadecimal digits, which encode 256 random bits.
pub fn login_secret() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

/// Generates a credential or public identifier. All of them consist of 24 characters of the base-58 alphabet, about 140 random bits.
pub fn secret() -> String {
    use rand::Rng as _;
    const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut rng = rand::rng();
    (0..24).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}
