//! Reads tables row by row; only a number is kept of each cell.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tch::{Kind, Tensor};

use super::categories::{Categories, as_number, class_name};
use super::{Csv, Encoding, Impute, Unseen};
use crate::data::file::open;
use crate::data::preparation::Markers;
use crate::data::table::{Rows, has_decimal_comma, listed};
use crate::data::{Coding, Column, DataSet, Split, Targets, Task};
use crate::messages::counted;

/// The columns that are used, by their places in the table: the inputs, then the targets.
type Used = Vec<(usize, Cells)>;

/// What the cells of a column are.
enum Cells {
    Numbers,
    Categories(Categories),
    Classes(Categories),
}

/// Tables that have been read.
pub(super) struct Tables {
    /// What the inputs are.
    pub columns: Vec<Column>,
    /// What the targets are.
    pub targets: Targets,
    /// The samples of each table; NaN where a number is missing.
    pub splits: Vec<Split>,
    /// What was left out, and what is missing.
    pub notes: Vec<String>,
}

/// Reads tables that have the columns, categories and classes of the first one.
pub(super) fn read(settings: &Csv, paths: &[PathBuf]) -> Result<Tables> {
    let open = |path: &Path| {
        Rows::new(path.display().to_string(), open(path)?, settings.about().table_format)
    };
    let mut first = open(&paths[0])?;
    let mut used = used_columns(settings, &first)?;
    let mut notes = Vec::new();
    let mut tables = vec![numbers(settings, &mut first, &mut used, None, &mut notes)?];
    if settings.impute.is_some() {
        // Also where none is missing in training: one may be later.
        for (_, cells) in &mut used {
            if let Cells::Categories(known) = cells {
                known.add(Markers::new(&settings.missing).name());
            }
        }
    }
    for path in &paths[1..] {
        let mut rows = open(path)?;
        check_columns(&rows, &first.names)?;
        tables.push(numbers(settings, &mut rows, &mut used, Some(&first.origin), &mut notes)?);
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
        let unseen = settings.unseen == Unseen::OwnPlace && matches!(cells, Cells::Categories(_));
        Column { coding, unseen, ..Column::number(&first.names[*place]) }
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
    Ok(Tables { columns, targets, splits: tables.iter().map(split).collect(), notes })
}

/// Gives columns of numbers one that stands for a missing number.
pub(super) fn fill(columns: &mut [Column], impute: Impute, train: &Split) -> Result<()> {
    if impute == Impute::Category {
        return Ok(());
    }
    for (index, column) in (0..).zip(columns) {
        if column.coding != Coding::Number {
            continue;
        }
        let known = train.inputs.select(1, index).to_kind(Kind::Double);
        let known = known.masked_select(&known.isfinite());
        if known.numel() == 0 {
            bail!("column `{}`: no training row has a value", column.name);
        }
        column.fill = Some(match impute {
            Impute::Median => {
                // Of an even number of values the mean of the two in the middle.
                let (sorted, _) = known.sort(0, false);
                let at = |place: i64| sorted.double_value(&[place]);
                let last = known.size()[0] - 1;
                (at(last / 2) + at((last + 1) / 2)) / 2.0
            }
            _ => known.mean(Kind::Double).double_value(&[]),
        });
    }
    Ok(())
}

/// What looks like a mistake.
pub(super) fn doubts(
    settings: &Csv,
    columns: &[Column],
    targets: &Targets,
    train: &Split,
) -> Vec<String> {
    let mut doubts = Vec::new();
    let names = |which: &dyn Fn(&Column, i64) -> bool| -> Vec<String> {
        let found = columns.iter().zip(0..).filter(|(column, index)| which(column, *index));
        found.map(|(column, _)| column.name.clone()).collect()
    };
    let is_constant = |_: &Column, index: i64| {
        let cells = train.inputs.select(1, index);
        cells.eq_tensor(&cells.get(0)).all().int64_value(&[]) != 0
    };
    let is_number = |name: &String| as_number(name.as_bytes()).is_some();
    let is_unordered = |column: &Column, _: i64| match &column.coding {
        Coding::Ordinal(values) => values.len() > 2 && !values.iter().all(is_number),
        _ => false,
    };
    let constant = names(&is_constant);
    if !constant.is_empty() {
        doubts.push(format!(
            "{} with one value in all training rows, from which nothing can be learnt: {} (`data.ignore` \
             leaves columns out)",
            counted(constant.len(), "column"),
            listed(&constant, 10)
        ));
    }
    let unordered = names(&is_unordered);
    if !unordered.is_empty() {
        doubts.push(format!(
            "{} of names that become 0, 1, 2, … in alphabetical order, as if that meant something: {} \
             (`data.encoding: one_hot` gives each name an input)",
            counted(unordered.len(), "column"),
            listed(&unordered, 10)
        ));
    }
    if let Targets::Classes(classes) = targets
        && classes.len() >= MANY_CLASSES
        && classes.iter().all(is_number)
    {
        doubts.push(format!(
            "the target `{}` has {} classes, all of them numbers; to predict a number, set `data.task: \
             regression`",
            settings.targets[0],
            classes.len()
        ));
    }
    doubts
}

/// From so many classes on that are numbers, the target was probably meant to be a number.
const MANY_CLASSES: usize = 100;

/// The columns that are used, of the first table.
fn used_columns(settings: &Csv, rows: &Rows) -> Result<Used> {
    let Csv { targets, categorical, ignore, .. } = settings;
    for name in targets.iter().chain(categorical).chain(ignore) {
        rows.column(name)?;
    }
    let mut used = Used::new();
    for (place, name) in rows.names.iter().enumerate() {
        rows.column(name)?; // refuses a second one of the name, which `predict` could not find
        if categorical.contains(name) {
            let remedy = " (`data.unseen: own_place` gives others a place)";
            used.push((place, Cells::Categories(Categories::with_remedy(remedy))));
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

/// The numbers of the rows in which nothing is missing that is needed. Categories and classes have the
/// numbers of their first appearance; if `closed` names the first table, there are no others than in that
/// one. `notes` are told of what is missing.
fn numbers(
    settings: &Csv,
    rows: &mut Rows,
    used: &mut Used,
    closed: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<Tensor> {
    let Csv { missing, impute, unseen, .. } = settings;
    let missing = Markers::new(missing);
    let inputs = used.len() - settings.targets.len();
    let can_be_missing = |index: usize, cells: &Cells| match cells {
        _ if index >= inputs => false,
        Cells::Numbers => matches!(impute, Some(Impute::Median | Impute::Mean)),
        _ => impute.is_some(),
    };
    let (mut all, mut dropped, mut filled) = (0usize, 0usize, 0usize);
    let shape = (used.len(), settings.about().table_format.kind);
    let table = rows.matrix(usize::MAX, shape, |rows, numbers| {
        all += 1;
        let lacks = |(index, (column, cells)): (usize, &(usize, Cells))| {
            missing.mark(rows.cell(*column)) && !can_be_missing(index, cells)
        };
        if !missing.is_empty() && used.iter().enumerate().any(lacks) {
            dropped += 1;
            return Ok(());
        }
        for (column, cells) in used.iter_mut() {
            let (column, cell) = (*column, rows.cell(*column));
            let is_missing = missing.mark(cell);
            filled += usize::from(is_missing);
            numbers.push(match cells {
                Cells::Numbers if is_missing => f64::NAN,
                Cells::Numbers => match rows.number(column) {
                    Err(_) if missing.is_empty() && !has_decimal_comma(rows.cell(column)) => {
                        let expected =
                            "a finite number (`data.missing` lists what stands for none)";
                        return Err(rows.refuse(column, expected));
                    }
                    number => number?,
                },
                Cells::Categories(known) => {
                    let value = if is_missing { missing.name().as_bytes() } else { cell };
                    known.number(rows, column, value, closed, *unseen == Unseen::OwnPlace)?
                }
                Cells::Classes(known) => {
                    let Some(class) = class_name(cell, &settings.class_suffix) else {
                        let expected = "a class (`data.missing` leaves rows out)";
                        return Err(rows.refuse(column, expected));
                    };
                    known.number(rows, column, &class, closed, false)?
                }
            });
        }
        Ok(())
    })?;
    let of = |part: usize| format!("{part} of {}", counted(all, "row"));
    if dropped > 0 {
        notes.push(format!(
            "{}: {} left out, in which a value is missing (`data.impute` fills in inputs)",
            rows.origin,
            of(dropped)
        ));
    }
    if filled > 0 {
        let values = counted(filled, "missing value");
        notes.push(format!("{}: {values} filled in (`data.impute`)", rows.origin));
    }
    if !missing.is_empty() && dropped + filled == 0 {
        notes.push(format!("{}: no value is missing (`data.missing`)", rows.origin));
    }
    table.with_context(|| format!("{}: holds no rows that can be used", rows.origin))
}
