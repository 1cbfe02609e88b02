//! Numbers for the different values of a column.

use std::borrow::Cow;
use std::collections::HashMap;

use anyhow::Result;
use tch::{Kind, Tensor};

use crate::data::table::{Rows, parse};

/// A column with more different values than this was probably meant to be a number.
const MOST_CATEGORIES: usize = 10_000;

/// The different values of a column, numbered in the order of their appearance.
#[derive(Default)]
pub(super) struct Categories {
    numbers: HashMap<Vec<u8>, usize>,
    /// What a complaint about a new value adds.
    remedy: &'static str,
}

impl Categories {
    /// None yet; a complaint about a new value adds this remedy.
    pub fn with_remedy(remedy: &'static str) -> Categories {
        Categories { remedy, ..Categories::default() }
    }

    /// Adds a value, if it is not there.
    pub fn add(&mut self, value: &str) {
        let number = self.numbers.len();
        self.numbers.entry(value.as_bytes().to_vec()).or_insert(number);
    }

    /// The number of a value in this row's column; a new value gets the next number.
    ///
    /// Values that did not occur in the file that `closed` names share the next number if they may be
    /// `unseen`, and are refused otherwise.
    pub fn number(
        &mut self,
        rows: &Rows,
        column: usize,
        value: &[u8],
        closed: Option<&str>,
        unseen: bool,
    ) -> Result<f64> {
        if let Some(number) = self.numbers.get(value) {
            return Ok(*number as f64);
        }
        let number = self.numbers.len();
        let expected = match closed {
            _ if value.is_empty() => "a value (`data.missing` leaves rows out)".to_string(),
            _ if value.contains(&b'\n') => {
                "a value on one line; is a quote not closed?".to_string()
            }
            _ if std::str::from_utf8(value).is_err() => "text in UTF-8".to_string(),
            Some(_) if unseen => return Ok(number as f64),
            Some(first) => {
                format!("a value that occurs in {first}{}", self.remedy)
            }
            None if number == MOST_CATEGORIES => {
                format!("one of at most {MOST_CATEGORIES} different values; is this a number?")
            }
            None => {
                self.numbers.insert(value.to_vec(), number);
                return Ok(number as f64);
            }
        };
        Err(rows.refuse(column, &expected))
    }

    /// The values in sorted order: numbers by size, then names in alphabetical order. In this column of
    /// the tables, places in that order replace the values' numbers.
    pub fn sort(&self, tables: &[Tensor], column: usize) -> Vec<String> {
        let mut sorted: Vec<(&Vec<u8>, &usize)> = self.numbers.iter().collect();
        sorted.sort_by(|(a, _), (b, _)| {
            match (as_number(a), as_number(b)) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                (a, b) => b.is_some().cmp(&a.is_some()),
            }
            .then_with(|| a.cmp(b))
        });
        // The last one is that of values that are not among these.
        let mut places = vec![sorted.len() as i64; sorted.len() + 1];
        for (place, (_, number)) in (0..).zip(&sorted) {
            places[**number] = place;
        }
        let places = Tensor::from_slice(&places);
        for table in tables {
            let mut cells = table.select(1, column as i64);
            cells.copy_(&places.index_select(0, &cells.to_kind(Kind::Int64)));
        }
        let text = |(value, _): &(&Vec<u8>, _)| String::from_utf8_lossy(value).into_owned();
        sorted.iter().map(text).collect()
    }
}

/// A class without its suffix, unless it is one of the ways to write NaN or an infinity; `1`, `1.0` and
/// `1e0` are the same class.
pub(super) fn class_name<'a>(cell: &'a [u8], suffix: &Option<String>) -> Option<Cow<'a, [u8]>> {
    let without = suffix.as_ref().and_then(|it| cell.strip_suffix(it.as_bytes()));
    let cell = without.unwrap_or(cell);
    match (parse(cell), as_number(cell)) {
        (_, Some(number)) => Some(Cow::Owned(number.to_string().into_bytes())),
        (None, _) => Some(Cow::Borrowed(cell)),
        (Some(_), None) => None,
    }
}

pub(super) fn as_number(cell: &[u8]) -> Option<f64> {
    parse(cell).filter(|number| number.is_finite()).map(|number| number + 0.0) // -0 is 0
}
