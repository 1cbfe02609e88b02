//! `f3-tch predict`: a saved network's answers for samples that it has not seen.

use std::path::PathBuf;

use anyhow::{Error, Result, anyhow};
use clap::Args;
use f3_tch::data::{SampleBatch, Samples, Targets};
use f3_tch::device::DeviceChoice;
use f3_tch::messages::{counted, text_of};
use f3_tch::model::Model;
use tch::{Device, Kind, Tensor};

use super::new_table::NewTable;
use super::saved::SavedNetwork;
use super::{print, say};

/// Reasons that are shown.
const MOST_SHOWN: usize = 10;

#[derive(Args)]
pub struct PredictArgs {
    #[command(flatten)]
    network: SavedNetwork,
    /// A table (CSV) with the training set's columns, an IDX file of images (both also with .gz), an array
    /// of NumPy's (.npy, or x_test or x in an .npz), a PNG or JPEG file, or a folder of these, which are
    /// taken in their names' order; - is a table, an IDX file or a .npy from standard input
    input: PathBuf,
    /// The table of answers to write, which must not exist; - is standard output
    #[arg(short, long, value_name = "OUT.csv")]
    output: PathBuf,
    /// End at the first sample that cannot be answered, and write nothing
    #[arg(long)]
    strict: bool,
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
        let model = Model::open(&self.network.path()?, device)?;
        let mut format = model.description().table;
        format.delimiter = self.delimiter.unwrap_or(format.delimiter);
        let preparation = &model.description().preparation;
        let mut samples = Samples::open(&self.input, format, preparation)?;

        let answers = Answers { targets: &preparation.targets };
        let mut table = NewTable::start(&self.output)?;
        table.write(answers.header(&samples.others))?;
        let (mut count, mut refused) = (0, Refused::default());
        while let Some(mut part) = samples.next(self.batch_size as usize)? {
            let found = model.answer(&part.inputs.to_device(device))?.to_device(Device::Cpu);
            self.refuse_infinite(&found, count, &mut part);
            if self.strict
                && let Some((_, error)) = part.refused.pop_first()
            {
                return Err(error);
            }
            answers.write(&mut table, &found, &part)?;
            count += found.size()[0] as usize;
            part.refused.into_values().for_each(|error| refused.add(error));
        }
        if count > 0 && refused.count == count {
            return Err(refused.shown.swap_remove(0).context("no sample can be answered"));
        }
        table.finish()?;
        refused.report();
        let answers = counted(count - refused.count, "answer");
        match NewTable::is_output(&self.output) {
            true => Ok(()),
            false => print(&format!("{answers} in {}\n", self.output.display())),
        }
    }

    /// Refuses samples to which the network answers with what is no number; `before` samples came before
    /// this part.
    fn refuse_infinite(&self, answers: &Tensor, before: usize, part: &mut SampleBatch) {
        let is_good = answers.isfinite().all_dim(-1, false);
        if is_good.all().int64_value(&[]) != 0 {
            return;
        }
        for place in (0..answers.size()[0]).filter(|place| is_good.int64_value(&[*place]) == 0) {
            let place = place as usize;
            part.refused.entry(place).or_insert_with(|| {
                anyhow!(
                    "{}: the network's answer to sample {} is NaN or infinite; its weights or the sample's \
                     values are too large or no numbers",
                    self.input.display(),
                    before + place + 1
                )
            });
        }
    }
}

/// Samples without an answer.
#[derive(Default)]
struct Refused {
    count: usize,
    shown: Vec<Error>, // the first ones
}

impl Refused {
    fn add(&mut self, error: Error) {
        self.count += 1;
        if self.shown.len() < MOST_SHOWN {
            self.shown.push(error);
        }
    }

    /// Says how many there are, and why.
    fn report(&self) {
        if self.count == 0 {
            return;
        }
        let samples = counted(self.count, "sample");
        say(format_args!("note: {samples} without an answer, whose cells are empty:"));
        for error in &self.shown {
            say(format_args!("  {}", text_of(error)));
        }
        if self.count > self.shown.len() {
            say(format_args!("  and {} more", self.count - self.shown.len()));
        }
    }
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !b"\n\r\"".contains(byte) => Ok(*byte),
        _ => Err("expected one ASCII character, or \\t".to_string()),
    }
}

/// How answers are written: what else stands in the table, the best class if there are classes, then a number
/// for each output.
struct Answers<'a> {
    targets: &'a Targets,
}

impl Answers<'_> {
    /// The columns' names. An answer that is called like a column of the samples is a `predicted` one.
    fn header(&self, others: &[String]) -> Vec<String> {
        let own = match self.targets {
            Targets::Classes(names) => [&["class".to_string()], names.as_slice()].concat(),
            Targets::Numbers { names, .. } => names.clone(),
        };
        let mut header = others.to_vec();
        for mut name in own {
            while header.contains(&name) {
                name.insert_str(0, "predicted_");
            }
            header.push(name);
        }
        header
    }

    /// A row for each sample.
    fn write(&self, table: &mut NewTable, answers: &Tensor, part: &SampleBatch) -> Result<()> {
        let best = Vec::<i64>::try_from(answers.argmax(-1, false))?;
        let single = answers.kind() == Kind::Float;
        let rows = Vec::<Vec<f64>>::try_from(answers.to_kind(Kind::Double))?;
        // As float32 they have fewer digits.
        let text =
            |value: &f64| if single { (*value as f32).to_string() } else { value.to_string() };
        for (place, (row, best)) in rows.iter().zip(best).enumerate() {
            let mut cells = part.others.get(place).cloned().unwrap_or_default();
            let class = match self.targets {
                Targets::Classes(names) => Some(names[best as usize].clone()),
                Targets::Numbers { .. } => None,
            };
            let own = class.into_iter().chain(row.iter().map(text));
            match part.refused.contains_key(&place) {
                true => cells.extend(own.map(|_| String::new())),
                false => cells.extend(own),
            }
            table.write(cells)?;
        }
        Ok(())
    }
}
