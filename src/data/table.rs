//! Tables of comma-separated values, read row by row, so that only one row of text is in memory.

use std::collections::HashMap;
use std::io::{self, Read};

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::File;

/// How many values, about, are gathered while a table is read before they become a tensor.
const CHUNK: usize = 1 << 20;

/// The most bytes that a row may have, with the comments before it.
const LONGEST_ROW: u64 = 16 << 20;

/// What follows the content: a line feed, which ends the last row, and a row that no table has. Where it does
/// not come as a row of its own, a quote has not been closed.
const END: &[u8] = b"\n\0\x1a\0\n";

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableFormat {
    /// The character between cells.
    pub delimiter: u8,
    /// What the first row is.
    pub header: Header,
    /// The character that comment lines start with.
    pub comment: Option<u8>,
    /// The kind that numbers are read as: float or double.
    #[serde(with = "kind_name")]
    pub kind: Kind,
    /// How many columns are not inputs. A table without names must have them too.
    pub others: usize,
}

/// Commas between doubles; the first row has the columns' names; no comments, and no columns but the inputs.
impl Default for TableFormat {
    fn default() -> TableFormat {
        let (kind, header) = (Kind::Double, Header::Names);
        TableFormat { delimiter: b',', header, comment: None, kind, others: 0 }
    }
}

/// A kind of number by its name.
mod kind_name {
    use super::{Deserialize, Kind};
    use serde::{Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if *kind == Kind::Float { "float" } else { "double" })
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "float" => Ok(Kind::Float),
            "double" => Ok(Kind::Double),
            other => Err(D::Error::custom(format!("`{other}` is not float or double"))),
        }
    }
}

/// What a table's first row is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Header {
    /// The columns' names.
    Names,
    /// A row; the columns are called 0, 1, 2, …
    Row,
    /// Names if it contains no number, or the numbers 0, 1, 2, … as pandas names columns; else a row.
    Either,
}

/// The rows of a table, one at a time.
pub(super) struct Rows<'a> {
    /// The table's name, for messages.
    pub origin: String,
    /// The columns' names.
    pub names: Vec<String>,
    /// Where each name is; none if more than one column has it.
    places: HashMap<String, Option<usize>>,
    reader: csv::Reader<Content<'a>>,
    row: csv::ByteRecord,
    line: u64,
    held: bool, // the first row has been read to count the columns
}

/// What is left of the content, up to the longest row, and [`END`].
type Content<'a> = io::Chain<io::Take<Box<dyn Read + 'a>>, &'static [u8]>;

impl<'a> Rows<'a> {
    /// The rows of a file in memory.
    pub fn of(file: &'a File, format: TableFormat) -> Result<Rows<'a>> {
        Rows::new(file.origin.clone(), Box::new(file.bytes.as_slice()), format)
    }

    /// The rows that a reader gives; messages call it `origin`.
    pub fn new(
        origin: String,
        content: Box<dyn Read + 'a>,
        format: TableFormat,
    ) -> Result<Rows<'a>> {
        let reader = csv::ReaderBuilder::new()
            .delimiter(format.delimiter)
            .comment(format.comment)
            .has_headers(false)
            .flexible(true) // `advance` checks the width, with an error of its own
            .trim(csv::Trim::All) // of `\r`, too
            .terminator(csv::Terminator::Any(b'\n'))
            // Every row ends in a line feed, so that lines can be counted by the rows' ends.
            .from_reader(content.take(LONGEST_ROW).chain(END));
        let (names, places, row) = (Vec::new(), HashMap::new(), csv::ByteRecord::new());
        let mut rows = Rows { origin, names, places, reader, row, line: 0, held: false };
        if !rows.read()? {
            bail!("{}: is empty; a table was expected", rows.origin);
        }
        let is_number = |cell: &[u8]| parse(cell).is_some();
        let row = &rows.row;
        if format.header == Header::Names && row.iter().all(is_number) {
            bail!(
                "{}: holds numbers where columns are named; if it is a row, set `data.header: false`",
                rows.place()
            );
        }
        let named = match format.header {
            Header::Either => !row.iter().any(is_number) || are_counted(row),
            header => header == Header::Names,
        };
        rows.names = match named {
            true => row.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect(),
            false => (0..row.len()).map(|index| index.to_string()).collect(),
        };
        for (place, name) in rows.names.iter().enumerate() {
            let only = rows.places.entry(name.clone());
            only.and_modify(|it| *it = None).or_insert(Some(place));
        }
        rows.held = !named;
        Ok(rows)
    }

    /// The position of a column; the error lists the columns that the table has.
    pub fn column(&self, name: &str) -> Result<usize> {
        let Rows { origin, names, .. } = self;
        match self.places.get(name) {
            Some(Some(column)) => Ok(*column),
            None => {
                let more = match names.len() {
                    1 => other_delimiter(&names[0]).map_or(String::new(), |found| {
                        format!(" (are cells separated by `{found}`? then set the delimiter)")
                    }),
                    count if count > 30 => format!(" ({count} in all)"),
                    _ => String::new(),
                };
                bail!("{origin}: has no column `{name}`; it has {}{more}", listed(names, 30))
            }
            Some(None) => bail!("{origin}: has more than one column `{name}`"),
        }
    }

    /// Goes on to the next row, if there is one; it has all columns.
    pub fn advance(&mut self) -> Result<bool> {
        Ok(self.advance_to_any()? && self.check_width().map(|()| true)?)
    }

    /// Goes on to the next row, if there is one; it may have more or fewer columns than there should be.
    pub fn advance_to_any(&mut self) -> Result<bool> {
        Ok(std::mem::take(&mut self.held) || self.read()?)
    }

    /// Refuses this row if it does not have all columns.
    pub fn check_width(&self) -> Result<()> {
        let (found, expected) = (self.row.len(), self.names.len());
        if found != expected {
            bail!("{}: has {found} column(s); {expected} were expected", self.place());
        }
        Ok(())
    }

    /// Reads the next row that is not empty, if there is one.
    fn read(&mut self) -> Result<bool> {
        self.reader.get_mut().get_mut().0.set_limit(LONGEST_ROW + 1);
        let unread = || format!("{}: cannot be read as a table", self.origin);
        loop {
            let found = self.reader.read_byte_record(&mut self.row).with_context(unread)?;
            if self.reader.get_ref().get_ref().0.limit() == 0 {
                // A quote is not closed, or this is no table.
                let limit = LONGEST_ROW >> 20;
                let reason = anyhow!("a row is longer than {limit} MiB; is a quote not closed?");
                return Err(reason).with_context(unread);
            }
            let end = END.trim_ascii();
            if !found || (self.row.len() == 1 && self.row[0] == *end) {
                return Ok(false);
            }
            if self.row.len() > 1 || !self.row[0].is_empty() {
                // The reader's own position is where it went on reading, before empty lines and
                // comments; the row may have lines within.
                let within = self.row.as_slice().iter().filter(|&&byte| byte == b'\n').count();
                self.line = self.reader.position().line().saturating_sub(1 + within as u64);
                if self.row[self.row.len() - 1].ends_with(end) {
                    bail!("{}: a quote is not closed", self.place());
                }
                return Ok(true);
            }
        }
    }

    /// Up to `most` further rows as a matrix `[rows, width]`, unless there are none. `append` appends a
    /// row's numbers, all or none: one without numbers is left out.
    pub fn matrix(
        &mut self,
        most: usize,
        (width, kind): (usize, Kind),
        mut append: impl FnMut(&Rows, &mut Vec<f64>) -> Result<()>,
    ) -> Result<Option<Tensor>> {
        let rows =
            |numbers: &[f64]| Tensor::from_slice(numbers).reshape([-1, width as i64]).to_kind(kind);
        let (mut chunks, mut numbers, mut left) = (Vec::new(), Vec::new(), most);
        while left > 0 && self.advance()? {
            append(self, &mut numbers)?;
            left -= 1;
            if numbers.len() >= CHUNK {
                chunks.push(rows(&numbers));
                numbers.clear();
            }
        }
        chunks.push(rows(&numbers));
        let matrix = Tensor::cat(&chunks, 0);
        Ok((matrix.size()[0] > 0).then_some(matrix))
    }

    /// All further rows of a table of numbers, as doubles `[rows, columns]`.
    pub fn numbers(&mut self) -> Result<Tensor> {
        let width = self.names.len();
        let all = self.matrix(usize::MAX, (width, Kind::Double), |rows, numbers| {
            for column in 0..width {
                numbers.push(rows.number(column)?);
            }
            Ok(())
        })?;
        all.with_context(|| format!("{}: holds no rows", self.origin))
    }

    /// The text in a column of this row; empty if the row has no such column.
    pub fn cell(&self, column: usize) -> &[u8] {
        self.row.get(column).unwrap_or_default()
    }

    /// The finite number in a column of this row.
    pub fn number(&self, column: usize) -> Result<f64> {
        let number = parse(self.cell(column)).filter(|number| (*number as f32).is_finite());
        number.ok_or_else(|| match has_decimal_comma(self.cell(column)) {
            true => self.refuse(column, "a decimal point in place of the comma"),
            false => self.refuse(column, "a finite number"),
        })
    }

    /// The complaint about a cell of this row.
    pub fn refuse(&self, column: usize, expected: &str) -> anyhow::Error {
        let found = String::from_utf8_lossy(self.cell(column));
        let shown: String = found.chars().take(40).collect();
        let (place, name) = (self.place(), &self.names[column]);
        anyhow!("{place}, column `{name}`: is `{shown}`; expected {expected}")
    }

    fn place(&self) -> String {
        format!("{}, line {}", self.origin, self.line)
    }
}

/// Whether the numbers of a row are 0, 1, 2, …: names of columns, as pandas counts them.
fn are_counted(row: &csv::ByteRecord) -> bool {
    let numbers: Vec<f64> = row.iter().filter_map(parse).collect();
    numbers.len() > 1 && numbers.iter().zip(0..).all(|(number, place)| *number == f64::from(place))
}

/// Some names, of which not more than `most` are shown.
pub(super) fn listed(names: &[String], most: usize) -> String {
    let shown = names[..names.len().min(most)].join(", ");
    if names.len() > most { format!("{shown}, …") } else { shown }
}

/// What seems to separate the names in a row that was read as one name.
fn other_delimiter(row: &str) -> Option<&'static str> {
    [(';', ";"), (',', ","), ('\t', "\\t"), ('|', "|")]
        .into_iter()
        .find_map(|(delimiter, shown)| row.contains(delimiter).then_some(shown))
}

/// Whether a cell is a number such as `1,5`.
pub(super) fn has_decimal_comma(cell: &[u8]) -> bool {
    let parts: Vec<&[u8]> = cell.split(|byte| *byte == b',').collect();
    matches!(parts[..], [_, _]) && parse(&parts.join(&b'.')).is_some()
}

/// A cell as a number, which need not be finite.
pub(super) fn parse(cell: &[u8]) -> Option<f64> {
    std::str::from_utf8(cell).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    const FORMAT: TableFormat = TableFormat {
        delimiter: b';',
        header: Header::Names,
        comment: Some(b'#'),
        kind: Kind::Double,
        others: 0,
    };

    fn read(text: &str) -> Result<Tensor> {
        let file = File { origin: "t.csv".into(), bytes: text.as_bytes().to_vec() };
        let mut rows = Rows::of(&file, FORMAT)?;
        let (a, b) = (rows.column("a")?, rows.column("b")?);
        let matrix = rows.matrix(usize::MAX, (2, Kind::Float), |rows, numbers| {
            numbers.extend([rows.number(a)?, rows.number(b)?]);
            Ok(())
        })?;
        Ok(matrix.unwrap())
    }

    #[test]
    fn rows_are_read_by_column() {
        let matrix = read("\"b\";a\n1; 2\n# no row\n-3e1;+.5\n").unwrap();
        let rows: Vec<Vec<f64>> = matrix.try_into().unwrap();
        assert_eq!(rows, [[2.0, 1.0], [0.5, -30.0]]);
    }

    #[test]
    fn many_rows_keep_their_order() {
        let lines: String = (0..CHUNK + 10).map(|value| format!("{value}\n")).collect();
        let file = File { origin: "t.csv".into(), bytes: format!("a\n{lines}").into_bytes() };
        let matrix = Rows::of(&file, FORMAT).unwrap().numbers().unwrap();
        let expected = Tensor::arange(CHUNK as i64 + 10, (Kind::Double, Device::Cpu));
        assert_eq!(matrix.flatten(0, -1), expected);
    }

    #[test]
    fn malformed_tables_are_refused_with_their_place() {
        for (text, expected) in [
            ("", "t.csv: is empty"),
            ("a;c\n1;2", "t.csv: has no column `b`; it has a, c"),
            ("a,b\n1,2", "it has a,b (are cells separated by `,`? then set the delimiter)"),
            ("a\tb\n1\t2", "(are cells separated by `\\t`?"),
            ("a;b;b\n1;2;3", "t.csv: has more than one column `b`"),
            ("a;b\n1;2\n1", "t.csv, line 3: has 1 column(s); 2 were expected"),
            ("a;b\n1;2;3", "t.csv, line 2: has 3 column(s)"),
            ("a;b\r\n1;2\r\n1;x\r\n", "t.csv, line 3, column `b`: is `x`"),
            ("\n\na;b\n\r\n1;2\n\n# no row\n1;x", "t.csv, line 8, column `b`: is `x`"),
            ("a;b\n\"1\n\";2\n1;x", "t.csv, line 4, column `b`: is `x`"),
            ("1;2\n3;4", "t.csv, line 1: holds numbers where columns are named"),
            ("a;b\n1;x", "t.csv, line 2, column `b`: is `x`; expected a finite number"),
            ("a;b\n1;2\n3;\"4\n5;6\n", "t.csv, line 3: a quote is not closed"),
            ("a;b\n1;2\n3;\"4", "t.csv, line 3: a quote is not closed"),
            ("\"a;b\n1;2\n", "t.csv, line 1: a quote is not closed"),
            ("a;b\n1;2,5", "column `b`: is `2,5`; expected a decimal point in place of the comma"),
            ("a;b\n1;1,000,000", "is `1,000,000`; expected a finite number"),
            ("a;b\n1;nan", "column `b`: is `nan`"),
            ("a;b\n-inf;2", "column `a`: is `-inf`"),
            ("a;b\n1e999;2", "column `a`: is `1e999`"),
            ("a;b\n1e39;2", "column `a`: is `1e39`"),
            ("a;b\n;2", "column `a`: is ``"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with("t.csv") && error.contains(expected), "{text}: {error}");
        }
        let file = File { origin: "t.csv".into(), bytes: b"a;b\n1;\xff\xfe".to_vec() };
        let mut rows = Rows::of(&file, FORMAT).unwrap();
        assert!(rows.advance().unwrap());
        assert!(rows.number(1).unwrap_err().to_string().contains("line 2, column `b`"));
    }
}
