//! Data sets of the user's own: one table that is split, or a table to train on and one to test on.
//!
//! Files are read row by row; what is kept of a cell is one number.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use tch::{Device, Kind, Tensor};

use super::csv_settings::{CsvFiles, CsvSettings, Encoding, OneFile, TwoFiles};
use super::preparation::{Coding, Column, Targets};
use super::prepare::{Table, dataset, one_hot};
use super::split::train_test;
use super::table::{Matrix, Rows};
use super::{DataDirectory, Dataset, Task};

/// A column with more different values than this is taken for a number by mistake.
const MOST_CATEGORIES: usize = 10_000;

/// Loads the files.
pub(super) fn load(
    settings: &CsvSettings,
    directory: &DataDirectory,
    device: Device,
) -> Result<Dataset> {
    let mut reading = Reading::new(settings);
    let (first, pair) = match &settings.files {
        CsvFiles::One(OneFile { path, test_fraction, split_seed }) => {
            let path = directory.locate_file(path)?;
            let raw = reading.read(&path)?;
            let table = reading.encode(raw)?;
            let (train, test) = train_test(table.inputs.size()[0], *test_fraction, *split_seed)
                .with_context(|| path.display().to_string())?;
            (path, (table.select(&train), table.select(&test)))
        }
        CsvFiles::Two(TwoFiles { train, test }) => {
            let train = directory.locate_file(train)?;
            let test = directory.locate_file(test)?;
            let train_rows = reading.read(&train)?;
            let test_rows = reading.read(&test)?;
            (train, (reading.encode(train_rows)?, reading.encode(test_rows)?))
        }
    };
    let name = first.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (columns, targets) = reading.meaning();
    Ok(dataset(name, columns, targets, pair, settings.standardize, device))
}

/// What a column is for.
#[derive(Clone, Copy)]
enum Use {
    Ignored,
    Number,
    Category(usize), // in `Reading::categories`
    Target,
}

impl Use {
    fn is_input(&self) -> bool {
        matches!(self, Use::Number | Use::Category(_))
    }
}

/// What has been learned from the files so far.
struct Reading<'a> {
    settings: &'a CsvSettings,
    columns: Option<(Vec<String>, Vec<Use>)>,
    categories: Vec<Categories>,
    classes: Categories,
    /// The file that was read first: after it, no new category and no new class may come.
    first: Option<String>,
}

impl Reading<'_> {
    fn new(settings: &CsvSettings) -> Reading<'_> {
        Reading {
            settings,
            columns: None,
            categories: Vec::new(),
            classes: Categories::default(),
            first: None,
        }
    }

    /// Reads a file; categories and classes are still numbered in the order of their appearance.
    fn read(&mut self, path: &Path) -> Result<Table> {
        let settings = self.settings;
        let format = settings.table_format();
        let (mut rows, kind) = (Rows::open(path, format)?, format.kind);
        let closed = self.first.clone();
        let uses = self.uses(&rows)?;
        let inputs = uses.iter().filter(|it| it.is_input()).count();
        if inputs == 0 {
            bail!("{}: no column is left for the inputs", rows.origin());
        }
        let targets: Vec<usize> =
            settings.targets.iter().map(|name| rows.column(name)).collect::<Result<_>>()?;
        let mut table = (Matrix::new(inputs, kind), Matrix::new(targets.len(), kind));
        let mut count = 0;
        while rows.advance()? {
            let missing = |column: usize| {
                settings.missing.as_ref().is_some_and(|it| it.as_bytes() == rows.cell(column))
            };
            let used = |column: &usize| !matches!(uses[*column], Use::Ignored);
            if (0..uses.len()).filter(used).any(missing) {
                continue;
            }
            for (column, kind) in uses.iter().enumerate() {
                match kind {
                    Use::Number => table.0.push(rows.number(column)?),
                    Use::Category(index) => {
                        let known = &mut self.categories[*index];
                        table.0.push(known.number(&rows, column, rows.cell(column), &closed)?);
                    }
                    Use::Ignored | Use::Target => {}
                }
            }
            for &column in &targets {
                table.1.push(match settings.task {
                    Task::Regression => rows.number(column)?,
                    Task::Classification => {
                        let class = class_name(rows.cell(column), &settings.class_suffix);
                        if is_not_finite(&class) {
                            return Err(
                                rows.refuse(column, "a class (`data.missing` leaves rows out)")
                            );
                        }
                        self.classes.number(&rows, column, &class, &closed)?
                    }
                });
            }
            count += 1;
        }
        if count == 0 {
            bail!("{}: holds no rows that can be used", rows.origin());
        }
        Ok(Table { inputs: table.0.finish(), targets: table.1.finish() })
    }

    /// What each column of a file is for; all files must have the same columns.
    fn uses(&mut self, rows: &Rows) -> Result<Vec<Use>> {
        if let Some((names, uses)) = &self.columns {
            if names != rows.names() {
                let (found, expected) = (rows.names().len(), names.len());
                if found != expected {
                    bail!("{}: has {found} column(s); {expected} were expected", rows.origin());
                }
                let other = names.iter().zip(rows.names()).find(|(a, b)| a != b);
                let (a, b) = other.expect("the names differ");
                bail!("{}: has a column `{b}` where `{a}` was expected", rows.origin());
            }
            return Ok(uses.clone());
        }
        let settings = self.settings;
        for name in settings.targets.iter().chain(&settings.categorical).chain(&settings.ignore) {
            rows.column(name)?;
        }
        let uses: Vec<Use> = rows
            .names()
            .iter()
            .map(|name| {
                if settings.targets.contains(name) {
                    Use::Target
                } else if settings.ignore.contains(name) {
                    Use::Ignored
                } else if settings.categorical.contains(name) {
                    self.categories.push(Categories::default());
                    Use::Category(self.categories.len() - 1)
                } else {
                    Use::Number
                }
            })
            .collect();
        self.first = Some(rows.origin().to_string());
        self.columns = Some((rows.names().to_vec(), uses.clone()));
        Ok(uses)
    }

    /// Puts categories and classes in their final form.
    fn encode(&self, raw: Table) -> Result<Table> {
        // Without categories the table is right as it is, and may be too large to copy for nothing.
        let inputs = match self.categories.is_empty() {
            true => raw.inputs,
            false => self.encode_inputs(&raw.inputs),
        };
        let targets = match self.settings.task {
            Task::Regression => raw.targets,
            Task::Classification => {
                let count = self.classes.count();
                if count < 2 {
                    let column = &self.settings.targets[0];
                    let name = self.first.as_deref().unwrap_or_default();
                    bail!("{name}: column `{column}` holds one class only; two are needed");
                }
                let places = self.classes.places().index_select(0, &flat(&raw.targets));
                one_hot(&places, count, Device::Cpu)
            }
        };
        Ok(Table { inputs, targets })
    }

    fn encode_inputs(&self, raw: &Tensor) -> Tensor {
        let (_, uses) = self.columns.as_ref().expect("a file has been read");
        let inputs = uses.iter().filter(|it| it.is_input());
        let encoded = inputs.enumerate().map(|(index, kind)| {
            let column = raw.narrow(1, index as i64, 1);
            let Use::Category(index) = kind else {
                return column;
            };
            let known = &self.categories[*index];
            let places = known.places().index_select(0, &flat(&column));
            match self.settings.encoding {
                Encoding::Ordinal => places.to_kind(Kind::Float).reshape([-1, 1]),
                Encoding::OneHot => one_hot(&places, known.count(), Device::Cpu),
            }
        });
        Tensor::cat(&encoded.collect::<Vec<_>>(), 1)
    }
}

impl Reading<'_> {
    /// What the columns of the encoded tables are.
    fn meaning(&self) -> (Vec<Column>, Targets) {
        let (names, uses) = self.columns.as_ref().expect("a file has been read");
        let columns = names.iter().zip(uses).filter_map(|(name, kind)| {
            let coding = match kind {
                Use::Number => Coding::Number,
                Use::Category(index) => {
                    let values = self.categories[*index].sorted();
                    match self.settings.encoding {
                        Encoding::Ordinal => Coding::Ordinal(values),
                        Encoding::OneHot => Coding::OneHot(values),
                    }
                }
                Use::Ignored | Use::Target => return None,
            };
            Some(Column { coding, ..Column::number(name) })
        });
        let targets = match self.settings.task {
            Task::Classification => Targets::Classes(self.classes.sorted()),
            Task::Regression => {
                let names = self.settings.targets.clone();
                Targets::Numbers { names, scaling: Vec::new() }
            }
        };
        (columns.collect(), targets)
    }
}

fn flat(column: &Tensor) -> Tensor {
    column.flatten(0, -1).to_kind(Kind::Int64)
}

/// The different values of a column, numbered in the order of their appearance.
#[derive(Default)]
struct Categories(HashMap<Vec<u8>, usize>);

impl Categories {
    /// The number of a value that stands in this row's column.
    fn number(
        &mut self,
        rows: &Rows,
        column: usize,
        value: &[u8],
        closed: &Option<String>,
    ) -> Result<f64> {
        if value.is_empty() {
            return Err(rows.refuse(column, "a value (`data.missing` leaves rows out)"));
        }
        if value.contains(&b'\n') {
            return Err(rows.refuse(column, "a value on one line; is a quote not closed?"));
        }
        if let Some(number) = self.0.get(value) {
            return Ok(*number as f64);
        }
        if std::str::from_utf8(value).is_err() {
            return Err(rows.refuse(column, "text in UTF-8"));
        }
        if let Some(first) = closed {
            return Err(rows.refuse(column, &format!("a value that occurs in {first}")));
        }
        if self.0.len() == MOST_CATEGORIES {
            let expected =
                format!("one of at most {MOST_CATEGORIES} different values; is this a number?");
            return Err(rows.refuse(column, &expected));
        }
        let number = self.0.len();
        self.0.insert(value.to_vec(), number);
        Ok(number as f64)
    }

    fn count(&self) -> i64 {
        self.0.len() as i64
    }

    /// For each value, in the order of appearance, its place in the sorted list: numbers by size,
    /// before names by their letters.
    fn places(&self) -> Tensor {
        let mut places = vec![0i64; self.0.len()];
        for (place, (_, number)) in self.in_order().into_iter().enumerate() {
            places[number] = place as i64;
        }
        Tensor::from_slice(&places)
    }

    /// The values in the sorted list's order.
    fn sorted(&self) -> Vec<String> {
        let text = |value: &Vec<u8>| String::from_utf8_lossy(value).into_owned();
        self.in_order().into_iter().map(|(value, _)| text(value)).collect()
    }

    /// Values and their numbers, sorted.
    fn in_order(&self) -> Vec<(&Vec<u8>, usize)> {
        let mut sorted: Vec<(&Vec<u8>, usize)> = self.0.iter().map(|(v, n)| (v, *n)).collect();
        sorted.sort_by(|(a, _), (b, _)| {
            match (as_number(a), as_number(b)) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                (a, b) => b.is_some().cmp(&a.is_some()),
            }
            .then_with(|| a.cmp(b))
        });
        sorted
    }
}

/// A class without its suffix; `1`, `1.0` and `1e0` are one class.
fn class_name<'a>(cell: &'a [u8], suffix: &Option<String>) -> Cow<'a, [u8]> {
    let without = suffix.as_ref().and_then(|it| cell.strip_suffix(it.as_bytes()));
    let cell = without.unwrap_or(cell);
    match as_number(cell) {
        Some(number) => Cow::Owned(number.to_string().into_bytes()),
        None => Cow::Borrowed(cell),
    }
}

/// Whether a cell is one of the ways to write NaN or an infinity.
fn is_not_finite(cell: &[u8]) -> bool {
    let number = std::str::from_utf8(cell).ok().and_then(|cell| cell.parse::<f64>().ok());
    number.is_some_and(|number| !number.is_finite())
}

fn as_number(cell: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(cell).ok()?.parse().ok()?;
    number.is_finite().then_some(number + 0.0) // -0 is 0
}
