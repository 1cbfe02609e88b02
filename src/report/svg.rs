//! SVG: shapes and texts on a sheet.

use std::fmt::Write;

/// A picture, to which shapes are added; later ones lie above earlier ones.
pub struct Svg {
    /// In the picture's own units, of which a page shows about one per pixel.
    pub width: f64,
    body: String,
}

/// Where a text stands from its point.
#[derive(Clone, Copy)]
pub enum Anchor {
    /// Begins there.
    Start,
    /// Has its middle there.
    Middle,
    /// Ends there.
    End,
}

/// The colour of texts.
pub const INK: &str = "#1f2430";
/// The colour of texts that matter less.
pub const GREY: &str = "#667085";
/// The colour of lines to read values at.
pub const GRID: &str = "#e4e7ec";

impl Svg {
    /// An empty picture.
    pub fn new(width: f64) -> Svg {
        Svg { width, body: String::new() }
    }

    fn add(&mut self, shape: std::fmt::Arguments) {
        self.body.write_fmt(shape).expect("a text can be written to");
        self.body.push('\n');
    }

    /// A straight line.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.add(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}" stroke-width="{width}"/>"#
        ));
    }

    /// A line through some points, with dashes if a pattern is given.
    pub fn path(&mut self, points: &[(f64, f64)], colour: &str, dashes: &str) {
        let points = list(points);
        let dashes = match dashes {
            "" => String::new(),
            dashes => format!(r#" stroke-dasharray="{dashes}""#),
        };
        self.add(format_args!(
            r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round" stroke-linecap="round"{dashes}/>"#
        ));
    }

    /// A filled area that lets shine through what is below it.
    pub fn area(&mut self, points: &[(f64, f64)], colour: &str) {
        let points = list(points);
        self.add(format_args!(
            r#"<polygon points="{points}" fill="{colour}" fill-opacity="0.16"/>"#
        ));
    }

    /// A dot; `opacity` from 0 to 1.
    pub fn dot(&mut self, at: (f64, f64), radius: f64, colour: &str, opacity: f64) {
        let (x, y) = at;
        self.add(format_args!(
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius}" fill="{colour}" fill-opacity="{opacity}"/>"#
        ));
    }

    /// A hollow diamond.
    pub fn diamond(&mut self, at: (f64, f64), size: f64, colour: &str) {
        let (x, y) = at;
        let points = list(&[(x - size, y), (x, y - size), (x + size, y), (x, y + size)]);
        self.add(format_args!(
            r##"<polygon points="{points}" fill="#ffffff" stroke="{colour}" stroke-width="1.6"/>"##
        ));
    }

    /// A text of a size, at its base line.
    pub fn text(&mut self, at: (f64, f64), text: &str, size: f64, colour: &str, anchor: Anchor) {
        self.label(at, text, &format!(r#"font-size="{size}" fill="{colour}""#), anchor);
    }

    /// A title.
    pub fn title(&mut self, at: (f64, f64), text: &str) {
        let look = format!(r#"font-size="15" font-weight="600" fill="{INK}""#);
        self.label(at, text, &look, Anchor::Start);
    }

    fn label(&mut self, (x, y): (f64, f64), text: &str, look: &str, anchor: Anchor) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        self.add(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" {look} text-anchor="{anchor}">{text}</text>"#
        ));
    }

    /// What follows is cut off outside of a rectangle, until [`Svg::end_clip`]. `name` is no other
    /// picture's on a page.
    pub fn clip(&mut self, name: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
        self.add(format_args!(
            r#"<clipPath id="{name}"><rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/></clipPath><g clip-path="url(#{name})">"#
        ));
    }

    /// Nothing is cut off any more.
    pub fn end_clip(&mut self) {
        self.add(format_args!("</g>"));
    }

    /// The whole picture, as high as it has to be; `about` is read to those who do not see it.
    pub fn finish(self, height: f64, about: &str) -> String {
        let (width, about, body) = (self.width, escaped(about), self.body);
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" role="img" aria-label="{about}" font-family="system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif">
<title>{about}</title>
{body}</svg>
"#
        )
    }
}

fn list(points: &[(f64, f64)]) -> String {
    points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ")
}

/// A text as XML has it, without signs that XML cannot have.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\t' | '\n' | '\r' => escaped.push(' '),
            letter if letter.is_control() => {}
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// About how wide a text is, in a wide font.
pub fn width_of(text: &str, size: f64) -> f64 {
    let width = |letter: char| match letter {
        'i' | 'j' | 'l' | 't' | 'f' | 'r' | '.' | ',' | ' ' | '³' => 0.37,
        'm' | 'w' | 'M' | 'W' | '%' | '−' => 0.9,
        letter if letter.is_uppercase() => 0.7,
        _ => 0.6,
    };
    text.chars().map(width).sum::<f64>() * size
}

/// A text that is cut where it would be wider than this.
pub fn cut(text: &str, size: f64, width: f64) -> String {
    if width_of(text, size) <= width {
        return text.to_string();
    }
    let mut short = text.to_string();
    while !short.is_empty() && width_of(&short, size) + size > width {
        short.pop();
    }
    short.trim_end().to_string() + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped() {
        let mut svg = Svg::new(100.0);
        svg.text((0.0, 1.0), "<a> & \u{7}b", 12.0, INK, Anchor::Start);
        let picture = svg.finish(50.0, "\"quoted\"");
        assert!(picture.contains(">&lt;a&gt; &amp; b</text>"), "{picture}");
        assert!(picture.contains(r#"aria-label="&quot;quoted&quot;""#), "{picture}");
    }
}
