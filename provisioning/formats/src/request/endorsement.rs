//! Public area of the endorsement key: made from one of two pinned templates, pinned itself in the
//! bundle, the salt of every session and the recipient of credentials.

use sha2::{Digest as _, Sha384};

use super::{
    public::{PublicError, name_of, sha256_name, uncompressed},
    wire::Reader,
};
use crate::{bundle::body::EkTemplate, digest::Name};

/// Everything of the L-2 template (TCG EK Credential Profile 2.5, annex B.4.4) before the point:
/// ECC, SHA-256, attributes 0x300b2, policy A, AES-128-CFB, no scheme, P-256, no KDF.
const L2: &[u8] = &[
    0x00, 0x23, 0x00, 0x0b, 0x00, 0x03, 0x00, 0xb2, 0x00, 0x20, 0x83, 0x71, 0x97, 0x67, 0x44, 0x84,
    0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52,
    0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa, 0x00, 0x06, 0x00, 0x80, 0x00, 0x43,
    0x00, 0x10, 0x00, 0x03, 0x00, 0x10,
];

/// The same of the H-3 template: ECC, SHA-384, attributes 0x300f2, policy B, AES-256-CFB, P-384.
const H3: &[u8] = &[
    0x00, 0x23, 0x00, 0x0c, 0x00, 0x03, 0x00, 0xf2, 0x00, 0x30, 0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a,
    0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a, 0x07, 0x41, 0x48, 0xbb, 0x35, 0xd3,
    0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca, 0xcb, 0x47, 0xba, 0x09, 0x69, 0x96,
    0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12, 0x00, 0x06, 0x01, 0x00, 0x00, 0x43,
    0x00, 0x10, 0x00, 0x04, 0x00, 0x10,
];

/// An endorsement key made from one of the two templates.
#[derive(Clone, Debug)]
pub struct EndorsementKey {
    name: Name,
    template: EkTemplate,
    /// Uncompressed SEC1 form; whether it lies on its curve is asked by who encrypts to it.
    #[cfg(feature = "sign")]
    point: Vec<u8>,
}

/// The point of an endorsement key, on its curve.
#[cfg(feature = "sign")]
pub(super) enum Point {
    P256(p256::PublicKey),
    P384(p384::PublicKey),
}

impl EndorsementKey {
    /// Parses a TPMT_PUBLIC; everything but the point must be the template's.
    ///
    /// # Errors
    /// [`PublicError::Template`], [`PublicError::Malformed`]; [`PublicError::Point`]: coordinates of
    /// another length.
    pub fn parse(public: &[u8]) -> Result<Self, PublicError> {
        let (unique, template) = if let Some(unique) = public.strip_prefix(L2) {
            (unique, EkTemplate::P256)
        } else if let Some(unique) = public.strip_prefix(H3) {
            (unique, EkTemplate::P384)
        } else {
            return Err(PublicError::Template);
        };
        let (name, point) = match template {
            EkTemplate::P256 => (sha256_name(public), sec1(unique, 32)?),
            EkTemplate::P384 => {
                ([&[0, 0x0c][..], &Sha384::digest(public)].concat(), sec1(unique, 48)?)
            }
        };
        #[cfg(not(feature = "sign"))]
        drop(point);
        Ok(Self {
            name: name_of(&name),
            template,
            #[cfg(feature = "sign")]
            point,
        })
    }

    /// Its Name, computed here.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// Which template it was made from.
    #[must_use]
    pub const fn template(&self) -> EkTemplate {
        self.template
    }

    /// Its point, to encrypt to.
    #[cfg(feature = "sign")]
    pub(super) fn point(&self) -> Result<Point, PublicError> {
        match self.template {
            EkTemplate::P256 => p256::PublicKey::from_sec1_bytes(&self.point)
                .map(Point::P256)
                .map_err(|_| PublicError::Point),
            EkTemplate::P384 => p384::PublicKey::from_sec1_bytes(&self.point)
                .map(Point::P384)
                .map_err(|_| PublicError::Point),
        }
    }
}

/// TPMS_ECC_POINT that ends its structure, as an uncompressed SEC1 point.
fn sec1(unique: &[u8], coordinate: usize) -> Result<Vec<u8>, PublicError> {
    let mut reader = Reader::new(unique);
    let (x, y) = (reader.sized()?, reader.sized()?);
    if !reader.is_empty() {
        return Err(PublicError::Malformed);
    }
    uncompressed(x, y, coordinate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EK_P256: &[u8] = include_bytes!("../../testdata/request/ek-p256.tpmt");
    const EK_P384: &[u8] = include_bytes!("../../testdata/request/ek-p384.tpmt");

    #[test]
    fn names_equal_those_a_tpm_gave() {
        let (p256, p384) =
            (EndorsementKey::parse(EK_P256).unwrap(), EndorsementKey::parse(EK_P384).unwrap());
        let found = format!("ek-p256 {}\nek-p384 {}\n", p256.name(), p384.name());
        assert_eq!(found, include_str!("../../testdata/request/ek.names"));
        assert_eq!((p256.template(), p384.template()), (EkTemplate::P256, EkTemplate::P384));
    }

    #[test]
    fn an_endorsement_key_of_another_template_is_refused() {
        for (whole, template) in [(EK_P256, L2), (EK_P384, H3)] {
            for at in 0..template.len() {
                let mut public = whole.to_vec();
                public[at] ^= 1;
                assert_eq!(EndorsementKey::parse(&public).unwrap_err(), PublicError::Template);
            }
        }
        let ak = include_bytes!("../../testdata/request/ak.tpmt");
        assert_eq!(EndorsementKey::parse(ak).unwrap_err(), PublicError::Template);
    }

    #[cfg(feature = "sign")]
    #[test]
    fn a_point_off_the_curve_is_refused() {
        for whole in [EK_P256, EK_P384] {
            let mut public = whole.to_vec();
            *public.last_mut().unwrap() ^= 1;
            let key = EndorsementKey::parse(&public).unwrap();
            assert_eq!(key.point().err(), Some(PublicError::Point));
        }
    }

    #[test]
    fn cut_and_lengthened_public_areas_are_refused() {
        for whole in [EK_P256, EK_P384] {
            for end in 0..whole.len() {
                assert!(EndorsementKey::parse(&whole[..end]).is_err());
            }
            assert_eq!(
                EndorsementKey::parse(&[whole, &[0]].concat()).unwrap_err(),
                PublicError::Malformed
            );
        }
    }
}
