//! `f3-tch predict`: a saved network's answers for samples that it has not seen.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use f3_tch::data::{Samples, Targets};
use f3_tch::device::DeviceChoice;
use f3_tch::model::{self, Model};
use tch::{Device, Kind, Tensor};

use super::new_table::NewTable;
use super::print;

#[derive(Args)]
pub struct PredictArgs {
    /// A model.safetensors, a checkpoint, or the folder of a run
    model: PathBuf,
    /// A table (CSV) with the training set's columns, an IDX file of images (both also with .gz), a PNG
    /// or JPEG file, or a folder of these, which are taken in their names' order
    input: PathBuf,
    /// The table of answers to write; must not exist
    #[arg(short, long, value_name = "OUT.csv")]
    output: PathBuf,
    /// What stands between the cells of a table [default: as in the training set's]
    #[arg(long, value_name = "C", value_parser = delimiter)]
    delimiter: Option<u8>,
    /// Samples per forward pass
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: u32,
    /// auto, cpu, cuda, cuda:N
    #[arg(long, default_value = "auto", value_name = "D")]
    device: DeviceChoice,
}

impl PredictArgs {
    pub fn run(self) -> Result<()> {
        NewTable::check(&self.output)?;
        let device = self.device.choose()?.device;
        let model = Model::open(&model::of(&self.model), device)?;
        let mut format = model.description().table;
        format.delimiter = self.delimiter.unwrap_or(format.delimiter);
        let mut samples = Samples::open(&self.input, format, &model.description().preparation)?;

        let mut table = NewTable::start(&self.output)?;
        let targets = &model.description().preparation.targets;
        table.write(match targets {
            Targets::Classes(names) => [vec!["class".to_string()], names.clone()].concat(),
            Targets::Numbers { names, .. } => names.clone(),
        })?;
        let mut count = 0;
        while let Some(inputs) = samples.next(self.batch_size as usize)? {
            let answers = model.answer(&inputs.to_device(device))?;
            if answers.isfinite().all().int64_value(&[]) == 0 {
                let wrong =
                    answers.isfinite().all_dim(-1, false).to_kind(Kind::Int64).argmin(0, false);
                let sample = count + wrong.int64_value(&[]) as u64 + 1;
                bail!(
                    "{}: the network's answer to sample {sample} is NaN or infinite; its weights or the \
                     sample's values are too large or no numbers",
                    self.input.display()
                );
            }
            count += write(&mut table, &answers, targets)?;
        }
        table.finish()?;
        print(&format!("{count} answers in {}\n", self.output.display()))
    }
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => Err("expected one ASCII character, or \\t".to_string()),
    }
}

/// A row per answer; gives how many there were.
fn write(table: &mut NewTable, answers: &Tensor, targets: &Targets) -> Result<u64> {
    let answers = answers.to_device(Device::Cpu);
    let best = Vec::<i64>::try_from(answers.argmax(-1, false))?;
    let single = answers.kind() == Kind::Float;
    let rows = Vec::<Vec<f64>>::try_from(answers.to_kind(Kind::Double))?;
    // As float32 they have fewer digits.
    let text = |value: &f64| if single { (*value as f32).to_string() } else { value.to_string() };
    for (row, best) in rows.iter().zip(best) {
        let class = match targets {
            Targets::Classes(names) => Some(names[best as usize].clone()),
            Targets::Numbers { .. } => None,
        };
        table.write(class.into_iter().chain(row.iter().map(text)))?;
    }
    Ok(rows.len() as u64)
}
