//! Damaged input, by the thousand: whatever they are given, parsers answer with a value or an error.
//!
//! `PROPTEST_CASES=100000 cargo test --release --test fuzz` goes on for longer. 200,000 cases of each (of
//! checkpoints with right checksums 40,000) found nothing; what is found is to become a case of
//! `tests/bad_input.rs`.

mod common;

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use f3_tch::config::{Config, Source};
use f3_tch::data::{
    Coding, Column, DataDirectory, Header, Inputs, Preparation, Samples, Scaling, TableFormat,
    Targets, Task,
};
use f3_tch::model::Model;
use f3_tch::run::{Checkpoint, CheckpointSettings, Checkpoints};
use proptest::prelude::*;
use proptest::sample::Index;
use tch::{Device, Kind};
use tempfile::TempDir;

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

const COMMAS: TableFormat = TableFormat {
    delimiter: b',',
    header: Header::Names,
    comment: None,
    kind: Kind::Double,
    others: 0,
};

/// Something that happens to a file.
#[derive(Clone, Debug)]
enum Damage {
    Set(Index, u8),
    Flip(Index, u8),
    Cut(Index, usize),
    Insert(Index, Vec<u8>),
    Copy(Index, Index, usize),
    End(Index),
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let interesting = prop_oneof![Just(0u8), Just(255), Just(b'"'), Just(b'\n'), any::<u8>()];
    let pieces = prop_oneof![
        Just(b"-1".to_vec()),
        Just(b"99999999999999999999".to_vec()),
        Just(b"1e999".to_vec()),
        Just(b"null".to_vec()),
        Just(b"{[\"".to_vec()),
        Just(u32::MAX.to_be_bytes().to_vec()),
        Just((1u64 << 62).to_le_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 1..9),
    ];
    let one = prop_oneof![
        (any::<Index>(), interesting).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (any::<Index>(), 1..20usize).prop_map(|(at, count)| Damage::Cut(at, count)),
        (any::<Index>(), pieces).prop_map(|(at, piece)| Damage::Insert(at, piece)),
        (any::<Index>(), any::<Index>(), 1..60usize).prop_map(|(a, b, n)| Damage::Copy(a, b, n)),
        any::<Index>().prop_map(Damage::End),
    ];
    proptest::collection::vec(one, 1..6)
}

/// A copy of a file after all that has happened to it. Headers, which come first, are hit more often.
fn damaged(good: &[u8], damages: &[Damage], header: usize) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for (number, damage) in damages.iter().enumerate() {
        let part = if number % 2 == 0 { header.min(bytes.len()) } else { bytes.len() };
        if part == 0 {
            break;
        }
        match damage {
            Damage::Set(at, byte) => bytes[at.index(part)] = *byte,
            Damage::Flip(at, bit) => bytes[at.index(part)] ^= 1 << bit,
            Damage::Cut(at, count) => {
                let at = at.index(part);
                drop(bytes.drain(at..(at + count).min(part)));
            }
            Damage::Insert(at, piece) => {
                let at = at.index(part);
                bytes.splice(at..at, piece.iter().copied());
            }
            Damage::Copy(from, to, count) => {
                let from = from.index(part);
                let piece = bytes[from..(from + count).min(part)].to_vec();
                let to = to.index(part);
                bytes.splice(to..to, piece);
            }
            Damage::End(at) => bytes.truncate(at.index(bytes.len())),
        }
    }
    bytes
}

const YAML: &str = "
name: fuzzed
seed: 3
data: {name: csv, path: a.csv, task: classification, targets: y, categorical: [x], missing: '?', batch_size: 8}
model: {name: mlp, hidden_layers: 2, width: [8, 9], activation: tanh}
algorithm: {name: f3, error_info: delayed_loss, feedback_init: {name: discrete_uniform, values: [-1, 0, 1]}}
optimizer: {name: adam, learning_rate: 1e-3, betas: [0.9, 0.99], schedule: {name: cosine, warmup_epochs: 2}}
schedule: {name: layer_major, chunk: 3}
checkpoint: {every: 2, keep: 3, best: test_loss}
early_stop: {metric: test_accuracy, patience: 2}
epochs: 5
";

fn read_configuration(text: &str, set: &str) {
    let Ok(mut source) = Source::parse("fuzzed.yaml", text) else { return };
    if source.set(set).is_ok()
        && let Ok((config, _)) = Config::read(&source)
    {
        // What was accepted can be written, and read again as the same.
        let again = Source::parse("again", &config.to_yaml()).unwrap();
        let (again, _) = Config::read(&again).unwrap();
        assert_eq!(again.to_yaml(), config.to_yaml());
    }
}

fn row_of(name: &str, coding: Coding, width: usize) -> Column {
    let scaling = vec![Scaling { mean: 1.0, standard_deviation: 2.0 }; width];
    Column { coding, scaling, ..Column::number(name) }
}

fn of_table() -> Preparation {
    let values = || ["red", "blue"].map(String::from).to_vec();
    let columns = vec![
        row_of("size", Coding::Number, 1),
        row_of("colour", Coding::OneHot(values()), 2),
        row_of("shade", Coding::Ordinal(values()), 1),
    ];
    let targets = Targets::Classes(["a", "b"].map(String::from).to_vec());
    Preparation { inputs: Inputs::Table { columns, missing: Vec::new() }, targets }
}

fn of_images() -> Preparation {
    let scaling = vec![Scaling::NONE];
    let inputs = Inputs::image([1, 4, 4], 255.0, scaling);
    Preparation { inputs, ..of_table() }
}

/// Reads samples to the end, or to the first error.
fn read_samples(name: &str, bytes: &[u8], preparation: &Preparation) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    let Ok(mut samples) = Samples::open(&path, COMMAS, preparation) else { return };
    let (width, _) = preparation.widths();
    while let Ok(Some(part)) = samples.next(3) {
        let [rows, columns] = part.inputs.size()[..] else { panic!("{:?}", part.inputs) };
        assert!((1..=3).contains(&rows) && columns == width);
    }
}

fn train_on(text: &[u8]) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.csv"), text).unwrap();
    let source = Source::parse("fuzzed.yaml", YAML).unwrap();
    let (config, _) = Config::read(&source).unwrap();
    let directory = DataDirectory::locate(Some(folder.path()));
    if let Ok(data) = config.data.set.load(&directory, Device::Cpu, &mut |_| {}) {
        assert_eq!(data.train.inputs.size()[0], data.train.targets.size()[0]);
        assert!(data.train.inputs.isfinite().all().int64_value(&[]) == 1);
    }
}

const CHECKPOINTED: &str = "{epochs: 2, data: {batch_size: 8}, model: {width: 3}, \
                            algorithm: {name: f3}, optimizer: {learning_rate: 1e-2}}";

/// The bytes of a good checkpoint.
fn checkpoint() -> &'static [u8] {
    &checkpoint_and_rows().0
}

/// The rows that lie beside it.
fn rows() -> &'static [u8] {
    &checkpoint_and_rows().1
}

fn checkpoint_and_rows() -> &'static (Vec<u8>, Vec<u8>) {
    static BYTES: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    BYTES.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let settings = CheckpointSettings { every: Some(1), keep: 1, best: None };
        let checkpoints = Checkpoints::new(folder.path(), settings);
        let mut experiment = common::experiment(CHECKPOINTED, Task::Classification);
        experiment.train_with(Some(&checkpoints), &mut ()).unwrap();
        let newest = fs::read(checkpoints.newest().unwrap().unwrap()).unwrap();
        (newest, fs::read(folder.path().join("rows.yaml")).unwrap())
    })
}

/// The bytes of a good model, of images.
fn model() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_f3-tch"))
            .args(["train", "digits", "--quiet", "--run-dir", "run", "--set", "epochs=1"])
            .args(["--set", "model.width=3"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success());
        fs::read(folder.path().join("run/model.safetensors")).unwrap()
    })
}

fn read_checkpoint(bytes: &[u8]) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("fuzzed.safetensors");
    fs::write(&path, bytes).unwrap();
    fs::write(folder.path().join("rows.yaml"), rows()).unwrap();
    let mut experiment = common::experiment(CHECKPOINTED, Task::Classification);
    if let Ok(checkpoint) = Checkpoint::open(&path)
        && checkpoint.restore(&mut experiment).is_ok()
    {
        // Nothing that is taken for whole is another one.
        let found = common::everything(&experiment);
        let mut good = common::experiment(CHECKPOINTED, Task::Classification);
        fs::write(&path, self::checkpoint()).unwrap();
        Checkpoint::open(&path).unwrap().restore(&mut good).unwrap();
        assert_eq!(found, common::everything(&good));
    }
}

/// What is taken for whole may be another one, but is one.
fn deceive(bytes: &[u8], rows: &[u8]) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("fuzzed.safetensors");
    fs::write(&path, bytes).unwrap();
    fs::write(folder.path().join("rows.yaml"), rows).unwrap();
    let mut experiment = common::experiment(CHECKPOINTED, Task::Classification);
    if let Ok(checkpoint) = Checkpoint::open(&path) {
        let _ = checkpoint.check_data(&experiment.data);
        let (epoch, _) = (checkpoint.epoch(), checkpoint.config().map(String::from));
        if checkpoint.restore(&mut experiment).is_ok() {
            assert_eq!(experiment.state.history.last().unwrap().epoch, epoch);
        }
    }
}

fn read_model(bytes: &[u8]) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("fuzzed.safetensors");
    fs::write(&path, bytes).unwrap();
    let _ = Model::open(Path::new(&path), Device::Cpu);
}

/// Without the checksums, so that what they would find is met by what comes behind them.
fn unchecked(bytes: &[u8]) -> Vec<u8> {
    let name = b"f3_tch_crc32";
    let mut bytes = bytes.to_vec();
    if let Some(place) = bytes.windows(name.len()).position(|it| it == name) {
        bytes[place] = b'g';
    }
    bytes
}

const TABLE: &[u8] =
    b"size,colour,shade,note\n1,red,blue,\"a, b\"\n2.5,blue,red,\n-3e2,red,red,x\n";
const TRAINING: &[u8] = b"x,z,y\na,1,u\nb,2,v\na,?,u\nb,-4.5e1,v\na,6,\"u\"\nb,7,v\na,8,u\nb,9,v\n";

fn idx() -> Vec<u8> {
    [&[0, 0, 8, 3, 0, 0, 0, 5, 0, 0, 0, 4, 0, 0, 0, 4][..], &[7; 80]].concat()
}

fn picture(format: image::ImageFormat) -> Vec<u8> {
    let picture = image::GrayImage::from_fn(4, 4, |x, y| image::Luma([(x * 50 + y) as u8]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn configurations(damages in damage(), set in "[a-z_.]{0,20}=?[ -~]{0,20}") {
        let text = damaged(YAML.as_bytes(), &damages, YAML.len());
        read_configuration(&String::from_utf8_lossy(&text), &set);
    }

    #[test]
    fn any_text_as_a_configuration(text in "[ -~\n\t]{0,200}", set in "\\PC{0,30}") {
        read_configuration(&text, &set);
    }

    #[test]
    fn tables(damages in damage()) {
        read_samples("t.csv", &damaged(TABLE, &damages, 40), &of_table());
        read_samples("t.csv", &damaged(TABLE, &damages, 40), &of_images());
        train_on(&damaged(TRAINING, &damages, TRAINING.len()));
    }

    #[test]
    fn compressed_tables(damages in damage()) {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, &TABLE.repeat(20)).unwrap();
        let bytes = damaged(&encoder.finish().unwrap(), &damages, 60);
        read_samples("t.csv.gz", &bytes, &of_table());
    }

    #[test]
    fn idx_files(damages in damage()) {
        read_samples("i.idx", &damaged(&idx(), &damages, 16), &of_images());
    }

    #[test]
    fn pictures(damages in damage()) {
        for (name, format) in [("p.png", image::ImageFormat::Png), ("p.jpg", image::ImageFormat::Jpeg)] {
            read_samples(name, &damaged(&picture(format), &damages, 60), &of_images());
        }
    }

    #[test]
    fn checkpoints(damages in damage()) {
        let header = 8 + u64::from_le_bytes(checkpoint()[..8].try_into().unwrap()) as usize;
        read_checkpoint(&damaged(checkpoint(), &damages, header));
    }

    /// With checksums that are right, so that the damage is met by what comes behind them.
    #[test]
    fn checkpoints_made_to_deceive(damages in damage(), key in any::<bool>()) {
        let key = if key { "f3_tch_checkpoint" } else { "f3_tch_model" };
        let bytes = common::with_texts(checkpoint(), |texts| {
            let Some(text) = texts.get(key).and_then(|text| text.as_str()) else { return };
            let text = damaged(text.as_bytes(), &damages, text.len());
            texts.insert(key.into(), String::from_utf8_lossy(&text).into_owned().into());
        });
        deceive(&bytes, rows());
        let header = 8 + u64::from_le_bytes(checkpoint()[..8].try_into().unwrap()) as usize;
        deceive(&common::with_texts(&damaged(checkpoint(), &damages, header), |_| ()), rows());
    }

    #[test]
    fn rows_of_checkpoints(damages in damage()) {
        let good = checkpoint();
        let row = b"epoch: 2"; // of the last row, in a tensor of its own
        let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
        let start = good[header..].windows(row.len()).position(|it| it == row).unwrap() + header;
        let changed = damaged(&good[start..], &damages, 400);
        let mut bytes = good.to_vec();
        let count = changed.len().min(good.len() - start);
        bytes[start..start + count].copy_from_slice(&changed[..count]);
        deceive(&common::with_texts(&bytes, |_| ()), rows());
        // The others lie in a file of their own.
        deceive(good, &damaged(rows(), &damages, rows().len()));
    }

    #[test]
    fn models(damages in damage()) {
        let good = unchecked(model());
        let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
        read_model(&damaged(&good, &damages, header));
        // The length of the header kept right, so that more of it is read.
        let inner = damaged(&good[8..header], &damages, header);
        let whole = [&(inner.len() as u64).to_le_bytes()[..], &inner, &good[header..]].concat();
        read_model(&whole);
    }
}

#[test]
fn undamaged_files_are_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("good");
    fs::write(&path, model()).unwrap();
    Model::open(&path, Device::Cpu).unwrap();
    fs::write(&path, unchecked(model())).unwrap();
    Model::open(&path, Device::Cpu).unwrap();
    for (name, bytes, preparation, count) in [
        ("t.csv", TABLE.to_vec(), of_table(), 3),
        ("i.idx", idx(), of_images(), 5),
        ("p.png", picture(image::ImageFormat::Png), of_images(), 1),
        ("p.jpg", picture(image::ImageFormat::Jpeg), of_images(), 1),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let mut samples = Samples::open(&path, COMMAS, &preparation).unwrap();
        assert_eq!(samples.next(9).unwrap().unwrap().inputs.size()[0], count);
        assert!(samples.next(9).unwrap().is_none());
    }
}
