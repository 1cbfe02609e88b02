//! What tells a run from others in TensorBoard: its configuration as a text, and the values by which the
//! page "HPARAMS" compares runs.
//!
//! There is no record of the experiment: TensorBoard would take that of one run for all, and not show what
//! only other runs have. Without one it gathers the keys and curves of all runs, and shows first the keys
//! that differ.

use std::collections::HashMap;

use anyhow::{Context, Result};
use protobuf::well_known_types::Value as Setting;
use protobuf::{Message, RepeatedField};
use serde_json::Value;
use tensorboard_proto::api::Status;
use tensorboard_proto::plugin_hparams::{HParamsPluginData, SessionEndInfo, SessionStartInfo};
use tensorboard_proto::summary::{Summary, Summary_Value, SummaryMetadata};
use tensorboard_proto::tensor::TensorProto;
use tensorboard_proto::tensor_shape::{TensorShapeProto, TensorShapeProto_Dim};
use tensorboard_proto::types::DataType;

use crate::run::Run;

/// The settings that runs are compared by: these keys, and those below them. The last two are those of a
/// run without a configuration.
const COMPARED: [&str; 9] = [
    "seed",
    "data.name",
    "data.batch_size",
    "model",
    "loss",
    "algorithm",
    "optimizer",
    "batch_size",
    "learning_rate",
];

/// By this tag TensorBoard finds the end of a run.
pub const END_TAG: &str = "_hparams_/session_end_info";

/// The text's length is a multiple of this, so that a few more digits do not make it longer.
const TEXT_BLOCK: usize = 1024;

/// What is known of a run before its first epoch.
pub fn begin(run: &Run, time: f64) -> Result<Summary> {
    let (yaml, json) = match &run.config {
        Some(config) => (config.yaml.clone(), config.json.clone()),
        None => {
            let settings = run.settings.in_short();
            let yaml = serde_yaml::to_string(&settings).context("the settings are plain data")?;
            (yaml, settings)
        }
    };
    let mut hparams = HashMap::new();
    leaves("", &json, &mut hparams);
    let mut start = SessionStartInfo::new();
    start.set_hparams(hparams);
    start.set_start_time_secs(time);
    let mut started = HParamsPluginData::new();
    started.set_session_start_info(start);

    let mut summary = Summary::new();
    summary.set_value(RepeatedField::from_vec(vec![
        text("config", &yaml),
        hparams_value("_hparams_/session_start_info", &started)?,
    ]));
    Ok(summary)
}

/// The run has come to its end.
pub fn end(time: f64) -> Result<Summary> {
    let mut end = SessionEndInfo::new();
    end.set_status(Status::STATUS_SUCCESS);
    end.set_end_time_secs(time);
    let mut ended = HParamsPluginData::new();
    ended.set_session_end_info(end);
    let mut summary = Summary::new();
    summary.set_value(RepeatedField::from_vec(vec![hparams_value(END_TAG, &ended)?]));
    Ok(summary)
}

/// Finds what a configuration says under the compared keys; `null` is left out.
fn leaves(key: &str, value: &Value, found: &mut HashMap<String, Setting>) {
    if let Value::Object(section) = value {
        for (name, value) in section {
            let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
            leaves(&key, value, found);
        }
        return;
    }
    let is_below =
        |section: &str| key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'));
    if value.is_null() || !COMPARED.iter().any(|compared| key == *compared || is_below(compared)) {
        return;
    }
    let mut read = Setting::new();
    match value {
        Value::Bool(truth) => read.set_bool_value(*truth),
        Value::Number(number) => read.set_number_value(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => read.set_string_value(text.clone()),
        list => read.set_string_value(list.to_string()),
    }
    found.insert(key.to_string(), read);
}

/// A value whose content is in its metadata.
fn hparams_value(tag: &str, data: &HParamsPluginData) -> Result<Summary_Value> {
    let mut shape = TensorShapeProto::new();
    shape.set_dim(RepeatedField::from_vec(vec![TensorShapeProto_Dim::new()])); // of no elements
    let mut nothing = TensorProto::new();
    nothing.set_dtype(DataType::DT_FLOAT);
    nothing.set_tensor_shape(shape);
    let content = data.write_to_bytes().context("hyperparameters could not be encoded")?;
    Ok(value(tag, "hparams", content, nothing))
}

/// YAML as a block of code.
fn text(tag: &str, yaml: &str) -> Summary_Value {
    let mut markdown = format!("```yaml\n{}\n```\n", yaml.trim_end()).into_bytes();
    markdown.resize(markdown.len().next_multiple_of(TEXT_BLOCK), b'\n');
    let mut tensor = TensorProto::new();
    tensor.set_dtype(DataType::DT_STRING);
    tensor.set_tensor_shape(TensorShapeProto::new());
    tensor.set_string_val(RepeatedField::from_vec(vec![markdown]));
    value(tag, "text", Vec::new(), tensor)
}

fn value(tag: &str, plugin: &str, content: Vec<u8>, tensor: TensorProto) -> Summary_Value {
    let mut metadata = SummaryMetadata::new();
    metadata.mut_plugin_data().set_plugin_name(plugin.to_string());
    metadata.mut_plugin_data().set_content(content);
    let mut value = Summary_Value::new();
    value.set_tag(tag.to_string());
    value.set_metadata(metadata);
    value.set_tensor(tensor);
    value
}
