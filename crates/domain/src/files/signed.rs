//! Signs the names of uploads, permanent links to files, and expiring links. Only this installation can create valid ones.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use parley_fault::Protection;
use parley_storage::Database;
use parley_types::{error::Result, time::Micros};
use sha2::Sha256;

use crate::auth::secrets;

/// The name of the signing key in the `secrets` table.
pub(super) const KEY: &str = "file_links";

/// The length of a signature in bytes. HMAC-SHA256 is truncated to 128 bits, which are still too many to guess.
const MAC: usize = 16;

/// The upload or file that a signed name refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// An upload. The name contains the beginning of a hash of the file's name and content, so that two uploads of the same file can be
    /// recognized as equal.
    Upload {
        /// The id of the upload's row in `attachments`.
        id: i64,
        /// The first 16 bytes of a SHA-256 hash of the file's name and content.
        hash: [u8; 16],
    },
    /// A permanent link to a file or its thumbnail, valid as long as the file exists.
    File {
        /// The id of the file's row in `attachments`.
        id: i64,
        /// Whether the link refers to the thumbnail.
        small: bool,
    },
    /// An expiring link to a file or its thumbnail, valid until a given time.
    Link {
        /// The id of the file's row in `attachments`.
        id: i64,
        /// Whether the link refers to the thumbnail.
        small: bool,
        /// The time at which the link expires, in seconds since 1970-01-01 UTC.
        until: i64,
    },
}

/// Signs and verifies names with the key that all replicas share.
#[derive(Clone)]
pub struct Signer {
    key: [u8; 32],
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// Reads the installation's signing key. The first replica that needs the key creates it.
    ///
    /// # Errors
    /// Returns [`parley_types::error::Error::Database`] if a query fails.
    pub async fn open(db: &Database) -> Result<Self> {
        Ok(Self::of(secrets::key(db, KEY).await?))
    }

    /// Creates a signer with the given key.
    pub(super) fn of(key: [u8; 32]) -> Self {
        Self { key }
    }

    fn mac(&self, bytes: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(bytes);
        Some(mac)
    }

    /// Signs a name. The result consists of letters, digits, `-` and `_`.
    pub fn sign(&self, name: Name) -> String {
        let mut bytes = Vec::with_capacity(48);
        match name {
            Name::Upload { id, hash } => {
                bytes.push(b'u');
                bytes.extend(id.to_be_bytes());
                bytes.extend(hash);
            }
            Name::File { id, small } => {
                bytes.extend([b'f', u8::from(small)]);
                bytes.extend(id.to_be_bytes());
            }
            Name::Link { id, small, until } => {
                bytes.extend([b'l', u8::from(small)]);
                bytes.extend(id.to_be_bytes());
                bytes.extend(until.to_be_bytes());
            }
        }
        if let Some(mac) = self.mac(&bytes) {
            bytes.extend(&mac.finalize().into_bytes()[..MAC]);
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Verifies a signed name. Returns `None` if the signature is invalid.
    pub fn read_name(&self, text: &str) -> Option<Name> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (name, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC)?)?;
        // `verify_truncated_left` compares in constant time, so response times reveal nothing about the valid signature.
        self.mac(name)?.verify_truncated_left(mac).ok()?;
        let number = |bytes: &[u8]| Some(i64::from_be_bytes(bytes.try_into().ok()?));
        match name {
            [b'u', rest @ ..] => {
                let (id, hash) = rest.split_at_checked(8)?;
                Some(Name::Upload {
                    id: number(id)?,
                    hash: hash.try_into().ok()?,
                })
            }
            [b'f', small, id @ ..] => Some(Name::File {
                id: number(id)?,
                small: *small == 1,
            }),
            [b'l', small, rest @ ..] => {
                let (id, until) = rest.split_at_checked(8)?;
                Some(Name::Link {
                    id: number(id)?,
                    small: *small == 1,
                    until: number(until)?,
                })
            }
            _ => None,
        }
    }

    /// Returns the file that a permanent link refers to, and whether it refers to the thumbnail. Returns `None` if the signature is invalid
    /// or the link is an expiring one: if expiring links could be exchanged for new ones, access would never end.
    pub fn read_permanent(&self, link: &str) -> Option<(i64, bool)> {
        match self.read_name(signed_part(link))? {
            Name::File { id, small } => Some((id, small)),
            Name::Link { id, small, until } if !parley_fault::is_on(Protection::LinkExpiry) && Micros::now().seconds() < until => {
                Some((id, small))
            }
            Name::Link { .. } | Name::Upload { .. } => None,
        }
    }

    /// Returns the file that a link refers to, and whether it refers to the thumbnail. Returns `None` if the signature is invalid or the
    /// link has expired.
    pub fn read_link(&self, link: &str) -> Option<(i64, bool)> {
        match self.read_name(signed_part(link))? {
            Name::File { id, small } => Some((id, small)),
            Name::Link { id, small, until } => (Micros::now().seconds() < until).then_some((id, small)),
            Name::Upload { .. } => None,
        }
    }
}

/// Returns the signed part of a file URL, which follows `/files/` or `/files/blobs/`. A string without either is assumed to be the signed
/// part itself.
pub(super) fn signed_part(link: &str) -> &str {
    let rest = link.split_once("/files/").map_or(link, |(_, rest)| rest);
    let rest = rest.strip_prefix("blobs/").unwrap_or(rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Returns the hash that an upload name contains, without verifying the signature. Returns a string that is not an upload name unchanged.
/// Request fingerprints contain the hash instead of the name, so that a repeated request still matches if the client uploaded the same file
/// again.
pub fn content_of(upload_id: &str) -> String {
    let bytes = URL_SAFE_NO_PAD.decode(upload_id).unwrap_or_default();
    match bytes.as_slice() {
        [b'u', rest @ ..] if rest.len() == 8 + 16 + MAC => hex::encode(&rest[8..24]),
        _ => upload_id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> impl Strategy<Value = Name> {
        prop_oneof![
            (any::<i64>(), any::<[u8; 16]>()).prop_map(|(id, hash)| Name::Upload { id, hash }),
            (any::<i64>(), any::<bool>()).prop_map(|(id, small)| Name::File { id, small }),
            (any::<i64>(), any::<bool>(), any::<i64>()).prop_map(|(id, small, until)| Name::Link { id, small, until }),
        ]
    }

    proptest! {
        #[test]
        fn accepts_only_signed_names(name in names(), at in 0..60_usize, bit in 0..8_u8) {
            let signer = Signer { key: [7; 32] };
            let signed = signer.sign(name);
            prop_assert_eq!(signer.read_name(&signed), Some(name));
            prop_assert_eq!(Signer { key: [8; 32] }.read_name(&signed), None);
            let mut bytes = URL_SAFE_NO_PAD.decode(&signed).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(signer.read_name(&URL_SAFE_NO_PAD.encode(bytes)), None);
        }

        #[test]
        fn rejects_arbitrary_text(text in ".{0,80}") {
            prop_assert_eq!(Signer { key: [7; 32] }.read_name(&text), None);
        }
    }

    #[test]
    fn links_expire_and_are_read_from_urls() {
        let signer = Signer { key: [7; 32] };
        let now = Micros::now().seconds();
        let link = |until| signer.sign(Name::Link { id: 4, small: true, until });
        assert_eq!(signer.read_link(&link(now + 60)), Some((4, true)));
        assert_eq!(signer.read_link(&link(now)), None);
        let file = signer.sign(Name::File { id: 5, small: false });
        assert_eq!(
            signer.read_link(&format!("https://chat.example.org/files/{file}/a%20b.png")),
            Some((5, false))
        );
        assert_eq!(signer.read_link(&signer.sign(Name::Upload { id: 5, hash: [0; 16] })), None);
        assert_eq!(signer.read_permanent(&file), Some((5, false)));
        assert_eq!(signer.read_permanent(&link(now + 60)), None);
    }

    #[test]
    fn equal_content_has_the_same_hash() {
        let signer = Signer { key: [7; 32] };
        let upload = |id, hash| content_of(&signer.sign(Name::Upload { id, hash }));
        assert_eq!(upload(1, [3; 16]), upload(2, [3; 16]));
        assert_ne!(upload(1, [3; 16]), upload(1, [4; 16]));
        assert_eq!(content_of("anything"), "anything");
    }
}
