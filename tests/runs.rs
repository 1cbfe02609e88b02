//! Runs as values of the library: side by side, in folders, watched, and with a validation set.

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use anyhow::{Result, bail};
use common::{everything, experiment_on, toy};
use f3_tch::Generator;
use f3_tch::assemble::DataFrom;
use f3_tch::config::{Config, Source};
use f3_tch::data::{DataDirectory, Dataset, Split, Task};
use f3_tch::engine::EngineSettings;
use f3_tch::error_info::ErrorInfo;
use f3_tch::layers::Layers;
use f3_tch::loss::Loss;
use f3_tch::network::{Activation, Block, Dense, trainable};
use f3_tch::optimizer::{AdamSettings, OptimizerSettings};
use f3_tch::report::{Entry, Report, ReportSettings};
use f3_tch::run::{
    Checkpoint, EndState, EndedBy, Ending, EpochRow, Event, Folder, Run, RunResult, Settings,
    on_epoch,
};
use f3_tch::trainer::FeedbackTrainer;
use serde_json::json;
use tch::{Device, Tensor};
use tempfile::TempDir;

fn read(yaml: &str) -> Config {
    let source = Source::parse("test", yaml).unwrap();
    Config::read(&source).unwrap().0
}

/// `metrics.csv` without the columns of times.
fn table(folder: &Path) -> Vec<Vec<String>> {
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).from_path(folder.join("metrics.csv")).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let kept: Vec<bool> = rows[0].iter().map(|name| !name.ends_with("_seconds")).collect();
    let cells = |row: &csv::StringRecord| {
        let cells = row.iter().zip(&kept).filter(|(_, kept)| **kept);
        cells.map(|(cell, _)| cell.to_string()).collect()
    };
    rows.iter().map(cells).collect()
}

#[test]
fn four_runs_at_once_equal_four_runs_one_after_the_other() {
    let rest = "data: {name: digits}, epochs: 3, optimizer: {learning_rate: 1e-3}";
    let configs = [
        "seed: 1, threads: 1, algorithm: {name: f3}, model: {width: 70}",
        "seed: 2, threads: 2, algorithm: {name: bp}, kernels: aten, model: {width: [90, 80]}",
        "seed: 3, threads: 2, algorithm: {name: drtp}, model: {width: [40, 40]}, \
         schedule: {name: pipelined, stages: 2}",
        "seed: 4, threads: 3, algorithm: {name: dfa}, kernels: aten, model: {width: 300}",
    ]
    .map(|config| read(&format!("{{{config}, {rest}}}")));
    let set = &configs[0].data.set;
    let data = Arc::new(set.load(&DataDirectory::locate(None), Device::Cpu, &mut |_| {}).unwrap());
    let folder = TempDir::new().unwrap();
    let train = |name: String, mut run: Run| {
        let folder = Folder::create(folder.path().join(name)).unwrap();
        let before = tch::get_num_threads();
        let threads = run.settings.threads.unwrap() as i32;
        let mut has_its_threads = |_: &Event| {
            assert_eq!(tch::get_num_threads(), threads);
            Ok(())
        };
        assert_eq!(run.train_in(&folder, &mut has_its_threads).unwrap(), Ending::Complete);
        assert_eq!(tch::get_num_threads(), before);
        (everything(&run), table(folder.path()))
    };
    let make = |config: &Config| Run::new(config, data.clone()).unwrap();

    let mut apart = Vec::new();
    for (index, config) in configs.iter().enumerate() {
        apart.push(train(format!("apart-{index}"), make(config)));
    }
    let at_once = thread::scope(|scope| {
        let train = &train;
        let start = |(index, config)| {
            let run = make(config); // here, to be sent to its thread
            scope.spawn(move || train(format!("at-once-{index}"), run))
        };
        let threads: Vec<_> = configs.iter().enumerate().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(at_once == apart, "runs have disturbed each other");
    assert!(apart[0].0 != apart[1].0);
}

/// A run on the toy data, with some more lines of YAML.
fn small(data: Dataset, more: &str) -> Run {
    let rest = "algorithm: {name: f3}, model: {width: 5}, optimizer: {learning_rate: 1e-2}";
    experiment_on(data, &format!("{{data: {{batch_size: 8}}, {rest}, {more}}}"))
}

#[test]
fn result_says_how_a_run_has_ended() {
    let folder = TempDir::new().unwrap();
    let folder = |name: &str| Folder::create(folder.path().join(name)).unwrap();
    let toy = || toy(Task::Classification);

    let complete = folder("complete");
    let mut run = small(toy(), "seed: 7, epochs: 3, name: three");
    run.train_in(&complete, &mut ()).unwrap();
    let result = RunResult::read(complete.path()).unwrap();
    assert_eq!((result.state, result.ended_by), (EndState::Complete, EndedBy::Epochs));
    assert_eq!((result.name.as_str(), result.seed, result.error), ("three", 7, None));
    assert_eq!((result.epochs["done"], result.epochs["wanted"]), (3, 3));
    assert_eq!(result.settings["model"]["width"], 5);
    assert_eq!(result.machine["threads"], tch::get_num_threads());
    assert_eq!((&result.machine["device"], result.best_validation_epoch), (&json!("cpu"), None));
    for file in ["model", "metrics", "checkpoints"] {
        let file = result.paths[file].as_ref().unwrap();
        assert!(complete.path().join(file).exists(), "{}", file.display());
    }
    let rows = &run.state.history;
    let names: Vec<String> = result.metrics.keys().cloned().collect();
    let mut known = EpochRow::names(Task::Classification, false);
    known.sort();
    assert_eq!(names, known);
    for (name, value) in &result.metrics {
        assert_eq!(value.last, rows[3].value(name), "{name}");
        let best = value.best.unwrap();
        assert_eq!(Some(best.epoch), EpochRow::best(rows, name), "{name}");
        assert_eq!(Some(best.value), rows[best.epoch as usize].value(name), "{name}");
        assert_eq!(value.at_best_validation, None);
    }
    let [total, training, evaluation] =
        ["total", "training", "evaluation"].map(|part| result.seconds[part]);
    assert!(total >= training + evaluation && training > 0.0);

    // While it goes on, nothing says that it was complete.
    let data = DataFrom::Memory(run.data);
    let place = complete.path().join("result.json");
    let mut run = Run::resume(&complete, Some(5), data, &mut ()).unwrap();
    assert!(place.exists(), "nothing has been changed yet");
    let mut gone = on_epoch(|_| assert!(!place.exists()));
    run.train_in(&complete, &mut gone).unwrap();
    let result = RunResult::read(complete.path()).unwrap();
    assert_eq!((result.epochs["done"], result.epochs["wanted"]), (5, 5));
    assert!(result.seconds["total"] > training + evaluation);

    let text = fs::read_to_string(&place).unwrap().replacen("\"version\": 1", "\"version\": 2", 1);
    fs::write(&place, text).unwrap();
    let error = RunResult::read(complete.path()).unwrap_err().to_string();
    assert!(error.contains("is of version 2 of the format"), "{error}");

    let early = folder("early");
    let stop = "epochs: 300, early_stop: {metric: test_loss, patience: 2}";
    small(toy(), stop).train_in(&early, &mut ()).unwrap();
    let result = RunResult::read(early.path()).unwrap();
    assert_eq!((result.state, result.ended_by), (EndState::Complete, EndedBy::EarlyStop));
    assert_eq!(result.metrics["test_loss"].best.unwrap().epoch + 2, result.epochs["done"]);

    let stopped = folder("stopped");
    let mut run = small(toy(), "epochs: 300");
    let stop = run.stop.clone();
    let mut end = on_epoch(|row| stop.store(row.epoch == 2, Relaxed));
    assert_eq!(run.train_in(&stopped, &mut end).unwrap(), Ending::Interrupted);
    let result = RunResult::read(stopped.path()).unwrap();
    assert_eq!((result.state, result.ended_by), (EndState::Interrupted, EndedBy::Stop));
    assert_eq!((result.epochs["done"], result.epochs["wanted"]), (2, 300));

    let failed = folder("failed");
    let mut run = small(toy(), "epochs: 5, checkpoint: {every: 3}");
    let inputs = run.data.train.inputs.shallow_clone();
    let mut spoil = on_epoch(move |row| {
        if row.epoch == 2 {
            let _ = inputs.get(4).fill_(f64::INFINITY);
        }
    });
    let error = run.train_in(&failed, &mut spoil).unwrap_err().to_string();
    assert!(error.starts_with("epoch 3: the loss has become NaN, "), "{error}");
    let result = RunResult::read(failed.path()).unwrap();
    assert_eq!((result.state, result.ended_by), (EndState::Failed, EndedBy::Error));
    assert_eq!(result.error, Some(error));
    assert_eq!((result.epochs["done"], table(failed.path()).len()), (2, 4));
}

#[test]
fn epochs_that_are_not_evaluated_have_empty_cells_and_results_are_of_the_others() {
    let parent = TempDir::new().unwrap();
    let folder = Folder::create(parent.path().join("run")).unwrap();
    let data = toy(Task::Classification);
    let data = Dataset { validation: Some(data.train.first(7)), ..data };
    let mut run = small(data, "epochs: 6, evaluate_every: 4, checkpoint: {best: test_loss}");
    run.train_in(&folder, &mut ()).unwrap();
    let table = table(folder.path());
    let (header, cells) = (&table[0], &table[1..]);
    assert_eq!(cells.len(), 7);
    for (epoch, cells) in cells.iter().enumerate() {
        for (name, cell) in header.iter().zip(cells) {
            let is_value =
                !["epoch", "processed_samples", "learning_rate"].contains(&name.as_str());
            assert_eq!(cell.is_empty(), is_value && ![0, 4, 6].contains(&epoch), "{name}, {epoch}");
        }
    }
    let rows = &run.state.history;
    assert!(rows[1..].iter().all(|row| row.train_seconds > 0.0));
    assert!(rows.iter().all(|row| (row.eval_seconds > 0.0) == row.is_evaluated()));

    let result = RunResult::read(folder.path()).unwrap();
    for (name, value) in &result.metrics {
        assert!(value.last.is_some(), "{name}");
        assert_eq!(value.last, rows[6].value(name), "{name}");
        assert!([4, 6].contains(&value.best.unwrap().epoch), "{name}");
    }
    let best = Checkpoint::open(&folder.checkpoints().join("best.safetensors")).unwrap();
    assert_eq!(best.epoch(), result.metrics["test_loss"].best.unwrap().epoch);

    // A report takes what there is, of a run that is cut off, too.
    fs::remove_file(folder.path().join("result.json")).unwrap();
    let place = folder.path().join("metrics.csv");
    let text = fs::read_to_string(&place).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    fs::write(&place, lines[..7].concat()).unwrap();
    let (group, row, settings) = (String::new(), "f3".into(), result.settings);
    let entry = Entry { folder: folder.path().to_path_buf(), group, row, seed: 1, settings };
    let how = ReportSettings::read(&Source::parse("test", "").unwrap()).unwrap();
    let report = parent.path().join("report");
    Report::collect("toy", vec![entry], how).unwrap().write(&report).unwrap();
    let mut reader = csv::Reader::from_path(report.join("results.csv")).unwrap();
    let header = reader.headers().unwrap().clone();
    let found = reader.records().next().unwrap().unwrap();
    let cell = |name: &str| &found[header.iter().position(|it| it == name).unwrap()];
    assert_eq!((cell("epochs_done"), cell("cause")), ("5", ""));
    for name in ["test_loss", "validation_auroc"] {
        let value = rows[4].value(name).unwrap().to_string();
        assert_eq!(cell(&format!("{name}_last")), value, "{name}");
    }
    let figures = fs::read_dir(report.join("figures")).unwrap();
    let names: Vec<_> = figures.map(|file| file.unwrap().file_name()).collect();
    assert!(names.contains(&"curve-test_loss.svg".into()), "{names:?}");
}

#[test]
fn validation_set_is_evaluated_and_changes_nothing_else() {
    let folder = TempDir::new().unwrap();
    let folder = |name: &str| Folder::create(folder.path().join(name)).unwrap();
    let more = "epochs: 20";
    let with_validation = || {
        let data = toy(Task::Classification);
        // Some of the training samples, so that they are better known than those of the test set.
        Dataset { validation: Some(data.train.first(7)), ..data }
    };
    let (without, with) = (folder("without"), folder("with"));
    let mut plain = small(toy(Task::Classification), more);
    plain.train_in(&without, &mut ()).unwrap();
    let mut run = small(with_validation(), more);
    run.train_in(&with, &mut ()).unwrap();
    for (found, expected) in run.state.history.iter().zip(&plain.state.history) {
        assert_eq!((&found.train, &found.test), (&expected.train, &expected.test));
        assert!(found.validation.is_some() && expected.validation.is_none());
    }
    let header = &table(with.path())[0];
    let expected = [
        &["epoch", "processed_samples", "train_loss", "train_accuracy", "train_auroc", "train_f1"]
            [..],
        &["validation_loss", "validation_accuracy", "validation_auroc", "validation_f1"],
        &["test_loss", "test_accuracy", "test_auroc", "test_f1", "learning_rate"],
    ];
    assert_eq!(*header, expected.concat());
    let events = |folder: &Folder| -> String {
        let mut entries = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let path = entries.find(|path| path.to_str().unwrap().contains("tfevents")).unwrap();
        String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
    };
    for curve in ["loss/validation", "accuracy/validation"] {
        assert!(events(&with).contains(curve) && !events(&without).contains(curve), "{curve}");
    }

    let result = RunResult::read(with.path()).unwrap();
    let best = EpochRow::best(&run.state.history, "validation_loss");
    assert_eq!(result.best_validation_epoch, best);
    let row = &run.state.history[best.unwrap() as usize];
    assert_eq!(result.metrics["test_f1"].at_best_validation, row.value("test_f1"));
    assert_eq!(result.metrics["validation_loss"].best.unwrap().epoch, best.unwrap());

    // Samples of the validation set are the run's data, too.
    let mut run = Run::resume(&with, Some(21), DataFrom::Memory(run.data), &mut ()).unwrap();
    run.train_in(&with, &mut ()).unwrap();
    assert_eq!(table(with.path()).len(), 23);
    let other = DataFrom::Memory(toy(Task::Classification).into());
    let error = Run::resume(&with, Some(22), other, &mut ()).err().unwrap().to_string();
    assert!(error.contains("was trained on other data"), "{error}");

    // It may decide when a run ends.
    let mut run = small(with_validation(), "epochs: 500");
    run.settings.early_stop.metric = Some("validation_loss".into());
    run.settings.early_stop.patience = 3;
    let Ending::NoBetter(best) = run.train(&mut ()).unwrap() else { panic!("another ending") };
    assert_eq!(Some(best), EpochRow::best(&run.state.history, "validation_loss"));
}

#[test]
fn only_one_run_at_a_time_is_in_a_folder_and_a_new_run_needs_an_empty_one() {
    let parent = TempDir::new().unwrap();
    let first = Folder::numbered(parent.path()).unwrap();
    assert!(first.path().ends_with("001"));
    let error = Folder::open(first.path()).err().unwrap().to_string();
    assert!(error.contains("another process is training there"), "{error}");
    small(toy(Task::Classification), "epochs: 1").train_in(&first, &mut ()).unwrap();
    let place = first.path().to_path_buf();
    drop(first);
    let error = Folder::create(&place).err().unwrap().to_string();
    assert!(error.contains("001: is not empty"), "{error}");
    Folder::open(&place).unwrap();
    assert!(Folder::numbered(parent.path()).unwrap().path().ends_with("002"));
}

#[test]
fn settings_that_no_run_can_have_are_refused() {
    type Change = fn(&mut Settings);
    let changes: [(Change, &str); 6] = [
        (|settings| settings.batch_size = 0, "`batch_size` is 0"),
        (|settings| settings.threads = Some(0), "`threads` is 0"),
        (|settings| settings.evaluate_every = 0, "`evaluate_every` is 0"),
        (|settings| settings.evaluate_train_every = 0, "`evaluate_train_every` is 0"),
        (|settings| settings.early_stop.metric = Some("test_mae".into()), "`early_stop.metric`"),
        (|settings| settings.checkpoint.best = Some("validation_loss".into()), "`checkpoint.best`"),
    ];
    for (change, complaint) in changes {
        let mut run = small(toy(Task::Classification), "epochs: 1");
        change(&mut run.settings);
        let error = run.train(&mut ()).unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }
}

#[test]
fn observer_that_fails_ends_the_run() {
    let folder = TempDir::new().unwrap();
    let folder = Folder::create(folder.path().join("run")).unwrap();
    for place in ["samples", "epoch"] {
        let mut fail = |event: &Event| match event {
            Event::Samples(30..) if place == "samples" => bail!("enough of {place}"),
            Event::Epoch { row, .. } if place == "epoch" && row.epoch == 1 => {
                bail!("enough of {place}")
            }
            _ => Ok(()),
        };
        let mut run = small(toy(Task::Classification), "epochs: 3");
        let error = run.train_in(&folder, &mut fail).unwrap_err().to_string();
        assert_eq!(error, format!("enough of {place}"));
        assert_eq!(RunResult::read(folder.path()).unwrap().error, Some(error));
    }
}

/// Fails in libtorch when it has computed some times.
struct Failing {
    weight: Tensor,
    left: AtomicUsize,
}

impl Block for Failing {
    fn outputs(&self) -> i64 {
        3
    }

    fn parameters(&self) -> Vec<(&str, &Tensor)> {
        vec![("weight", &self.weight)]
    }

    fn forward(&self, input: &Tensor) -> Tensor {
        let left = self.left.fetch_sub(1, Relaxed);
        if left == 0 { input.mm(&self.weight) } else { input.mm(&self.weight.tr()) }
    }
}

#[test]
fn failure_of_libtorch_is_an_error_of_its_run_alone() {
    let run = |left: usize| {
        let mut generator = Generator::new(1).unwrap();
        let weight = generator.uniform(&[3, 6], -1.0, 1.0).unwrap();
        let failing = Failing { weight: trainable(weight), left: AtomicUsize::new(left) };
        let output = Dense::new(3, 3, Activation::Sigmoid, &mut generator, Device::Cpu).unwrap();
        let blocks: Vec<Box<dyn Block>> = vec![Box::new(failing), Box::new(output)];
        let adam = EngineSettings::new(OptimizerSettings::Adam(AdamSettings::default()));
        let network = Layers::new(blocks, None, &adam, &mut generator).unwrap();
        let data = toy(Task::Classification);
        let loss = Loss::BinaryCrossEntropy;
        let trainer = FeedbackTrainer::new(network, ErrorInfo::Zeros, loss, &data.train).unwrap();
        let settings = Settings { epochs: 5, ..Settings::new(loss, 1e-3) };
        Run::from_parts(Box::new(trainer), generator, data, settings)
    };
    let folder = TempDir::new().unwrap();
    let folder = Folder::create(folder.path().join("run")).unwrap();
    let (bad, good) = thread::scope(|scope| {
        let bad = scope.spawn(|| run(6).train_in(&folder, &mut ()));
        let good = scope.spawn(|| run(usize::MAX).train(&mut ()));
        (bad.join().unwrap(), good.join().unwrap())
    });
    let error = bad.unwrap_err().to_string();
    assert!(error.starts_with("libtorch: "), "{error}");
    assert_eq!(good.unwrap(), Ending::Complete);
    let result = RunResult::read(folder.path()).unwrap();
    assert_eq!((result.state, result.error), (EndState::Failed, Some(error)));
    assert_eq!(result.settings["epochs"], 5, "without a configuration these are the settings");
}

#[test]
fn split_is_shared_and_not_copied() {
    let data = Arc::new(toy(Task::Classification));
    let run = |seed: u64| {
        let config = read(&format!(
            "{{data: {{name: digits, train_samples: 20, batch_size: 5}}, seed: {seed}, \
             algorithm: {{name: f3}}, model: {{width: 4}}, optimizer: {{learning_rate: 1e-3}}}}"
        ));
        Run::new(&config, data.clone()).unwrap()
    };
    let (first, second) = (run(1), run(2));
    assert_eq!((first.data.train.len(), data.train.len()), (20, 30));
    let place = |split: &Split| split.inputs.data_ptr();
    assert!(place(&first.data.train) == place(&data.train));
    assert!(place(&second.data.test) == place(&data.test));
}
