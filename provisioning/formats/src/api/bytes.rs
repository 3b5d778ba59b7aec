//! Bytes in JSON: standard base64 with padding, in the one text that each has (RFC 4648 section 4).
//! Decoded straight from the body; what may be secret is wiped on drop.

use core::{fmt, marker::PhantomData};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{
    Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
};
use zeroize::Zeroizing;

/// What a text in base64 can become.
trait FromBase64: Sized {
    /// `None`: not canonical base64, or of another length.
    fn from_base64(text: &str) -> Option<Self>;
}

impl FromBase64 for Vec<u8> {
    fn from_base64(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok()
    }
}

impl FromBase64 for Zeroizing<Vec<u8>> {
    fn from_base64(text: &str) -> Option<Self> {
        let mut out = Self::new(Vec::with_capacity(text.len() / 4 * 3));
        STANDARD.decode_vec(text, &mut out).ok()?;
        Some(out)
    }
}

impl FromBase64 for [u8; 32] {
    fn from_base64(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok()?.try_into().ok()
    }
}

struct Text<T>(PhantomData<T>);

impl<T: FromBase64> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string of base64")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::from_base64(text).ok_or_else(|| E::custom("not canonical base64"))
    }
}

/// Serializes without a copy that outlives the call.
fn write<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len().div_ceil(3) * 4));
    STANDARD.encode_string(bytes, &mut text);
    s.serialize_str(&text)
}

macro_rules! base64_module {
    ($(#[$doc:meta])* $name:ident: $type:ty) => {
        $(#[$doc])*
        pub mod $name {
            use super::{Deserializer, PhantomData, Serializer, Text, write};

            /// Encodes.
            ///
            /// # Errors
            /// The serializer's own.
            pub fn serialize<S: Serializer>(value: &[u8], s: S) -> Result<S::Ok, S::Error> {
                write(value, s)
            }

            /// Decodes.
            ///
            /// # Errors
            /// Anything that is not canonical base64 of the right length.
            pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<$type, D::Error> {
                d.deserialize_str(Text::<$type>(PhantomData))
            }
        }
    };
}

base64_module! {
    /// Bytes.
    b64: Vec<u8>
}
base64_module! {
    /// Secret bytes, wiped on drop.
    b64_secret: zeroize::Zeroizing<Vec<u8>>
}
base64_module! {
    /// Exactly 32 bytes.
    b64_array: [u8; 32]
}

/// Bytes or null.
pub mod b64_option {
    use super::{Deserializer, Error, PhantomData, Serializer, Text, Visitor, fmt, write};

    struct Maybe;

    impl<'de> Visitor<'de> for Maybe {
        type Value = Option<Vec<u8>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string of base64, or null")
        }

        fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
            d.deserialize_str(Text(PhantomData)).map(Some)
        }
    }

    /// Encodes.
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(value: &Option<Vec<u8>>, s: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(bytes) => write(bytes, s),
            None => s.serialize_none(),
        }
    }

    /// Decodes.
    ///
    /// # Errors
    /// Anything but canonical base64 or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<u8>>, D::Error> {
        d.deserialize_option(Maybe)
    }
}

/// A list of byte strings.
pub mod b64_list {
    use super::{
        Deserializer, PhantomData, SeqAccess, Serialize, Serializer, Text, Visitor, fmt, write,
    };

    struct Item<'a>(&'a [u8]);

    impl Serialize for Item<'_> {
        fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
            write(self.0, s)
        }
    }

    struct Seed;

    impl<'de> serde::de::DeserializeSeed<'de> for Seed {
        type Value = Vec<u8>;

        fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Vec<u8>, D::Error> {
            d.deserialize_str(Text(PhantomData))
        }
    }

    struct List;

    impl<'de> Visitor<'de> for List {
        type Value = Vec<Vec<u8>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of strings of base64")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut out = Vec::new();
            while let Some(item) = seq.next_element_seed(Seed)? {
                out.push(item);
            }
            Ok(out)
        }
    }

    /// Encodes.
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(value: &[Vec<u8>], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(value.iter().map(|bytes| Item(bytes)))
    }

    /// Decodes.
    ///
    /// # Errors
    /// Anything but a list of canonical base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Vec<u8>>, D::Error> {
        d.deserialize_seq(List)
    }
}
