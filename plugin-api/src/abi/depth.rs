//! Measures how deep a payload is nested, before it is written.
//!
//! The MessagePack writer follows a payload wherever it leads; a JSON value that a vendor nested a
//! hundred thousand times would take the stack with it. This counts levels and gives up early.

use std::fmt;

use serde::{
    Serialize, Serializer,
    ser::{
        SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};

/// Deepest nesting of a payload that is written.
pub(super) const MAX_DEPTH: usize = 160;

/// Reports whether a payload is nested deeper than [`MAX_DEPTH`].
pub(super) fn is_too_deep<T: Serialize + ?Sized>(payload: &T) -> bool {
    payload.serialize(Depth(MAX_DEPTH)).is_err()
}

/// How many levels are left.
#[derive(Clone, Copy)]
struct Depth(usize);

/// There is no level left.
#[derive(Debug)]
struct TooDeep;

impl fmt::Display for TooDeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nested too deep")
    }
}

impl std::error::Error for TooDeep {}

impl serde::ser::Error for TooDeep {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl Depth {
    fn below(self) -> Result<Self, TooDeep> {
        self.0.checked_sub(1).map(Self).ok_or(TooDeep)
    }

    fn inner<T: Serialize + ?Sized>(self, value: &T) -> Result<(), TooDeep> {
        value.serialize(self)
    }
}

/// Values without an inside.
macro_rules! flat {
    ($($method:ident($($arg:ty),*);)*) => {
        $(fn $method(self, $(_: $arg),*) -> Result<(), TooDeep> {
            Ok(())
        })*
    };
}

impl Serializer for Depth {
    type Ok = ();
    type Error = TooDeep;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    flat! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), TooDeep> {
        self.inner(value)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), TooDeep> {
        self.inner(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), TooDeep> {
        self.below()?.inner(value)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, TooDeep> {
        self.below()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, TooDeep> {
        self.below()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, TooDeep> {
        self.below()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, TooDeep> {
        self.below()?.below()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, TooDeep> {
        self.below()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, TooDeep> {
        self.below()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, TooDeep> {
        self.below()?.below()
    }
}

/// The parts of a compound value, each looked into at the level below.
macro_rules! compound {
    ($($trait:ident::$method:ident($($key:ty)?);)*) => {
        $(impl $trait for Depth {
            type Ok = ();
            type Error = TooDeep;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $(_: $key,)?
                value: &T,
            ) -> Result<(), TooDeep> {
                self.inner(value)
            }

            fn end(self) -> Result<(), TooDeep> {
                Ok(())
            }
        })*
    };
}

compound! {
    SerializeSeq::serialize_element();
    SerializeTuple::serialize_element();
    SerializeTupleStruct::serialize_field();
    SerializeTupleVariant::serialize_field();
    SerializeStruct::serialize_field(&'static str);
    SerializeStructVariant::serialize_field(&'static str);
}

impl SerializeMap for Depth {
    type Ok = ();
    type Error = TooDeep;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), TooDeep> {
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TooDeep> {
        self.inner(value)
    }

    fn end(self) -> Result<(), TooDeep> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(1), |inner, level| match level % 2 {
            0 => Value::Array(vec![inner]),
            _ => json!({ "x": inner }),
        })
    }

    #[test]
    fn levels_are_counted_to_the_limit() {
        assert!(!is_too_deep(&nested(MAX_DEPTH)));
        assert!(is_too_deep(&nested(MAX_DEPTH + 1)));
        assert!(!is_too_deep(&vec![nested(MAX_DEPTH - 1); 3]));
    }
}
