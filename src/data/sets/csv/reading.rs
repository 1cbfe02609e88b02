//! Reads tables row by row; only a number is kept of each cell.

use std::path::Path;

use anyhow::{Result, bail};
use tch::{Device, Kind, Tensor};

use super::categories::{Categories, class_name, is_not_finite};
use super::{Csv, Encoding};
use crate::data::prepare::{Table, one_hot};
use crate::data::table::{Matrix, Rows};
use crate::data::{Coding, Column, DataSet, Targets, Task};

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

/// What the files read so far have shown.
pub(super) struct Reading<'a> {
    settings: &'a Csv,
    columns: Option<(Vec<String>, Vec<Use>)>,
    categories: Vec<Categories>,
    classes: Categories,
    /// The file that was read first; files after it must not have new categories or classes.
    first: Option<String>,
}

impl Reading<'_> {
    pub fn new(settings: &Csv) -> Reading<'_> {
        Reading {
            settings,
            columns: None,
            categories: Vec::new(),
            classes: Categories::default(),
            first: None,
        }
    }

    /// Reads a file; categories and classes are numbered in order of appearance until `encode`.
    pub fn read(&mut self, path: &Path) -> Result<Table> {
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

    /// Gives categories and classes their final numbers.
    pub fn encode(&self, raw: Table) -> Result<Table> {
        // Without categories the table stays as it is: it may be too large for a needless copy.
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

    /// What the columns of the encoded tables are.
    pub fn meaning(&self) -> (Vec<Column>, Targets) {
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
