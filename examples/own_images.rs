//! Images that are arrays in memory, a convolutional network for them, and what it makes of them.
//!
//! Run it with `cargo run --release --example own_images`.

use anyhow::Result;
use f3_tch::config::{Config, Source};
use f3_tch::data::{Dataset, Split, Task};
use f3_tch::metrics::evaluate;
use f3_tch::run::Run;
use f3_tch::tch::{Kind, Tensor};

/// The height and width of the images.
const SIDE: usize = 12;

/// The program takes its network, rule and numbers from a configuration; the data are the caller's, in place
/// of those that it names.
const CONFIG: &str = "
data: {name: digits, batch_size: 20}
model: {name: cnn, topology: 8C3-pool-50FC}
algorithm: {name: f3}
optimizer: {name: adam, learning_rate: 1e-3}
epochs: 15
";

/// An image with a bright square of 3 x 3 in one of its quarters, which is the class; pixels from 0 to 1.
fn image(number: usize) -> (Vec<f32>, i64) {
    let (class, place) = (number % 4, number / 4);
    let row = place % 4 + if class < 2 { 0 } else { SIDE / 2 };
    let column = place / 4 % 4 + if class % 2 == 0 { 0 } else { SIDE / 2 };
    let is_bright =
        |r: usize, c: usize| (row..row + 3).contains(&r) && (column..column + 3).contains(&c);
    let noise = |at: usize| (at * 37 + number * 101) % 60;
    let pixel = |at: usize| {
        (noise(at) + if is_bright(at / SIDE, at % SIDE) { 190 } else { 0 }) as f32 / 255.0
    };
    ((0..SIDE * SIDE).map(pixel).collect(), class as i64)
}

/// Inputs `[N, channels · height · width]` and targets `[N, C]` of some images.
fn split(numbers: impl Iterator<Item = usize>) -> Split {
    let (pixels, classes): (Vec<Vec<f32>>, Vec<i64>) = numbers.map(image).unzip();
    let inputs = Tensor::from_slice(&pixels.concat()).reshape([classes.len() as i64, -1]);
    Split::new(inputs, Tensor::from_slice(&classes).onehot(4))
}

/// Trains on nine tenths of the images; gives the accuracy in percent on the others, before and after.
pub fn train() -> Result<(f64, f64)> {
    let is_test = |number: &usize| number / 4 % 10 == 7;
    let (train, test) = ((0..600).filter(|it| !is_test(it)), (0..600).filter(is_test));
    let side = SIDE as i64;
    let data = Dataset::new("squares", Task::Classification, split(train), split(test));
    let data = Dataset { image: Some([1, side, side]), ..data };

    let (config, _) = Config::read(&Source::parse("own_images", CONFIG)?)?;
    let mut run = Run::new(&config, data)?;
    let accuracy = |run: &Run| -> Result<f64> {
        let layers = run.state.trainer.layers();
        let measure = run.data.measured_by(run.settings.loss);
        let found = evaluate(|it| layers.forward_all(it), &run.data.test, &measure, 100)?;
        Ok(found.metric("accuracy").unwrap_or(f64::NAN))
    };
    let before = accuracy(&run)?;
    run.train(&mut ())?;

    // What it makes of a single image.
    let scores = run.state.trainer.layers().forward(&run.data.test.inputs.narrow(0, 0, 1))?;
    println!(
        "scores of the first test image: {:?}",
        Vec::<f32>::try_from(scores.view(-1).to_kind(Kind::Float))?
    );
    Ok((before, accuracy(&run)?))
}

fn main() -> Result<()> {
    let (before, after) = train()?;
    println!("test accuracy {before:.1} % before training, {after:.1} % after it");
    Ok(())
}
