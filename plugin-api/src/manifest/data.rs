//! One declaration, two types: what an author writes in a constant, and what the host reads.

/// Declares an owned struct and its `Copy` twin with builder methods, named after the fields.
///
/// Kinds of fields: `text`, `texts`, `flag`, `number`, `one(Owned, Spec)`,
/// `list(Owned, Spec)`, `names(Enum)`. Values
/// that are empty, false or 0 are left out of the JSON and read back as such.
macro_rules! data {
    (
        $(#[$doc:meta])*
        pub struct $owned:ident <- $spec:ident {
            $($(#[$fdoc:meta])* $field:ident: $kind:ident $(($($arg:tt)*))?,)*
        } $(plus {
            $($(#[$xdoc:meta])* $extra:ident: $xty:ty,)*
        })?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        #[non_exhaustive]
        pub struct $owned {
            $($($(#[$xdoc])* pub $extra: $xty,)*)?
            $(
                $(#[$fdoc])*
                #[serde(default)]
                pub $field: $crate::manifest::data!(@owned $kind $(($($arg)*))?),
            )*
        }

        #[doc = concat!("Declares a [`", stringify!($owned), "`] in a constant.")]
        #[derive(Clone, Copy, Debug)]
        #[must_use]
        pub struct $spec {
            $($field: $crate::manifest::data!(@spec $kind $(($($arg)*))?),)*
        }

        impl $spec {
            pub(crate) const EMPTY: Self = Self {
                $($field: $crate::manifest::data!(@empty $kind $(($($arg)*))?),)*
            };

            $(
                $(#[$fdoc])*
                pub const fn $field(
                    mut self,
                    value: $crate::manifest::data!(@spec $kind $(($($arg)*))?),
                ) -> Self {
                    self.$field = value;
                    self
                }
            )*

            pub(crate) const fn write_fields(&self, to: &mut $crate::manifest::json::Writer<'_>) {
                $($crate::manifest::data!(@write $kind, to, stringify!($field), self.$field);)*
            }

            #[allow(dead_code, reason = "the outermost struct is written without its braces")]
            pub(crate) const fn write(&self, to: &mut $crate::manifest::json::Writer<'_>) {
                to.open(b'{');
                self.write_fields(to);
                to.close(b'}');
            }
        }
    };

    (@owned text) => { String };
    (@owned texts) => { Vec<String> };
    (@owned flag) => { bool };
    (@owned number) => { u64 };
    (@owned list($owned:ty, $spec:ty)) => { Vec<$owned> };
    (@owned one($owned:ty, $spec:ty)) => { $owned };
    (@owned names($name:ty)) => { $crate::capability::Names<$name> };

    (@spec text) => { &'static str };
    (@spec texts) => { &'static [&'static str] };
    (@spec flag) => { bool };
    (@spec number) => { u64 };
    (@spec list($owned:ty, $spec:ty)) => { &'static [$spec] };
    (@spec one($owned:ty, $spec:ty)) => { $spec };
    (@spec names($name:ty)) => { &'static [$name] };

    (@empty text) => { "" };
    (@empty texts) => { &[] };
    (@empty flag) => { false };
    (@empty number) => { 0 };
    (@empty one($owned:ty, $spec:ty)) => { <$spec>::EMPTY };
    (@empty list($owned:ty, $spec:ty)) => { &[] };
    (@empty names($name:ty)) => { &[] };

    (@write text, $to:ident, $key:expr, $value:expr) => {
        if !$value.is_empty() {
            $to.key($key);
            $to.text($value);
        }
    };
    (@write texts, $to:ident, $key:expr, $value:expr) => {
        if !$value.is_empty() {
            $to.key($key);
            $to.texts($value);
        }
    };
    (@write flag, $to:ident, $key:expr, $value:expr) => {
        if $value {
            $to.key($key);
            $to.flag(true);
        }
    };
    (@write number, $to:ident, $key:expr, $value:expr) => {
        if $value != 0 {
            $to.key($key);
            $to.unsigned($value);
        }
    };
    (@write one, $to:ident, $key:expr, $value:expr) => {
        $to.key($key);
        $value.write($to);
    };
    (@write list, $to:ident, $key:expr, $value:expr) => {
        if !$value.is_empty() {
            $to.key($key);
            $to.open(b'[');
            let mut at = 0;
            while at < $value.len() {
                $to.item();
                $value[at].write($to);
                at += 1;
            }
            $to.close(b']');
        }
    };
    (@write names, $to:ident, $key:expr, $value:expr) => {
        if !$value.is_empty() {
            $to.key($key);
            $to.open(b'[');
            let mut at = 0;
            while at < $value.len() {
                $to.item();
                $to.text($value[at].as_str());
                at += 1;
            }
            $to.close(b']');
        }
    };
}

pub(crate) use data;
