//! What `f3-tch train` tells people before and after a run.

use std::path::Path;

use f3_tch::device::name as device_name;
use f3_tch::run::{EpochRow, Run, ValueName};
use serde_json::Value;

/// What is about to happen.
pub fn announcement(run: &Run, folder: &Path) -> String {
    let Run { data, settings, .. } = run;
    let config = run.config.as_ref().map_or(&Value::Null, |config| &config.json);
    let network = run.state.trainer.layers();
    let mut widths = vec![data.train.input_count()];
    widths.extend(network.as_slice().iter().map(|layer| layer.block().outputs()));
    let algorithm = &config["algorithm"];
    let error_info = match algorithm["error_info"].as_str() {
        Some(name) => format!(" ({name})"),
        None => String::new(),
    };
    let feedback = match &algorithm["feedback_init"] {
        Value::Null => String::new(),
        init => format!(", feedback {}", name_of(init)),
    };
    let validation = match &data.validation {
        Some(split) => format!("{} validation samples, ", thousands(split.len())),
        None => String::new(),
    };
    format!(
        "f3-tch {} with libtorch {} on {} ({} threads), seed {}\n\
         data       {}: {} training samples, {validation}{} test samples\n\
         network    {} {}, {} parameters\n\
         algorithm  {}{error_info}{feedback}\n\
         training   {} at {}{}, loss {}, batches of {}, {} epochs\n\
         run        {}",
        f3_tch::VERSION,
        f3_tch::libtorch_version(),
        device_name(data.train.inputs.device()),
        settings.thread_count(),
        settings.seed,
        data.name,
        thousands(data.train.len()),
        thousands(data.test.len()),
        name_of(&config["model"]),
        shorten(&widths),
        thousands(network.parameter_count()),
        name_of(algorithm),
        name_of(&config["optimizer"]),
        settings.learning_rate.base,
        describe_schedule(&config["optimizer"]["schedule"]),
        settings.loss,
        settings.batch_size,
        settings.epochs,
        folder.display(),
    )
}

/// The learning-rate schedule in brackets; nothing if the learning rate is constant.
fn describe_schedule(schedule: &Value) -> String {
    let mut parts = Vec::new();
    if schedule["warmup_epochs"] != 0 {
        parts.push(format!("{} epochs of warm-up", schedule["warmup_epochs"]));
    }
    if name_of(schedule) != "constant" {
        parts.push(name_of(schedule).to_string());
    }
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", then ")) }
}

/// The results of a run, for the end.
pub fn closing_table(run: &Run, seconds: f64, folder: &Path) -> String {
    let rows = &run.state.history;
    let last = rows.last().expect("there is a row for epoch 0");
    let main = run.data.task.metrics().next().map(|metric| metric.name);
    let is_shown = |name: &ValueName| {
        name.part != "train" && (name.quantity == "loss" || Some(name.quantity) == main)
    };
    let names: Vec<ValueName> = run.value_names().filter(is_shown).collect();
    let titles: Vec<String> =
        names.iter().map(|name| format!("{} {}", name.part, name.quantity)).collect();
    let width = titles.iter().map(String::len).fold(14, usize::max);
    let line = |title: &str, best: &str, epoch: &str, last: &str| {
        format!("{title:width$}  {best:>10}  {epoch:>10}  {last:>10}\n")
    };
    let mut text = format!("\n{}", line("", "best", "at epoch", "final"));
    for (name, title) in names.iter().zip(&titles) {
        let shown = |row: &EpochRow| match (name.of(row), name.unit) {
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
fn name_of(setting: &Value) -> &str {
    setting.get("name").unwrap_or(setting).as_str().unwrap_or_default()
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
