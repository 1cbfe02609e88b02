//! `f3-tch evaluate`: the metrics of a saved network.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use f3_tch::config::{Config, DataConfig, Source};
use f3_tch::data::DataDirectory;
use f3_tch::device::DeviceChoice;
use f3_tch::metrics::evaluate;
use f3_tch::model::{self, Model};

use super::new_table::NewTable;
use super::progress::show_fetching;
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
    pub fn run(self) -> Result<()> {
        self.output.as_deref().map_or(Ok(()), NewTable::check)?;
        let device = self.device.choose()?.device;
        let path = model::of(&self.model);
        let shown = path.display().to_string();
        let model = Model::open(&path, device)?;
        let about = model.description();
        // How the run cut its data; its sums depend, in the last digit, on the batches.
        let own = about.data.as_ref().map(|data| DataConfig::from_value(&shown, data)).transpose();
        let set = match (&self.data, &own) {
            (Some(config), _) => Config::read(&Source::open(config)?)?.0.data.set,
            (None, Ok(Some(own))) => own.set.clone(),
            (None, Ok(None)) => bail!("{shown}: does not say on which data; name them: --data"),
            (None, Err(error)) => bail!("{error}; name the data: --data"),
        };
        let own = own.ok().flatten();
        let directory = DataDirectory::locate(self.data_dir.data_dir.as_deref());
        let data = set.load_as(&about.preparation, &directory, device, &mut show_fetching());
        let mut data = Arc::new(data.with_context(|| format!("{shown} cannot be evaluated"))?);
        if let (None, Some(own)) = (&self.data, &own) {
            let mut selection = own.selection();
            let most = data.train.len() as usize;
            selection.train_samples = selection.train_samples.map(|samples| samples.min(most));
            data = selection.of(data)?;
        }
        let batch_size = own.map_or(1000, |own| own.eval_batch_size);
        let forward = |inputs: &_| model.forward(inputs);
        let mut rows = vec![["part", "samples", "loss"].map(String::from).to_vec()];
        rows[0].extend(data.task.metrics().map(|metric| metric.name.to_string()));
        for (part, split) in data.parts() {
            let found = evaluate(forward, split, about.loss, data.task, batch_size)?;
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
        Ok(())
    }
}
