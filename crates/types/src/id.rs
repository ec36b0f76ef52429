//! Ids and positions as newtypes, so that one cannot be passed for another. They are column types as well.

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
    /// A user; the id is unique in the installation.
    UserId,
    /// A token; the id is unique in the installation.
    TokenId,
    /// An agent bot; the id is unique in the installation.
    AgentBotId,
    InboxId,
    ChannelId,
    TeamId,
    /// A label in an account's list of labels.
    LabelId,
    /// A custom attribute definition.
    DefinitionId,
    CannedResponseId,
    /// A note about a contact.
    NoteId,
    ContactId,
    /// A contact's session in an inbox.
    ContactInboxId,
    /// A conversation, numbered 1, 2, 3 … per account.
    ConversationId,
    /// A message, numbered 1, 2, 3 … per account, in the order of commits.
    MessageId,
    /// The position of an event in the log of its account, numbered 1, 2, 3 … in the order of commits. 0 is before the first event.
    Seq,
    /// The identity of a log's history.
    Epoch,
}

impl UserId {
    /// The range of the ids of new users: above all ids that were assigned in sequence, and below 2^53, up to which JavaScript represents
    /// integers exactly.
    const RANDOM: std::ops::Range<i64> = (1 << 48)..(1 << 53);

    /// Generates the id of a new user. An account sees the ids of users that it adds by email address, and sequential ids would reveal
    /// which of them had been users before. A collision is practically impossible, and the primary key would reject it.
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

    /// Converts a seq from the wire. A number that is too large for a seq becomes the largest one.
    pub fn from_wire(seq: u64) -> Self {
        Self(i64::try_from(seq).unwrap_or(i64::MAX))
    }

    /// Converts the seq for the wire.
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

/// Generates 64 hexadecimal digits, 256 random bits: the secret of a login link.
pub fn login_secret() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

/// Generates 24 characters of the base-58 alphabet, about 140 random bits: the form of every credential and public identifier.
pub fn secret() -> String {
    use rand::Rng as _;
    const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut rng = rand::rng();
    (0..24).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}
