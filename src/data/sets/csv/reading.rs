//! Reads tables row by row; only a number is kept of each cell.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tch::Tensor;

use super::categories::{Categories, class_name};
use super::{Csv, Encoding};
use crate::data::file::open;
use crate::data::table::Rows;
use crate::data::{Coding, Column, DataSet, Split, Targets, Task};

/// The columns that are used, by their places in the table: the inputs, then the targets.
type Used = Vec<(usize, Cells)>;

/// What the cells of a column are.
enum Cells {
    Numbers,
    Categories(Categories),
    Classes(Categories),
}

/// Reads tables that have the columns, categories and classes of the first one: what the inputs and the
/// targets are, and the samples of each.
pub(super) fn read(
    settings: &Csv,
    paths: &[PathBuf],
) -> Result<(Vec<Column>, Targets, Vec<Split>)> {
    let open = |path: &Path| {
        Rows::new(path.display().to_string(), open(path)?, settings.about().table_format)
    };
    let mut first = open(&paths[0])?;
    let mut used = used_columns(settings, &first)?;
    let mut tables = vec![numbers(settings, &mut first, &mut used, None)?];
    for path in &paths[1..] {
        let mut rows = open(path)?;
        check_columns(&rows, &first.names)?;
        tables.push(numbers(settings, &mut rows, &mut used, Some(&first.origin))?);
    }

    let column = |(index, (place, cells)): (usize, &(usize, Cells))| {
        let coding = match cells {
            Cells::Numbers => Coding::Number,
            Cells::Categories(known) | Cells::Classes(known) => {
                let values = known.sort(&tables, index);
                match settings.encoding {
                    Encoding::Ordinal => Coding::Ordinal(values),
                    Encoding::OneHot => Coding::OneHot(values),
                }
            }
        };
        Column { coding, ..Column::number(&first.names[*place]) }
    };
    let mut columns: Vec<Column> = used.iter().enumerate().map(column).collect();
    let outputs = columns.split_off(columns.len() - settings.targets.len());
    let targets = match outputs[0].coding.values() {
        None => Targets::numbers(&settings.targets),
        Some(classes) if classes.len() < 2 => {
            let (name, column) = (&first.origin, &settings.targets[0]);
            bail!("{name}: column `{column}` holds one class only; two are needed");
        }
        Some(classes) => Targets::classes(classes),
    };
    let (inputs, outputs) = (columns.len() as i64, outputs.len() as i64);
    let split =
        |table: &Tensor| Split::new(table.narrow(1, 0, inputs), table.narrow(1, inputs, outputs));
    Ok((columns, targets, tables.iter().map(split).collect()))
}

/// The columns that are used, of the first table.
fn used_columns(settings: &Csv, rows: &Rows) -> Result<Used> {
    let Csv { targets, categorical, ignore, .. } = settings;
    for name in targets.iter().chain(categorical).chain(ignore) {
        rows.column(name)?;
    }
    let mut used = Used::new();
    for (place, name) in rows.names.iter().enumerate() {
        if categorical.contains(name) {
            used.push((place, Cells::Categories(Categories::default())));
        } else if !targets.contains(name) && !ignore.contains(name) {
            used.push((place, Cells::Numbers));
        }
    }
    if used.is_empty() {
        bail!("{}: no column is left for the inputs", rows.origin);
    }
    for name in targets {
        let cells = match settings.task {
            Task::Classification => Cells::Classes(Categories::default()),
            Task::Regression => Cells::Numbers,
        };
        used.push((rows.column(name)?, cells));
    }
    Ok(used)
}

/// Refuses a further table that does not have the same columns.
fn check_columns(rows: &Rows, expected: &[String]) -> Result<()> {
    let (origin, found) = (&rows.origin, &rows.names);
    if found.len() != expected.len() {
        bail!("{origin}: has {} column(s); {} were expected", found.len(), expected.len());
    }
    if let Some((a, b)) = expected.iter().zip(found).find(|(a, b)| a != b) {
        bail!("{origin}: has a column `{b}` where `{a}` was expected");
    }
    Ok(())
}

/// The numbers of the rows in which no used cell is missing. Categories and classes have the numbers of
/// their first appearance; if `closed` names the first table, there are no others than in that one.
fn numbers(
    settings: &Csv,
    rows: &mut Rows,
    used: &mut Used,
    closed: Option<&str>,
) -> Result<Tensor> {
    let missing = settings.missing.as_ref().map(String::as_bytes);
    let shape = (used.len(), settings.about().table_format.kind);
    let table = rows.matrix(usize::MAX, shape, |rows, numbers| {
        if used.iter().any(|(column, _)| Some(rows.cell(*column)) == missing) {
            return Ok(());
        }
        for (column, cells) in used.iter_mut() {
            let (column, cell) = (*column, rows.cell(*column));
            numbers.push(match cells {
                Cells::Numbers => rows.number(column)?,
                Cells::Categories(known) => known.number(rows, column, cell, closed)?,
                Cells::Classes(known) => {
                    let Some(class) = class_name(cell, &settings.class_suffix) else {
                        let expected = "a class (`data.missing` leaves rows out)";
                        return Err(rows.refuse(column, expected));
                    };
                    known.number(rows, column, &class, closed)?
                }
            });
        }
        Ok(())
    })?;
    table.with_context(|| format!("{}: holds no rows that can be used", rows.origin))
}
