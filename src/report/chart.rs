//! Charts: lines over numbers, values in rows, and intervals in rows.

use super::svg::{Anchor, GREY, GRID, INK, Svg, cut, width_of};

const WIDTH: f64 = 450.0;
const SIZE: f64 = 13.0; // of texts

/// The numbers along an axis.
pub struct Axis {
    from: f64,
    to: f64,
    is_log: bool,
    /// The numbers that are written down, with their texts.
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis that has all of these numbers, with a little room around them; whole numbers have no
    /// fractions between them.
    pub fn of(values: impl Iterator<Item = f64>, is_log: bool, is_whole: bool) -> Axis {
        let (mut from, mut to) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite() && (!is_log || *value > 0.0)) {
            (from, to) = (from.min(value), to.max(value));
        }
        if from > to {
            (from, to) = (1.0, 2.0); // there is nothing to be shown
        }
        if is_log {
            let room = (to / from).powf(0.04).max(1.02);
            (from, to) = (from / room, to * room);
        } else {
            let room = if to > from { 0.04 * (to - from) } else { from.abs().max(1.0) * 0.05 };
            (from, to) = (from - room, to + room);
        }
        let mut ticks = if is_log { log_ticks(from, to) } else { Vec::new() };
        if ticks.len() < 3 {
            ticks = even_ticks(from, to, is_whole);
        }
        Axis { from, to, is_log, ticks }
    }

    /// An axis for values and for how far they reach; a logarithmic one, where that may be, if the values
    /// differ by much.
    fn around(
        values: impl Iterator<Item = f64>,
        reaches: impl Iterator<Item = f64>,
        may_be_log: bool,
    ) -> Axis {
        let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(0.0, f64::max);
        let is_log = may_be_log && least > 0.0 && most / least > 6.0;
        // They may reach below 0, where a logarithm has nothing.
        let reaches = reaches.filter(|value| !is_log || *value > least / 3.0);
        Axis::of(values.iter().copied().chain(reaches), is_log, false)
    }

    /// Where a number is between the two ends: 0 at the first, 1 at the last.
    fn place(&self, value: f64) -> f64 {
        let at = |value: f64| if self.is_log { value.max(self.from / 1e3).ln() } else { value };
        (at(value) - at(self.from)) / (at(self.to) - at(self.from))
    }
}

fn even_ticks(from: f64, to: f64, is_whole: bool) -> Vec<(f64, String)> {
    let rough = (to - from) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|it| it * power >= rough);
    let step = (step.unwrap_or(10.0) * power).max(if is_whole { 1.0 } else { 0.0 });
    let places = (-step.log10().floor()).max(0.0) as usize;
    let first = (from / step).ceil() as i64;
    let values = (first..).map(|it| it as f64 * step).take_while(|value| *value <= to);
    values.take(20).map(|value| (value, tick_text(value, places))).collect()
}

fn log_ticks(from: f64, to: f64) -> Vec<(f64, String)> {
    let powers = from.log10().floor() as i32..=to.log10().ceil() as i32;
    let within = |steps: &[f64]| -> Vec<(f64, String)> {
        let values = powers
            .clone()
            .flat_map(|power| steps.iter().map(move |step| (power, step * 10f64.powi(power))));
        let inside = values.filter(|(_, value)| (from..=to).contains(value));
        let text = |(power, value): (i32, f64)| {
            let is_half = power <= 0 && (value / 10f64.powi(power) - 1.5).abs() < 0.01;
            (value, tick_text(value, (-power).max(0) as usize + usize::from(is_half)))
        };
        inside.map(text).collect()
    };
    let choices = [&[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0][..], &[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]];
    let found = choices.iter().map(|steps| within(steps));
    found.into_iter().find(|ticks| ticks.len() <= 7).unwrap_or_default()
}

fn tick_text(value: f64, places: usize) -> String {
    let text = match value.abs() {
        large if large >= 1e6 => format!("{value:e}"),
        small if small < 1e-4 && value != 0.0 => format!("{value:.1e}").replace(".0e", "e"),
        _ => format!("{value:.places$}"),
    };
    text.replace('-', "−")
}

/// x, y, and from where to where the values there reach.
pub type Point = (f64, f64, Option<(f64, f64)>);

/// A line of a chart.
pub struct Line {
    /// What it shows.
    pub name: String,
    /// Its colour.
    pub colour: &'static str,
    /// Its dashes, as SVG has them; empty for none.
    pub dashes: &'static str,
    /// What it goes through.
    pub points: Vec<Point>,
    /// Whether the points are marked, and their reach drawn point by point, not as a band.
    pub is_marked: bool,
}

/// A chart of lines.
pub struct LineChart<'a> {
    /// No other picture's on the page.
    pub name: &'a str,
    /// What is drawn.
    pub title: &'a str,
    /// What it takes to read it.
    pub subtitle: &'a str,
    /// What runs from left to right.
    pub x_title: &'a str,
    /// Whether only whole numbers do.
    pub is_whole: bool,
    /// Whether what is small matters, so that values that differ by much stand on a logarithmic axis.
    pub may_be_log: bool,
    /// The lines.
    pub lines: &'a [Line],
}

impl LineChart<'_> {
    /// The picture.
    pub fn draw(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let (least, most) = points().fold((f64::INFINITY, 0f64), |(least, most), point| {
            (least.min(point.0), most.max(point.0))
        });
        let is_log =
            self.lines.iter().all(|line| line.is_marked) && least > 0.0 && most > 6.0 * least;
        let x = Axis::of(points().map(|point| point.0), is_log, self.is_whole);
        let reaches = points().filter_map(|point| point.2).flat_map(|(low, high)| [low, high]);
        let y = Axis::around(points().map(|point| point.1), reaches, self.may_be_log);

        let mut svg = Svg::new(WIDTH);
        let mut top = heading(&mut svg, self.title, self.subtitle) + 12.0;
        let widest = y.ticks.iter().map(|(_, text)| width_of(text, SIZE)).fold(20.0, f64::max);
        let (left, right, height) = (widest + 12.0, WIDTH - 10.0, 230.0);
        let at_x = |value: f64| left + x.place(value) * (right - left);
        let at_y = |value: f64| top + (1.0 - y.place(value)) * height;
        for (value, text) in &y.ticks {
            svg.line((left, at_y(*value)), (right, at_y(*value)), GRID, 1.0);
            let place = (left - 7.0, at_y(*value) + 4.0);
            svg.text(place, text, SIZE, GREY, Anchor::End);
        }
        svg.line((left, top + height), (right, top + height), GREY, 1.0);
        for (value, text) in &x.ticks {
            svg.line((at_x(*value), top + height), (at_x(*value), top + height + 4.0), GREY, 1.0);
            let place = (at_x(*value), top + height + 18.0);
            svg.text(place, text, SIZE, GREY, Anchor::Middle);
        }
        svg.clip(self.name, (left, top), (right - left, height));
        for line in self.lines.iter().filter(|line| !line.is_marked) {
            let reach = |point: &Point| Some((point.0, point.2?));
            for part in line.points.split(|point| point.2.is_none()) {
                let low = part.iter().filter_map(reach).map(|(x, (low, _))| (at_x(x), at_y(low)));
                let high = part.iter().filter_map(reach).map(|(x, (_, it))| (at_x(x), at_y(it)));
                let around: Vec<(f64, f64)> = low.chain(high.rev()).collect();
                if part.len() > 1 {
                    svg.area(&around, line.colour);
                }
            }
        }
        for line in self.lines {
            let shown: Vec<(f64, f64)> =
                line.points.iter().map(|point| (at_x(point.0), at_y(point.1))).collect();
            svg.path(&shown, line.colour, line.dashes);
            if line.is_marked {
                for (x, _, reach) in &line.points {
                    if let Some((low, high)) = reach {
                        svg.line((at_x(*x), at_y(*low)), (at_x(*x), at_y(*high)), line.colour, 1.4);
                    }
                }
            }
            if line.is_marked || shown.len() == 1 {
                shown.iter().for_each(|point| svg.dot(*point, 3.6, line.colour, 1.0));
            }
        }
        svg.end_clip();
        top += height + 36.0;
        let scale = match (x.is_log, y.is_log) {
            (true, true) => "both axes logarithmic",
            (true, false) => "horizontal axis logarithmic",
            (false, true) => "vertical axis logarithmic",
            (false, false) => "",
        };
        svg.text((4.0, top), scale, SIZE, GREY, Anchor::Start);
        svg.text((right, top), self.x_title, SIZE, GREY, Anchor::End);
        let bottom = self.legend(&mut svg, top + 24.0);
        svg.finish(bottom, &format!("{}: {}", self.title, self.subtitle))
    }

    /// Names the lines; says where it ends.
    fn legend(&self, svg: &mut Svg, top: f64) -> f64 {
        let (mut x, mut y) = (4.0, top);
        for line in self.lines {
            let name = cut(&line.name, SIZE, WIDTH - 50.0);
            let width = 28.0 + width_of(&name, SIZE) + 14.0;
            if x > 4.0 && x + width > WIDTH {
                (x, y) = (4.0, y + 20.0);
            }
            svg.path(&[(x, y - 4.0), (x + 20.0, y - 4.0)], line.colour, line.dashes);
            if line.is_marked {
                svg.dot((x + 10.0, y - 4.0), 3.6, line.colour, 1.0);
            }
            svg.text((x + 27.0, y), &name, SIZE, INK, Anchor::Start);
            x += width;
        }
        y + 12.0
    }
}

/// The title, and below it what it takes to read the chart. Says where they end.
fn heading(svg: &mut Svg, title: &str, subtitle: &str) -> f64 {
    svg.title((4.0, 17.0), &cut(title, 16.0, WIDTH - 8.0));
    let mut y = 18.0;
    let mut line = String::new();
    let mut lines = Vec::new();
    for word in subtitle.split(' ') {
        if width_of(&format!("{line} {word}"), SIZE) > WIDTH - 8.0 {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    lines.push(line);
    for line in lines.iter().filter(|line| !line.is_empty()) {
        y += 17.0;
        svg.text((4.0, y), line, SIZE, GREY, Anchor::Start);
    }
    y
}

/// A row of a chart of rows.
pub struct Bar {
    /// What it shows.
    pub name: String,
    /// Its colour.
    pub colour: &'static str,
    /// Single values.
    pub values: Vec<f64>,
    /// The mean.
    pub mean: Option<f64>,
    /// How far the interval around the mean reaches.
    pub reach: Option<(f64, f64)>,
    /// The number of others.
    pub reference: Option<f64>,
}

/// A chart of rows, one below the other.
pub struct RowChart<'a> {
    /// What is drawn.
    pub title: &'a str,
    /// What it takes to read it.
    pub subtitle: &'a str,
    /// The rows.
    pub rows: &'a [Bar],
    /// Whether 0 is marked.
    pub has_zero: bool,
    /// As in [`LineChart`].
    pub may_be_log: bool,
}

impl RowChart<'_> {
    /// The picture.
    pub fn draw(&self) -> String {
        let values = self.rows.iter().flat_map(|row| {
            let others = [row.mean, row.reference].into_iter().flatten();
            row.values.iter().copied().chain(others)
        });
        let reaches = self.rows.iter().filter_map(|row| row.reach);
        let reaches = reaches.flat_map(|(low, high)| [low, high]);
        let values = values.chain(self.has_zero.then_some(0.0));
        let x = Axis::around(values, reaches, self.may_be_log);
        // Where single values are shown, they lie above the interval.
        let has_values = self.rows.iter().any(|row| !row.values.is_empty());
        let (each, above, below) = if has_values { (36.0, -5.0, 9.0) } else { (28.0, 0.0, 0.0) };
        let mut svg = Svg::new(WIDTH);
        let top = heading(&mut svg, self.title, self.subtitle) + 12.0;
        let names: Vec<Vec<String>> = self.rows.iter().map(|row| in_lines(&row.name)).collect();
        let each = if names.iter().any(|lines| lines.len() > 1) { 38.0 } else { each };
        let widest = names.iter().flatten().map(|line| width_of(line, SIZE)).fold(20.0, f64::max);
        let (left, right) = (widest + 14.0, WIDTH - 14.0);
        let bottom = top + each * self.rows.len() as f64;
        let at = |value: f64| left + x.place(value).clamp(0.0, 1.0) * (right - left);
        for (value, text) in &x.ticks {
            svg.line((at(*value), top), (at(*value), bottom), GRID, 1.0);
            svg.text((at(*value), bottom + 18.0), text, SIZE, GREY, Anchor::Middle);
        }
        if self.has_zero {
            svg.line((at(0.0), top), (at(0.0), bottom), GREY, 1.4);
        }
        svg.line((left, bottom), (right, bottom), GREY, 1.0);
        for (place, row) in self.rows.iter().enumerate() {
            let y = top + each * (place as f64 + 0.5);
            let first = y + 4.0 - 7.0 * (names[place].len() - 1) as f64;
            for (line, text) in names[place].iter().enumerate() {
                let at = (left - 10.0, first + 14.0 * line as f64);
                svg.text(at, text, SIZE, INK, Anchor::End);
            }
            if let Some((low, high)) = row.reach {
                svg.line((at(low), y + below), (at(high), y + below), row.colour, 2.4);
            }
            for (x, y) in spread_out(row.values.iter().map(|value| at(*value)).collect(), y + above)
            {
                svg.dot((x, y), 3.6, row.colour, 0.5);
            }
            if let Some(reference) = row.reference {
                svg.diamond((at(reference), y + above), 5.0, row.colour);
            }
            match row.mean {
                Some(mean) if row.values.is_empty() => svg.dot((at(mean), y), 5.0, row.colour, 1.0),
                Some(mean) => svg.line(
                    (at(mean), y + below - 6.0),
                    (at(mean), y + below + 6.0),
                    row.colour,
                    3.0,
                ),
                None => {}
            }
        }
        let bottom = if x.is_log {
            svg.text((right, bottom + 36.0), "logarithmic axis", SIZE, GREY, Anchor::End);
            bottom + 18.0
        } else {
            bottom
        };
        svg.finish(bottom + 28.0, &format!("{}: {}", self.title, self.subtitle))
    }
}

/// The widest that the names of rows may be in one line, and in two.
const NAMES: [f64; 2] = [180.0, 215.0];

/// A row's name in one line, or in two: a difference before the name that is subtracted, others where they
/// fill the first line.
fn in_lines(name: &str) -> Vec<String> {
    let [one, two] = NAMES;
    if width_of(name, SIZE) <= one {
        return vec![name.to_string()];
    }
    let mut spaces = name.match_indices(' ').map(|(place, _)| place);
    let fits = |place: &usize| width_of(&name[..*place], SIZE) <= two;
    let place = name.find(" − ").filter(fits).or_else(|| spaces.rfind(fits));
    let parts = place.map_or(vec![name], |place| vec![&name[..place], &name[place + 1..]]);
    parts.into_iter().map(|part| cut(part, SIZE, two)).collect()
}

/// Dots around a line, moved off it where they would lie on each other.
fn spread_out(mut places: Vec<f64>, y: f64) -> Vec<(f64, f64)> {
    places.sort_by(f64::total_cmp);
    let mut dots: Vec<(f64, f64)> = Vec::new();
    for x in places {
        let is_free =
            |y: &f64| dots.iter().all(|dot| (dot.0 - x).powi(2) + (dot.1 - y).powi(2) >= 36.0);
        let levels = [0.0, -6.0, 6.0, -12.0].map(|level| y + level);
        dots.push((x, levels.into_iter().find(is_free).unwrap_or(y)));
    }
    dots
}
