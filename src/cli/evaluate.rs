//! `f3-tch evaluate`: the metrics of a saved network.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use f3_tch::config::{Config, Source};
use f3_tch::data::{DataDirectory, Split};
use f3_tch::device::DeviceChoice;
use f3_tch::metrics::evaluate;
use f3_tch::model::Model;
use f3_tch::model_file;

use super::new_table::NewTable;
use super::{DataDirArgs, print};

#[derive(Args)]
pub struct EvaluateArgs {
    /// A model.safetensors, a checkpoint, or the folder of a run
    model: PathBuf,
    /// A configuration whose data set is evaluated on [default: that of the model's own run]
    #[arg(long, value_name = "CONFIG")]
    data: Option<String>,
    /// Also write the metrics to this table, which must not exist
    #[arg(short, long, value_name = "OUT.csv")]
    output: Option<PathBuf>,
    /// auto, cpu, cuda, cuda:N
    #[arg(long, default_value = "auto", value_name = "D")]
    device: DeviceChoice,
    #[command(flatten)]
    data_dir: DataDirArgs,
}

impl EvaluateArgs {
    pub fn run(self) -> Result<ExitCode> {
        self.output.as_deref().map_or(Ok(()), NewTable::check)?;
        let device = self.device.choose()?.device;
        let path = model_file::of(&self.model);
        let shown = path.display();
        let model = Model::open(&path, device)?;
        let of_model = model.config();
        let settings = match &self.data {
            Some(config) => Config::read(&Source::open(config)?)?.0.data.set,
            None => of_model.data.set.clone(),
        };
        let directory = DataDirectory::locate(self.data_dir.data_dir.as_deref());
        let data = settings.load_as(model.preparation(), &directory, device);
        let mut data = data.with_context(|| format!("{shown} cannot be evaluated"))?;
        if let (None, Some(samples)) = (&self.data, of_model.data.train_samples) {
            data.train = data.train.first(data.train.len().min(samples as i64));
        }
        let of = |split: &Split| {
            let size = of_model.data.eval_batch_size;
            evaluate(model.network(), split, of_model.loss, data.task, size)
        };
        let mut rows = vec![["part", "samples", "loss"].map(String::from).to_vec()];
        rows[0].extend(data.task.metrics().map(|metric| metric.name.to_string()));
        for (part, split) in data.parts() {
            let found = of(split)?;
            let mut row = vec![part.to_string(), split.len().to_string(), found.loss.to_string()];
            row.extend(found.metrics.iter().map(|(_, value)| value.to_string()));
            rows.push(row);
        }
        if let Some(output) = &self.output {
            let mut table = NewTable::start(output)?;
            rows.iter().try_for_each(|row| table.write(row))?;
            table.finish()?;
        }
        for row in &rows {
            let cells: Vec<String> = row.iter().map(|cell| format!("{cell:>20}")).collect();
            print(&format!("{}\n", cells.join("  ")))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
