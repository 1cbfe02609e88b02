//! `f3-tch evaluate`: the metrics of a saved network.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use f3_tch::config::{Config, DataConfig, Source};
use f3_tch::data::{DataDirectory, Task};
use f3_tch::device::DeviceChoice;
use f3_tch::metrics::{Evaluation, evaluate};
use f3_tch::model::Model;

use tch::Tensor;

use super::new_table::NewTable;
use super::progress::show_fetching;
use super::saved::SavedNetwork;
use super::{DataDirArgs, print};

#[derive(Args)]
pub struct EvaluateArgs {
    #[command(flatten)]
    network: SavedNetwork,
    /// A configuration whose data set is evaluated on [default: that of the model's own run]
    #[arg(long, value_name = "CONFIG")]
    data: Option<String>,
    /// Also write the metrics, with all their digits, to this table, which must not exist; - is
    /// standard output, in place of what is shown
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
        let path = self.network.path()?;
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
        let forward = |batches: &[Tensor]| batches.iter().map(|it| model.forward(it)).collect();
        let mut found = Vec::new();
        for (part, split) in data.parts() {
            let evaluation = evaluate(forward, split, &data.measured_by(about.loss), batch_size)?;
            found.push((part, split.len(), evaluation));
        }
        if let Some(output) = &self.output {
            let mut table = NewTable::start(output)?;
            let metrics = data.task.metrics().map(|metric| metric.name);
            table.write(["part", "samples", "loss"].into_iter().chain(metrics))?;
            for (part, samples, evaluation) in &found {
                let about = [part.to_string(), samples.to_string(), evaluation.loss.to_string()];
                let metrics = evaluation.metrics.iter().map(|(_, value)| value.to_string());
                table.write(about.into_iter().chain(metrics))?;
            }
            table.finish()?;
        }
        match &self.output {
            Some(output) if NewTable::is_output(output) => Ok(()),
            _ => print(&shown_table(data.task, &found)),
        }
    }
}

/// A column for each part of the data, and a row for each number.
fn shown_table(task: Task, found: &[(&str, i64, Evaluation)]) -> String {
    let row = |name: &str, unit: &str, cell: &dyn Fn(&(&str, i64, Evaluation)) -> String| {
        let cells: Vec<String> = found.iter().map(|it| format!("{:>12}", cell(it))).collect();
        format!("{name:10}{}{}{unit}", cells.concat(), if unit.is_empty() { "" } else { " " })
            + "\n"
    };
    let number = |value: f64| format_number(value);
    let mut table = row("", "", &|(part, ..)| part.to_string());
    table += &row("samples", "", &|(_, samples, _)| samples.to_string());
    table += &row("loss", "", &|(.., evaluation)| number(evaluation.loss));
    for metric in task.metrics() {
        table += &row(metric.name, metric.unit, &|(.., evaluation)| {
            evaluation.metric(metric.name).map_or(String::new(), number)
        });
    }
    table
}

/// A number to be read: six digits.
fn format_number(value: f64) -> String {
    match value.abs() {
        size if size != 0.0 && !(1e-4..1e6).contains(&size) => format!("{value:.5e}"),
        size => {
            let before = if size >= 1.0 { size.log10() as usize + 1 } else { 1 };
            format!("{value:.*}", 6usize.saturating_sub(before))
        }
    }
}
