//! How values of a bundle look where people read them (`bundle show`, JSON). Postcard sees the plain
//! forms; nothing reads these texts back.

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

use super::body::{Prefix, Recipient, Roles};
use crate::share::age::format_recipient;

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            return s.collect_str(&format_args!("{}/{}", self.address, self.length));
        }
        let mut fields = s.serialize_struct("Prefix", 2)?;
        fields.serialize_field("address", &self.address)?;
        fields.serialize_field("length", &self.length)?;
        fields.end()
    }
}

impl Serialize for Roles {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            return s.serialize_str(&self.names().collect::<Vec<_>>().join(" "));
        }
        s.serialize_newtype_struct("Roles", &self.0)
    }
}

impl Serialize for Recipient {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AgeX25519(key) if s.is_human_readable() => {
                s.serialize_str(&format_recipient(key))
            }
            Self::AgeX25519(key) => s.serialize_newtype_variant("Recipient", 0, "AgeX25519", key),
        }
    }
}
