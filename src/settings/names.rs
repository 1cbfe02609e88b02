//! Enums whose values have a name in configurations, and a sentence that explains it.

/// A name, and what it means.
pub type Name = (&'static str, &'static str);

/// An enum of names; `named!` implements it.
pub trait Named {
    /// The name and the meaning of each value.
    const NAMES: &'static [Name];
}

/// Declares an enum whose variants are names in configurations: `Tanh = "tanh"`. What the doc comment
/// of a variant says goes into the documentation of the key.
macro_rules! named {
    ($(#[$attribute:meta])* $vis:vis enum $type:ident {
        $($(#[doc = $doc:literal])* $variant:ident = $name:literal),* $(,)?
    }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        $vis enum $type { $($(#[doc = $doc])* #[serde(rename = $name)] $variant),* }

        impl $crate::settings::Named for $type {
            const NAMES: &'static [$crate::settings::Name] =
                &[$(($name, concat!($($doc, "\n"),*))),*];
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
                formatter.pad(match self { $($type::$variant => $name),* })
            }
        }
    };
}
pub(crate) use named;

/// Some names in Markdown.
pub(super) fn in_backticks(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The name that comes nearest, if one is near enough to have been meant.
pub(super) fn did_you_mean<'a>(found: &str, names: impl Iterator<Item = &'a str>) -> String {
    nearest(found, names).map_or(String::new(), |name| format!(" (did you mean `{name}`?)"))
}

/// As [`did_you_mean`].
pub(super) fn nearest<'a>(found: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |name: &str| strsim::damerau_levenshtein(found, name);
    let nearest = names.min_by_key(|name| distance(name));
    nearest.filter(|name| distance(name) <= 1 + name.len() / 3)
}

/// The paragraphs of a doc comment, each on one line and without its full stop.
pub(super) fn paragraphs(doc: &str) -> Vec<String> {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    doc.split("\n\n").map(|text| words(text).trim_end_matches('.').to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::domain::choice;

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
        assert_eq!(choice().read(&"blue".into()), Ok(Colour::Blue));
        let unknown = choice::<Colour>().read(&"red".into());
        assert_eq!(unknown, Err("one of blue, light_green".to_string()));
        assert_eq!(serde_yaml::to_string(&Colour::LightGreen).unwrap(), "light_green\n");
        assert_eq!(serde_yaml::from_str::<Colour>("blue").unwrap(), Colour::Blue);
        assert_eq!(paragraphs(Colour::NAMES[0].1), ["As the sky", "By day"]);
        assert_eq!(paragraphs(Colour::NAMES[1].1), ["As grass"]);
    }
}
