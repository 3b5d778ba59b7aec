//! The context of a value: a flat map of short strings, kept in the one form in which it is bound to
//! a token, so that a request costs one allocation for all of it.

use core::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error, MapAccess, Visitor},
};

use crate::limits;

/// Pairs that are read at most: enough to name those that a keyring does not have.
const MOST: usize = 4 * limits::CONTEXT_NAMES;
/// Bytes of an ordinary context, so that it is allocated once.
const ORDINARY: usize = 96;

/// Pairs by ascending name, each name once: for each pair the name's length (u32 big-endian), the
/// name, the value's length, the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context(Vec<u8>);

impl Context {
    /// No pairs.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// A context of these pairs; `None`: a name stands twice.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Option<Self> {
        let mut out = Self::new();
        for (name, value) in pairs {
            let start = out.0.len();
            out.append(name.as_ref());
            out.append(value.as_ref());
            out.settle(start)?;
        }
        Some(out)
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The names, ascending.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name)
    }

    /// The pairs, by ascending name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        Pairs(&self.0)
    }

    /// The pairs as they are authenticated: each part with its length before it, by ascending name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn append(&mut self, part: &str) {
        let length = u32::try_from(part.len()).expect("a body is far below 4 GiB");
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(part.as_bytes());
    }

    /// Moves the pair that begins at `start`, the last one, to its place. `None`: its name is there.
    fn settle(&mut self, start: usize) -> Option<()> {
        let (before, last) = self.0.split_at(start);
        let (new, _) = Pairs(last).next()?;
        let mut rest = Pairs(before);
        let mut at = 0;
        while let Some((name, _)) = rest.next() {
            if name == new {
                return None;
            }
            if name > new {
                let length = last.len();
                self.0[at..].rotate_right(length);
                return Some(());
            }
            at = before.len() - rest.0.len();
        }
        Some(())
    }
}

struct Pairs<'a>(&'a [u8]);

impl<'a> Pairs<'a> {
    fn part(&mut self) -> Option<&'a str> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (part, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        core::str::from_utf8(part).ok()
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.part()?, self.part()?))
    }
}

impl Serialize for Context {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.iter())
    }
}

/// Appends a string of the body without one of its own in between.
struct Part<'a>(&'a mut Context);

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for Part<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.append(text);
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Context {
    /// An object of strings; a name that stands twice is an error.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Context;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Context, A::Error> {
                let mut out = Context(Vec::with_capacity(ORDINARY));
                let mut count = 0;
                let mut start = 0;
                while map.next_key_seed(Part(&mut out))?.is_some() {
                    if count == MOST {
                        return Err(A::Error::custom("too many names"));
                    }
                    map.next_value_seed(Part(&mut out))?;
                    out.settle(start).ok_or_else(|| A::Error::custom("a name stands twice"))?;
                    start = out.0.len();
                    count += 1;
                }
                Ok(out)
            }
        }
        d.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_that_stands_twice_makes_no_context() {
        assert_eq!(Context::from_pairs([("a", "1"), ("b", "2"), ("a", "3")]), None);
        assert_eq!(Context::from_pairs([("a", "1"), ("a", "1")]), None);
    }

    #[test]
    fn its_bytes_are_its_sorted_parts_each_with_its_length() {
        let context = Context::from_pairs([("b", "xy"), ("a", "")]).expect("unique");
        assert_eq!(context.as_bytes(), b"\0\0\0\x01a\0\0\0\0\0\0\0\x01b\0\0\0\x02xy");
    }

    proptest! {
        #[test]
        fn a_context_is_a_sorted_map_however_its_pairs_come(
            map in proptest::collection::btree_map("\\PC{0,6}", "\\PC{0,9}", 0..9),
            rotation in 0usize..9,
        ) {
            let map: BTreeMap<String, String> = map;
            let mut pairs: Vec<_> = map.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let sorted = pairs.clone();
            let middle = rotation.min(pairs.len());
            pairs.rotate_left(middle);
            let context = Context::from_pairs(pairs.iter().rev().copied()).expect("unique");
            prop_assert_eq!(context.iter().collect::<Vec<_>>(), sorted);
            let again = Context::from_pairs(pairs.iter().copied());
            prop_assert_eq!(Some(&context), again.as_ref());
            for (name, value) in &map {
                prop_assert_eq!(context.get(name), Some(value.as_str()));
            }
            let text = serde_json::to_string(&context).expect("serializes");
            prop_assert_eq!(serde_json::from_str::<Context>(&text).expect("reads"), context);
        }
    }
}
