//! A data set prepared as another one was: with that one's constants, categories and classes, which a
//! network has learned with.

use anyhow::{Context, Result, bail};
use tch::{Device, Kind, Tensor};

use super::preparation::{
    Coding, Column, Inputs, Preparation, Scaling, Targets, scale_columns, scale_pixels,
};
use super::{Dataset, Split};

/// Turns a data set that is not standardised, on the CPU, into what `wanted` says.
///
/// # Errors
/// If a column that is wanted is not there, or a category or class is not one that was known.
pub(super) fn translate(data: Dataset, wanted: &Preparation) -> Result<Dataset> {
    let Some(found) = &data.preparation else {
        bail!("{}: nobody knows how its samples were prepared", data.name);
    };
    let split = |split: &Split| -> Result<Split> {
        Ok(Split {
            inputs: inputs(&split.inputs, &found.inputs, &wanted.inputs)?.into(),
            targets: targets(&split.targets, &found.targets, &wanted.targets)?.into(),
        })
    };
    let both = split(&data.train).and_then(|train| Ok((train, split(&data.test)?)));
    let (train, test) = both.with_context(|| data.name.clone())?;
    Ok(Dataset { train, test, preparation: Some(wanted.clone()), ..data })
}

fn inputs(samples: &Tensor, found: &Inputs, wanted: &Inputs) -> Result<Tensor> {
    match (found, wanted) {
        (Inputs::Table { columns: found }, Inputs::Table { columns: wanted }) => {
            let parts = wanted.iter().map(|column| {
                let (start, own) = place(found, &column.name)?;
                let raw = samples.narrow(1, start, own.width() as i64);
                let numbers = match (&own.coding, &column.coding) {
                    (Coding::Number, Coding::Number) => raw,
                    (Coding::Number, _) | (_, Coding::Number) => bail!(
                        "column `{}` holds numbers in one of the two data sets, and names in the other",
                        column.name
                    ),
                    (own, Coding::Ordinal(known)) => {
                        let what = format!("column `{}`", column.name);
                        named(&indices(&raw, own), values(own), known, &what)?.unsqueeze(1)
                    }
                    (own, Coding::OneHot(known)) => {
                        let what = format!("column `{}`", column.name);
                        let indices = named(&indices(&raw, own), values(own), known, &what)?;
                        indices.onehot(known.len() as i64)
                    }
                };
                Ok(scale_columns(numbers, &column.scaling))
            });
            Ok(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 1))
        }
        (
            Inputs::Image { shape, largest, scaling },
            Inputs::Image { shape: wanted_shape, largest: wanted_largest, scaling: wanted_scaling },
        ) => {
            if shape != wanted_shape {
                bail!("holds images of {shape:?}; the network was trained on {wanted_shape:?}");
            }
            debug_assert!(scaling.iter().all(|it| *it == Scaling::NONE));
            Ok(scale_pixels(&(samples * *largest), *wanted_largest, wanted_scaling))
        }
        _ => bail!("images and rows of tables cannot stand for each other"),
    }
}

fn targets(samples: &Tensor, found: &Targets, wanted: &Targets) -> Result<Tensor> {
    match (found, wanted) {
        (Targets::Classes(found), Targets::Classes(known)) => {
            let classes = named(&samples.argmax(1, false), found, known, "the classes")?;
            Ok(classes.onehot(known.len() as i64).to_kind(Kind::Float))
        }
        (Targets::Numbers { names: found, .. }, Targets::Numbers { names, scaling }) => {
            if found != names {
                bail!(
                    "its targets are {}; the network predicts {}",
                    found.join(", "),
                    names.join(", ")
                );
            }
            Ok(scale_columns(samples.shallow_clone(), scaling))
        }
        _ => bail!("its targets are of another task than the network's"),
    }
}

/// Where a column's numbers begin, and the column.
fn place<'a>(columns: &'a [Column], name: &str) -> Result<(i64, &'a Column)> {
    let mut start = 0;
    for column in columns {
        if column.name == name {
            return Ok((start, column));
        }
        start += column.width() as i64;
    }
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    bail!("has no column `{name}`; it has {}", names.join(", "))
}

fn values(coding: &Coding) -> &[String] {
    match coding {
        Coding::Number => &[],
        Coding::Ordinal(values) | Coding::OneHot(values) => values,
    }
}

/// Places `[N]` in the list of values.
fn indices(raw: &Tensor, coding: &Coding) -> Tensor {
    match coding {
        Coding::OneHot(_) => raw.argmax(1, false),
        _ => raw.flatten(0, -1).to_kind(Kind::Int64),
    }
}

/// Places in one list of names as places in another.
fn named(places: &Tensor, found: &[String], known: &[String], what: &str) -> Result<Tensor> {
    let map = found.iter().map(|name| {
        let place = known.iter().position(|it| it == name);
        Ok(place.with_context(|| format!("{what}: the network does not know `{name}`"))? as i64)
    });
    let map = Tensor::from_slice(&map.collect::<Result<Vec<i64>>>()?);
    Ok(map.to_device(Device::Cpu).index_select(0, places))
}
