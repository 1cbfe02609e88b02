//! CIFAR-10: 60,000 colour photographs of 32 x 32 pixels (Krizhevsky 2009), in its binary form.

use anyhow::{Result, bail};
use tch::Tensor;

use crate::data::{
    About, DataSet, File, Files, Inputs, KnownFile, Place, Publication, RawDataset, Report,
    Scaling, Split, Targets, TrainingShape,
};

standardized! {
    /// CIFAR-10.
    pub struct Cifar10 {}
}

const NAME: &str = "cifar10";

impl DataSet for Cifar10 {
    fn about(&self) -> About {
        let shape = TrainingShape { samples: 50_000, outputs: 10, image: Some([3, 32, 32]) };
        About { training_shape: Some(shape), publication: Some(&PUBLICATION), ..About::new(NAME) }
    }

    fn read(&self, files: &Files, _: Report) -> Result<RawDataset> {
        let scaling = match self.standardize {
            true => vec![colour(125.3, 63.0), colour(123.0, 62.1), colour(113.9, 66.7)],
            false => vec![Scaling::NONE; 3],
        };
        let part = |files: &[File]| -> Result<Split> {
            let parts = files.iter().map(records).collect::<Result<Vec<_>>>()?;
            let (labels, pixels): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
            Ok(Split::new(Tensor::cat(&pixels, 0), Tensor::cat(&labels, 0)))
        };
        let (train, test) = files.contents.split_at(5);
        let inputs = Inputs::image([3, 32, 32], 255.0, scaling);
        let parts = [part(train)?, part(test)?];
        Ok(RawDataset::new(NAME, inputs, Targets::classes(CLASSES), parts))
    }
}

const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// A colour's mean and standard deviation, of pixels from 0 to 255.
fn colour(mean: f64, standard_deviation: f64) -> Scaling {
    // Rounded to float32, as in the paper's program.
    let rounded = |value: f64| f64::from((value / 255.0) as f32);
    Scaling { mean: rounded(mean), standard_deviation: rounded(standard_deviation) }
}

/// Labels `[N]` and pixels `[N, 3072]`, both unsigned bytes on the CPU: a record is a label and
/// three planes (red, green, blue) of 32 x 32 pixels.
fn records(file: &File) -> Result<(Tensor, Tensor)> {
    const RECORD: usize = 1 + 3 * 32 * 32;
    let File { origin, bytes } = file;
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
        bail!("{origin}: {} bytes are not a number of records of {RECORD} bytes", bytes.len());
    }
    if let Some(record) = bytes.chunks_exact(RECORD).position(|record| record[0] > 9) {
        let label = bytes[record * RECORD];
        bail!("{origin}: label {label} of record {record} is not a class from 0 to 9");
    }
    let all = Tensor::from_slice(bytes).reshape([-1, RECORD as i64]);
    Ok((all.select(1, 0), all.narrow(1, 1, RECORD as i64 - 1)))
}

static PUBLICATION: Publication = Publication {
    files: &FILES,
    places: &[Place::Archive {
        mirror: "https://www.cs.toronto.edu/~kriz/",
        name: "cifar-10-binary.tar.gz",
        most_bytes: 200_000_000,
    }],
};

/// Five files of training samples, then the test samples.
static FILES: [KnownFile; 6] = [
    file("data_batch_1.bin", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
    file("data_batch_2.bin", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
    file("data_batch_3.bin", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
    file("data_batch_4.bin", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
    file("data_batch_5.bin", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
    file("test_batch.bin", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
];

const fn file(name: &'static str, sha256: &'static str) -> KnownFile {
    KnownFile { name, bytes: 30_730_000, sha256 }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::data::preparation::scale_pixels;

    /// Two records: label 3, all red 255, green 0, blue 51; and label 9, all 0.
    fn two_records() -> Vec<u8> {
        let mut bytes = vec![3];
        bytes.extend([255; 1024].iter().chain(&[0; 1024]).chain(&[51; 1024]));
        bytes.push(9);
        bytes.extend([0; 3072]);
        bytes
    }

    fn read(bytes: Vec<u8>) -> Result<(Tensor, Tensor)> {
        records(&File { origin: "batch.bin".into(), bytes })
    }

    #[test]
    fn cifar10_records_are_labels_and_colour_planes() {
        let (labels, pixels) = read(two_records()).unwrap();
        assert_eq!(Vec::<i64>::try_from(labels.to_kind(Kind::Int64)).unwrap(), [3, 9]);
        assert_eq!(pixels.size(), [2, 3072]);
        let colour = |mean: f64, deviation: f64| Scaling {
            mean: mean / 255.0,
            standard_deviation: deviation / 255.0,
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
        let mut bad_label = two_records();
        bad_label[3073] = 10;
        for (bytes, reason) in [
            (Vec::new(), "0 bytes are not"),
            (two_records()[..3072].to_vec(), "3072 bytes are not"),
            (bad_label, "label 10 of record 1"),
        ] {
            let error = read(bytes).unwrap_err().to_string();
            assert!(error.starts_with("batch.bin: ") && error.contains(reason), "{error}");
        }
    }
}
