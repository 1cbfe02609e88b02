//! Data sets of images: the MNIST family, the digits that the program carries, CIFAR-10.

use anyhow::{Result, bail};
use tch::{Device, Tensor};

use super::fetch::Fetched;
use super::file::File;
use super::preparation::{Inputs, Preparation, Scaling, Targets, scale_pixels};
use super::prepare::one_hot;
use super::{Dataset, DatasetName, Split, Task, idx};

const CLASSES: u8 = 10;

/// MNIST, or a data set of its format: pixels 0..1, standardised or not.
pub(super) fn mnist(
    name: DatasetName,
    files: &Fetched,
    standardize: bool,
    device: Device,
) -> Result<Dataset> {
    // Mean and deviation of MNIST's training pixels; Fashion-MNIST uses them too.
    let standard = Scaling { mean: 0.1307, deviation: 0.3081 };
    let scaling = vec![if standardize { standard } else { Scaling::NONE }];
    let split = |part: &str| -> Result<Split> {
        let images = idx::images(files.content(&format!("{part}-images-idx3-ubyte")))?;
        let labels = idx::labels(files.content(&format!("{part}-labels-idx1-ubyte")), CLASSES)?;
        Ok(Split {
            inputs: scale_pixels(&images, 255.0, &scaling).to_device(device).into(),
            targets: one_hot(&labels, i64::from(CLASSES), device).into(),
        })
    };
    let (train, test) = (split("train")?, split("t10k")?);
    let classes = match name {
        DatasetName::FashionMnist => FASHION.map(String::from).to_vec(),
        _ => numbers(),
    };
    let image = Inputs::Image { shape: [1, 28, 28], largest: 255.0, scaling };
    Ok(dataset(name, image, classes, train, test))
}

/// The 1,797 optical digits of 8 x 8 pixels from the UCI repository, which the program carries
/// (Alpaydin & Kaynak 1998, CC BY 4.0). Pixels 0..16 become [0, 1]; every fifth sample is a test
/// sample: 1,438 are trained on, 359 tested.
pub(super) fn digits(device: Device) -> Result<Dataset> {
    let images = idx::images(&File::embedded(
        "digits (images)",
        include_bytes!("digits/images-idx3-ubyte.gz"),
    )?)?;
    let labels = idx::labels(
        &File::embedded("digits (labels)", include_bytes!("digits/labels-idx1-ubyte.gz"))?,
        CLASSES,
    )?;
    let scaling = vec![Scaling::NONE];
    let inputs = scale_pixels(&images, 16.0, &scaling).to_device(device);
    let targets = one_hot(&labels, i64::from(CLASSES), device);
    let split = |is_test: bool| {
        let positions: Vec<i64> =
            (0..inputs.size()[0]).filter(|position| (position % 5 == 4) == is_test).collect();
        let positions = Tensor::from_slice(&positions).to_device(device);
        Split {
            inputs: inputs.index_select(0, &positions).into(),
            targets: targets.index_select(0, &positions).into(),
        }
    };
    let image = Inputs::Image { shape: [1, 8, 8], largest: 16.0, scaling };
    Ok(dataset(DatasetName::Digits, image, numbers(), split(false), split(true)))
}

/// CIFAR-10 in its binary form: pixels 0..1, standardised per colour or not.
pub(super) fn cifar10(files: &Fetched, standardize: bool, device: Device) -> Result<Dataset> {
    let batches: Vec<String> = (1..=5).map(|number| format!("data_batch_{number}.bin")).collect();
    let train: Vec<&File> = batches.iter().map(|name| files.content(name)).collect();
    let colour = |mean, deviation| {
        // Rounded to float32, as in the paper's program.
        let rounded = |value: f64| f64::from((value / 255.0) as f32);
        Scaling { mean: rounded(mean), deviation: rounded(deviation) }
    };
    let scaling = match standardize {
        true => vec![colour(125.3, 63.0), colour(123.0, 62.1), colour(113.9, 66.7)],
        false => vec![Scaling::NONE; 3],
    };
    let split = |files: &[&File]| -> Result<Split> {
        let parts = files.iter().map(|file| cifar10_records(file)).collect::<Result<Vec<_>>>()?;
        let (labels, pixels): (Vec<Tensor>, Vec<Tensor>) = parts.into_iter().unzip();
        Ok(Split {
            inputs: scale_pixels(&Tensor::cat(&pixels, 0), 255.0, &scaling)
                .to_device(device)
                .into(),
            targets: one_hot(&Tensor::cat(&labels, 0), i64::from(CLASSES), device).into(),
        })
    };
    let test = split(&[files.content("test_batch.bin")])?;
    let train = split(&train)?;
    let image = Inputs::Image { shape: [3, 32, 32], largest: 255.0, scaling };
    Ok(dataset(DatasetName::Cifar10, image, CIFAR10.map(String::from).to_vec(), train, test))
}

/// Labels `[N]` and pixels `[N, 3072]`, both unsigned bytes on the CPU: each record is a label and
/// three planes (red, green, blue) of 32 x 32 pixels.
fn cifar10_records(file: &File) -> Result<(Tensor, Tensor)> {
    const RECORD: usize = 1 + 3 * 32 * 32;
    let File { origin, bytes } = file;
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
        bail!("{origin}: {} bytes are not a number of records of {RECORD} bytes", bytes.len());
    }
    if let Some(record) = bytes.chunks_exact(RECORD).position(|record| record[0] >= CLASSES) {
        let label = bytes[record * RECORD];
        bail!("{origin}: label {label} of record {record} is not a class from 0 to 9");
    }
    let records = Tensor::from_slice(bytes).reshape([-1, RECORD as i64]);
    Ok((records.select(1, 0), records.narrow(1, 1, RECORD as i64 - 1)))
}

fn dataset(
    name: DatasetName,
    inputs: Inputs,
    classes: Vec<String>,
    train: Split,
    test: Split,
) -> Dataset {
    let image = match &inputs {
        Inputs::Image { shape, .. } => Some(*shape),
        Inputs::Table { .. } => None,
    };
    Dataset {
        name: name.to_string(),
        task: Task::Classification,
        image,
        train,
        validation: None,
        test,
        preparation: Some(Preparation { inputs, targets: Targets::Classes(classes) }),
    }
}

fn numbers() -> Vec<String> {
    (0..CLASSES).map(|class| class.to_string()).collect()
}

const FASHION: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

const CIFAR10: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    /// Two records: label 3, all red 255, green 0, blue 51; and label 9, all 0.
    fn records() -> Vec<u8> {
        let mut bytes = vec![3];
        bytes.extend([255; 1024].iter().chain(&[0; 1024]).chain(&[51; 1024]));
        bytes.push(9);
        bytes.extend([0; 3072]);
        bytes
    }

    fn file(bytes: Vec<u8>) -> File {
        File { origin: "batch.bin".into(), bytes }
    }

    #[test]
    fn cifar10_records_are_labels_and_colour_planes() {
        let (labels, pixels) = cifar10_records(&file(records())).unwrap();
        assert_eq!(Vec::<i64>::try_from(labels.to_kind(Kind::Int64)).unwrap(), [3, 9]);
        assert_eq!(pixels.size(), [2, 3072]);
        let colour = |mean: f64, deviation: f64| Scaling {
            mean: mean / 255.0,
            deviation: deviation / 255.0,
        };
        let colours = [colour(125.3, 63.0), colour(123.0, 62.1), colour(113.9, 66.7)];
        let standardized = scale_pixels(&pixels, 255.0, &colours);
        let value = |at: i64| standardized.double_value(&[0, at]);
        for (at, byte, mean, deviation) in
            [(0, 255.0, 125.3, 63.0), (1024, 0.0, 123.0, 62.1), (3071, 51.0, 113.9, 66.7)]
        {
            assert!((value(at) - (byte - mean) / deviation).abs() < 1e-5, "pixel {at}");
        }
    }

    #[test]
    fn malformed_cifar10_files_are_refused_by_name() {
        let mut bad_label = records();
        bad_label[3073] = 10;
        for (bytes, reason) in [
            (Vec::new(), "0 bytes are not"),
            (records()[..3072].to_vec(), "3072 bytes are not"),
            (bad_label, "label 10 of record 1"),
        ] {
            let error = cifar10_records(&file(bytes)).unwrap_err().to_string();
            assert!(error.starts_with("batch.bin: ") && error.contains(reason), "{error}");
        }
    }
}
