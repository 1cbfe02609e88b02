//! What `f3-tch train` tells people before and after a run.

use std::path::Path;

use f3_tch::config::{Algorithm, Config};
use f3_tch::device::name as device_name;
use f3_tch::learning_rate::{Decay, LearningRateSchedule};
use f3_tch::run::{EpochRow, Run, ValueName};
use serde::Serialize;

/// What is about to happen.
pub fn announcement(config: &Config, run: &Run, folder: &Path) -> String {
    let data = &run.data;
    let network = run.state.trainer.layers();
    let mut widths = vec![data.train.input_count()];
    widths.extend(network.as_slice().iter().map(|layer| layer.block().outputs()));
    let algorithm = match &config.algorithm {
        Algorithm::F3 { error_info, .. } => format!("f3 ({})", name_of(error_info)),
        other => name_of(other),
    };
    let feedback = match &config.algorithm {
        Algorithm::Fa { feedback_init } => Some(feedback_init),
        other => other.feedback_init(),
    };
    let validation = data.validation.as_ref();
    let validation =
        validation.map(|split| format!("{} validation samples, ", thousands(split.len())));
    let feedback = feedback.map_or(String::new(), |init| format!(", feedback {}", name_of(init)));
    format!(
        "f3-tch {} with libtorch {} on {} ({} threads), seed {}\n\
         data       {}: {} training samples, {}{} test samples\n\
         network    {} {}, {} parameters\n\
         algorithm  {algorithm}{feedback}\n\
         training   {} at {}{}, loss {}, batches of {}, {} epochs\n\
         run        {}\n",
        f3_tch::VERSION,
        f3_tch::libtorch_version(),
        device_name(data.train.inputs.device()),
        run.settings.thread_count(),
        config.seed,
        data.name,
        thousands(data.train.len()),
        validation.unwrap_or_default(),
        thousands(data.test.len()),
        name_of(&config.model),
        shorten(&widths),
        thousands(network.parameter_count()),
        name_of(&config.optimizer),
        config.optimizer.learning_rate,
        describe_schedule(&config.optimizer.schedule),
        name_of(&config.loss),
        config.data.batch_size,
        config.epochs,
        folder.display(),
    )
}

/// The learning-rate schedule in brackets; nothing if the learning rate is constant.
fn describe_schedule(schedule: &LearningRateSchedule) -> String {
    let mut parts = Vec::new();
    if schedule.warmup_epochs > 0 {
        parts.push(format!("{} epochs of warm-up", schedule.warmup_epochs));
    }
    if !matches!(schedule.decay, Decay::Constant) {
        parts.push(name_of(&schedule.decay));
    }
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", then ")) }
}

/// The results of a run, for the end.
pub fn closing_table(run: &Run, seconds: f64, folder: &Path) -> String {
    let rows = &run.state.history;
    let last = rows.last().expect("there is a row for epoch 0");
    let main = run.data.task.metrics().next().map(|metric| metric.name);
    let is_shown = |name: &ValueName| {
        name.part != "train" && name.metric.is_none_or(|metric| Some(metric.name) == main)
    };
    let names: Vec<ValueName> = run.value_names().filter(is_shown).collect();
    let titles: Vec<String> =
        names.iter().map(|name| format!("{} {}", name.part, name.quantity())).collect();
    let width = titles.iter().map(String::len).fold(14, usize::max);
    let line = |title: &str, best: &str, epoch: &str, last: &str| {
        format!("{title:width$}  {best:>10}  {epoch:>10}  {last:>10}\n")
    };
    let mut text = format!("\n{}", line("", "best", "at epoch", "final"));
    for (name, title) in names.iter().zip(&titles) {
        let shown = |row: &EpochRow| match (name.of(row), name.unit()) {
            (Some(value), "") => format!("{value:.4}"),
            (Some(value), unit) => format!("{value:.4} {unit}"),
            (None, _) => String::new(),
        };
        let best = name.best(rows).unwrap_or(last);
        text += &line(title, &shown(best), &best.epoch.to_string(), &shown(last));
    }
    let training: f64 = rows.iter().map(|row| row.train_seconds).sum();
    text += &format!(
        "\ntime   {} in all, {} of it training\nfiles  {}\n",
        duration(seconds),
        duration(training),
        folder.display()
    );
    text
}

fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// Widths joined by dashes, runs of equal ones as a product: 784-10x500-10.
fn shorten(widths: &[i64]) -> String {
    let parts: Vec<String> = widths
        .chunk_by(|a, b| a == b)
        .map(|run| match run.len() {
            1 => run[0].to_string(),
            times => format!("{times}x{}", run[0]),
        })
        .collect();
    parts.join("-")
}

/// A setting's name in configurations: itself, or its key `name`.
fn name_of(setting: &impl Serialize) -> String {
    let value = serde_yaml::to_value(setting).unwrap_or_default();
    let name = value.get("name").unwrap_or(&value);
    name.as_str().unwrap_or_default().to_string()
}

/// A number with commas between groups of three digits.
fn thousands(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
