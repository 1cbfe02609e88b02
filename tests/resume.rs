//! Checkpoints: a run that was interrupted and resumed is the run that was not.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, bail};
use common::{LeftBehind, experiment as experiment_of, left_behind};
use f3_tch::Generator;
use f3_tch::data::Task;
use f3_tch::metrics::Evaluation;
use f3_tch::model::Model;
use f3_tch::run::{
    Checkpoint, CheckpointSettings, Checkpoints, EndState, EndedBy, Ending, EpochRow, Event, Run,
    RunResult, on_epoch,
};
use tch::{Device, Tensor};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_f3-tch");

/// A run on the toy data; what is not said is F³, Adam and one hidden layer.
fn experiment(yaml: &str, task: Task) -> Run {
    let mut yaml = yaml.trim_end_matches('}').to_string() + &"}".repeat(trailing(yaml) - 1);
    for (key, default) in [
        ("algorithm:", "{name: f3}"),
        ("optimizer:", "{name: adam, learning_rate: 1e-2}"),
        ("model:", "{width: 5}"),
    ] {
        if !yaml.contains(key) {
            yaml += &format!(", {key} {default}");
        }
    }
    experiment_of(&format!("{yaml}}}"), task)
}

/// How many closing braces a text ends with.
fn trailing(text: &str) -> usize {
    text.len() - text.trim_end_matches('}').len()
}

/// Trains until after an epoch, as if somebody had wanted it to end then.
fn cut_off(run: &mut Run, epoch: u64, checkpoints: Option<&Checkpoints>) {
    let stop = run.stop.clone();
    let mut end = on_epoch(|row| stop.store(row.epoch >= epoch, Ordering::Relaxed));
    assert_eq!(run.train_with(checkpoints, &mut end).unwrap(), Ending::Interrupted);
    assert_eq!(run.state.history.last().unwrap().epoch, epoch);
    run.stop.store(false, Ordering::Relaxed);
}

/// Trains until the end.
fn to_the_end(run: &mut Run, checkpoints: Option<&Checkpoints>) -> Result<Ending> {
    run.train_with(checkpoints, &mut ())
}

/// The newest checkpoint.
fn newest(checkpoints: &Checkpoints) -> Checkpoint {
    Checkpoint::open(&checkpoints.newest().unwrap().unwrap()).unwrap()
}

fn settings(keep: usize) -> CheckpointSettings {
    CheckpointSettings { every: Some(1), keep, best: None }
}

#[test]
fn resumed_runs_equal_uninterrupted_ones() {
    let files = TempDir::new().unwrap();
    let dense = "{hidden_layers: 2, width: 7}";
    let vit = "{name: vit, patch_size: 1, token_width: 4, blocks: 2, heads: 2, head_size: 4, \
               mlp_width: 8}";
    let cnn = "{name: cnn, topology: 2C1-5FC}";
    let rest = "epochs: 5, data: {batch_size: 8}";
    let mut cases = Vec::new();
    for algorithm in ["f3", "dfa", "drtp", "llo", "bp", "fa", "pepita"] {
        cases.push(format!("algorithm: {{name: {algorithm}}}, model: {dense}"));
        if !["fa", "pepita"].contains(&algorithm) {
            cases.push(format!("algorithm: {{name: {algorithm}}}, model: {vit}"));
        }
    }
    for schedule in ["{name: sequential}", "{name: layer_major}", "{name: pipelined, stages: 2}"] {
        cases.push(format!("schedule: {schedule}, model: {dense}"));
        cases.push(format!("schedule: {schedule}, model: {vit}"));
        cases.push(format!("schedule: {schedule}, model: {cnn}"));
    }
    cases.push(format!("kernels: aten, diagnostics: {{every: 2, samples: 9}}, model: {dense}"));
    cases.push(format!("evaluate_train_every: 3, model: {dense}"));
    for prediction in ["{block: 2}", "{block: 1, lag: 3, local: output}"] {
        cases.push(format!(
            "algorithm: {{name: f3, error_info: delayed_error_predicted, prediction: {prediction}}}, \
             model: {dense}"
        ));
    }
    for algorithm in ["drtp", "llo"] {
        for schedule in ["{name: layer_major}", "{name: pipelined, stages: 2}"] {
            cases.push(format!(
                "algorithm: {{name: {algorithm}}}, schedule: {schedule}, model: {vit}"
            ));
        }
    }
    for optimizer in [
        "{name: sgd, learning_rate: 0.1, momentum: 0.9, nesterov: true}",
        "{name: sgd, learning_rate: 0.1, momentum: 0.9, classical_momentum: true}",
        "{name: sgd, learning_rate: 0.1, momentum: 0.9}",
        "{name: adam, learning_rate: 1e-2, schedule: {name: cosine, warmup_epochs: 2}}",
    ] {
        cases.push(format!("optimizer: {optimizer}, model: {dense}"));
    }
    let offload = files.path().display();
    cases.push(format!("schedule: {{name: layer_major, offload: {offload}}}, model: {dense}"));
    if f3_tch::has_bfloat16() {
        cases.push(format!("precision: bf16, kernels: fused, model: {dense}"));
    }
    let with_one_thread = |case: String| (case, Task::Classification, 1);
    let mut cases: Vec<(String, Task, i32)> = cases.into_iter().map(with_one_thread).collect();
    for case in ["kernels: fused", "kernels: aten", "schedule: {name: pipelined, stages: 2}"] {
        cases.push((format!("{case}, model: {dense}"), Task::Regression, 1));
        cases.push((format!("{case}, model: {dense}"), Task::Regression, 2));
    }
    for (case, task, threads) in cases {
        tch::set_num_threads(threads);
        let make = || experiment(&format!("{{{case}, {rest}}}"), task);
        let mut whole = make();
        whole.train(&mut ()).unwrap();
        let expected = common::everything(&whole);
        for cut in [0, 2, 4] {
            let folder = TempDir::new().unwrap();
            let checkpoints = Checkpoints::new(&folder.path().join("checkpoints"), settings(1));
            cut_off(&mut make(), cut, Some(&checkpoints));

            let newest = newest(&checkpoints);
            assert_eq!(newest.epoch(), cut);
            let mut second = make();
            newest.restore(&mut second).unwrap();
            let ending = to_the_end(&mut second, Some(&checkpoints)).unwrap();
            assert_eq!(ending, Ending::Complete);
            for ((name, found), (_, expected)) in common::everything(&second).iter().zip(&expected)
            {
                assert_eq!(found, expected, "{case}, cut after {cut}: {name}");
            }
            assert_eq!(common::everything(&second).len(), expected.len());
        }
    }
}

#[test]
fn checkpoints_come_and_go_as_the_settings_say() {
    let folder = TempDir::new().unwrap();
    let best = Some("test_loss".to_string());
    let every = CheckpointSettings { every: Some(2), keep: 2, best };
    let checkpoints = Checkpoints::new(folder.path(), every);
    let mut run = experiment("{epochs: 9, data: {batch_size: 8}}", Task::Classification);
    to_the_end(&mut run, Some(&checkpoints)).unwrap();
    let mut names: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = ["best.safetensors", "epoch-000008.safetensors", "epoch-000009.safetensors"];
    assert_eq!(names, [expected.as_slice(), &["rows.yaml"]].concat());
    let best = Checkpoint::open(&folder.path().join("best.safetensors")).unwrap();
    assert_eq!(Some(best.epoch()), EpochRow::best(&run.state.history, "test_loss"));
}

#[test]
fn early_stop_and_time_end_a_run_and_still_do_when_it_is_resumed() {
    let yaml = "{epochs: 200, data: {batch_size: 8}, optimizer: {name: adam, learning_rate: 0.05}, \
                early_stop: {metric: test_loss, patience: 4}}";
    let mut run = experiment(yaml, Task::Classification);
    let ending = to_the_end(&mut run, None).unwrap();
    let best = EpochRow::best(&run.state.history, "test_loss").unwrap();
    assert_eq!(ending, Ending::NoBetter(best));
    assert_eq!(run.state.history.last().unwrap().epoch, best + 4);
    assert_eq!(to_the_end(&mut run, None).unwrap(), ending);
    let folder = TempDir::new().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), settings(1));
    cut_off(&mut experiment(yaml, Task::Classification), best + 2, Some(&checkpoints));
    let mut resumed = experiment(yaml, Task::Classification);
    newest(&checkpoints).restore(&mut resumed).unwrap();
    assert_eq!(to_the_end(&mut resumed, Some(&checkpoints)).unwrap(), ending);
    assert_eq!(resumed.state.history.len(), run.state.history.len());

    // A minute, of which almost all is over when the run is cut off.
    let yaml = "{epochs: 1000000, data: {batch_size: 8}, max_minutes: 1}";
    let folder = TempDir::new().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), settings(1));
    let mut run = experiment(yaml, Task::Classification);
    cut_off(&mut run, 2, None);
    run.state.history[1].train_seconds = 29.9;
    run.state.history[2].eval_seconds = 30.0;
    checkpoints.after_epoch(&mut run, true).unwrap();
    let mut run = experiment(yaml, Task::Classification);
    newest(&checkpoints).restore(&mut run).unwrap();
    assert_eq!(to_the_end(&mut run, None).unwrap(), Ending::OutOfTime);
    let seconds = |row: &EpochRow| row.train_seconds + row.eval_seconds;
    assert!(run.state.history.iter().map(seconds).sum::<f64>() >= 60.0);
    let but_one = &run.state.history[..run.state.history.len() - 1];
    assert!(but_one.iter().map(seconds).sum::<f64>() < 60.0);
}

#[test]
fn best_epoch_is_the_first_of_the_largest_or_smallest_numbers() {
    let row = |epoch: u64, loss: f64, auroc: f64| {
        let of = |loss| Evaluation { loss, metrics: vec![("auroc", auroc), ("mae", -auroc)] };
        EpochRow {
            epoch,
            processed_samples: 0,
            train: Some(of(f64::NAN)),
            validation: None,
            test: Some(of(loss)),
            wall_time: 0.0,
            train_seconds: 0.0,
            eval_seconds: 0.0,
            learning_rate: 0.1,
            norms: Vec::new(),
            stored_errors: None,
            angles: Vec::new(),
        }
    };
    let values = [(0.0, 1.0), (3.0, 0.2), (f64::NAN, 0.7), (1.0, f64::NAN), (1.0, 0.7), (2.0, 0.5)];
    let rows: Vec<EpochRow> =
        values.iter().zip(0..).map(|(&(loss, auroc), epoch)| row(epoch, loss, auroc)).collect();
    assert_eq!(EpochRow::best(&rows, "test_loss"), Some(3));
    assert_eq!(EpochRow::best(&rows, "test_auroc"), Some(2));
    assert_eq!(EpochRow::best(&rows, "test_mae"), Some(2));
    assert_eq!(EpochRow::best(&rows, "train_loss"), None);
    assert_eq!(EpochRow::best(&rows[..1], "test_loss"), None, "nothing was trained yet");
}

/// Trains as if the process had been killed in the epoch after this one.
fn kill_after(run: &mut Run, epoch: u64, checkpoints: &Checkpoints) {
    let mut killed = |event: &Event| match event {
        Event::Epoch { row, .. } if row.epoch > epoch => bail!("killed"),
        _ => Ok(()),
    };
    let error = run.train_with(Some(checkpoints), &mut killed).unwrap_err();
    assert_eq!(error.to_string(), "killed");
}

/// The epochs that were evaluated.
fn evaluated(run: &Run) -> Vec<u64> {
    let rows = run.state.history.iter().filter(|row| row.is_evaluated());
    rows.map(|row| row.epoch).collect()
}

#[test]
fn killed_runs_are_evaluated_after_the_same_epochs() {
    let make = || {
        let yaml = "{epochs: 10, evaluate_every: 4, data: {batch_size: 8}, \
                    early_stop: {metric: test_loss, patience: 100}}";
        experiment(yaml, Task::Classification)
    };
    let mut whole = make();
    whole.train(&mut ()).unwrap();
    assert_eq!(evaluated(&whole), [0, 4, 8, 10]);
    let expected = common::everything(&whole);
    for cut in [0, 2, 4, 7, 9] {
        let folder = TempDir::new().unwrap();
        let checkpoints = Checkpoints::new(folder.path(), settings(1));
        kill_after(&mut make(), cut, &checkpoints);
        let mut second = make();
        let newest = newest(&checkpoints);
        assert_eq!(newest.epoch(), cut);
        newest.restore(&mut second).unwrap();
        assert_eq!(to_the_end(&mut second, Some(&checkpoints)).unwrap(), Ending::Complete);
        assert!(common::everything(&second) == expected, "killed after epoch {cut}");
    }
}

#[test]
fn whatever_ends_a_run_its_last_epoch_is_evaluated() {
    let make = |more: &str| {
        let yaml = format!("{{epochs: 10, evaluate_every: 4, data: {{batch_size: 8}}{more}}}");
        experiment(&yaml, Task::Classification)
    };
    // Somebody who asks for the end in epoch 2.
    let folder = TempDir::new().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), settings(2));
    let mut run = make("");
    let stop = run.stop.clone();
    let mut in_epoch_2 = |event: &Event| {
        if let Event::Samples(done) = event {
            stop.store(*done > 30, Ordering::Relaxed);
        }
        Ok(())
    };
    let ending = run.train_with(Some(&checkpoints), &mut in_epoch_2).unwrap();
    assert_eq!((ending, evaluated(&run)), (Ending::Interrupted, vec![0, 2]));
    // It goes on with all that it has, and for longer.
    let mut resumed = make("");
    newest(&checkpoints).restore(&mut resumed).unwrap();
    resumed.train_with(Some(&checkpoints), &mut ()).unwrap();
    assert_eq!(evaluated(&resumed), [0, 2, 4, 8, 10]);
    let mut longer = make("");
    longer.settings.epochs = 14;
    newest(&checkpoints).restore(&mut longer).unwrap();
    longer.train(&mut ()).unwrap();
    assert_eq!(evaluated(&longer), [0, 2, 4, 8, 10, 12, 14]);

    // Who asks when epoch 2 is over without an evaluation gets epoch 3.
    let mut run = make("");
    let stop = run.stop.clone();
    let ending = run.train(&mut on_epoch(|row| stop.store(row.epoch >= 2, Ordering::Relaxed)));
    assert_eq!((ending.unwrap(), evaluated(&run)), (Ending::Interrupted, vec![0, 3]));

    // The time is over in epoch 3.
    let mut run = make("");
    cut_off(&mut run, 0, None);
    run.settings.max_minutes = Some(1.0);
    let mut slow = |event: &Event| {
        if let Event::Samples(61..) = event {
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    };
    run.state.history[0].eval_seconds = 59.85;
    assert_eq!(run.train(&mut slow).unwrap(), Ending::OutOfTime);
    assert_eq!(*evaluated(&run).last().unwrap(), run.state.epoch().unwrap());

    // Nothing is left to do after an epoch that was not evaluated.
    let folder = TempDir::new().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), settings(2));
    kill_after(&mut make(""), 5, &checkpoints);
    let mut run = make("");
    run.settings.epochs = 5;
    newest(&checkpoints).restore(&mut run).unwrap();
    assert_eq!(evaluated(&run), [0, 4]);
    assert_eq!(to_the_end(&mut run, Some(&checkpoints)).unwrap(), Ending::Complete);
    assert_eq!(evaluated(&run), [0, 4, 5]);
    let mut whole = experiment("{epochs: 5, data: {batch_size: 8}}", Task::Classification);
    whole.train(&mut ()).unwrap();
    let (found, expected) = (&run.state.history[5], &whole.state.history[5]);
    assert_eq!((&found.train, &found.test), (&expected.train, &expected.test));
    let mut again = make("");
    newest(&checkpoints).restore(&mut again).unwrap();
    assert_eq!(evaluated(&again), [0, 4, 5], "its checkpoint has it, too");
}

#[test]
fn last_epoch_is_evaluated_on_the_training_set_too() {
    let make = || {
        let yaml = "{epochs: 9, evaluate_train_every: 4, data: {batch_size: 8}}";
        experiment(yaml, Task::Classification)
    };
    let on_train = |run: &Run| -> Vec<u64> {
        let rows = run.state.history.iter().filter(|row| row.train.is_some());
        rows.map(|row| row.epoch).collect()
    };
    // Somebody asks for the end while epoch 6 is trained.
    let mut run = make();
    let stop = run.stop.clone();
    let mut in_epoch_6 = |event: &Event| {
        if let Event::Samples(done) = event {
            stop.store(*done > 5 * 30, Ordering::Relaxed);
        }
        Ok(())
    };
    assert_eq!(run.train(&mut in_epoch_6).unwrap(), Ending::Interrupted);
    assert_eq!((run.state.epoch(), on_train(&run)), (Some(6), vec![0, 4, 6]));
    // Nothing is left to do after an epoch that was evaluated without it.
    let folder = TempDir::new().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), settings(2));
    kill_after(&mut make(), 6, &checkpoints);
    let mut run = make();
    run.settings.epochs = 6;
    newest(&checkpoints).restore(&mut run).unwrap();
    assert_eq!((evaluated(&run).len(), on_train(&run)), (7, vec![0, 4]));
    assert_eq!(to_the_end(&mut run, Some(&checkpoints)).unwrap(), Ending::Complete);
    assert_eq!(on_train(&run), [0, 4, 6]);
}

#[test]
fn early_stop_compares_the_training_set_only_where_it_is_evaluated() {
    let yaml = "{epochs: 300, evaluate_every: 4, evaluate_train_every: 8, data: {batch_size: 8}, \
                optimizer: {name: adam, learning_rate: 0.05}, \
                early_stop: {metric: train_loss, patience: 5}}";
    let mut run = experiment(yaml, Task::Classification);
    let ending = to_the_end(&mut run, None).unwrap();
    let Ending::NoBetter(best) = ending else { panic!("{ending:?}") };
    assert_eq!((best % 8, run.state.epoch().unwrap()), (0, best + 8));
}

#[test]
fn early_stop_compares_the_epochs_that_are_due() {
    let yaml = "{epochs: 300, evaluate_every: 4, data: {batch_size: 8}, \
                optimizer: {name: adam, learning_rate: 0.05}, \
                early_stop: {metric: test_loss, patience: 5}}";
    let mut run = experiment(yaml, Task::Classification);
    let ending = to_the_end(&mut run, None).unwrap();
    let Ending::NoBetter(best) = ending else { panic!("{ending:?}") };
    let last = run.state.epoch().unwrap();
    assert_eq!((best % 4, last), (0, best + 8), "the first epoch that is due after the patience");

    // One that was stopped in between, and is best there, ends where it would have ended.
    let mut stopped = experiment(yaml, Task::Classification);
    let stop = stopped.stop.clone();
    let mut end = on_epoch(|row| stop.store(row.epoch == best + 4, Ordering::Relaxed));
    assert_eq!(stopped.train(&mut end).unwrap(), Ending::Interrupted);
    assert_eq!(stopped.state.epoch(), Some(best + 4));
    let stop = stopped.stop.clone();
    let mut end = on_epoch(|row| stop.store(row.epoch >= best + 5, Ordering::Relaxed));
    stop.store(false, Ordering::Relaxed);
    assert_eq!(stopped.train(&mut end).unwrap(), Ending::Interrupted);
    let row = stopped.state.history.last_mut().unwrap();
    assert_eq!(row.epoch, best + 6);
    row.test.as_mut().unwrap().loss = 0.0;
    stopped.stop.store(false, Ordering::Relaxed);
    assert_eq!(to_the_end(&mut stopped, None).unwrap(), ending);
    assert_eq!(stopped.state.epoch(), Some(last));
}

#[test]
fn rows_of_earlier_builds_are_read() {
    let text = "epoch: 1\nprocessed_samples: 30\ntrain:\n  loss: 1.5\n  metrics:\n  - - accuracy\n    \
                - 50.0\ntest:\n  loss: 2.5\n  metrics:\n  - - accuracy\n    - 40.0\nwall_time: 1.0\n\
                train_seconds: 1.0\neval_seconds: 1.0\nlearning_rate: 0.1\nnorms: []\n\
                stored_errors: null\nangles: []\n";
    let row: EpochRow = serde_yaml::from_str(text).unwrap();
    assert_eq!((row.value("train_loss"), row.value("test_accuracy")), (Some(1.5), Some(40.0)));
    assert_eq!(serde_yaml::to_string(&row).unwrap(), text, "and are written as they were");
}

#[test]
fn early_stop_ends_a_run_whose_metric_is_no_number() {
    let yaml = "{epochs: 50, data: {batch_size: 8}, on_nan: warn, \
                early_stop: {metric: test_loss, patience: 3}}";
    let mut run = experiment(yaml, Task::Classification);
    let _ = run.data.test.inputs.shallow_clone().fill_(f64::NAN);
    let ending = to_the_end(&mut run, None).unwrap();
    assert_eq!(ending, Ending::NoBetter(0));
    assert_eq!(run.state.history.len(), 4);
    assert!(run.state.history[3].value("test_auroc").unwrap().is_nan());
    assert!(run.state.history[3].value("train_auroc").unwrap() > 0.3);
}

#[test]
fn divergence_is_traced_to_its_batch_and_layer_and_leaves_the_last_good_checkpoint() {
    let folder = TempDir::new().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), settings(1));
    let yaml = "{epochs: 5, data: {batch_size: 8}, model: {width: 7, hidden_layers: 2}}";
    let mut run = experiment(yaml, Task::Classification);
    cut_off(&mut run, 2, Some(&checkpoints));

    // A sample that no network can take; where it comes in the third epoch is looked up.
    let sample = 5;
    let _ = run.data.train.inputs.get(sample).fill_(f64::INFINITY);
    let mut generator = Generator::new(0).unwrap();
    generator.set_state(&run.state.generator.state().unwrap()).unwrap();
    let order = Vec::<i64>::try_from(generator.epoch_order(30).unwrap()).unwrap();
    let batch = order.iter().position(|it| *it == sample).unwrap() / 8 + 1;
    let error = to_the_end(&mut run, Some(&checkpoints)).unwrap_err().to_string();
    let place =
        format!("epoch 3: the loss has become NaN, first in batch {batch}, in hidden layer 1");
    assert!(error.starts_with(&place), "{error}");
    assert_eq!(newest(&checkpoints).epoch(), 2);
}

#[test]
fn divergence_is_found_in_epochs_that_are_not_evaluated() {
    for algorithm in ["f3", "bp"] {
        let folder = TempDir::new().unwrap();
        let checkpoints = Checkpoints::new(folder.path(), settings(1));
        let yaml = format!(
            "{{epochs: 9, evaluate_every: 9, data: {{batch_size: 8}}, algorithm: {{name: {algorithm}}}}}"
        );
        let mut run = experiment(&yaml, Task::Classification);
        kill_after(&mut run, 2, &checkpoints);
        newest(&checkpoints).restore(&mut run).unwrap();
        let _ = run.data.train.inputs.get(5).fill_(f64::INFINITY);
        let error = to_the_end(&mut run, Some(&checkpoints)).unwrap_err().to_string();
        let place = "epoch 3: weights of layer 1 are not finite any more, first in batch ";
        assert!(error.starts_with(place), "{error}");
        assert!(error.contains("in hidden layer 1: training diverged"), "{error}");
        assert_eq!(newest(&checkpoints).epoch(), 2);
    }
    // A loss that is not finite, of weights that are, is found by the next evaluation.
    let yaml = "{epochs: 9, evaluate_every: 2, data: {batch_size: 30}, kernels: aten}";
    let targets = |run: &mut Run| {
        let _ = run.data.train.targets.get(7).fill_(-1e30);
    };
    let error = error_of(yaml, Task::Regression, targets, true);
    let place = "epoch 2: the loss has become inf, first in batch 1, in the output layer:";
    assert!(error.starts_with(place), "{error}");
}

/// The error of a run on the toy data after something has been done to it.
fn error_of(yaml: &str, task: Task, with: impl Fn(&mut Run), checkpoints: bool) -> String {
    let folder = TempDir::new().unwrap();
    let checkpoints = checkpoints.then(|| Checkpoints::new(folder.path(), settings(1)));
    let mut run = experiment(yaml, task);
    // What is done after epoch 0 comes as a surprise.
    cut_off(&mut run, 0, checkpoints.as_ref());
    with(&mut run);
    to_the_end(&mut run, checkpoints.as_ref()).unwrap_err().to_string()
}

#[test]
fn divergence_of_what_predicts_errors_is_found_before_it_teaches() {
    // The only block ends with the epoch.
    let yaml = "{epochs: 3, data: {batch_size: 8}, model: {width: 7, hidden_layers: 2}, algorithm: {name: \
                f3, error_info: delayed_error_predicted, prediction: {block: 9, local_rate: 1e300}}}";
    let mut run = experiment(yaml, Task::Classification);
    let error = to_the_end(&mut run, None).unwrap_err().to_string();
    let expected = "epoch 1: the map with which hidden layer 1 predicts errors is not finite any more, \
                    which an `algorithm.prediction.local_rate` below 1e300 may prevent";
    assert_eq!(error, expected);
}

#[test]
fn divergence_is_placed_where_weights_stay_finite() {
    let yaml = "{epochs: 5, data: {batch_size: 30}, kernels: aten}";
    // y - y* is finite, its square is not.
    let targets = |run: &mut Run| {
        let _ = run.data.train.targets.get(7).fill_(-1e30);
    };
    let error = error_of(yaml, Task::Regression, targets, true);
    let expected = "epoch 1: the loss has become inf, first in batch 1, in the output layer:";
    assert!(error.starts_with(expected), "{error}");
    let error = error_of(yaml, Task::Regression, targets, false);
    assert!(error.starts_with("epoch 1: the loss has become inf, in the output layer:"), "{error}");
    // Samples that are not trained on.
    let tests = |run: &mut Run| {
        let _ = run.data.test.targets.shallow_clone().fill_(-1e30);
    };
    let error = error_of(yaml, Task::Regression, tests, true);
    let expected = "epoch 1: the loss has become inf, in the output layer, on the test set alone:";
    assert!(error.starts_with(expected), "{error}");
    // Whether it is so on the training set is not known.
    let yaml_without = yaml.replacen('{', "{evaluate_train_every: 2, ", 1);
    let error = error_of(&yaml_without, Task::Regression, tests, true);
    let expected = "epoch 1: the loss has become inf, in the output layer: training diverged";
    assert!(error.starts_with(expected), "{error}");

    let mut run = experiment(yaml, Task::Regression);
    let _ = tch::no_grad(|| run.state.trainer.layers().named_tensors()[0].1.fill_(f64::NAN));
    let error = to_the_end(&mut run, None).unwrap_err();
    let expected =
        "before training, the loss has become NaN, in hidden layer 1: inputs, targets or the";
    assert!(error.to_string().starts_with(expected), "{error}");
}

#[test]
fn large_weights_are_no_divergence() {
    let mut run = experiment("{epochs: 1, data: {batch_size: 8}}", Task::Classification);
    let weight = &run.state.trainer.layers().named_tensors()[0].1;
    let count = weight.numel() as f64;
    let _ = tch::no_grad(|| weight.shallow_clone().fill_(1e25)); // tanh makes 1 or -1 of it
    let norm = run.state.trainer.layers().as_slice()[0].weight_norm();
    assert!((norm / (1e25 * count.sqrt()) - 1.0).abs() < 1e-6, "{norm}");
    to_the_end(&mut run, None).unwrap();
}

#[test]
fn damaged_checkpoints_are_refused() {
    let folder = TempDir::new().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), settings(1));
    let yaml = "{epochs: 2, data: {batch_size: 8}, model: {width: 7}}";
    let mut run = experiment(yaml, Task::Classification);
    to_the_end(&mut run, Some(&checkpoints)).unwrap();
    let path = checkpoints.newest().unwrap().unwrap();
    let whole = fs::read(&path).unwrap();
    let attempt = |bytes: &[u8], yaml: &str| -> Result<()> {
        let place = folder.path().join("damaged.safetensors");
        fs::write(&place, bytes).unwrap();
        let mut experiment = experiment(yaml, Task::Classification);
        Checkpoint::open(&place)?.restore(&mut experiment)
    };
    attempt(&whole, yaml).unwrap();
    // Cut off anywhere, and with any byte of the tensors or the metadata changed.
    for step in 0..60 {
        let at = whole.len() * step / 60;
        let error = format!("{:#}", attempt(&whole[..at], yaml).unwrap_err());
        assert!(error.contains("damaged.safetensors"), "{error}");
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        let error = format!("{:#}", attempt(&flipped, yaml).unwrap_err());
        assert!(error.contains("damaged.safetensors"), "{at}: {error}");
    }
    let mut huge = whole.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(format!("{:#}", attempt(&huge, yaml).unwrap_err()).contains("was cut off"));
    let current = "version: 3";
    for (other, sign) in [("version: 2", "2"), ("version: 4", "4"), ("a: 1", "?")] {
        let bytes = common::with_texts(&whole, |texts| {
            let text = texts["f3_tch_checkpoint"].as_str().unwrap();
            assert!(text.contains(current), "{text}");
            let text = text.replacen(current, other, 1);
            texts.insert("f3_tch_checkpoint".into(), text.into());
        });
        let error = format!("{:#}", attempt(&bytes, yaml).unwrap_err());
        let expected = format!("is of version {sign} of the format; this program reads version 3");
        assert!(error.contains(&expected), "{error}");
    }
    attempt(&common::with_texts(&whole, |_| ()), yaml).unwrap();
    for (other, sign) in [
        ("{data: {batch_size: 8}, model: {width: 8}}", "is needed"),
        ("{data: {batch_size: 8}, model: {width: 7, hidden_layers: 2}}", "is needed"),
        (
            "{data: {batch_size: 8}, model: {width: 7}, optimizer: {name: sgd, learning_rate: 0.1}}",
            "no place",
        ),
        ("{data: {batch_size: 8}, model: {width: 7}, algorithm: {name: bp}}", "no place"),
    ] {
        let error = format!("{:#}", attempt(&whole, other).unwrap_err());
        assert!(error.contains(sign), "{other}: {error}");
    }
}

fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A configuration of quick epochs, in a file of this folder.
fn quick(folder: &Path, epochs: u64) -> String {
    let path = folder.join("quick.yaml");
    let text = format!(
        "name: quick\ndata: {{name: digits, batch_size: 32}}\nmodel: {{width: 40}}\n\
         epochs: {epochs}\nthreads: 1\nalgorithm: {{name: f3}}\n\
         optimizer: {{name: adam, learning_rate: 1e-3}}\n"
    );
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_string()
}

/// Trains until the end, and gives what is left behind.
fn uninterrupted(config: &str, run: &Path) -> LeftBehind {
    let child = start(&["train", config, "--quiet", "--run-dir", run.to_str().unwrap()]);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    left_behind(run)
}

/// Waits until a run has begun to train.
fn wait_for_epochs(run: &Path, child: &mut Child) {
    let lines = || fs::read_to_string(run.join("metrics.csv")).unwrap_or_default().lines().count();
    while lines() < 4 {
        assert!(child.try_wait().unwrap().is_none(), "ended early");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn send(signal: &str, child: &Child) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
#[cfg(unix)]
fn signals_end_a_run_after_its_epoch_and_it_goes_on_as_if_nothing_had_been() {
    let folder = TempDir::new().unwrap();
    let config = quick(folder.path(), 400);
    let expected = uninterrupted(&config, &folder.path().join("whole"));
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let run = folder.path().join(signal);
        let place = run.to_str().unwrap();
        let mut child = start(&["train", &config, "--quiet", "--run-dir", place]);
        wait_for_epochs(&run, &mut child);

        // Nobody else may write there meanwhile. (The run waits, so that it does not end before these do.)
        send("-STOP", &child);
        let second = start(&["resume", place]).wait_with_output().unwrap();
        let error = String::from_utf8(second.stderr).unwrap();
        assert_eq!(second.status.code(), Some(1), "{error}");
        assert!(error.contains("another process is training there"), "{error}");
        let third = start(&["train", &config, "--run-dir", place]).wait_with_output().unwrap();
        assert_eq!(third.status.code(), Some(1));

        send(signal, &child);
        send("-CONT", &child);
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(error.contains("finishing this epoch"), "{error}");
        let (rows, _) = left_behind(&run);
        let result = RunResult::read(&run).unwrap();
        assert_eq!((result.state, result.ended_by), (EndState::Interrupted, EndedBy::Stop));
        assert_eq!((result.epochs["done"], result.epochs["wanted"]), (rows.len() as u64 - 1, 400));
        let checkpoints = Checkpoints::new(&run.join("checkpoints"), settings(1));
        let newest = checkpoints.newest().unwrap().unwrap();
        assert_eq!(Checkpoint::open(&newest).unwrap().epoch(), rows.len() as u64 - 1);
        assert!(rows.len() < 400);

        // From another folder than the one that it was started in.
        let mut resumed = Command::new(PROGRAM);
        resumed.args(["resume", place, "--quiet"]).current_dir(folder.path());
        let output = resumed.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(left_behind(&run) == expected, "another run");
        assert_eq!(RunResult::read(&run).unwrap().state, EndState::Complete);
    }

    // TensorBoard's own reader finds each step once, and the uninterrupted run's values.
    let Some(python) = common::python() else { return };
    let curves = |run: &str| -> serde_json::Value {
        let printed = common::run_python(&python, "check_run.py", &[&folder.path().join(run)]);
        serde_json::from_str(&printed).unwrap()
    };
    let (whole, resumed) = (curves("whole"), curves("-INT"));
    let whole = whole["scalars"].as_object().unwrap();
    assert!(whole.len() > 10);
    for (tag, values) in whole {
        let found = &resumed["scalars"][tag];
        let steps: Vec<&serde_json::Value> =
            found.as_array().unwrap().iter().map(|point| &point[0]).collect();
        let first = if ["stored_error", "norm/gradient"].iter().any(|it| tag.starts_with(it)) {
            1
        } else {
            0
        };
        assert_eq!(steps, (first..=400).collect::<Vec<u64>>(), "{tag}");
        if !tag.starts_with("time/") {
            assert_eq!(found, values, "{tag}");
        }
    }
}

#[test]
#[cfg(unix)]
fn second_signal_stops_at_once() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let place = run.to_str().unwrap();
    let sets = ["model.width=2000", "model.hidden_layers=10", "data.batch_size=1"];
    let mut arguments = vec!["train", "digits", "--quiet", "--run-dir", place];
    sets.iter().for_each(|set| arguments.extend(["--set", set]));
    let mut child = start(&arguments);
    let metrics = || fs::read_to_string(run.join("metrics.csv")).unwrap_or_default();
    while metrics().lines().count() < 2 {
        assert!(child.try_wait().unwrap().is_none(), "ended early");
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(300)); // into the first epoch, which is a long one
    send("-INT", &child);
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("finishing this epoch")));
    assert!(child.try_wait().unwrap().is_none(), "did not finish its epoch");
    send("-INT", &child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(metrics().lines().count(), 2, "the epoch was not finished");
}

#[test]
#[cfg(target_os = "linux")]
fn full_disk_and_read_only_folder_are_errors_that_leave_the_last_checkpoint() {
    let folder = TempDir::new().unwrap();
    let config = quick(folder.path(), 30);
    let expected = uninterrupted(&config, &folder.path().join("whole"));
    fs::create_dir(folder.path().join("disk")).unwrap();
    let script = "
        mount -t tmpfs -o size=1200k none disk
        code=0; $f3_tch train quick.yaml --quiet --set checkpoint.keep=1000 --run-dir disk/run || code=$?
        echo full: $code; ls disk/run/checkpoints
        newest=$(ls disk/run/checkpoints/epoch-* | tail -n 1)
        $f3_tch evaluate $newest >/dev/null
        code=0; $f3_tch resume disk/run --quiet || code=$?
        echo still full: $code
        $f3_tch evaluate $newest >/dev/null
        mount -o remount,ro disk
        code=0; $f3_tch resume disk/run --quiet || code=$?
        echo read-only: $code
        code=0; $f3_tch train quick.yaml --quiet --run-dir disk/other || code=$?
        echo read-only, new: $code
        mount -o remount,rw,size=50m disk
        $f3_tch resume disk/run --quiet
        cp -r disk/run resumed";
    let Some(output) = common::where_mounting_is_allowed(PROGRAM, script, folder.path()) else {
        return;
    };
    let printed = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{printed}{errors}");
    for line in ["full: 1", "still full: 1", "read-only: 1", "read-only, new: 1"] {
        assert!(printed.lines().any(|found| found == line), "{line}: {printed}{errors}");
    }
    assert!(printed.contains("epoch-000001.safetensors"), "{printed}");
    let errors: Vec<&str> = errors.lines().collect();
    assert_eq!(errors.len(), 4, "{errors:?}");
    assert!(errors[..2].iter().all(|it| it.contains("disk/run/") && it.contains("No space left")));
    assert!(errors[2..].iter().all(|it| it.contains("disk/") && it.contains("Read-only")));
    assert!(left_behind(&folder.path().join("resumed")) == expected, "another run");
}

#[test]
fn folder_that_is_removed_while_running_ends_the_run_with_an_error() {
    let folder = TempDir::new().unwrap();
    let config = quick(folder.path(), 100_000);
    let run = folder.path().join("run");
    let mut child = start(&["train", &config, "--quiet", "--run-dir", run.to_str().unwrap()]);
    wait_for_epochs(&run, &mut child);
    fs::rename(&run, folder.path().join("away")).unwrap();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.starts_with("error: ") && error.lines().count() == 1, "{error}");
    // Which of them is a matter of the moment.
    let reasons = ["No such file", "Not a directory"];
    let has_reason = reasons.iter().any(|reason| error.contains(reason));
    assert!(error.contains(run.to_str().unwrap()) && has_reason, "{error}");
    let checkpoints = Checkpoints::new(&folder.path().join("away/checkpoints"), settings(1));
    newest(&checkpoints);
}

#[test]
fn run_that_is_killed_a_hundred_times_is_the_run_that_is_not() {
    let folder = TempDir::new().unwrap();
    let config = quick(folder.path(), 30);
    let expected = uninterrupted(&config, &folder.path().join("whole"));
    let unfinished = |run: &Path| {
        let entries = fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten();
        entries.filter(|it| it.file_name().to_str().unwrap().starts_with('.')).count()
    };

    let mut random = 1u64;
    let (mut kills, mut runs, mut while_writing) = (0, 0, 0);
    while kills < 100 {
        let run = folder.path().join(format!("killed-{runs}"));
        let place = run.to_str().unwrap();
        runs += 1;
        for attempt in 0.. {
            let mut child = match run.join("config.yaml").exists() {
                true => start(&["resume", place, "--quiet"]),
                false => start(&["train", &config, "--quiet", "--run-dir", place]),
            };
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let moment = Duration::from_millis(20 + (random >> 33) % 500);
            if (random >> 40).is_multiple_of(4) {
                // In the midst of a checkpoint.
                while unfinished(&run) == 0 && child.try_wait().unwrap().is_none() {
                    std::thread::yield_now();
                }
            } else {
                // A machine on which starting takes longer than that gets more time, little by little.
                std::thread::sleep(moment + attempt * Duration::from_millis(20));
            }
            if child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                kills += 1;
            }
            let output = child.wait_with_output().unwrap();
            while_writing += unfinished(&run);
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(complaint.is_empty(), "{complaint}");
            if output.status.success() {
                break;
            }
        }
        assert!(left_behind(&run) == expected, "another run");
    }
    println!("{kills} kills in {runs} runs, {while_writing} while a checkpoint was written");
    assert!(while_writing > 0);
}

/// Runs the program in a folder; gives the exit code and what it says on standard error.
fn says(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(PROGRAM).args(arguments).current_dir(folder).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn files_are_those_of_the_checkpoint_that_a_run_goes_on_from() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    quick(path, 8);
    let sets =
        ["checkpoint.every=5", "checkpoint.best=test_loss"].map(|set| ["--set", set]).concat();
    let train = [&["train", "quick.yaml", "--quiet", "--run-dir", "run"][..], &sets].concat();
    assert_eq!(says(path, &train).0, Some(0));
    let model = || fs::read(path.join("run/model.safetensors")).unwrap();
    let whole = model();
    let best = path.join("run/checkpoints/best.safetensors");
    assert_eq!(Checkpoint::open(&best).unwrap().epoch(), 8, "it gets better and better");

    // As if it had been killed in epoch 8.
    fs::remove_file(path.join("run/checkpoints/epoch-000008.safetensors")).unwrap();
    assert_eq!(says(path, &["resume", "run", "--epochs", "7", "--quiet"]).0, Some(0));
    assert_eq!(left_behind(&path.join("run")).0.len(), 8);
    assert_eq!(Checkpoint::open(&best).unwrap().epoch(), 7, "there is no epoch 8");
    assert!(model() != whole);
    let cut = path.join("run/checkpoints/epoch-000007.safetensors");
    let newest = |path: &Path| Model::open(path, Device::Cpu).unwrap();
    let (of_run, of_checkpoint) = (newest(&path.join("run/model.safetensors")), newest(&cut));
    let parameters = |model: &Model| -> Vec<Tensor> {
        let all = model.blocks().flat_map(|block| block.parameters());
        all.map(|(_, tensor)| tensor.shallow_clone()).collect()
    };
    assert_eq!(parameters(&of_run), parameters(&of_checkpoint));
    assert_eq!(says(path, &["resume", "run", "--epochs", "8", "--quiet"]).0, Some(0));
    assert!(model() == whole);
    assert_eq!(Checkpoint::open(&best).unwrap().epoch(), 8);
}

#[test]
fn changes_of_a_runs_configuration_are_refused_or_remarked_on() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    quick(path, 2);
    assert_eq!(says(path, &["train", "quick.yaml", "--quiet", "--run-dir", "run"]).0, Some(0));
    let config = path.join("run/config.yaml");
    let original = fs::read_to_string(&config).unwrap();
    let edited = |from: &str, to: &str| {
        assert!(original.contains(from));
        fs::write(&config, original.replacen(from, to, 1)).unwrap();
        says(path, &["resume", "run", "--epochs", "3", "--quiet"])
    };
    for (from, to, key) in [
        ("activation: tanh", "activation: relu", "model"),
        ("seed: 1 ", "seed: 2 ", "seed"),
        ("error_info: delayed_error ", "error_info: delayed_loss ", "algorithm"),
    ] {
        let (code, error) = edited(from, to);
        assert_eq!(code, Some(2), "{error}");
        assert!(
            error.contains("config.yaml, line ") && error.contains(&format!(": `{key}` is")),
            "{error}"
        );
        assert!(error.contains("with which the run began"), "{error}");
    }
    // Each in a copy of the run as it was.
    let copied = |name: &str| {
        let copy = path.join(name);
        let done = Command::new("cp").arg("-a").args([&path.join("run"), &copy]).status().unwrap();
        assert!(done.success());
        copy.join("config.yaml")
    };
    for (index, (from, to, expected)) in [
        ("name: quick ", "name: slow ", "`name` is "),
        ("best: null ", "best: test_loss ", "`checkpoint` is "),
        ("metric: null ", "metric: train_loss ", "`early_stop` is "),
        ("max_minutes: null ", "max_minutes: 60 ", "`max_minutes` is 60"),
        ("on_nan: stop ", "on_nan: warn ", "`on_nan` is "),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("copy{index}");
        let config = copied(&name);
        assert!(original.contains(from), "{from}: {original}");
        fs::write(config, original.replacen(from, to, 1)).unwrap();
        let (code, said) = says(path, &["resume", &name, "--epochs", "3", "--quiet"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(&format!("note: {expected}")), "{expected}: {said}");
    }
    let (code, said) = edited("threads: 1 ", "threads: 2 ");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("note: `threads` is 2 from now on; it was 1"), "{said}");
    assert!(said.contains("note: up to epoch 2 the run was computed by libtorch"), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
}

#[test]
#[cfg(unix)]
fn folder_that_is_replaced_while_running_ends_the_run_with_an_error() {
    let folder = TempDir::new().unwrap();
    let config = quick(folder.path(), 100_000);
    let (run, other) = (folder.path().join("run"), folder.path().join("other"));
    fs::create_dir(&other).unwrap();
    for name in [".lock", "metrics.csv"] {
        fs::write(other.join(name), "").unwrap();
    }
    let mut child = start(&["train", &config, "--quiet", "--run-dir", run.to_str().unwrap()]);
    wait_for_epochs(&run, &mut child);
    fs::rename(&run, folder.path().join("away")).unwrap();
    fs::rename(&other, &run).unwrap();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains(run.to_str().unwrap()), "{error}");
    assert_eq!(fs::read(run.join("metrics.csv")).unwrap(), b"");
}

#[test]
fn a_run_goes_on_from_the_newest_checkpoint_that_is_whole() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    quick(path, 4);
    assert_eq!(says(path, &["train", "quick.yaml", "--quiet", "--run-dir", "run"]).0, Some(0));
    let expected = left_behind(&path.join("run"));
    let of = |epoch: u64| path.join(format!("run/checkpoints/epoch-{epoch:06}.safetensors"));

    // One that is cut off, one in which a bit of the weights has changed, and one of another epoch.
    let whole = fs::read(of(4)).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (damaged, reason) in [
        (&whole[..whole.len() / 2], "was it cut off?"),
        (&whole[..3], "or was cut off"),
        (&flipped, "has changed since it was written"),
        (&fs::read(of(3)).unwrap(), "is of epoch 3"),
    ] {
        fs::write(of(4), damaged).unwrap();
        let (code, said) = says(path, &["resume", "run", "--quiet"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("note: run/checkpoints/epoch-000004.safetensors: "), "{said}");
        assert!(said.contains(reason) && said.contains("; it is left out"), "{said}");
        assert!(left_behind(&path.join("run")) == expected, "{reason}");
    }

    // A copy under a later epoch's name neither counts nor pushes out what is whole.
    fs::copy(of(4), of(99)).unwrap();
    let config = path.join("run/config.yaml");
    let keeps_one = fs::read_to_string(&config).unwrap().replace("keep: 2 ", "keep: 1 ");
    fs::write(&config, keeps_one).unwrap();
    assert_eq!(says(path, &["resume", "run", "--epochs", "5", "--quiet"]).0, Some(0));
    assert!(of(5).is_file() && of(99).is_file());
    assert_eq!(says(path, &["resume", "run", "--epochs", "6", "--quiet"]).0, Some(0));
    fs::remove_file(of(99)).unwrap();

    // Without the rows of the epochs before, no checkpoint is whole.
    let rows = path.join("run/checkpoints/rows.yaml");
    let text = fs::read_to_string(&rows).unwrap();
    fs::write(&rows, text.replacen("epoch: 1", "epoch: 7", 1)).unwrap();
    let (code, said) = says(path, &["resume", "run", "--quiet"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("error: no checkpoint is whole") && said.contains("begin anew"),
        "{said}"
    );
    assert!(said.contains("rows.yaml: has changed since it was written"), "{said}");
    // What a run that was killed has written behind them does no harm.
    fs::write(&rows, text + "- epoch: 9").unwrap();
    assert_eq!(says(path, &["resume", "run", "--epochs", "7", "--quiet"]).0, Some(0));
    assert_eq!(left_behind(&path.join("run")).0.len(), 8);
}

#[test]
fn what_checkpoints_write_grows_with_the_epochs_and_not_with_their_square() {
    let folder = TempDir::new().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), settings(1));
    let yaml = "{epochs: 60, data: {batch_size: 8}}";
    let mut run = experiment(yaml, Task::Classification);
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    let mut sizes = Vec::new();
    while run.state.epoch() != Some(60) {
        let next = run.state.epoch().map_or(0, |epoch| epoch + 1);
        cut_off_or_end(&mut run, next, &checkpoints);
        let newest = checkpoints.newest().unwrap().unwrap();
        sizes.push((size(&newest), size(&folder.path().join("rows.yaml"))));
    }
    let (checkpoint, rows) = sizes[59];
    assert!(checkpoint < sizes[10].0 + 200, "{sizes:?}");
    assert!(rows > 5 * sizes[10].1, "{sizes:?}");
}

fn cut_off_or_end(run: &mut Run, epoch: u64, checkpoints: &Checkpoints) {
    let stop = run.stop.clone();
    let mut end = on_epoch(|row| stop.store(row.epoch >= epoch, Ordering::Relaxed));
    run.train_with(Some(checkpoints), &mut end).unwrap();
    run.stop.store(false, Ordering::Relaxed);
}

#[test]
fn the_file_of_the_best_epoch_stays_when_a_run_goes_on_in_another_way() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    quick(path, 4);
    let sets = ["checkpoint.every=50", "checkpoint.best=test_loss", "checkpoint.keep=1"];
    let sets = sets.map(|set| ["--set", set]).concat();
    let train = [&["train", "quick.yaml", "--quiet", "--run-dir", "run"][..], &sets].concat();
    assert_eq!(says(path, &train).0, Some(0));
    let best = path.join("run/checkpoints/best.safetensors");
    assert_eq!(Checkpoint::open(&best).unwrap().epoch(), 4);
    let config = path.join("run/config.yaml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("learning_rate: 0.001", "learning_rate: 10.0")).unwrap();
    let (code, said) = says(path, &["resume", "run", "--epochs", "7", "--quiet"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("note: `optimizer` is"), "{said}");
    assert_eq!(Checkpoint::open(&best).unwrap().epoch(), 4, "it has got worse since");
}

#[test]
#[cfg(unix)]
fn the_file_of_the_best_epoch_stands_in_for_that_of_the_epoch() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    quick(path, 4);
    let sets = ["--set", "checkpoint.best=test_loss"];
    let train = [&["train", "quick.yaml", "--quiet", "--run-dir", "run"][..], &sets].concat();
    assert_eq!(says(path, &train).0, Some(0));
    let of = |name: &str| path.join("run/checkpoints").join(name);
    assert_eq!(Checkpoint::open(&of("best.safetensors")).unwrap().epoch(), 4);
    // Two files in place of one with two names; then one is damaged.
    let mut bytes = fs::read(of("epoch-000004.safetensors")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::remove_file(of("epoch-000004.safetensors")).unwrap();
    fs::write(of("epoch-000004.safetensors"), bytes).unwrap();
    // Neither is a link to nothing a checkpoint.
    std::os::unix::fs::symlink("nothing", of("epoch-000009.safetensors")).unwrap();
    let (code, said) = says(path, &["resume", "run", "--quiet"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("epoch-000009.safetensors: is no file; it is left out"), "{said}");
    assert!(said.contains("has changed since it was written; it is left out"), "{said}");
    assert_eq!(Checkpoint::open(&of("best.safetensors")).unwrap().epoch(), 4);
}

#[test]
#[cfg(unix)]
fn files_with_other_names_elsewhere_are_not_written_to() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    quick(path, 2);
    assert_eq!(says(path, &["train", "quick.yaml", "--quiet", "--run-dir", "run"]).0, Some(0));
    let shell = |script: &str| {
        let done = Command::new("sh").args(["-c", script]).current_dir(path).status().unwrap();
        assert!(done.success(), "{script}");
    };
    // A copy by hard links, and one by symbolic links to files.
    shell(
        "cp -al run hard && cp -a run soft && rm soft/metrics.csv && ln -s ../run/metrics.csv soft/",
    );
    shell("cp -a run before && touch run/.tmpnotes hard/.f3-tch-notes soft/.f3-tch-abcdef.tmp");
    for copy in ["hard", "soft"] {
        shell(&format!("rm {copy}/.lock")); // a lock of its own
        let (code, said) = says(path, &["resume", copy, "--epochs", "4", "--quiet"]);
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(left_behind(&path.join(copy)).0.len(), 5);
    }
    shell("rm run/.tmpnotes && diff -r run before");
    assert!(path.join("hard/.f3-tch-notes").exists(), "a file of the user's own");
    assert!(!path.join("soft/.f3-tch-abcdef.tmp").exists(), "one that was not finished");

    // Links to the tables of events, and a lock that has another name and a content.
    shell("rm soft/events* && ln -s ../run/events* soft/ && cp -a run before2");
    shell("echo content > content && rm hard/.lock && ln content hard/.lock");
    for copy in ["hard", "soft"] {
        let (code, said) = says(path, &["resume", copy, "--epochs", "5", "--quiet"]);
        assert_eq!(code, Some(0), "{said}");
    }
    shell("diff -r run before2");
    assert_eq!(fs::read_to_string(path.join("content")).unwrap(), "content\n");

    // A lock that is a link to something else.
    shell("echo precious > precious && rm soft/.lock && ln -s ../precious soft/.lock");
    let (code, said) = says(path, &["resume", "soft", "--epochs", "6", "--quiet"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("soft/.lock: is a link"), "{said}");
    assert_eq!(fs::read_to_string(path.join("precious")).unwrap(), "precious\n");
}

#[test]
#[cfg(target_os = "linux")]
fn tables_and_events_are_on_the_disk_when_a_run_has_ended() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("left out: there is no strace");
        return;
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    quick(path, 2);
    let train = ["train", "quick.yaml", "--quiet", "--run-dir", "run"];
    let trace = ["-f", "-y", "-e", "trace=write,fsync,fdatasync", "-o", "calls", PROGRAM];
    let traced = Command::new("strace")
        .args(trace)
        .args(train)
        .args(["--set", "diagnostics.every=1"])
        .current_dir(path)
        .status()
        .unwrap();
    assert!(traced.success());
    let calls = fs::read_to_string(path.join("calls")).unwrap();
    for file in ["run/metrics.csv", "run/diagnostics.csv", ".f3-tch"] {
        let of_file = |line: &&str| line.contains(&format!("{file}>"));
        let last = calls.lines().rfind(of_file).unwrap_or_else(|| panic!("{file} is not written"));
        assert!(last.contains("sync("), "{file}: {last}");
    }
}

#[test]
#[cfg(unix)]
fn a_table_that_is_removed_while_running_is_missed() {
    let folder = TempDir::new().unwrap();
    let config = quick(folder.path(), 300);
    let run = folder.path().join("run");
    let mut child = start(&["train", &config, "--quiet", "--run-dir", run.to_str().unwrap()]);
    wait_for_epochs(&run, &mut child);
    fs::remove_file(run.join("metrics.csv")).unwrap();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("metrics.csv: has been removed or replaced"), "{error}");
    assert_eq!(says(folder.path(), &["resume", "run", "--quiet"]).0, Some(0));
    assert_eq!(left_behind(&run).0.len(), 301);
}

#[test]
#[cfg(target_os = "linux")]
fn a_second_signal_ends_a_program_whose_terminal_takes_nothing() {
    let folder = TempDir::new().unwrap();
    let config = quick(folder.path(), 2);
    let run = folder.path().join("run");
    // Standard error is a pipe that is full, and that nobody reads.
    let (_reader, writer) = std::io::pipe().unwrap();
    let mut full = writer.try_clone().unwrap();
    std::thread::spawn(move || std::io::Write::write_all(&mut full, &[b' '; 1 << 20]));
    std::thread::sleep(Duration::from_millis(300)); // until it is full
    // Epochs of a minute.
    let sets = ["model.width=3000", "model.hidden_layers=3", "data.batch_size=1"];
    let sets = sets.map(|set| ["--set", set]).concat();
    let arguments = ["train", &config, "--quiet", "--run-dir", run.to_str().unwrap()];
    let mut command = Command::new(PROGRAM);
    command.args(arguments).args(sets).stdout(Stdio::null()).stderr(writer);
    let mut child = command.spawn().unwrap();
    let rows = || fs::read_to_string(run.join("metrics.csv")).map_or(0, |it| it.lines().count());
    while rows() < 2 {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = child.id().to_string();
    for _ in 0..2 {
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(rows(), 2, "the epoch was not waited for");
}

#[test]
#[cfg(target_os = "linux")]
fn a_limit_of_file_sizes_is_an_error_with_a_message() {
    let folder = TempDir::new().unwrap();
    quick(folder.path(), 3);
    let script = format!("ulimit -f 20; exec {PROGRAM} train quick.yaml --quiet --run-dir run");
    let output =
        Command::new("sh").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("error: ") && error.contains("File too large"), "{error}");
}
