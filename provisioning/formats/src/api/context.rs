//! The context of a value: a flat map of short strings, in the one order in which it is bound.

use core::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, Visitor},
};

use crate::limits;

/// Pairs that are read at most: enough to name those that a keyring does not have.
const MOST: usize = 4 * limits::CONTEXT_NAMES;

/// Pairs by ascending name, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context(Vec<(String, String)>);

impl Context {
    /// No pairs.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// A context of these pairs; `None`: a name stands twice.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Option<Self> {
        let pairs = pairs.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self::sorted(pairs.collect())
    }

    fn sorted(mut pairs: Vec<(String, String)>) -> Option<Self> {
        if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
            pairs.sort_unstable();
        }
        let unique = pairs.windows(2).all(|two| two[0].0 != two[1].0);
        unique.then_some(Self(pairs))
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        self.0.get(at).map(|(_, value)| value.as_str())
    }

    /// The names, ascending.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The pairs, by ascending name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl Serialize for Context {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Context {
    /// An object of strings; a name that stands twice is an error.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Context;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Context, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry::<String, String>()? {
                    if pairs.len() == MOST {
                        return Err(A::Error::custom("too many names"));
                    }
                    pairs.push(pair);
                }
                Context::sorted(pairs).ok_or_else(|| A::Error::custom("a name stands twice"))
            }
        }
        d.deserialize_map(Pairs)
    }
}
