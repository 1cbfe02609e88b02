//! How samples become a network's inputs, and its outputs answers. It is saved with a model, so that
//! the model can be used on new samples.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::table::parse;

/// A data set's preparation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    /// From a sample to the network's inputs.
    pub inputs: Inputs,
    /// From the network's outputs to an answer.
    pub targets: Targets,
}

/// What a sample is, and how it becomes inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Inputs {
    /// An image: a pixel p of a channel becomes (p / largest - mean) / standard
    /// deviation.
    Image {
        /// Channels, height, width.
        shape: [i64; 3],
        /// The largest value that a pixel can have.
        largest: f64,
        /// For each channel.
        scaling: Vec<Scaling>,
        /// Whether pictures of another size are scaled to this one.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        resized: bool,
        /// Whether pixels are any numbers, also below 0 and above the largest.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unbounded: bool,
    },
    /// A row of a table.
    Table {
        /// The columns that are inputs, in the network's order.
        columns: Vec<Column>,
        /// Markers of cells whose value is missing.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        missing: Vec<String>,
    },
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name in the table.
    pub name: String,
    /// What its cells contain.
    pub coding: Coding,
    /// For each of the numbers that it becomes; if empty, they are not scaled.
    pub scaling: Vec<Scaling>,
    /// The number that stands for a missing one; without it, none may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fill: Option<f64>,
    /// Whether values that are not among the known ones have a place too, behind theirs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unseen: bool,
}

/// What the cells of a column contain, and how it becomes numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coding {
    /// A number.
    Number,
    /// One of these values; the number is its position in the list.
    Ordinal(Vec<String>),
    /// One of these values; there is a number for each: 1 for the value in the cell, 0 for the others.
    OneHot(Vec<String>),
}

/// What a network's outputs mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Targets {
    /// A score for each of these classes.
    Classes(Vec<String>),
    /// Numbers: an output y stands for y · standard deviation + mean.
    Numbers {
        /// Their names.
        names: Vec<String>,
        /// For each of them; if empty, they are not scaled.
        scaling: Vec<Scaling>,
    },
}

/// A number x becomes (x - mean) / standard deviation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// The mean, which is subtracted.
    pub mean: f64,
    /// The standard deviation, by which the difference is divided.
    pub standard_deviation: f64,
}

impl Scaling {
    /// Leaves x as it is.
    pub const NONE: Scaling = Scaling { mean: 0.0, standard_deviation: 1.0 };
}

impl Targets {
    /// Classes of these names.
    pub(super) fn classes(names: impl IntoIterator<Item: ToString>) -> Targets {
        Targets::Classes(names.into_iter().map(|name| name.to_string()).collect())
    }

    /// Numbers that are not scaled.
    pub(super) fn numbers(names: impl IntoIterator<Item: ToString>) -> Targets {
        let names = names.into_iter().map(|name| name.to_string()).collect();
        Targets::Numbers { names, scaling: Vec::new() }
    }

    /// Labels `[N]` or `[N, 1]`, or numbers `[N, C]`, of any kind, as targets `[N, C]`, float32.
    pub(super) fn encode(&self, raw: &Tensor) -> Tensor {
        match self {
            Targets::Classes(names) => raw.flatten(0, -1).onehot(names.len() as i64),
            Targets::Numbers { scaling, .. } => scale_columns(raw, scaling),
        }
    }
}

impl Coding {
    /// The values that a cell can have, unless it is a number.
    pub(super) fn values(&self) -> Option<&[String]> {
        match self {
            Coding::Number => None,
            Coding::Ordinal(values) | Coding::OneHot(values) => Some(values),
        }
    }
}

impl Column {
    /// A column of numbers that are not scaled.
    pub fn number(name: impl Into<String>) -> Column {
        let (coding, scaling) = (Coding::Number, Vec::new());
        Column { name: name.into(), coding, scaling, fill: None, unseen: false }
    }

    /// How many of the network's inputs it becomes.
    pub fn width(&self) -> usize {
        match &self.coding {
            Coding::OneHot(values) => values.len() + usize::from(self.unseen),
            _ => 1,
        }
    }

    /// Cells `[N]`, numbers (NaN where one is missing) or places in the list of values, as numbers
    /// `[N, width]`, not yet scaled.
    pub(super) fn numbers(&self, cells: &Tensor) -> Tensor {
        match (&self.coding, self.fill) {
            (Coding::OneHot(_), _) => cells.onehot(self.width() as i64),
            (_, Some(fill)) => cells.nan_to_num(fill, None, None).unsqueeze(1),
            (_, None) => cells.unsqueeze(1),
        }
    }
}

impl Inputs {
    /// Images of this shape (channels, height, width) and size, with pixels from 0 to `largest`.
    pub fn image(shape: [i64; 3], largest: f64, scaling: Vec<Scaling>) -> Inputs {
        Inputs::Image { shape, largest, scaling, resized: false, unbounded: false }
    }

    /// n_0.
    pub(super) fn width(&self) -> i64 {
        match self {
            Inputs::Image { shape, .. } => shape.iter().product(),
            Inputs::Table { columns, .. } => {
                columns.iter().map(Column::width).sum::<usize>() as i64
            }
        }
    }

    /// Pixels `[N, channels · height · width]`, or cells `[N, columns]`, which are numbers or places in
    /// lists of values, as inputs `[N, n_0]`, float32. The samples are on the CPU and of any kind.
    pub(super) fn encode(&self, raw: &Tensor) -> Tensor {
        match self {
            Inputs::Image { largest, scaling, .. } => scale_pixels(raw, *largest, scaling),
            Inputs::Table { columns, .. } => {
                let shape = [raw.size()[0], self.width()];
                let inputs = Tensor::empty(shape, (Kind::Float, Device::Cpu));
                let widths: Vec<i64> = columns.iter().map(|it| it.width() as i64).collect();
                let places = inputs.split_with_sizes(widths, 1);
                // One column at a time, since a table may be large.
                for (index, (column, mut place)) in (0..).zip(columns.iter().zip(places)) {
                    let numbers = column.numbers(&raw.select(1, index));
                    place.copy_(&scale_columns(&numbers, &column.scaling));
                }
                inputs
            }
        }
    }
}

/// Markers of cells whose value is missing.
pub(super) struct Markers<'a> {
    texts: &'a [String],
    numbers: Vec<f64>,
}

impl<'a> Markers<'a> {
    /// As they are listed; one that is a number stands for each way to write it.
    pub fn new(texts: &'a [String]) -> Markers<'a> {
        Markers { texts, numbers: texts.iter().filter_map(|it| parse(it.as_bytes())).collect() }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Whether a cell is one of them.
    pub fn mark(&self, cell: &[u8]) -> bool {
        self.texts.iter().any(|it| it.as_bytes() == cell)
            || !self.numbers.is_empty() && parse(cell).is_some_and(|it| self.numbers.contains(&it))
    }

    /// What a missing value of a column of names is called: as the first marker, unless that is empty.
    pub fn name(&self) -> &'a str {
        self.texts.first().map(String::as_str).filter(|it| !it.is_empty()).unwrap_or("(missing)")
    }
}

/// Pixels `[N, channels · height · width]` of any kind as inputs, float32. This is done on the CPU, so
/// that inputs are the same on all devices: CUDA multiplies by the inverse instead of dividing.
pub(super) fn scale_pixels(pixels: &Tensor, largest: f64, scaling: &[Scaling]) -> Tensor {
    let [means, deviations] = constants(scaling).map(|it| it.to_kind(Kind::Float).unsqueeze(1));
    let inputs = pixels.to_kind(Kind::Float) / largest;
    let mut planes = inputs.reshape([inputs.size()[0], scaling.len() as i64, -1]);
    planes -= means;
    planes /= deviations;
    planes.reshape(pixels.size())
}

/// Columns `[N, n]` of any kind as float32, each scaled by its constants, if there are any.
fn scale_columns(columns: &Tensor, scaling: &[Scaling]) -> Tensor {
    if scaling.is_empty() {
        return columns.to_kind(Kind::Float);
    }
    let [means, deviations] = constants(scaling);
    ((columns.to_kind(Kind::Double) - means) / deviations).to_kind(Kind::Float)
}

/// Mean and standard deviation of each channel of pixels `[N, channels · height · width]`, unsigned bytes or
/// numbers, divided by `largest`.
pub(super) fn channel_statistics(pixels: &Tensor, channels: i64, largest: f64) -> Vec<Scaling> {
    let planes = pixels.reshape([pixels.size()[0], channels, -1]);
    let statistics = (0..channels).map(|channel| {
        let plane = planes.select(1, channel);
        // Some at a time: as doubles all of them would take eight times the memory.
        let sum = |of: &dyn Fn(Tensor) -> Tensor| -> f64 {
            let parts = plane.split(4096, 0);
            let sums = parts.iter().map(|part| of(part.to_kind(Kind::Double) / largest));
            sums.map(|part| part.sum(Kind::Double).double_value(&[])).sum()
        };
        let count = plane.numel() as f64;
        let mean = sum(&|pixels| pixels) / count;
        let deviation = (sum(&|pixels| (pixels - mean).square()) / count).sqrt();
        // Rounded to float32, in which pixels are scaled.
        let rounded = |value: f64| f64::from(value as f32);
        // A constant differs from its mean by rounding.
        let is_constant = deviation <= 1e-9 * mean.abs() || rounded(deviation) == 0.0;
        let standard_deviation = if is_constant { 1.0 } else { rounded(deviation) };
        Scaling { mean: rounded(mean), standard_deviation }
    });
    statistics.collect()
}

/// All means, and all standard deviations, float64 on the CPU.
fn constants(scaling: &[Scaling]) -> [Tensor; 2] {
    let all = |constant: fn(&Scaling) -> f64| {
        Tensor::from_slice(&scaling.iter().map(constant).collect::<Vec<_>>())
    };
    [all(|it| it.mean), all(|it| it.standard_deviation)]
}

impl Preparation {
    /// How many inputs and outputs a network for such samples has.
    pub fn widths(&self) -> (i64, i64) {
        match &self.targets {
            Targets::Classes(names) | Targets::Numbers { names, .. } => {
                (self.inputs.width(), names.len() as i64)
            }
        }
    }

    /// Refuses constants and lists that contradict each other.
    pub(crate) fn check(&self) -> Result<()> {
        let fits = |found: &[Scaling], wanted: usize| {
            let divides =
                |it: &Scaling| it.standard_deviation > 0.0 && it.standard_deviation.is_finite();
            (found.is_empty() || found.len() == wanted) && found.iter().all(divides)
        };
        let good = match &self.inputs {
            Inputs::Image { shape, largest, scaling, .. } => {
                shape.iter().all(|&size| (1..1 << 20).contains(&size))
                    && shape.iter().product::<i64>() < 1 << 28
                    && *largest > 0.0
                    && fits(scaling, shape[0] as usize)
                    && !scaling.is_empty()
                    && scaling.iter().all(|it| it.standard_deviation as f32 > 0.0) // pixels are float32
            }
            Inputs::Table { columns, .. } => {
                let good = |it: &Column| {
                    fits(&it.scaling, it.width())
                        && it.width() > 0
                        && it.fill.is_none_or(|fill| (fill as f32).is_finite())
                };
                !columns.is_empty() && columns.iter().all(good)
            }
        };
        let answers = match &self.targets {
            Targets::Classes(names) => names.len() >= 2,
            Targets::Numbers { names, scaling } => !names.is_empty() && fits(scaling, names.len()),
        };
        if !good || !answers {
            bail!("the preparation of samples contradicts itself");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_hot_puts_a_one_at_the_label() {
        let targets = Targets::classes(0..3).encode(&Tensor::from_slice(&[2i64, 0]));
        let rows: Vec<Vec<f64>> = targets.try_into().unwrap();
        assert_eq!(rows, [[0., 0., 1.], [1., 0., 0.]]);
    }
}
