//! Where the time of a training step goes on this machine, and how much of it the machine needs.
//!
//! For each shape of layer: what the fused kernels take for a batch and what libtorch's kernels take
//! for its parts; the cost of the hidden signal beside backpropagation's; and, for the whole network,
//! the time below which no epoch can come: its products at the best rate that any kernel here was seen
//! to reach, and the optimizer's reads and writes at the rate at which memory of that size can be
//! gone through.
//!
//! Run it with `cargo run --release --example profile -- --widths 784,500,10 --batch 50`.
//!
//! Legend: b batch, m inputs, n outputs of a layer, C outputs of the network.

use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use f3_tch::Generator;
use f3_tch::engine::{BlockEngine, Engine, FusedDense, Step};
use f3_tch::layers::Layer;
use f3_tch::network::{Activation, Dense};
use f3_tch::optimizer::{AdamSettings, OptimizerSettings};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

/// Time of a training step, part by part
#[derive(Parser)]
struct Arguments {
    /// Inputs, hidden widths and outputs of the network
    #[arg(long, value_delimiter = ',', default_value = "784,500,10")]
    widths: Vec<i64>,
    /// Samples per training step
    #[arg(long, default_value_t = 50)]
    batch: i64,
    /// Training samples of an epoch
    #[arg(long, default_value_t = 60_000)]
    samples: i64,
    /// Intra-op threads [default: all cores]
    #[arg(long)]
    threads: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Batches that a layer takes in a row, as in layer-major order.
const CHUNK: i64 = 16;

fn main() -> Result<()> {
    let Arguments { widths, batch, samples, threads, json } = Arguments::parse();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tch::set_num_threads(threads.unwrap_or(cores) as i32);
    let _no_grad = tch::no_grad_guard();
    let outputs = *widths.last().unwrap_or(&10);

    let pairs: Vec<(i64, i64)> = widths.windows(2).map(|pair| (pair[0], pair[1])).collect();
    let mut shapes: Vec<(i64, i64)> = Vec::new();
    for pair in &pairs {
        if !shapes.contains(pair) {
            shapes.push(*pair);
        }
    }
    let layers: Result<Vec<Value>> =
        shapes.iter().map(|&(m, n)| layer(m, n, outputs, batch)).collect();
    let layers = layers?;

    let square = Tensor::rand([1024, 1024], (Kind::Float, Device::Cpu));
    let square_seconds = seconds(|| drop(square.mm(&square)));
    let mut rates =
        vec![("libtorch's product of 1024 x 1024".to_string(), 2.147e9 / square_seconds)];
    for (shape, found) in shapes.iter().zip(&layers) {
        let operations = 2.0 * (batch * shape.0 * shape.1) as f64;
        for name in ["fused forward", "libtorch forward", "libtorch gradient"] {
            let rate = operations / (found[name].as_f64().unwrap_or(f64::MAX) * 1e-6);
            rates.push((format!("{name} of {} to {}", shape.0, shape.1), rate));
        }
    }
    let best = rates.iter().max_by(|a, b| a.1.total_cmp(&b.1)).expect("there is one").clone();

    let parameters: i64 = pairs.iter().map(|(m, n)| m * n + n).sum();
    let stream = bandwidth(parameters);
    let products: i64 = pairs.iter().map(|(m, n)| m * n).sum();
    let steps = (samples + batch - 1) / batch;
    // Forward pass and gradient; two operations for each multiply-add.
    let product_seconds = (4 * samples * products) as f64 / best.1;
    // W and the two moments are read and written, 4 bytes each.
    let optimizer_seconds = (24 * steps * parameters) as f64 / stream;
    let report = json!({
        "instruction set": f3_tch::instruction_set(),
        "threads": tch::get_num_threads(),
        "best rate GFLOP/s": best.1 / 1e9,
        "best rate of": best.0,
        "stream GB/s": stream / 1e9,
        "layers": layers,
        "limit seconds": {
            "products": product_seconds,
            "optimizer": optimizer_seconds,
            "epoch": product_seconds + optimizer_seconds,
        },
    });
    if json {
        println!("{report:#}");
        return Ok(());
    }
    println!("{} kernels, {} threads", f3_tch::instruction_set(), tch::get_num_threads());
    println!("best rate of products {:.0} GFLOP/s: {}", best.1 / 1e9, best.0);
    println!("memory of {parameters} parameters and two moments: {:.0} GB/s", stream / 1e9);
    for (shape, found) in shapes.iter().zip(report["layers"].as_array().into_iter().flatten()) {
        println!("\nlayer {} to {}, batch {batch}, microseconds", shape.0, shape.1);
        for (name, value) in found.as_object().into_iter().flatten() {
            match value.as_i64() {
                Some(count) => println!("  {name:32} {count:9}"),
                None => println!("  {name:32} {:9.1}", value.as_f64().unwrap_or(f64::NAN)),
            }
        }
    }
    println!(
        "\nan epoch of {samples} samples takes {:.3} s at least: products {product_seconds:.3}, \
         optimizer {optimizer_seconds:.3}",
        product_seconds + optimizer_seconds
    );
    Ok(())
}

/// Microseconds of each part of a layer's step on one batch.
fn layer(m: i64, n: i64, outputs: i64, batch: i64) -> Result<Value> {
    let mut generator = Generator::new(1)?;
    let mut random = |rows: i64, columns: i64| generator.uniform(&[rows, columns], -1.0, 1.0);
    let (x, e) = (random(CHUNK * batch, m)?, random(CHUNK * batch, outputs)?);
    let feedback = random(outputs, n)? / (n as f64).sqrt();
    let adam = OptimizerSettings::Adam(AdamSettings::default());
    let make = |fused: bool, generator: &mut Generator| -> Result<Layer> {
        let dense = Dense::new(m, n, Activation::Tanh, generator, Device::Cpu)?;
        let engine: Box<dyn Engine> = match fused {
            true => Box::new(FusedDense::new(&dense, &adam, false)?),
            false => Box::new(BlockEngine::new(Box::new(dense), &adam)?),
        };
        Ok(Layer::new(engine, Some(feedback.copy())))
    };
    let step = Step { learning_rate: 1e-6, batch_size: batch, watch: false };
    let mut fused = make(true, &mut generator)?;
    let mut aten = make(false, &mut generator)?;
    let micros = |seconds: f64| 1e6 * seconds;
    let a_batch = |seconds: f64| 1e6 * seconds / CHUNK as f64;

    let learn = a_batch(seconds(|| drop(fused.learn(&x, &e, &step).expect("learns"))));
    let alone = (x.narrow(0, 0, batch), e.narrow(0, 0, batch));
    let learn_one =
        micros(seconds(|| drop(fused.learn(&alone.0, &alone.1, &step).expect("learns"))));
    let forward = a_batch(seconds(|| drop(fused.forward(&x).expect("computes"))));

    let (x, e) = alone;
    let dense = aten.block().as_dense().expect("is one");
    let weight = dense.weight().shallow_clone();
    let h = aten.forward(&x)?;
    let signal = e.mm(&feedback);
    let delta: Tensor = signal.copy() * (1 - h.square());
    let gradients =
        [delta.tr().mm(&x), delta.sum_dim_intlist([0i64].as_slice(), false, None::<Kind>)];
    let aten_forward = micros(seconds(|| drop(aten.forward(&x).expect("computes"))));
    let aten_signal = micros(seconds(|| drop(e.mm(&feedback))));
    let aten_slope = micros(seconds(|| drop::<Tensor>(&signal * (1 - h.square()))));
    let aten_gradient = micros(seconds(|| drop(delta.tr().mm(&x))));
    let aten_adam = micros(seconds(|| aten.apply(&gradients, &step).expect("steps")));
    let backpropagated = micros(seconds(|| drop(delta.mm(&weight))));
    Ok(json!({
        "fused learn": learn,
        "fused learn, a batch at a time": learn_one,
        "fused forward": forward,
        "libtorch forward": aten_forward,
        "libtorch signal e B": aten_signal,
        "libtorch slope": aten_slope,
        "libtorch gradient": aten_gradient,
        "libtorch Adam": aten_adam,
        "backpropagated signal": backpropagated,
        "multiply-adds of e B": batch * outputs * n,
        "multiply-adds of backpropagation": batch * n * m,
    }))
}

/// Bytes per second of going through memory as an optimizer does, three lists of so many numbers.
fn bandwidth(count: i64) -> f64 {
    let list = || Tensor::zeros([count], (Kind::Float, Device::Cpu));
    let (mut w, first, second) = (list(), list(), list());
    let seconds = seconds(|| drop(w.addcmul_(&first, &second)));
    16.0 * count as f64 / seconds // three are read, one is written
}

/// The median time of a call: of 15 rounds after a first one, each long enough for the clock.
fn seconds(mut work: impl FnMut()) -> f64 {
    let mut round = |calls: u32| {
        let start = Instant::now();
        (0..calls).for_each(|_| work());
        start.elapsed().as_secs_f64() / f64::from(calls)
    };
    let first = round(2);
    let calls = (0.01 / first).clamp(1.0, 1e5) as u32;
    let mut times: Vec<f64> = (0..15).map(|_| round(calls)).collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
