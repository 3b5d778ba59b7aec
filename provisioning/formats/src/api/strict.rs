//! JSON as the service takes it: one object of known fields, each once. What serde would let pass
//! (an array in place of an object) is refused here; what was wrong is told without the input.

use core::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, MapAccess, SeqAccess, Visitor},
};

/// Where a body stops being what the route takes, and how. Holds nothing of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    line: usize,
    column: usize,
    what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, what } = self;
        write!(f, "line {line}, column {column}: {what}")
    }
}

impl std::error::Error for Malformed {}

/// Reads a body, whole.
///
/// # Errors
/// [`Malformed`]: not JSON, not UTF-8, nested too deeply, or not of this shape.
pub fn parse<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, Malformed> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = T::deserialize(Strict(&mut json)).map_err(|e| malformed(&e))?;
    json.end().map_err(|e| malformed(&e))?;
    Ok(value)
}

/// Words of our own for the kinds of error; serde's texts repeat the input.
fn malformed(error: &serde_json::Error) -> Malformed {
    const KINDS: [(&str, &str); 7] = [
        ("unknown field", "a field that this route does not know"),
        ("duplicate field", "a field that stands twice"),
        ("missing field", "the object ends without a field that it needs"),
        ("a name stands twice", "a context name that stands twice"),
        ("not canonical base64", "not canonical base64 (standard alphabet, with padding)"),
        ("expected 64 hex digits", "not 64 hex digits"),
        ("too many names", "more context names than any keyring has"),
    ];
    let what = if error.is_data() {
        let text = error.to_string();
        let known = KINDS.iter().find(|(start, _)| text.starts_with(start));
        known.map_or("a value of the wrong type", |(_, what)| *what)
    } else {
        "not JSON in UTF-8"
    };
    Malformed { line: error.line(), column: error.column(), what }
}

/// A deserializer or visitor whose structs come from objects alone, at every level.
struct Strict<T>(T);

/// Methods that are handed on as they are: what they read holds no struct.
macro_rules! plain {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method(visitor)
        })+
    };
}

/// Methods whose visitor goes on strictly.
macro_rules! strict {
    ($($method:ident($($arg:ident: $type:ty),*))+) => {
        $(fn $method<V: Visitor<'de>>(self, $($arg: $type,)* v: V) -> Result<V::Value, D::Error> {
            self.0.$method($($arg,)* Strict(v))
        })+
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    plain! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32
        deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_unit deserialize_identifier deserialize_ignored_any
    }

    strict! {
        deserialize_any()
        deserialize_option()
        deserialize_seq()
        deserialize_map()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Strict(visitor))
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident: $type:ty)+) => {
        $(fn $method<E: serde::de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$method(value)
        })+
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Strict<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    visit! {
        visit_bool: bool visit_i64: i64 visit_u64: u64 visit_f64: f64 visit_str: &str
        visit_borrowed_str: &'de str visit_string: String
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Strict(d))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, d: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Strict(d))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Strict(seq))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Strict(map))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, A::Error> {
        self.0.next_element_seed(Strict(seed))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.0.next_value_seed(Strict(seed))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Strict<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Strict(d))
    }
}

#[cfg(test)]
mod tests;
