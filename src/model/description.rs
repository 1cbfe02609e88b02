//! What it takes to use a network, beside its parameters: kept in `model.safetensors` and in
//! checkpoints, as JSON, which Python reads unaided.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::{Preparation, TableFormat};
use crate::engine::Kernels;
use crate::files::At;
use crate::loss::Loss;
use crate::network::Architecture;
use crate::tensor_file::TensorFile;

/// Version of the description; any other version is refused.
pub const VERSION: u64 = 2;

pub(super) const KEY: &str = "f3_tch_model";

/// A network's architecture, and how samples become its inputs and its outputs answers.
///
/// It knows nothing of the run that trained the network: no key of a run's configuration is read to
/// use a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    pub(crate) version: u64,
    /// What the network is.
    pub architecture: Architecture,
    /// What its outputs were trained to minimise, which says what they mean.
    pub loss: Loss,
    /// The kernels that computed it: with the same ones the outputs are the same to the bit.
    pub kernels: Kernels,
    /// How samples become inputs, and outputs answers.
    pub preparation: Preparation,
    /// How the tables are written that samples come from.
    pub table: TableFormat,
    /// The `data` section of the run's configuration, for `evaluate` without `--data`. Nothing else
    /// reads it.
    pub data: Option<Value>,
}

impl Description {
    /// Its place in a file, and how it is written there.
    pub(crate) fn text(&self) -> (String, String) {
        (KEY.to_string(), serde_json::to_string(self).expect("names and numbers can be written"))
    }

    /// The description in a file.
    pub(crate) fn of(file: &TensorFile) -> Result<Description> {
        let shown = file.path.display();
        let Some(text) = file.text(KEY) else {
            bail!("{shown}: does not say what network it holds; f3-tch has not written it");
        };
        let unread = "the description cannot be read";
        let value: Value = serde_json::from_str(text).at(&file.path, unread)?;
        let version = value.get("version").and_then(Value::as_u64);
        if version != Some(VERSION) {
            let found = version.map_or("?".to_string(), |version| version.to_string());
            bail!(
                "{shown}: its description is of version {found}; this program reads version {VERSION} \
                 (`init_from` still takes its weights)"
            );
        }
        let description: Description = serde_json::from_value(value).at(&file.path, unread)?;
        description.check().with_context(|| shown.to_string())?;
        Ok(description)
    }

    fn check(&self) -> Result<()> {
        self.preparation.check()?;
        self.architecture.check()?;
        if self.architecture.shape().widths() != self.preparation.widths() {
            bail!("the network and the preparation of its samples do not go together");
        }
        Ok(())
    }
}
