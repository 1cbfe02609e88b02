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
pub(super) struct Categories(HashMap<Vec<u8>, usize>);

impl Categories {
    /// The number of a value in this row's column; a new value gets the next number.
    ///
    /// Values are refused that did not occur in the file that `closed` names.
    pub fn number(
        &mut self,
        rows: &Rows,
        column: usize,
        value: &[u8],
        closed: Option<&str>,
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
        let number = self.0.len();
        if number == MOST_CATEGORIES {
            let expected =
                format!("one of at most {MOST_CATEGORIES} different values; is this a number?");
            return Err(rows.refuse(column, &expected));
        }
        self.0.insert(value.to_vec(), number);
        Ok(number as f64)
    }

    /// The values in sorted order: numbers by size, then names in alphabetical order. In this column of
    /// the tables, places in that order replace the values' numbers.
    pub fn sort(&self, tables: &[Tensor], column: usize) -> Vec<String> {
        let mut sorted: Vec<(&Vec<u8>, &usize)> = self.0.iter().collect();
        sorted.sort_by(|(a, _), (b, _)| {
            match (as_number(a), as_number(b)) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                (a, b) => b.is_some().cmp(&a.is_some()),
            }
            .then_with(|| a.cmp(b))
        });
        let mut places = vec![0i64; sorted.len()];
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

/// A class without its suffix; `1`, `1.0` and `1e0` are the same class.
pub(super) fn class_name<'a>(cell: &'a [u8], suffix: &Option<String>) -> Cow<'a, [u8]> {
    let without = suffix.as_ref().and_then(|it| cell.strip_suffix(it.as_bytes()));
    let cell = without.unwrap_or(cell);
    match as_number(cell) {
        Some(number) => Cow::Owned(number.to_string().into_bytes()),
        None => Cow::Borrowed(cell),
    }
}

/// Whether a cell is one of the ways to write NaN or an infinity.
pub(super) fn is_not_finite(cell: &[u8]) -> bool {
    parse(cell).is_some_and(|number| !number.is_finite())
}

fn as_number(cell: &[u8]) -> Option<f64> {
    parse(cell).filter(|number| number.is_finite()).map(|number| number + 0.0) // -0 is 0
}
