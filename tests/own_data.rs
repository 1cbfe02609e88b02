//! Pictures and arrays of one's own: from the files to the answers, and the networks in Python.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_f3-tch");

fn f3_tch(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).current_dir(folder).env("F3_DATA_DIR", folder.join("data"));
    command.output().unwrap()
}

fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let output = f3_tch(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

fn fails(folder: &Path, arguments: &[&str]) -> String {
    let output = f3_tch(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {said}");
    said
}

/// Squares that are bright above (class `above`), or below (`below`), with noise.
fn pictures(folder: &Path, count: u32, side: u32, colored: bool) {
    for (class, name) in (0..).zip(["above", "below"]) {
        let place = folder.join(name);
        fs::create_dir_all(place.join("more")).unwrap();
        for index in 0..count {
            let pixel = |x: u32, y: u32| {
                let noise = (x * 31 + y * 17 + index * 7) % 60;
                let bright = (y < side / 2) == (class == 0);
                (if bright { 180 } else { 20 } + noise) as u8
            };
            let place = if index % 3 == 0 { place.join("more") } else { place.clone() };
            let path = place.join(format!("{index:03}.png"));
            if colored {
                let color = |x, y| Rgb([pixel(x, y), 50, 255 - pixel(x, y)]);
                RgbImage::from_fn(side, side, color).save(path).unwrap();
            } else {
                GrayImage::from_fn(side, side, |x, y| Luma([pixel(x, y)])).save(path).unwrap();
            }
        }
    }
}

/// A configuration of a network of this kind on pictures in `train` and `test`.
fn config(folder: &Path, name: &str, data: &str, model: &str) {
    let text = format!(
        "data: {{{data}, batch_size: 10}}\nmodel: {model}\nalgorithm: {{name: f3}}\n\
         optimizer: {{learning_rate: 3e-3}}\nepochs: 4\nthreads: 1\n"
    );
    fs::write(folder.join(name), text).unwrap();
}

const CNN: &str = "{name: cnn, topology: 4C3-pool-10FC}";
const VIT: &str =
    "{name: vit, patch_size: 4, token_width: 8, blocks: 2, heads: 2, head_size: 4, mlp_width: 8}";

fn result(run: &Path) -> Value {
    serde_json::from_slice(&fs::read(run.join("result.json")).unwrap()).unwrap()
}

#[test]
fn pictures_in_folders_are_learned_and_predicted() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    pictures(&path.join("pets/train"), 30, 8, true);
    pictures(&path.join("pets/test"), 9, 8, true);
    // The paths are those of the configuration's folder.
    config(&path.join("pets"), "cnn.yaml", "name: folder, train: train, test: test", CNN);
    config(&path.join("pets"), "vit.yaml", "name: folder, train: train, test: test, size: 12", VIT);
    for (name, shape) in [("cnn", "[3,8,8]"), ("vit", "[3,12,12]")] {
        let file = format!("pets/{name}.yaml");
        succeeds(path, &["train", &file, "--quiet", "--run-dir", name]);
        let found = result(&path.join(name));
        let accuracy = found["metrics"]["test_accuracy"]["last"].as_f64().unwrap();
        assert_eq!(accuracy, 100.0, "{name}");
        let answers = format!("{name}.csv");
        succeeds(path, &["predict", name, "pets/test/below", "-o", &answers]);
        let table = fs::read_to_string(path.join(&answers)).unwrap();
        assert!(table.lines().skip(1).all(|line| line.contains("below,")), "{table}");
        let network = fs::read(path.join(name).join("model.safetensors")).unwrap();
        let text = String::from_utf8_lossy(&network);
        assert!(text.contains(shape), "{name}");
    }

    // Decoded once: the second run takes the cache, whatever has become of the pictures' pixels.
    let caches = || fs::read_dir(path.join("data/folder")).unwrap().count();
    assert_eq!(caches(), 2);
    succeeds(path, &["train", "pets/cnn.yaml", "--quiet", "--run-dir", "again"]);
    let last = |run: &str| result(&path.join(run))["metrics"]["test_loss"]["last"].clone();
    assert_eq!(last("again"), last("cnn"));
    assert_eq!(caches(), 2);

    // A damaged cache is not believed.
    for cache in fs::read_dir(path.join("data/folder")).unwrap() {
        let cache = cache.unwrap().path();
        let mut bytes = fs::read(&cache).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&cache, bytes).unwrap();
    }
    let said = succeeds(path, &["train", "pets/cnn.yaml", "--quiet", "--run-dir", "damaged"]);
    assert!(
        said.contains("has changed since it was written; the pictures are read again"),
        "{said}"
    );
    assert_eq!(last("damaged"), last("cnn"));

    // A picture that has changed is another data set.
    let changed = path.join("pets/train/above/001.png");
    GrayImage::new(8, 8).save(&changed).unwrap();
    succeeds(path, &["train", "pets/cnn.yaml", "--quiet", "--run-dir", "changed"]);
    assert_eq!(caches(), 3);
    assert!(last("changed") != last("cnn"));
}

#[test]
fn pictures_are_prepared_with_the_training_sets_mean_and_deviation() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    for (set, values) in [("train", [[0u8, 255], [255, 255]]), ("test", [[0, 0], [0, 0]])] {
        for (class, pixels) in ["a", "b"].iter().zip(values) {
            let place = path.join(set).join(class);
            fs::create_dir_all(&place).unwrap();
            GrayImage::from_raw(2, 1, pixels.to_vec()).unwrap().save(place.join("0.png")).unwrap();
        }
    }
    let sets = "name: folder, train: train, test: test";
    for (more, mean, deviation) in [
        ("", 0.75, 0.1875f64.sqrt()),
        (", mean: 0.5", 0.5, 0.1875f64.sqrt()),
        (", mean: [0.5], standard_deviation: 0.25", 0.5, 0.25),
        (", standardize: false", 0.0, 1.0),
    ] {
        config(path, "c.yaml", &format!("{sets}{more}"), "{width: 2}");
        let _ = fs::remove_dir_all(path.join("run"));
        let one_by_one = ["--batch-size", "1"];
        succeeds(
            path,
            &[&["train", "c.yaml", "--quiet", "--run-dir", "run"], &one_by_one[..]].concat(),
        );
        let file = fs::read(path.join("run/model.safetensors")).unwrap();
        let header = &file[8..8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize];
        let header: Value = serde_json::from_slice(header).unwrap();
        let text = header["__metadata__"]["f3_tch_model"].as_str().unwrap();
        let about: Value = serde_json::from_str(text).unwrap();
        let scaling = &about["preparation"]["inputs"]["image"]["scaling"][0];
        let number = |name: &str| scaling[name].as_f64().unwrap();
        assert!((number("mean") - mean).abs() < 1e-6, "{more}: {scaling}");
        assert!((number("standard_deviation") - deviation).abs() < 1e-6, "{more}: {scaling}");
    }
}

#[test]
fn pictures_that_cannot_be_used_are_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    pictures(&path.join("train"), 4, 8, false);
    pictures(&path.join("test"), 2, 8, false);
    let sets = "name: folder, train: train, test: test";
    let complaint = |data: &str| {
        config(path, "c.yaml", data, CNN);
        fails(path, &["train", "c.yaml", "--quiet", "--run-dir", "run"])
    };
    for (data, expected) in [
        ("name: folder, train: nowhere, test: test", "nowhere: no such folder"),
        ("name: folder, train: train/above, test: test", "train/above: has one folder in it"),
        ("name: folder, train: train", "`data.test` is missing"),
        (
            &format!("{sets}, size: 0"),
            "`data.size` is `0`; expected null or a number from 1 to 4096",
        ),
        (
            &format!("{sets}, color: blue"),
            "`data.color` is `blue`; expected one of auto, grey, rgb",
        ),
        (
            &format!("{sets}, mean: [0.1, 0.2, 0.3]"),
            "`data.mean` is `a list of 3`; expected one number, or 1",
        ),
    ] {
        let error = complaint(data);
        assert!(error.contains(expected), "{data}: {error}");
    }
    GrayImage::new(9, 8).save(path.join("train/below/zzz.png")).unwrap();
    let error = complaint(sets);
    assert!(error.contains("zzz.png: is 8 x 9; pictures of 8 x 8 are needed"), "{error}");
    assert!(error.contains("`data.size`"), "{error}");
    fs::write(path.join("train/below/zzz.png"), "no picture").unwrap();
    let error = complaint(sets);
    assert!(error.contains("zzz.png: cannot be read as a picture"), "{error}");
    fs::remove_file(path.join("train/below/zzz.png")).unwrap();
    fs::create_dir_all(path.join("test/sideways")).unwrap();
    let error = complaint(sets);
    assert!(
        error.contains("test/sideways: is a class that the training set does not have"),
        "{error}"
    );
}

/// A folder in which a script of NumPy's has saved arrays; none without Python.
fn arrays(script: &str) -> Option<TempDir> {
    let (python, folder) = (common::python()?, TempDir::new().unwrap());
    let script = format!("import numpy as np\nrandom = np.random.RandomState(1)\n{script}");
    let mut command = Command::new(python);
    let output = command.args(["-c", &script]).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(folder)
}

#[test]
fn arrays_of_numpy_are_learned() {
    let Some(folder) = arrays(
        "
def samples(n):
    y = random.randint(0, 3, n)
    x = random.randint(0, 100, (n, 6, 6), dtype=np.uint8)
    x[np.arange(n), 2 * y] += 150
    return x, y
(x, y), (u, v) = samples(300), samples(60)
np.savez('images.npz', x_train=x, y_train=y, x_test=u, y_test=v)
np.savez_compressed('hot.npz', x_train=x[:, None], y_train=np.eye(3)[y], x_test=u[:, None], y_test=np.eye(3)[v])
np.savez('flat.npz', x_train=np.asfortranarray(x.reshape(-1, 36) / 255.0), y_train=y.astype(np.int8),
         x_test=(u.reshape(-1, 36) / 255.0).astype(np.float32), y_test=v.astype(np.float64))
np.savez('numbers.npz', x_train=x.astype(np.float32), y_train=x.mean((1, 2)) * 1000.0,
         x_test=u.astype(np.float32), y_test=u.mean((1, 2)) * 1000.0)
for name, array in dict(x_train=x, y_train=y, x_test=u, y_test=v).items():
    np.save(name, array)
np.savez('inputs.npz', x=x)
np.savez('labels.npz', y_train=y, other=x)
",
    ) else {
        return;
    };
    let path = folder.path();
    let each = "name: npz, x_train: x_train.npy, y_train: y_train.npy, x_test: x_test.npy, y_test: y_test.npy";
    let archives = "name: npz, x_train: inputs.npz, y_train: labels.npz, x_test: x_test.npy, y_test: y_test.npy";
    let mut losses = Vec::new();
    for (data, model) in [
        ("name: npz, path: images.npz", CNN),
        ("name: npz, path: hot.npz", CNN),
        (each, CNN),
        (archives, CNN),
        ("name: npz, path: flat.npz", "{width: 20}"),
        ("name: npz, path: numbers.npz, task: regression", "{width: 20}"),
    ] {
        config(path, "c.yaml", data, model);
        let _ = fs::remove_dir_all(path.join("run"));
        succeeds(path, &["train", "c.yaml", "--quiet", "--run-dir", "run", "--epochs", "12"]);
        let found = result(&path.join("run"));
        let last = |name: &str| found["metrics"][name]["last"].as_f64();
        match last("test_accuracy") {
            Some(accuracy) => assert!(accuracy > 90.0, "{data}: {accuracy} %"),
            None => assert!(last("test_r2").unwrap() > 0.2, "{data}: {found}"),
        }
        losses.push(last("test_loss").unwrap());
    }
    assert_eq!(losses[0], losses[1], "one-hot rows, and a channel, say the same");
    assert_eq!(losses[0], losses[2], "a file for each array says the same");
    assert_eq!(losses[0], losses[3], "an archive for some arrays says the same");
}

#[test]
fn arrays_of_numpy_are_predicted() {
    let Some(folder) = arrays(
        "
y = random.randint(0, 2, 40).astype(np.uint64)
x = random.randint(0, 100, (40, 6, 6), dtype=np.uint8)
x[y == 1, 2] += 150
rows = x.reshape(40, 36) / 255.0
np.savez('images.npz', x_train=x, y_train=y, x_test=x, y_test=y)
f = (x / 255.0).astype(np.float16)
np.savez('floats.npz', x_train=f, y_train=y, x_test=f, y_test=y)
np.savez('rows.npz', x_train=rows, y_train=y, x_test=rows, y_test=y)
np.savez('last.npz', x_train=np.stack([x] * 3, 3), y_train=y, x_test=np.stack([x] * 3, 3), y_test=y)
np.save('images.npy', x[:, None])
np.save('flat.npy', x.reshape(40, 36))
np.savez('one.npz', anything=x)
np.save('rows.npy', rows)
np.save('long.npy', np.hstack([rows, rows]))
np.savez('two.npz', a=x, b=x)
rows[3, 5] = np.nan
np.save('gap.npy', rows)
names = [f'pixel{i}' for i in range(36)]
for name, header in [('kept', ['label', *names, 'note']), ('unclear', ['label', *names[::-1], 'note'])]:
    with open(f'{name}.csv', 'w') as file:
        print(*header, sep=',', file=file)
        for at, image in enumerate(x):
            print(f'n{at}', *image.flat, 'a', sep=',', file=file)
",
    ) else {
        return;
    };
    let path = folder.path();
    config(path, "images.yaml", "name: npz, path: images.npz", CNN);
    config(path, "rows.yaml", "name: npz, path: rows.npz", "{width: 10}");
    let said = [("images", "4"), ("rows", "20")].map(|(name, epochs)| {
        let file = format!("{name}.yaml");
        succeeds(path, &["train", &file, "--quiet", "--run-dir", name, "--epochs", epochs])
    });
    assert!(said.iter().all(|said| !said.contains("channels")), "{said:?}");
    let answers = |run: &str, input: &str| {
        let _ = fs::remove_file(path.join("out.csv"));
        let said = succeeds(path, &["predict", run, input, "-o", "out.csv"]);
        (said, fs::read_to_string(path.join("out.csv")).unwrap())
    };
    let (said, images) = answers("images", "images.npz");
    assert!(images.starts_with("class,0,1\n") && images.lines().count() == 41, "{said}{images}");
    for other in ["images.npy", "flat.npy", "one.npz"] {
        assert_eq!(answers("images", other).1, images, "{other}");
    }
    let (_, rows) = answers("rows", "rows.npz");
    assert_eq!(answers("rows", "rows.npy").1, rows);
    let script = "
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import f3_tch
network, rows = f3_tch.load('rows'), np.load('rows.npy')
theirs = np.loadtxt('out.csv', delimiter=',', skiprows=1)[:, 1:]
for samples in [rows, rows.tolist(), {str(i): rows[:, i] for i in range(36)}, {i: rows[:, i] for i in range(36)}]:
    assert np.abs(network.answer(samples).numpy() - theirs).max() < 1e-5
try:
    network.answer(rows[:, 1:])
    raise SystemExit('was taken')
except ValueError as error:
    assert 'samples [40, 35]; expected rows with columns, or [N, 36]' in str(error), error
";
    assert_eq!(answers("rows", "rows.npy").1, rows);
    let package = common::root().join("python");
    let output = Command::new(common::python().unwrap())
        .args(["-c", script, package.to_str().unwrap()])
        .current_dir(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (said, with_gap) = answers("rows", "gap.npy");
    assert!(said.contains("gap.npy: sample 4 has numbers that are NaN"), "{said}");
    let expected: Vec<&str> =
        rows.lines().enumerate().map(|(line, row)| if line == 4 { ",," } else { row }).collect();
    assert_eq!(with_gap.lines().collect::<Vec<_>>(), expected);
    // Columns beside the pixels are kept where names tell them apart.
    let said = fails(path, &["predict", "images", "unclear.csv", "-o", "none.csv"]);
    assert!(
        said.contains("has 38 column(s); an image of the training set has 36 pixels"),
        "{said}"
    );
    let (_, kept) = answers("images", "kept.csv");
    let expected = images.lines().enumerate().map(|(line, row)| match line {
        0 => format!("label,note,{row}"),
        line => format!("n{},a,{row}", line - 1),
    });
    assert_eq!(kept.lines().map(String::from).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    // Through a pipe.
    let mut command = Command::new(PROGRAM);
    command.args(["predict", "rows", "-", "-o", "-"]).current_dir(path);
    let input = fs::File::open(path.join("rows.npy")).unwrap();
    let output = command.stdin(input).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), rows);

    for (run, input, expected) in [
        ("images", "rows.npy", "holds numbers that are no bytes; the network was trained on bytes"),
        ("rows", "long.npy", "long.npy: is [40, 72]; the network needs [N, 36]"),
        ("rows", "images.npy", "images.npy: is [40, 1, 6, 6]; the network needs [N, 36]"),
        ("images", "two.npz", "has no array `x_test` or `x`, and not a single one; it has a, b"),
    ] {
        let said = fails(path, &["predict", run, input, "-o", "none.csv"]);
        assert!(said.contains(expected), "{input}: {said}");
    }
    // Nobody knows what a byte is to a network that was trained on numbers.
    config(path, "floats.yaml", "name: npz, path: floats.npz", CNN);
    succeeds(path, &["train", "floats.yaml", "--quiet", "--run-dir", "floats"]);
    GrayImage::new(6, 6).save(path.join("black.png")).unwrap();
    for input in ["images.npy", "black.png"] {
        let said = fails(path, &["predict", "floats", input, "-o", "none.csv"]);
        assert!(said.contains("the network was trained on numbers"), "{input}: {said}");
    }
    assert_eq!(answers("floats", "floats.npz").1.lines().count(), 41);
    // Images whose channels are last are remarked on.
    config(path, "last.yaml", "name: npz, path: last.npz", CNN);
    let said = succeeds(path, &["train", "last.yaml", "--quiet", "--run-dir", "last"]);
    assert!(said.contains("is [40, 6, 6, 3]") && said.contains("with 6 channels"), "{said}");
}

#[test]
fn arrays_that_cannot_be_used_are_refused_by_name() {
    let Some(folder) = arrays(
        "
x, y = random.rand(20, 4), random.randint(0, 2, 20)
good = dict(x_train=x, y_train=y, x_test=x, y_test=y)
def save(name, **changes):
    arrays = {**good, **changes}
    np.savez(name, **{key: array for key, array in arrays.items() if array is not None})
save('missing.npz', y_test=None)
save('long.npz', y_train=np.zeros(21, int))
save('nan.npz', x_test=np.full((20, 4), np.nan))
save('other.npz', x_test=random.rand(20, 5))
save('complex.npz', x_train=x + 1j)
save('one.npz', y_train=np.zeros(20, int), y_test=np.zeros(20, int))
save('more.npz', y_test=y + 5)
save('negative.npz', y_train=y - 1)
save('text.npz', y_train=np.array(['a'] * 20))
save('five.npz', x_train=np.zeros((20, 2, 2, 2, 2)), x_test=np.zeros((20, 2, 2, 2, 2)))
save('prices.npz', y_train=y * 300000, y_test=y * 300000)
save('fractions.npz', y_train=x[:, 0], y_test=x[:, 0])
save('empty.npz', y_train=np.zeros((20, 0)), y_test=np.zeros((20, 0)))
save('mixed.npz', x_train=np.zeros((20, 4, 4), np.uint8), x_test=np.zeros((20, 4, 4)))
open('broken.npz', 'wb').write(b'PK no zip')
",
    ) else {
        return;
    };
    let path = folder.path();
    for (file, expected) in [
        ("missing", "has no array `y_test`; it has x_train, y_train, x_test"),
        ("long", "`y_train`: is [21]; of 20 samples the targets are [N] or [N, C]"),
        ("nan", "`x_test`: holds numbers that are NaN, infinite"),
        ("prices", "to predict numbers, set `data.task: regression`"),
        ("fractions", "to predict numbers, set `data.task: regression`"),
        ("empty", "`y_train`: is [20, 0]; of 20 samples"),
        ("mixed", "`x_test`: holds numbers that are no bytes; training inputs are bytes"),
        ("other", "`x_test`: is [20, 5]; training inputs are [20, 4]"),
        ("complex", "`x_train`: holds "),
        ("one", "`y_train`: holds one class only"),
        ("more", "`y_test`: has label 6; the training set has 2 classes"),
        ("negative", "`y_train`: labels are whole numbers from 0"),
        ("text", "`y_train`: holds "),
        ("five", "inputs are [N, m], [N, height, width] or [N, channels, height, width]"),
        ("broken", "`data.path` is one .npz with all arrays"),
        ("absent", "absent.npz: no such file"),
    ] {
        config(path, "c.yaml", &format!("name: npz, path: {file}.npz"), "{width: 4}");
        let error = fails(path, &["train", "c.yaml", "--quiet", "--run-dir", "run"]);
        assert!(error.contains(expected), "{file}: {error}");
    }
}

/// `f3_tch.load` gives the outputs of `predict`, for each kind of network and of samples.
#[test]
fn networks_and_results_are_read_in_python() {
    let Some(python) = common::python() else { return };
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    pictures(&path.join("train"), 20, 8, true);
    pictures(&path.join("test"), 6, 8, true);
    let sets = "name: folder, train: train, test: test";
    config(path, "cnn.yaml", sets, CNN);
    config(path, "vit.yaml", sets, VIT);
    config(path, "mlp.yaml", sets, "{hidden_layers: 2, width: 9, activation: gelu}");
    let mut table = "age;kind;city;pay\n".to_string();
    for index in 0..60 {
        let (kind, city) = (["a", "b", "c"][index % 3], ["x", "y"][index % 2]);
        table += &format!("{};{kind};{city};{}\n", 20 + index, 1000 + 37 * index);
    }
    fs::write(path.join("people.csv"), &table).unwrap();
    for (name, more) in [
        ("numbers", "targets: pay, task: regression"),
        ("classes", "targets: kind, task: classification"),
    ] {
        let categorical = if name == "numbers" { "[kind, city]" } else { "[city]" };
        let ignore = if name == "numbers" { "[]" } else { "[pay]" };
        let data = format!(
            "name: csv, path: people.csv, delimiter: ;, {more}, categorical: {categorical}, \
             encoding: one_hot, ignore: {ignore}"
        );
        config(
            path,
            &format!("{name}.yaml"),
            &data.replace("delimiter: ;", "delimiter: \";\""),
            "{width: 5}",
        );
    }
    for name in ["cnn", "vit", "mlp", "numbers", "classes"] {
        let run = format!("runs/{name}");
        let train = ["train", &format!("{name}.yaml"), "--quiet", "--run-dir", &run];
        succeeds(path, &[&train[..], &["--set", "checkpoint.best=test_loss"]].concat());
        let input =
            if ["numbers", "classes"].contains(&name) { "people.csv" } else { "test/below" };
        succeeds(path, &["predict", &run, input, "-o", &format!("{name}.csv")]);
        let best = format!("{name}_best.csv");
        succeeds(path, &["predict", &run, input, "--at", "best", "-o", &best]);
    }
    let script = "
import csv, pathlib, sys
import torch
sys.path.insert(0, sys.argv[1])
import f3_tch

def read(name, delimiter=','):
    return list(csv.DictReader(open(name), delimiter=delimiter))

def png(path):
    import struct, zlib
    data, at, bits = path.read_bytes(), 8, b''
    while at < len(data):
        length, kind = struct.unpack('>I4s', data[at:at + 8])
        if kind == b'IHDR':
            width, height = struct.unpack('>II', data[at + 8:at + 16])
        if kind == b'IDAT':
            bits += data[at + 8:at + 8 + length]
        at += length + 12
    raw, rows, above = zlib.decompress(bits), [], [0] * (3 * width)
    for y in range(height):
        line = raw[y * (3 * width + 1):(y + 1) * (3 * width + 1)]
        row = list(line[1:])
        for i in range(len(row)):
            a, b, c = (row[i - 3] if i > 2 else 0), above[i], (above[i - 3] if i > 2 else 0)
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            row[i] = (row[i] + [0, a, b, (a + b) // 2, paeth][line[0]]) % 256
        rows.append(row)
        above = row
    return torch.tensor(rows, dtype=torch.uint8).view(height, width, 3).permute(2, 0, 1)

paths = sorted(pathlib.Path('test/below').glob('**/*.png'))
pixels = torch.stack([png(path) for path in paths])
for name in ['cnn', 'vit', 'mlp', 'numbers', 'classes']:
    newest = sorted(pathlib.Path(f'runs/{name}/checkpoints').glob('epoch*'))[-1]
    for place, at in [(f'runs/{name}', 'last'), (newest, 'last'), (f'runs/{name}', 'best')]:
        network = f3_tch.load(place, at=at)
        assert not network.training and len(network.feedback) > 0
        samples = pixels if name in ['cnn', 'vit', 'mlp'] else [
            {**row, 'age': float(row['age'])} for row in read('people.csv', ';')]
        answer = network.answer(samples)
        rows = read(f'{name}.csv' if at == 'last' else f'{name}_best.csv')
        names = network.classes or ['predicted_pay']  # `pay` is a column of the table
        theirs = torch.tensor([[float(row[it]) for it in names] for row in rows], dtype=torch.float64)
        assert answer.shape == theirs.shape, (name, answer.shape, theirs.shape)
        error = ((answer - theirs).abs() / theirs.abs().clamp(min=1)).max()
        assert error < 1e-5, (name, error)
        if network.classes:
            assert network.predict(samples) == [row['class'] for row in rows]
runs = f3_tch.runs('runs')
assert [run['name'] for run in runs] == ['classes', 'cnn', 'mlp', 'numbers', 'vit'], runs
assert all(run['state'] == 'complete' and run['epochs.done'] == 4 for run in runs)
assert runs[1]['test_accuracy.best'] >= runs[1]['test_accuracy.last']
assert runs[1]['settings.model.topology'] == '4C3-pool-10FC'
for wrong in [torch.zeros(3, 5), torch.zeros(7)]:
    try:
        f3_tch.load('runs/cnn').prepare(wrong)
        raise SystemExit('was taken')
    except ValueError as error:
        assert 'expected [N' in str(error)
for place, at in [('runs/cnn/model.safetensors', 'best'), ('runs/cnn', 'first')]:
    try:
        f3_tch.load(place, at=at)
        raise SystemExit('was taken')
    except ValueError:
        pass
numbers = f3_tch.load('runs/numbers')
row = {'age': '30', 'kind': 'b', 'city': 'x'}
spaced = {' age': ' 30 ', 'kind': ' b', ' city ': 'x '}
assert torch.equal(numbers.prepare(row), numbers.prepare([spaced]))
try:
    numbers.prepare({**row, 'age': ' '})
    raise SystemExit('was taken')
except ValueError as error:
    assert 'row 0, column `age`: is ``; expected a finite number' in str(error), error
for strange in ['q', float('inf')]:
    try:
        f3_tch.load('runs/numbers').prepare([{'age': 1.0, 'kind': strange, 'city': 'x'}])
        raise SystemExit('was taken')
    except ValueError as error:
        assert f'column `kind`: is `{strange}`; expected one of a, b, c' in str(error), error
";
    let package = common::root().join("python");
    let output = Command::new(&python)
        .args(["-c", script, package.to_str().unwrap()])
        .current_dir(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
