//! A share, or the root itself, on its way to a box: what was sealed to one boot, and in clear what it
//! is for. What stands in clear is only a claim; it lets whoever holds the message say by name why it
//! does not fit, before anything is opened.

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};

use super::seal::{self, Binding, Contents, SealError};
use crate::{
    bundle::Bundle,
    code::Code,
    digest::{Digest, Name},
};

/// One message. JSON; public: worth nothing to whoever does not hold the boot's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Digest of the bundle in force.
    pub bundle: Digest,
    /// HPKE public key of the boot that it was sealed to, as that boot's request quotes it.
    pub boot: Digest,
    /// Generation of the root that it is of.
    pub generation: u32,
    /// Number of the split.
    pub split: u32,
    /// [`seal::seal`]'s output.
    #[serde(with = "crate::api::b64")]
    pub sealed: Vec<u8>,
}

impl Message {
    /// Seals to the boot that holds `boot`, of the box whose EK is `ek`, under `bundle`.
    ///
    /// # Errors
    /// [`SealError::Key`]; [`SealError::NoRoot`]: the bundle has no root that anything could be of.
    pub fn seal(
        boot: Digest,
        ek: &Name,
        bundle: &Bundle,
        contents: &Contents,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, SealError> {
        let established = bundle.root.established.as_ref().ok_or(SealError::NoRoot)?;
        let digest = bundle.digest();
        let binding = Binding {
            namespace: &bundle.site.namespace,
            root_section: bundle.root_digest(),
            ek,
            bundle: digest,
        };
        Ok(Self {
            bundle: digest,
            boot,
            generation: established.generation,
            split: bundle.root.split,
            sealed: seal::seal(&boot, &binding, contents, rng)?,
        })
    }

    /// Whether it claims to be for this boot under this bundle.
    ///
    /// # Errors
    /// `wrong-bundle`, `wrong-boot`, `wrong-root`, `wrong-split`, in this order.
    pub fn is_for(&self, boot: &Digest, bundle: &Bundle, digest: &Digest) -> Result<(), Code> {
        let established = bundle.root.established.as_ref().ok_or(Code::NoRoot)?;
        let claims = [
            (self.bundle == *digest, Code::WrongBundle),
            (self.boot == *boot, Code::WrongBoot),
            (self.generation == established.generation, Code::WrongRoot),
            (self.split == bundle.root.split, Code::WrongSplit),
        ];
        claims.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, code)| Err(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        bundle::example::{Counted, ROOT, digest, full},
        share::split::split,
    };

    const KEY: &[u8; 32] = &[
        // X25519's base point (RFC 7748, 4.1): a public key like any other.
        9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0,
    ];

    fn message() -> Message {
        let bundle = full();
        let share = split(&ROOT, &bundle.root.established_split().unwrap()).unwrap().remove(0);
        let ek = &bundle.hosts[0].ek;
        Message::seal(Digest(*KEY), ek, &bundle, &Contents::Share(share), &mut Counted(0)).unwrap()
    }

    #[test]
    fn a_message_keeps_its_bytes() {
        let text = serde_json::to_vec(&message()).unwrap();
        crate::golden::golden("share/message.json", &text);
        assert_eq!(crate::api::parse::<Message>(&text).unwrap(), message());
    }

    #[test]
    fn what_a_message_is_not_for_is_named_before_it_is_opened() {
        let (bundle, boot) = (full(), Digest(*KEY));
        let asked = |message: &Message| message.is_for(&boot, &bundle, &bundle.digest());
        assert_eq!(asked(&message()), Ok(()));
        type Change = fn(&mut Message);
        let changes: [(Change, Code); 4] = [
            (|m| m.bundle = digest("another"), Code::WrongBundle),
            (|m| m.boot = digest("another"), Code::WrongBoot),
            (|m| m.generation += 1, Code::WrongRoot),
            (|m| m.split += 1, Code::WrongSplit),
        ];
        for (change, code) in changes {
            let mut message = message();
            change(&mut message);
            assert_eq!(asked(&message), Err(code));
        }
    }
}
