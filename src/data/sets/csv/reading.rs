//! Reads tables row by row; only a number is kept of each cell.

use std::path::Path;

use anyhow::{Result, bail};
use tch::{Device, Tensor};

use super::categories::{Categories, class_name, is_not_finite};
use super::{Csv, Encoding};
use crate::data::file::open;
use crate::data::preparation::one_hot;
use crate::data::table::{Matrix, Rows};
use crate::data::{Coding, Column, DataSet, Split, Targets, Task};

/// What a column is for.
enum Use {
    Ignored,
    Number,
    Category(Categories),
    Target,
}

/// What the files read so far have shown.
pub(super) struct Reading<'a> {
    settings: &'a Csv,
    columns: Vec<(String, Use)>,
    classes: Categories,
    /// The file that was read first; files after it must not have new categories or classes.
    first: Option<String>,
}

impl Reading<'_> {
    pub fn new(settings: &Csv) -> Reading<'_> {
        Reading { settings, columns: Vec::new(), classes: Categories::default(), first: None }
    }

    /// Reads a file; categories and classes are numbered in order of appearance until `encode`.
    pub fn read(&mut self, path: &Path) -> Result<Split> {
        let settings = self.settings;
        let format = settings.about().table_format;
        let mut rows = Rows::new(path.display().to_string(), open(path)?, format)?;
        let first = self.first.clone();
        match &first {
            None => self.set_columns(&rows)?,
            Some(_) => self.check_columns(&rows)?,
        }
        let closed = first.as_deref();
        let inputs = self.inputs().count();
        if inputs == 0 {
            bail!("{}: no column is left for the inputs", rows.origin);
        }
        let targets: Vec<usize> =
            settings.targets.iter().map(|name| rows.column(name)).collect::<Result<_>>()?;
        let mut inputs = Matrix::new(inputs, format.kind);
        let mut outputs = Matrix::new(targets.len(), format.kind);
        let mut count = 0;
        while rows.advance()? {
            let is_missing = |(column, (_, role)): (usize, &(String, Use))| {
                let marker = settings.missing.as_ref().map(String::as_bytes);
                !matches!(role, Use::Ignored) && marker == Some(rows.cell(column))
            };
            if self.columns.iter().enumerate().any(is_missing) {
                continue;
            }
            for (column, (_, role)) in self.columns.iter_mut().enumerate() {
                match role {
                    Use::Number => inputs.push(rows.number(column)?),
                    Use::Category(known) => {
                        inputs.push(known.number(&rows, column, rows.cell(column), closed)?);
                    }
                    Use::Ignored | Use::Target => {}
                }
            }
            for &column in &targets {
                outputs.push(match settings.task {
                    Task::Regression => rows.number(column)?,
                    Task::Classification => {
                        let class = class_name(rows.cell(column), &settings.class_suffix);
                        if is_not_finite(&class) {
                            let expected = "a class (`data.missing` leaves rows out)";
                            return Err(rows.refuse(column, expected));
                        }
                        self.classes.number(&rows, column, &class, closed)?
                    }
                });
            }
            count += 1;
        }
        if count == 0 {
            bail!("{}: holds no rows that can be used", rows.origin);
        }
        Ok(Split::new(inputs.finish(), outputs.finish()))
    }

    /// Takes the columns from the first file.
    fn set_columns(&mut self, rows: &Rows) -> Result<()> {
        let Csv { targets, categorical, ignore, .. } = self.settings;
        for name in targets.iter().chain(categorical).chain(ignore) {
            rows.column(name)?;
        }
        let role = |name: &String| match name {
            _ if targets.contains(name) => Use::Target,
            _ if ignore.contains(name) => Use::Ignored,
            _ if categorical.contains(name) => Use::Category(Categories::default()),
            _ => Use::Number,
        };
        self.columns = rows.names.iter().map(|name| (name.clone(), role(name))).collect();
        self.first = Some(rows.origin.clone());
        Ok(())
    }

    /// Refuses a further file that does not have the same columns.
    fn check_columns(&self, rows: &Rows) -> Result<()> {
        let (found, expected) = (rows.names.len(), self.columns.len());
        if found != expected {
            bail!("{}: has {found} column(s); {expected} were expected", rows.origin);
        }
        let mut pairs = self.columns.iter().zip(&rows.names);
        if let Some(((a, _), b)) = pairs.find(|((a, _), b)| a != *b) {
            bail!("{}: has a column `{b}` where `{a}` was expected", rows.origin);
        }
        Ok(())
    }

    fn inputs(&self) -> impl Iterator<Item = &(String, Use)> {
        self.columns.iter().filter(|(_, role)| matches!(role, Use::Number | Use::Category(_)))
    }

    /// Gives categories and classes their final numbers.
    pub fn encode(&self, raw: Split) -> Result<Split> {
        let (columns, classes) = self.meaning();
        let is_number = |column: &Column| column.coding == Coding::Number;
        // Without categories the table stays as it is: it may be too large for a needless copy.
        let inputs = match columns.iter().all(is_number) {
            true => raw.inputs.shallow_clone(),
            false => {
                let encoded =
                    (0..).zip(self.inputs()).zip(columns).map(|((index, (_, role)), column)| {
                        let cells = raw.inputs.select(1, index);
                        match role {
                            Use::Category(known) => column.encode(&known.places(&cells)),
                            _ => column.encode(&cells),
                        }
                    });
                Tensor::cat(&encoded.collect::<Vec<_>>(), 1)
            }
        };
        let targets = match classes {
            Targets::Numbers { .. } => raw.targets.shallow_clone(),
            Targets::Classes(classes) => {
                if classes.len() < 2 {
                    let column = &self.settings.targets[0];
                    let name = self.first.as_deref().unwrap_or_default();
                    bail!("{name}: column `{column}` holds one class only; two are needed");
                }
                let places = self.classes.places(&raw.targets.select(1, 0));
                one_hot(&places, classes.len() as i64, Device::Cpu)
            }
        };
        Ok(Split::new(inputs, targets))
    }

    /// What the columns of the encoded tables are.
    pub fn meaning(&self) -> (Vec<Column>, Targets) {
        let columns = self.inputs().map(|(name, role)| {
            let coding = match (role, self.settings.encoding) {
                (Use::Category(known), Encoding::Ordinal) => Coding::Ordinal(known.sorted()),
                (Use::Category(known), Encoding::OneHot) => Coding::OneHot(known.sorted()),
                _ => Coding::Number,
            };
            Column { coding, ..Column::number(name) }
        });
        let targets = match self.settings.task {
            Task::Classification => Targets::Classes(self.classes.sorted()),
            Task::Regression => Targets::numbers(&self.settings.targets),
        };
        (columns.collect(), targets)
    }
}
