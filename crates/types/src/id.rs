//! Ids and positions as types, so that two of them cannot be swapped. They are columns too.

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
    /// An account, the tenant.
    AccountId,
    /// A user, across accounts.
    UserId,
    /// A token, across accounts.
    TokenId,
    /// An agent bot, across accounts.
    AgentBotId,
    /// An inbox.
    InboxId,
    /// The channel of an inbox.
    ChannelId,
    /// A team.
    TeamId,
    /// A label of an account's list.
    LabelId,
    /// A definition of a custom attribute.
    DefinitionId,
    /// A canned response.
    CannedResponseId,
    /// A note about a contact.
    NoteId,
    /// A contact.
    ContactId,
    /// A contact's session in an inbox.
    ContactInboxId,
    /// An account's number of a conversation: 1, 2, 3 … per account.
    ConversationId,
    /// A message: 1, 2, 3 … per account, in the order of commits.
    MessageId,
    /// An event's place in its account's log: 1, 2, 3 … per account, in the order of commits; 0 is before the first.
    Seq,
    /// The identity of a log's history.
    Epoch,
}

impl UserId {
    /// The ids of users are random from here on: above all that were given out in order, and below 2^53, up to which JavaScript's numbers are
    /// exact.
    const RANDOM: std::ops::Range<i64> = (1 << 48)..(1 << 53);

    /// An id for a new user. Accounts see the ids of users whom they add by address, and ids in order would say which of those had been users
    /// before. Another user with the same id is as good as impossible; the primary key refuses it.
    pub fn random() -> Self {
        Self(rand::random_range(Self::RANDOM))
    }
}

impl Seq {
    /// The place after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The place that the wire names; one that no log reaches becomes the greatest.
    pub fn from_wire(seq: u64) -> Self {
        Self(i64::try_from(seq).unwrap_or(i64::MAX))
    }

    /// As the wire spells it.
    pub fn to_wire(self) -> u64 {
        self.0.cast_unsigned()
    }
}

impl Epoch {
    /// An epoch that no other log has had, as far as chance can tell.
    pub fn random() -> Self {
        Self(i64::from(rand::random::<u32>()))
    }
}

/// Eight hexadecimal digits, as people and the wire see it.
impl std::fmt::LowerHex for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// 64 hexadecimal digits, 256 random bits: the form of what a login link carries.
pub fn long_secret() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

/// 24 characters of the base-58 alphabet, about 140 random bits: the form of every credential and public identifier.
pub fn secret() -> String {
    use rand::Rng as _;
    const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut rng = rand::rng();
    (0..24).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}
