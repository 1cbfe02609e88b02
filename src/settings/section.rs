//! The macro that declares a section of a configuration: its struct, its reader and its keys.

/// Declares a section. Each field is a key, in the order in which it is read and shown:
///
/// ```ignore
/// section! {
///     /// When checkpoints are written, and which of them stay.
///     pub struct CheckpointSettings => checked {
///         /// Epochs between two checkpoints; `null`: none.
///         ///
///         /// Further paragraphs stand in docs/configuration.md alone.
///         every: Option<u64> = Some(1), whole(1..=1000).or_null();
///     }
/// }
/// ```
/// - `key: T, domain;` must be given; `key: T = default, domain;` need not.
/// - `= default => "in words"`: a default that is computed from the fields above or the arguments.
/// - `key: T => read(arguments);` is a section below this one, and with `#[serde(flatten)]` in front,
///   keys of this very section.
/// - `struct S(argument: T)`: what reading needs to know, as `S::read_keys(reader, argument)`.
/// - `=> checked`: a function `fn checked(self, &mut Reader, arguments) -> Result<Self, ConfigError>`
///   for what no single key can tell.
///
/// An enum is a section whose `name` chooses the variant: `Step = "step" { keys }`, or
/// `Adam = "adam" (AdamSettings)` with a section of its own; `enum E = "step"` has a default. With
/// `enum E: Trait`, whose variants all have sections of their own, these are used through the trait.
macro_rules! section {
    ($(#[$attribute:meta])* $vis:vis struct $type:ident
        $(($($argument:ident: $argument_type:ty),*))? $(=> $check:ident)?
    {
        $($(#[doc = $doc:literal])* $(#[serde($flat:ident)])?
        $field:ident: $field_type:ty $(= $default:expr $(=> $words:literal)?)? $(, $domain:expr)?
            $(=> read($($nested:expr),*))?;)*
    }) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, serde::Serialize)]
        $vis struct $type {
            $($(#[doc = $doc])* $(#[serde($flat)])? pub $field: $field_type,)*
        }

        $crate::settings::section!(
            @impl $type, reader, [$($($argument: $argument_type),*)?], [$($check)?],
            <[Vec<$crate::settings::Key>]>::concat(&[$($crate::settings::section!(@keys
                concat!($($doc, "\n"),*), $field, $field_type, [$($domain)?],
                [$($default $(=> $words)?)?], [$($flat)?])),*]),
            {
                $(let $field: $field_type = $crate::settings::section!(@read reader, $field,
                    $field_type, [$($domain)?], [$($default)?], [$($flat)?], [$($($nested),*)?]);)*
                $type { $($field),* }
            }
        );
    };

    ($(#[$attribute:meta])* $vis:vis enum $type:ident
        $(($($argument:ident: $argument_type:ty),*))? $(= $preset:literal)? $(: $trait:ident)?
    {
        $($(#[doc = $doc:literal])* $variant:ident = $name:literal
        $({
            $($(#[doc = $field_doc:literal])*
            $field:ident: $field_type:ty $(= $default:expr $(=> $words:literal)?)?, $domain:expr;)*
        })?
        $(($inner:ty $(, $known:expr)*))?),* $(,)?
    }) => {
        $(#[$attribute])*
        #[derive(Clone, Debug, serde::Serialize)]
        #[serde(tag = "name")]
        $vis enum $type {
            $($(#[doc = $doc])* #[serde(rename = $name)] $variant
                $({ $($(#[doc = $field_doc])* $field: $field_type),* })? $(($inner))?),*
        }

        impl $type {
            const NAMES: &'static [$crate::settings::Name] =
                &[$(($name, concat!($($doc, "\n"),*))),*];
            const PRESET: Option<&'static str> = [$(Some($preset),)? None][0];
        }

        $crate::settings::section!(@deref $type, [$($trait)?], [$($variant),*]);

        $crate::settings::section!(
            @impl $type, reader, [$($($argument: $argument_type),*)?], [],
            $crate::settings::key::of_choices(Self::NAMES, Self::PRESET, vec![$(
                <[Vec<$crate::settings::Key>]>::concat(&[
                    $($($crate::settings::section!(@keys concat!($($field_doc, "\n"),*), $field,
                        $field_type, [$domain], [$($default $(=> $words)?)?], [])),*)?
                    $(<$inner>::keys())?
                ])
            ),*]),
            match reader.choose(Self::NAMES, Self::PRESET)? {
                $($name => {
                    $($(let $field: $field_type = $crate::settings::section!(@read reader, $field,
                        $field_type, [$domain], [$($default)?], [], []);)*)?
                    $type::$variant $({ $($field),* })? $((<$inner>::read_keys(reader $(, $known)*)?))?
                })*
                _ => unreachable!("only names of this list are chosen"),
            }
        );
    };

    (@deref $type:ident, [], $variants:tt) => {};
    (@deref $type:ident, [$trait:ident], [$($variant:ident),*]) => {
        impl std::ops::Deref for $type {
            type Target = dyn $trait;

            fn deref(&self) -> &Self::Target {
                match self { $($type::$variant(kind) => kind),* }
            }
        }
    };

    (@impl $type:ident, $reader:ident, [$($argument:ident: $argument_type:ty),*],
        [$($check:ident)?], $keys:expr, $read:expr) =>
    {
        impl $type {
            /// The keys of this section.
            pub(crate) fn keys() -> Vec<$crate::settings::Key> {
                $keys
            }

            /// Reads this section.
            pub(crate) fn read_keys(
                $reader: &mut $crate::settings::Reader $(, $argument: $argument_type)*
            ) -> Result<$type, $crate::settings::ConfigError> {
                let _ = &$reader; // not every section has keys
                let section = $read;
                $crate::settings::section!(@checked section, $($check)?, ($reader $(, $argument)*))
            }
        }
    };
    (@checked $section:ident, $($check:ident)?, $arguments:tt) => {{
        $(let $section = $section.$check $arguments?;)?
        Ok($section)
    }};

    // What is known of a field: of a key, of the keys of a section below, or of keys of this section.
    (@keys $doc:expr, $field:ident, $type:ty, [$domain:expr], [$($default:tt)*], []) => {{
        let domain: $crate::settings::Domain<$type> = $domain;
        let default = $crate::settings::section!(@preset $type, $($default)*);
        vec![domain.key(stringify!($field), $doc, default)]
    }};
    (@keys $doc:expr, $field:ident, $type:ty, [], [], []) => {
        $crate::settings::key::below(concat!(stringify!($field), "."), $doc, <$type>::keys())
    };
    (@keys $doc:expr, $field:ident, $type:ty, [], [], [flatten]) => {
        $crate::settings::key::below("", $doc, <$type>::keys())
    };

    (@preset $type:ty,) => { $crate::settings::Preset::Required };
    (@preset $type:ty, $default:expr) => { $crate::settings::Preset::value::<$type>($default) };
    (@preset $type:ty, $default:expr => $words:literal) => {
        $crate::settings::Preset::Depends($words)
    };

    // The value of a field: of a key without or with a default, or of a section, as above.
    (@read $reader:ident, $field:ident, $type:ty, [$domain:expr], [], [], []) => {
        $reader.required(stringify!($field), &$domain)?
    };
    (@read $reader:ident, $field:ident, $type:ty, [$domain:expr], [$default:expr], [], []) => {
        $reader.optional(stringify!($field), &$domain)?.unwrap_or_else(|| $default)
    };
    (@read $reader:ident, $field:ident, $type:ty, [], [], [], [$($argument:expr),*]) => {
        $reader.section(stringify!($field), |reader| <$type>::read_keys(reader $(, $argument)*))?
    };
    (@read $reader:ident, $field:ident, $type:ty, [], [], [flatten], [$($argument:expr),*]) => {
        <$type>::read_keys($reader $(, $argument)*)?
    };
}
pub(crate) use section;
