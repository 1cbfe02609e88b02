//! The keys of `report:`, which say what a report shows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use serde_yaml::{Mapping, Value};

use crate::run::ValueName;
use crate::settings::domain::{any, choice, show, text, truth};
use crate::settings::{Domain, Source, named, section};

section! {
    /// What a report shows, and how.
    pub struct ReportSettings {
        /// How runs are put into rows: `case`, a key such as `algorithm.name`, or a list of keys.
        rows: Vec<String> = vec!["case".into()], texts("`case`, a key, or a list of keys");
        /// Key that has a table for each of its values, or `base`; `null`: one table.
        group: Option<String> = None, text("a key, or `base`").or_null();
        /// Metric of the tables: a name in `metrics.csv`, or a list.
        ///
        /// Of a list, each table takes the first metric that its runs have.
        metric: Vec<String> = vec!["test_accuracy".into(), "test_loss".into()],
            metrics().only(|names| !names.is_empty());
        /// Epoch whose value figures and differences use.
        select: Select = Select::Last, choice();
        /// Metrics drawn over the epochs; `null`: `test_loss` and `metric`; `[]`: none.
        curves: Option<Vec<String>> = None, metrics().or_null();
        /// Two rows, `{from: ROW, to: ROW}`, between which every other row closes a share of the gap.
        gap: Option<Gap> = None, any("a mapping with `from` and `to`, which are rows", json!({
            "type": "object",
            "properties": {"from": {"type": "string"}, "to": {"type": "string"}},
            "required": ["from", "to"],
            "additionalProperties": false,
        })).or_null();
        /// Row to which all others are compared; `null`: all pairs of up to six rows, else the first row.
        baseline: Option<String> = None, text("a row").or_null();
        /// Whether accuracies in percent are shown as errors in percent.
        error: bool = false, truth();
        /// Numeric key, such as `model.hidden_layers`, over whose values the metric is drawn.
        ///
        /// The tables then have a row for each row and value.
        x: Option<String> = None, text("a key whose values are numbers").or_null();
        /// Numbers of others to stand beside ours.
        ///
        /// `{source: TEXT, values: {ROW: NUMBER}}`, or with several tables
        /// `values: {TABLE: {ROW: NUMBER}}`.
        reference: Option<Reference> = None, any(
            "a mapping with `source` (a text) and `values` (numbers of rows, or of the rows of tables)",
            json!({
                "type": "object",
                "properties": {"source": {"type": "string"}, "values": {"type": "object"}},
                "required": ["source", "values"],
                "additionalProperties": false,
            }),
        ).or_null();
    }
}

named! {
    /// The epoch whose value counts.
    pub enum Select {
        /// The last epoch.
        Last = "last",
        /// The epoch in which the metric is best.
        ///
        /// It is chosen on the metric itself, so a test metric looks better than it is.
        Best = "best",
        /// The epoch with the smallest validation loss.
        BestValidation = "best_validation",
    }
}

impl Select {
    /// In the order of the tables.
    pub const ALL: [Select; 3] = [Select::Last, Select::Best, Select::BestValidation];

    /// The epoch as the title of a column.
    pub(super) fn title(self) -> &'static str {
        match self {
            Select::BestValidation => "best validation",
            other => other.words(),
        }
    }

    /// The epoch in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Select::Last => "last epoch",
            Select::Best => "best epoch",
            Select::BestValidation => "best validation epoch",
        }
    }
}

/// The rows at the two ends of a gap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// The row that closes nothing of it.
    pub from: String,
    /// The row that closes all of it.
    pub to: String,
}

/// Numbers of others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Where they stand.
    pub source: String,
    /// The numbers by row, or by table and row.
    pub values: BTreeMap<String, ReferenceValue>,
}

/// The number of a row, or those of a table's rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ReferenceValue {
    /// Of a row of any table.
    Row(f64),
    /// Of the rows of a table.
    Table(BTreeMap<String, f64>),
}

impl Reference {
    /// The number for a row of a table, if there is one.
    pub(super) fn of(&self, group: &str, row: &str) -> Option<f64> {
        let of_table = match self.values.get(group) {
            Some(ReferenceValue::Table(rows)) => rows.get(row).copied(),
            _ => None,
        };
        of_table.or_else(|| match self.values.get(row)? {
            ReferenceValue::Row(value) => Some(*value),
            ReferenceValue::Table(_) => None,
        })
    }

    /// The table (if one is named) and row of each number.
    pub(super) fn places(&self) -> Vec<(Option<&str>, &str)> {
        let places = self.values.iter().flat_map(|(name, value)| match value {
            ReferenceValue::Row(_) => vec![(None, name.as_str())],
            ReferenceValue::Table(rows) => {
                rows.keys().map(|row| (Some(name.as_str()), row.as_str())).collect()
            }
        });
        places.collect()
    }
}

impl Default for ReportSettings {
    fn default() -> ReportSettings {
        let source = Source::parse("report", "").expect("nothing is a configuration");
        ReportSettings::read(&source).expect("every key has a default")
    }
}

impl ReportSettings {
    /// Reads the keys from a configuration that holds nothing else.
    ///
    /// # Errors
    /// If a key is not known, or its value cannot be.
    pub fn read(source: &Source) -> crate::settings::Result<ReportSettings> {
        let read = source.read(
            Mapping::new(),
            &ReportSettings::keys(),
            Vec::new(),
            ReportSettings::read_keys,
        );
        read.map(|(settings, _)| settings)
    }
}

/// A text, or a list of texts.
fn texts(expected: &str) -> Domain<Vec<String>> {
    let one = |value: &Value| match value {
        Value::String(_) | Value::Number(_) | Value::Bool(_) => Ok(show(value)),
        _ => Err(String::new()),
    };
    Domain::new(expected, one_or_list(json!({"type": "string"})), move |value| match value {
        Value::Sequence(items) => items.iter().map(one).collect(),
        value => one(value).map(|text| vec![text]),
    })
}

/// The name of a metric, or a list of such.
fn metrics() -> Domain<Vec<String>> {
    let known: Vec<String> = ValueName::known().map(|name| name.to_string()).collect();
    let schema = one_or_list(json!({"enum": known}));
    Domain::new("the name of a metric, or a list of names", schema, move |value| {
        let items = match value {
            Value::Sequence(items) => items.as_slice(),
            value => std::slice::from_ref(value),
        };
        let named = |item: &Value| {
            let name = show(item);
            let error = || format!(" (`{name}` is none; known are {})", known.join(", "));
            if known.contains(&name) { Ok(name) } else { Err(error()) }
        };
        items.iter().map(named).collect()
    })
}

fn one_or_list(item: Json) -> Json {
    json!({"anyOf": [item, {"type": "array", "items": item}]})
}
