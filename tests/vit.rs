//! The paper's Vision Transformer on real MNIST, against one epoch of the authors' program.
//!
//! That program draws its initial weights in an order of its own, so that agreement is statistical
//! here; `oracle.rs` compares the blocks' gradients exactly. Test accuracy (loss) there, seed 0:
//! 8.78 % (2.3215) before training; after one epoch BP 93.0 % (0.237), DFA 93.3 % (0.219), DRTP
//! 46.9 % (1.604), and F³ as DRTP.

mod common;

use f3_tch::assemble::{DataFrom, assemble};
use f3_tch::config::{Config, Source};
use f3_tch::data::{DataDirectory, Dataset};
use f3_tch::metrics::{Evaluation, evaluate};
use f3_tch::run::Run;

fn source(algorithm: &str, seed: u64) -> (Config, Source) {
    let mut source = Source::open("mnist_vit").unwrap();
    for set in ["threads=1", &format!("algorithm.name={algorithm}"), &format!("seed={seed}")] {
        source.set(set).unwrap();
    }
    let (config, _) = Config::read(&source).unwrap();
    (config, source)
}

fn experiment(algorithm: &str, seed: u64) -> Run {
    let (config, source) = source(algorithm, seed);
    let directory = DataDirectory::locate(None);
    assemble(&config, &source, DataFrom::Files(&directory, &mut |_| {})).unwrap().0
}

fn on_test_set(run: &Run) -> Evaluation {
    let (layers, data, loss) = (run.state.trainer.layers(), &run.data, run.settings.loss);
    evaluate(|batches| layers.forward_all(batches), &data.test, &data.measured_by(loss), 200)
        .unwrap()
}

#[test]
fn initial_loss_is_that_of_the_papers_network() {
    let full = experiment("f3", 0).data;
    let losses: Vec<f64> = (0..10)
        .map(|seed| {
            let (train, test) = (full.train.first(1000), full.test.first(1000));
            let data =
                Dataset { image: full.image, ..Dataset::new("mnist", full.task, train, test) };
            let (config, _) = source("f3", seed);
            on_test_set(&Run::new(&config, data).unwrap()).loss
        })
        .collect();
    let mean = losses.iter().sum::<f64>() / losses.len() as f64;
    println!("initial losses: {losses:.4?}, mean {mean:.4}");
    // Of one draw the paper's program reports 2.3215; ten draws here lie around it.
    let (least, most) = losses.iter().fold((f64::MAX, 0.0f64), |(a, b), l| (a.min(*l), b.max(*l)));
    assert!(least < 2.3215 && 2.3215 < most && most - least < 0.15, "{losses:?}");
    assert!((mean - 2.3215).abs() < 0.04, "{mean}");
}

#[test]
fn one_epoch_lands_where_the_papers_program_does() {
    // Single runs differ: with other orders of the samples, 88.7 to 93.0 % were seen here of BP, 92.4
    // to 94.1 % of DFA, and 22 to 53 % of F³.
    for (algorithm, accuracy, loss) in
        [("bp", 82.0..96.0, 0.1..0.6), ("dfa", 85.0..96.0, 0.1..0.5), ("f3", 15.0..70.0, 1.2..2.3)]
    {
        let mut experiment = experiment(algorithm, 0);
        common::train_epoch(&mut experiment);
        let found = on_test_set(&experiment);
        let found_accuracy = found.metric("accuracy").unwrap();
        println!("{algorithm}: {found_accuracy:.2} % ({:.4})", found.loss);
        assert!(accuracy.contains(&found_accuracy), "{algorithm}: {found_accuracy} %");
        assert!(loss.contains(&found.loss), "{algorithm}: loss {}", found.loss);
    }
}
