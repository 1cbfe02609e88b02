//! Samples as they stand in files, and what becomes of them: a data set on the training device.
//!
//! Legend: N samples, n_0 inputs, C outputs.

use anyhow::{Context, Result, bail};
use tch::{Device, Kind, Tensor};

use super::preparation::{Column, Inputs, Preparation, Scaling, Targets};
use super::{Dataset, Split, Task};

/// The samples of a data set as they stand in its files, and how they are to be prepared.
pub struct RawDataset {
    name: String,
    /// The training set and the test set: pixels or cells, and labels or numbers, on the CPU and of any
    /// kind, as [`Inputs::encode`] and [`Targets::encode`] take them.
    parts: [Split; 2],
    preparation: Preparation,
    /// What a person should know of the files.
    notes: Vec<String>,
}

impl RawDataset {
    /// A data set from its training and its test set.
    pub fn new(name: &str, inputs: Inputs, targets: Targets, parts: [Split; 2]) -> RawDataset {
        let preparation = Preparation { inputs, targets };
        RawDataset { name: name.to_string(), parts, preparation, notes: Vec::new() }
    }

    /// The rows of a table with these columns and targets.
    ///
    /// Standardising takes each column's mean and standard deviation (Bessel-corrected) over the
    /// training rows, and standardises the targets of a regression too. A constant column becomes 0.
    pub fn rows(
        name: &str,
        mut columns: Vec<Column>,
        targets: Targets,
        parts: [Split; 2],
        standardize: bool,
    ) -> RawDataset {
        if standardize {
            for (index, column) in (0..).zip(&mut columns) {
                let cells = parts[0].inputs.select(1, index);
                column.scaling = standardization(&column.numbers(&cells));
            }
        }
        let inputs = Inputs::Table { columns, missing: Vec::new() };
        let raw = RawDataset::new(name, inputs, targets, parts);
        if standardize { raw.with_standardized_targets() } else { raw }
    }

    /// With the targets of a regression scaled to mean 0 and standard deviation 1 of the training set.
    pub(super) fn with_standardized_targets(mut self) -> RawDataset {
        if let Targets::Numbers { scaling, .. } = &mut self.preparation.targets {
            *scaling = standardization(&self.parts[0].targets);
        }
        self
    }

    /// With the markers of missing values, for new tables.
    pub(super) fn with_missing(mut self, markers: &[String]) -> RawDataset {
        if let Inputs::Table { missing, .. } = &mut self.preparation.inputs {
            *missing = markers.to_vec();
        }
        self
    }

    /// With further sentences about the files.
    pub(super) fn with_notes(mut self, notes: impl IntoIterator<Item = String>) -> RawDataset {
        self.notes.extend(notes);
        self
    }

    /// What a person should know of the files: a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The data set on a device.
    pub(super) fn prepare(self, device: Device) -> Dataset {
        let RawDataset { name, parts, preparation, .. } = self;
        let Preparation { inputs, targets } = &preparation;
        let image = match inputs {
            Inputs::Image { shape, .. } => Some(*shape),
            Inputs::Table { .. } => None,
        };
        let task = match targets {
            Targets::Classes(_) => Task::Classification,
            Targets::Numbers { .. } => Task::Regression,
        };
        let split = |raw: Split| {
            let (inputs, targets) = (inputs.encode(&raw.inputs), targets.encode(&raw.targets));
            Split::new(inputs.to_device(device), targets.to_device(device))
        };
        let [train, test] = parts.map(split);
        Dataset { image, preparation: Some(preparation), ..Dataset::new(&name, task, train, test) }
    }

    /// The same samples, to be prepared as those were that a network was trained on: with their
    /// constants, categories and classes.
    ///
    /// # Errors
    /// If a wanted column is missing, or if a category or class is not among the known ones.
    pub(super) fn prepared_as(mut self, wanted: &Preparation) -> Result<RawDataset> {
        let found = std::mem::replace(&mut self.preparation, wanted.clone());
        if found != *wanted {
            for part in &mut self.parts {
                let translated = translate(part, &found, wanted);
                *part = translated.with_context(|| self.name.clone())?;
            }
        }
        Ok(self)
    }
}

/// Mean and standard deviation of each column.
fn standardization(columns: &Tensor) -> Vec<Scaling> {
    let constants = (0..columns.size()[1]).map(|index| {
        let column = columns.select(1, index).to_kind(Kind::Double);
        let deviation = match column.size()[0] {
            1 => 0.0,
            _ => column.std(true).double_value(&[]),
        };
        // Rounded to float32, as in the paper's program; a relative error such as MAPE shows it.
        let rounded = |constant: f64| f64::from(constant as f32);
        let mean = column.mean(Kind::Double).double_value(&[]);
        // The deviation of a constant need not be 0, since its mean is rounded.
        let varies = deviation > 1e-12 * mean.abs() && rounded(deviation) > 0.0;
        let standard_deviation = if varies { rounded(deviation) } else { 1.0 };
        let mean = rounded(mean);
        Scaling { mean, standard_deviation }
    });
    constants.collect()
}

/// Raw samples, of which `found` says what they are, as `wanted` says it.
fn translate(raw: &Split, found: &Preparation, wanted: &Preparation) -> Result<Split> {
    let inputs = inputs(&raw.inputs, &found.inputs, &wanted.inputs)?;
    Ok(Split::new(inputs, targets(&raw.targets, &found.targets, &wanted.targets)?))
}

fn inputs(raw: &Tensor, found: &Inputs, wanted: &Inputs) -> Result<Tensor> {
    match (found, wanted) {
        (Inputs::Table { columns: found, .. }, Inputs::Table { columns: wanted, .. }) => {
            let cells = wanted.iter().map(|column| {
                let name = &column.name;
                let Some(index) = found.iter().position(|it| it.name == *name) else {
                    let names: Vec<&str> = found.iter().map(|it| it.name.as_str()).collect();
                    bail!("has no column `{name}`; it has {}", names.join(", "));
                };
                let cells = raw.select(1, index as i64).to_kind(Kind::Float);
                match (found[index].coding.values(), column.coding.values()) {
                    (None, None) if column.fill.is_none() && has_missing(&cells) => {
                        bail!("column `{name}` has missing values, which it had not in training")
                    }
                    (None, None) => Ok(cells),
                    (Some(found), Some(known)) => {
                        named(&cells, found, (known, column.unseen), &format!("column `{name}`"))
                    }
                    _ => bail!(
                        "column `{name}` holds numbers in one of the two data sets, and names in the other"
                    ),
                }
            });
            Ok(Tensor::stack(&cells.collect::<Result<Vec<_>>>()?, 1))
        }
        (
            Inputs::Image { shape, largest, .. },
            Inputs::Image { shape: wanted, largest: wanted_largest, .. },
        ) => {
            if shape != wanted {
                bail!("holds images of {shape:?}; the network was trained on {wanted:?}");
            }
            Ok(match largest == wanted_largest {
                true => raw.shallow_clone(),
                false => raw.to_kind(Kind::Double) * (wanted_largest / largest),
            })
        }
        _ => bail!("images and rows of tables cannot stand for each other"),
    }
}

fn targets(raw: &Tensor, found: &Targets, wanted: &Targets) -> Result<Tensor> {
    match (found, wanted) {
        (Targets::Classes(found), Targets::Classes(known)) => {
            named(&raw.flatten(0, -1), found, (known, false), "the classes")
        }
        (Targets::Numbers { names: found, .. }, Targets::Numbers { names, .. }) => {
            if found != names {
                let (found, names) = (found.join(", "), names.join(", "));
                bail!("its targets are {found}; the network predicts {names}");
            }
            Ok(raw.to_kind(Kind::Float))
        }
        _ => bail!("its targets are of another task than the network's"),
    }
}

/// Whether one of the numbers is missing.
fn has_missing(cells: &Tensor) -> bool {
    cells.isnan().any().int64_value(&[]) != 0
}

/// Places in one list of names as places in another, float32. A place behind the end of a list is that of
/// names which it does not have, if it has such a place.
fn named(
    places: &Tensor,
    found: &[String],
    (known, unseen): (&[String], bool),
    what: &str,
) -> Result<Tensor> {
    let behind = unseen.then_some(known.len());
    let map = found.iter().map(|name| {
        let place = known.iter().position(|it| it == name).or(behind);
        Ok(place.with_context(|| format!("{what}: the network does not know `{name}`"))? as f32)
    });
    let mut map = map.collect::<Result<Vec<_>>>()?;
    map.push(behind.map_or(f32::NAN, |place| place as f32));
    let places = Tensor::from_slice(&map).index_select(0, &places.to_kind(Kind::Int64));
    if has_missing(&places) {
        bail!("{what}: the network does not know a name that the training set does not have");
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_rows_alone_set_mean_and_standard_deviation() {
        let table = |values: &[f32]| {
            let inputs = Tensor::from_slice(values).reshape([-1, 2]);
            Split::new(inputs.shallow_clone(), inputs.narrow(1, 0, 1))
        };
        // The first column has mean 2 and standard deviation √2, the second is constant.
        let pair = || [table(&[1.0, 5.0, 3.0, 5.0]), table(&[2.0, 6.0])];
        let columns = || vec![Column::number("a"), Column::number("b")];
        let number = || Targets::numbers(["t"]);
        let of = |targets, standardize| {
            RawDataset::rows("t", columns(), targets, pair(), standardize).prepare(Device::Cpu)
        };
        let standardized = of(number(), true);
        let rows = |tensor: &Tensor| Vec::<Vec<f64>>::try_from(tensor).unwrap();
        let half = f64::from(0.5f32.sqrt());
        assert_eq!(rows(&standardized.train.inputs), [[-half, 0.0], [half, 0.0]]);
        assert_eq!(rows(&standardized.test.inputs), [[0.0, 1.0]]);
        assert_eq!(rows(&standardized.train.targets), [[-half], [half]]);
        let as_it_is = of(number(), false);
        assert_eq!(rows(&as_it_is.train.inputs), [[1.0, 5.0], [3.0, 5.0]]);
        let classes = of(Targets::classes(0..4), true);
        let expected = [[0.0, 0.0, 1.0, 0.0]];
        assert_eq!(rows(&classes.test.targets), expected, "classes are no numbers to scale");
    }

    #[test]
    fn a_constant_of_doubles_is_a_constant() {
        let column = Tensor::full([2000, 1], 0.1, (Kind::Double, Device::Cpu));
        assert!(column.std(true).double_value(&[]) > 0.0, "by rounding alone");
        assert_eq!(standardization(&column)[0].standard_deviation, 1.0);
    }
}
