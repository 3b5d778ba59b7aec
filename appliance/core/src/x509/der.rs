//! The little DER (X.690) that a certificate needs, written and never read.

/// Tag, length, content.
pub(super) fn bytes(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = Vec::with_capacity(length + 5);
    out.push(tag);
    if let Ok(short @ 0..=0x7f) = u8::try_from(length) {
        out.push(short);
    } else {
        let wide = length.to_be_bytes();
        let first = wide.iter().position(|b| *b != 0).unwrap_or(wide.len() - 1);
        let wide = &wide[first..];
        out.push(0x80 | u8::try_from(wide.len()).unwrap_or(8));
        out.extend_from_slice(wide);
    }
    out.extend_from_slice(content);
    out
}

/// SEQUENCE.
pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    bytes(0x30, &parts.concat())
}

/// SET of one.
pub(super) fn set(content: &[u8]) -> Vec<u8> {
    bytes(0x31, content)
}

/// INTEGER from its shortest big-endian bytes, the first bit clear.
pub(super) fn integer(value: &[u8]) -> Vec<u8> {
    bytes(0x02, value)
}

/// BIT STRING of whole bytes.
pub(super) fn bits(content: &[u8]) -> Vec<u8> {
    bytes(0x03, &[&[0], content].concat())
}

/// OCTET STRING.
pub(super) fn octets(content: &[u8]) -> Vec<u8> {
    bytes(0x04, content)
}

/// OBJECT IDENTIFIER from its content bytes.
pub(super) fn oid(content: &[u8]) -> Vec<u8> {
    bytes(0x06, content)
}

/// UTF8String.
pub(super) fn utf8(text: &str) -> Vec<u8> {
    bytes(0x0c, text.as_bytes())
}

/// Context-specific, primitive, implicit.
pub(super) fn context(number: u8, content: &[u8]) -> Vec<u8> {
    bytes(0x80 | number, content)
}
