//! What `f3-tch train` tells people before and after a run.

use std::path::Path;

use f3_tch::device::name as device_name;
use f3_tch::messages::counted;
use f3_tch::run::{EpochRow, Run, Settings, ValueName};
use f3_tch::{VERSION, libtorch_version};
use indicatif::HumanCount;
use serde_json::Value;

/// What is about to happen.
pub fn announcement(run: &Run, folder: &Path) -> String {
    let Run { data, settings, .. } = run;
    let Settings { seed, loss, batch_size, epochs, .. } = settings;
    let (device, threads) = (device_name(data.train.inputs.device()), settings.thread_count());
    let (name, train, test) = (&data.name, count(data.train.len()), count(data.test.len()));
    let samples = |count, part| counted(count, &format!("{part} sample"));
    let (train, test) = (samples(train, "training"), samples(test, "test"));
    let validation =
        data.validation.as_ref().map(|split| samples(count(split.len()), "validation"));
    let validation = validation.map_or(String::new(), |samples| format!("{samples}, "));
    let layers = run.state.trainer.layers();
    let mut widths = vec![data.train.input_count()];
    widths.extend(layers.as_slice().iter().map(|layer| layer.block().outputs()));
    let (widths, parameters) = (shorten(&widths), count(layers.parameter_count()));

    let config = run.config.as_ref().map_or(&Value::Null, |config| &config.json);
    let [model, algorithm, optimizer] = ["model", "algorithm", "optimizer"].map(|key| &config[key]);
    let error_info = algorithm["error_info"].as_str();
    let error_info = error_info.map_or(String::new(), |name| format!(" ({name})"));
    let feedback = algorithm.get("feedback_init").map(name_of);
    let feedback = feedback.map_or(String::new(), |name| format!(", feedback {name}"));
    let (threads, epochs) = (counted(threads, "thread"), counted(epochs, "epoch"));
    let (rate, schedule) = (settings.learning_rate.base, describe_schedule(&optimizer["schedule"]));
    let [model, algorithm, optimizer] = [model, algorithm, optimizer].map(name_of);
    let (version, libtorch, folder) = (VERSION, libtorch_version(), folder.display());
    format!(
        "f3-tch {version} with libtorch {libtorch} on {device} ({threads}), seed {seed}\n\
         data       {name}: {train}, {validation}{test}\n\
         network    {model} {widths}, {parameters} parameters\n\
         algorithm  {algorithm}{error_info}{feedback}\n\
         training   {optimizer} at {rate}{schedule}, loss {loss}, batches of {batch_size}, \
         {epochs}\n\
         run        {folder}"
    )
}

/// The learning-rate schedule in brackets; nothing if the learning rate is constant.
fn describe_schedule(schedule: &Value) -> String {
    let (epochs, decay) = (&schedule["warmup_epochs"], name_of(schedule));
    match (*epochs != 0, decay != "constant") {
        (false, false) => String::new(),
        (false, true) => format!(" ({decay})"),
        (true, false) => format!(" ({} of warm-up)", counted(epochs, "epoch")),
        (true, true) => format!(" ({} of warm-up, then {decay})", counted(epochs, "epoch")),
    }
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
    let title = |name: &ValueName| format!("{} {}", name.part, name.quantity);
    let width = names.iter().map(|name| title(name).len()).fold(14, usize::max);
    let line = |title: &str, best: &str, epoch: &str, last: &str| {
        format!("{title:width$}  {best:>10}  {epoch:>10}  {last:>10}\n")
    };
    let mut text = format!("\n{}", line("", "best", "at epoch", "final"));
    for name in &names {
        let shown = |row: &EpochRow| match (name.of(row), name.unit) {
            (Some(value), "") => format!("{value:.4}"),
            (Some(value), unit) => format!("{value:.4} {unit}"),
            (None, _) => String::new(),
        };
        let best = name.best(rows).unwrap_or(last);
        text += &line(&title(name), &shown(best), &best.epoch.to_string(), &shown(last));
    }
    let training: f64 = rows.iter().map(|row| row.train_seconds).sum();
    let (all, training, folder) = (duration(seconds), duration(training), folder.display());
    text + &format!("\ntime   {all} in all, {training} of it training\nfiles  {folder}\n")
}

/// A time in its largest units.
pub fn duration(seconds: f64) -> String {
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
    let runs = widths.chunk_by(|a, b| a == b).map(|run| match run.len() {
        1 => run[0].to_string(),
        times => format!("{times}x{}", run[0]),
    });
    runs.collect::<Vec<_>>().join("-")
}

/// A setting's name in configurations: itself, or its key `name`.
fn name_of(setting: &Value) -> &str {
    setting.get("name").unwrap_or(setting).as_str().unwrap_or_default()
}

/// A count as people write it: with commas between groups of three digits.
fn count(number: i64) -> HumanCount {
    HumanCount(number.unsigned_abs())
}
