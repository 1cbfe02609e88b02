//! Enums whose values have a name in configurations, and a sentence that explains it.

/// A name, and what it means.
pub type Name = (&'static str, &'static str);

/// An enum of names; `named!` implements it.
pub trait Named: Copy + 'static {
    /// Every value.
    const VALUES: &'static [Self];
    /// The name and the meaning of each value.
    const NAMES: &'static [Name];

    /// The value of a name.
    fn of_name(name: &str) -> Option<Self> {
        let index = Self::NAMES.iter().position(|(known, _)| *known == name)?;
        Some(Self::VALUES[index])
    }
}

/// Declares an enum whose variants are names in configurations: `Tanh = "tanh"`. What the doc comment
/// of a variant says goes into the documentation of the key.
macro_rules! named {
    ($(#[$attribute:meta])* $vis:vis enum $type:ident {
        $($(#[doc = $doc:literal])* $variant:ident = $name:literal),* $(,)?
    }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $type { $($(#[doc = $doc])* $variant),* }

        impl $crate::settings::Named for $type {
            const VALUES: &'static [$type] = &[$($type::$variant),*];
            const NAMES: &'static [$crate::settings::Name] =
                &[$(($name, concat!($($doc, "\n"),*))),*];
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
                formatter.pad(match self { $($type::$variant => $name),* })
            }
        }

        impl std::str::FromStr for $type {
            type Err = String;

            fn from_str(name: &str) -> Result<$type, String> {
                use $crate::settings::{Named, one_of};
                $type::of_name(name).ok_or_else(|| one_of($type::NAMES))
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<$type, D::Error> {
                let name = String::deserialize(from)?;
                name.parse().map_err(|expected| {
                    serde::de::Error::custom(format!("`{name}` is unknown; expected {expected}"))
                })
            }
        }
    };
}
pub(crate) use named;

/// The names, as a complaint lists them.
pub(crate) fn one_of(names: &[Name]) -> String {
    let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    format!("one of {}", names.join(", "))
}

/// The name that comes nearest, if one is near enough to have been meant.
pub(crate) fn did_you_mean<'a>(found: &str, names: impl Iterator<Item = &'a str>) -> String {
    let nearest = names
        .map(|name| (strsim::damerau_levenshtein(found, name), name))
        .min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((distance, name)) if distance <= 1 + name.len() / 3 => {
            format!(" (did you mean `{name}`?)")
        }
        _ => String::new(),
    }
}

/// The first paragraph of a doc comment on one line, without its full stop.
pub(crate) fn summary(doc: &str) -> String {
    paragraph(doc.split("\n\n").next().unwrap_or_default())
}

/// The paragraphs of a doc comment after the first one, on one line, if there are any.
pub(crate) fn details(doc: &str) -> String {
    paragraph(doc.split_once("\n\n").map_or("", |(_, rest)| rest))
}

fn paragraph(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    named! {
        /// For the test.
        enum Colour {
            /// As the sky.
            ///
            /// By day.
            Blue = "blue",
            /// As grass.
            LightGreen = "light_green",
        }
    }

    #[test]
    fn names_come_from_the_enum() {
        assert_eq!(Colour::LightGreen.to_string(), "light_green");
        assert_eq!("blue".parse(), Ok(Colour::Blue));
        assert_eq!("red".parse::<Colour>(), Err("one of blue, light_green".to_string()));
        assert_eq!(serde_yaml::to_string(&Colour::LightGreen).unwrap(), "light_green\n");
        assert_eq!(serde_yaml::from_str::<Colour>("blue").unwrap(), Colour::Blue);
        let doc = Colour::NAMES[0].1;
        assert_eq!((summary(doc), details(doc)), ("As the sky".into(), "By day".into()));
        assert_eq!(details(Colour::NAMES[1].1), "");
    }
}
