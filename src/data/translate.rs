//! A data set prepared as another one was: with the constants, categories and classes of the data
//! set that a network was trained on.

use anyhow::{Context, Result, bail};
use tch::{Device, Kind, Tensor};

use super::preparation::{
    Coding, Column, Inputs, Preparation, Scaling, Targets, one_hot, scale_columns, scale_pixels,
};
use super::{Dataset, Split};

/// Turns a data set that is not standardised, on the CPU, into what `wanted` says.
///
/// # Errors
/// If a wanted column is missing, or if a category or class is not among the known ones.
pub(super) fn translate(data: Dataset, wanted: &Preparation) -> Result<Dataset> {
    let Some(found) = &data.preparation else {
        bail!("{}: it is not known how its samples were prepared", data.name);
    };
    let translated = data.map(|split| {
        let inputs = inputs(&split.inputs, &found.inputs, &wanted.inputs)?;
        Ok(Split::new(inputs, targets(&split.targets, &found.targets, &wanted.targets)?))
    });
    Ok(Dataset { preparation: Some(wanted.clone()), ..translated.context(data.name)? })
}

fn inputs(samples: &Tensor, found: &Inputs, wanted: &Inputs) -> Result<Tensor> {
    match (found, wanted) {
        (Inputs::Table { columns: found }, Inputs::Table { columns: wanted }) => {
            let parts = wanted.iter().map(|column| {
                let (start, own) = place(found, &column.name)?;
                let raw = samples.narrow(1, start, own.width() as i64);
                let cells = match (own.coding.values(), column.coding.values()) {
                    (None, None) => raw.select(1, 0),
                    (Some(found), Some(known)) => {
                        let places = match own.coding {
                            Coding::OneHot(_) => raw.argmax(1, false),
                            _ => raw.select(1, 0).to_kind(Kind::Int64),
                        };
                        named(&places, found, known, &format!("column `{}`", column.name))?
                    }
                    _ => bail!(
                        "column `{}` holds numbers in one of the two data sets, and names in the other",
                        column.name
                    ),
                };
                Ok(column.encode(&cells))
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
            Ok(one_hot(&classes, known.len() as i64, Device::Cpu))
        }
        (Targets::Numbers { names: found, .. }, Targets::Numbers { names, scaling }) => {
            if found != names {
                bail!(
                    "its targets are {}; the network predicts {}",
                    found.join(", "),
                    names.join(", ")
                );
            }
            Ok(scale_columns(samples, scaling))
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

/// Places in one list of names as places in another.
fn named(places: &Tensor, found: &[String], known: &[String], what: &str) -> Result<Tensor> {
    let map = found.iter().map(|name| {
        let place = known.iter().position(|it| it == name);
        Ok(place.with_context(|| format!("{what}: the network does not know `{name}`"))? as i64)
    });
    let map = Tensor::from_slice(&map.collect::<Result<Vec<i64>>>()?);
    Ok(map.index_select(0, places))
}
