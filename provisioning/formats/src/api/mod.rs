//! The JSON bodies of the service, shared by the firmware's endpoints and the tools. Strict:
//! unknown fields, duplicate keys and non-canonical base64 are refused.

use serde::{Deserialize, Serialize};

mod answers;
mod context;

pub use answers::{
    Accepted, Answer, Answers, AuditStatus, Block, Blocks, Collected, Connections, Decrypted,
    Encrypted, Health, ItemError, Keyring, Keyrings, Status,
};
pub use context::Context;

/// One item of `encrypt`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Encrypt {
    /// Echoed in a batch's answer.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Which keyring.
    pub keyring: String,
    /// What the value belongs to.
    #[serde(default)]
    pub context: Context,
    /// The value, base64.
    #[serde(with = "b64_secret")]
    pub plaintext: zeroize::Zeroizing<Vec<u8>>,
}

/// One item of `decrypt`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Decrypt {
    /// Echoed in a batch's answer.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// `cm1.<keyring>.<version>.<base64url>`.
    pub token: String,
    /// What the value belongs to.
    #[serde(default)]
    pub context: Context,
}

/// A batch of items, at most [`crate::limits::BATCH_ITEMS`].
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Batch<T> {
    /// In order.
    pub items: Vec<T>,
}

/// An RFC 9457 problem document.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Problem {
    /// URI of the code's description.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Stable, for machines: see [`crate::code`].
    pub code: String,
    /// The request's id.
    pub instance: String,
    /// What was expected and found, where that is not the client's input or a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Strict standard base64 with padding, as serde modules.
macro_rules! base64_module {
    ($(#[$doc:meta])* $name:ident, $type:ty, $encode:expr, $decode:expr) => {
        $(#[$doc])*
        pub mod $name {
            #[allow(unused_imports)]
            use base64::{Engine as _, engine::general_purpose::STANDARD};
            use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

            /// Encodes.
            ///
            /// # Errors
            /// The serializer's own.
            pub fn serialize<S: Serializer>(value: &$type, s: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(&$encode(value), s)
            }

            /// Decodes.
            ///
            /// # Errors
            /// Anything that is not canonical base64 of the right length.
            pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<$type, D::Error> {
                let wire = <_>::deserialize(d)?;
                $decode(wire).ok_or_else(|| D::Error::custom("not canonical base64"))
            }
        }
    };
}

base64_module!(
    /// Bytes.
    b64, Vec<u8>, |v: &Vec<u8>| STANDARD.encode(v), |s: String| STANDARD.decode(s).ok()
);
base64_module!(
    /// Secret bytes, wiped on drop.
    b64_secret, zeroize::Zeroizing<Vec<u8>>,
    |v: &zeroize::Zeroizing<Vec<u8>>| STANDARD.encode(v.as_slice()),
    |s: zeroize::Zeroizing<String>| STANDARD.decode(s.as_bytes()).ok().map(zeroize::Zeroizing::new)
);
base64_module!(
    /// Exactly 32 bytes.
    b64_array, [u8; 32],
    |v: &[u8; 32]| STANDARD.encode(v),
    |s: String| STANDARD.decode(s).ok().and_then(|v| v.try_into().ok())
);
base64_module!(
    /// Bytes or null.
    b64_option, Option<Vec<u8>>,
    |v: &Option<Vec<u8>>| v.as_ref().map(|v| STANDARD.encode(v)),
    |s: Option<String>| s.map(|s| STANDARD.decode(s)).transpose().ok()
);
base64_module!(
    /// A list of byte strings.
    b64_list, Vec<Vec<u8>>,
    |v: &Vec<Vec<u8>>| v.iter().map(|v| STANDARD.encode(v)).collect::<Vec<_>>(),
    |s: Vec<String>| s.iter().map(|s| STANDARD.decode(s).ok()).collect::<Option<Vec<_>>>()
);
