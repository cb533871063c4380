//! Reads times in config files, with a deserializer that wraps another one.
//!
//! It passes everything on unchanged, except texts in fields that count updates: in their place it passes on the number
//! of updates.

use alloc::string::String;
use core::cell::Cell;
use core::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::{RunLength, Time};

/// The fields of config files that count updates. Other numbers count cycles, reports or refusals.
const LENGTHS: [&str; 8] =
    ["step_size", "step_size_up", "step_size_down", "total_steps", "steps", "t_0", "timescale", "milestones"];

/// The run that a file is read for.
pub(crate) struct Context {
    run: RunLength,
    /// Whether any time in the file depends on the run.
    depends: Cell<bool>,
}

impl Context {
    pub(crate) fn new(run: RunLength) -> Self {
        Self { run, depends: Cell::new(false) }
    }

    /// Whether a time in what was read is given in epochs or per cent.
    pub(crate) fn depends(&self) -> bool {
        self.depends.get()
    }

    /// Wraps the deserializer of a file.
    pub(crate) fn read<D>(&self, inner: D) -> Timed<'_, D> {
        Timed { inner, context: self, length: None }
    }
}

/// Wraps a deserializer, a visitor or an access.
pub(crate) struct Timed<'a, T> {
    inner: T,
    context: &'a Context,
    /// The name of the field, if it counts updates.
    length: Option<&'static str>,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Timed<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let Self { inner, context, length } = self;
        inner.deserialize_any(Timed { inner: visitor, context, length })
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        match self.length {
            Some(field) => self.inner.deserialize_any(Updates { visitor, context: self.context, field }),
            None => self.inner.deserialize_u64(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let Self { inner, context, length } = self;
        inner.deserialize_option(Timed { inner: visitor, context, length })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        let Self { inner, context, length } = self;
        inner.deserialize_newtype_struct(name, Timed { inner: visitor, context, length })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let Self { inner, context, length } = self;
        inner.deserialize_struct(name, fields, Timed { inner: visitor, context, length })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let Self { inner, context, length } = self;
        inner.deserialize_enum(name, variants, Timed { inner: visitor, context, length })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

/// Passes on what a file holds, and wraps what is inside maps, lists and variants.
impl<'de, V: Visitor<'de>> Visitor<'de> for Timed<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<V::Value, E> {
        self.inner.visit_bool(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<V::Value, E> {
        self.inner.visit_i64(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<V::Value, E> {
        self.inner.visit_u64(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<V::Value, E> {
        self.inner.visit_f64(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<V::Value, E> {
        self.inner.visit_str(value)
    }

    fn visit_string<E: Error>(self, value: String) -> Result<V::Value, E> {
        self.inner.visit_string(value)
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, some: D) -> Result<V::Value, D::Error> {
        let Self { inner, context, length } = self;
        inner.visit_some(Timed { inner: some, context, length })
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, newtype: D) -> Result<V::Value, D::Error> {
        let Self { inner, context, length } = self;
        inner.visit_newtype_struct(Timed { inner: newtype, context, length })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<V::Value, A::Error> {
        let Self { inner, context, length } = self;
        inner.visit_seq(Timed { inner: list, context, length })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        let Self { inner, context, length } = self;
        inner.visit_map(Timed { inner: map, context, length })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        let Self { inner, context, length } = self;
        inner.visit_enum(Timed { inner: variant, context, length })
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Timed<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let Self { inner, context, length } = self;
        inner.deserialize(Timed { inner: deserializer, context, length })
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Timed<'_, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        let seed = Timed { inner: seed, context: self.context, length: self.length };
        self.inner.next_element_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Timed<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let Some(key) = self.inner.next_key::<String>()? else { return Ok(None) };
        self.length = LENGTHS.into_iter().find(|length| *length == key);
        let key: StrDeserializer<'_, A::Error> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        let seed = Timed { inner: seed, context: self.context, length: self.length };
        self.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'a, 'de, A: EnumAccess<'de>> EnumAccess<'de> for Timed<'a, A> {
    type Error = A::Error;
    type Variant = Timed<'a, A::Variant>;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self::Variant), A::Error> {
        let Self { inner, context, .. } = self;
        let (name, variant) = inner.variant_seed(seed)?;
        Ok((name, Timed { inner: variant, context, length: None }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Timed<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        let Self { inner, context, length } = self;
        inner.newtype_variant_seed(Timed { inner: seed, context, length })
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, A::Error> {
        let visitor = Timed { inner: visitor, context: self.context, length: self.length };
        self.inner.tuple_variant(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = Timed { inner: visitor, context: self.context, length: self.length };
        self.inner.struct_variant(fields, visitor)
    }
}

/// Accepts a number of updates, or a text with a length of time.
struct Updates<'a, V> {
    visitor: V,
    context: &'a Context,
    field: &'static str,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Updates<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number of updates, or a text such as \"2 epochs\"")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<V::Value, E> {
        self.visitor.visit_u64(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<V::Value, E> {
        self.visitor.visit_i64(value)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V::Value, E> {
        let updates = text.parse().and_then(|time: Time| {
            self.context.depends.set(self.context.depends() || !matches!(time, Time::Updates(_)));
            self.context.run.updates_of(time)
        });
        let field = self.field;
        self.visitor.visit_u64(updates.map_err(|error| E::custom(format_args!("{field}: {error}")))?)
    }
}
