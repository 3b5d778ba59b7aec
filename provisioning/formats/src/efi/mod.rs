//! UEFI's formats as far as Casemate writes or checks them.

pub mod authenticode;
pub mod boot_entry;
pub mod partition;
#[cfg(feature = "sign")]
pub mod signer;
pub mod variable;

use core::fmt;

/// A GUID as UEFI stores it: the first three fields little-endian (UEFI 2.10, appendix A).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// From the usual text's fields: `Guid::new(0x8be4df61, 0x93ca, 0x11d2, *b"\xaa\x0d\x00…")`.
    #[must_use]
    pub const fn new(a: u32, b: u16, c: u16, rest: [u8; 8]) -> Self {
        let (a, b, c, r) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes(), rest);
        Self([
            a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], r[0], r[1], r[2], r[3], r[4], r[5],
            r[6], r[7],
        ])
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = &self.0;
        let hex = crate::digest::hex;
        let (first, second, third) = ([b[3], b[2], b[1], b[0]], [b[5], b[4]], [b[7], b[6]]);
        let (first, second, third) = (hex(&first), hex(&second), hex(&third));
        write!(f, "{first}-{second}-{third}-{}-{}", hex(&b[8..10]), hex(&b[10..]))
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guid({self})")
    }
}
