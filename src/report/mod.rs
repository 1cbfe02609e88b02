//! Placeholder.
use crate::settings::domain::any;
use crate::settings::section;
use serde_json::json;

section! {
    /// x
    #[derive(Default)]
    pub struct ReportSettings {
        /// rows
        rows: Vec<String> = vec!["case".into()], any("a list", json!({}));
        /// group
        group: Option<String> = None, any("a list", json!({}));
        /// x
        x: Option<String> = None, any("a list", json!({}));
    }
}

/// e
pub struct Entry {
    /// f
    pub folder: std::path::PathBuf,
    /// g
    pub group: String,
    /// r
    pub row: String,
    /// s
    pub seed: u64,
    /// j
    pub settings: serde_json::Value,
}
