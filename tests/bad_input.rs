//! Bad input, tried in bulk through the program: whatever is wrong, the answer is an exit code as
//! documented and one error of a few lines that names the place; nothing that was there changes, nothing
//! is left behind, and memory stays bounded.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

/// Memory that the program may take for its own while it finds out, in MiB.
const LIMIT: usize = 300;

/// A place to try things in: a network of images and one of a table, their runs and data.
struct Bench {
    folder: TempDir,
    tried: usize,
    failures: Vec<String>,
}

const IMAGES: &str = "
name: images
data: {name: digits, batch_size: 50}
model: {width: 8}
algorithm: {name: f3}
optimizer: {name: adam, learning_rate: 1e-3}
epochs: 3
threads: 1
checkpoint: {keep: 2}
";

const TABLE: &str = "
name: table
data: {name: csv, path: table.csv, task: classification, targets: kind, categorical: [colour],
  encoding: one_hot, standardize: true, batch_size: 10, missing: '?'}
model: {width: 6}
algorithm: {name: f3}
optimizer: {name: adam, learning_rate: 1e-3}
epochs: 1
threads: 1
";

fn table() -> String {
    let row =
        |i: usize| format!("{},{},{}\n", i % 17, ["red", "blue"][i % 2], ["a", "b", "c"][i % 3]);
    "size,colour,kind\n".to_string() + &(0..60).map(row).collect::<String>()
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench { folder: TempDir::new().unwrap(), tried: 0, failures: Vec::new() };
        bench.write("images.yaml", IMAGES);
        bench.write("table.yaml", TABLE);
        bench.write("table.csv", table());
        for name in ["images", "table"] {
            let (config, run) = (format!("{name}.yaml"), format!("run_{name}"));
            let (code, error) = bench.run(&["train", &config, "--quiet", "--run-dir", &run]);
            assert_eq!(code, Some(0), "{error}");
        }
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let limited = format!("ulimit -d {} && exec \"$@\"", LIMIT << 10);
        let output = Command::new("sh")
            .args(["-c", &limited, "sh", env!("CARGO_BIN_EXE_f3-tch")])
            .args(arguments)
            .env("RUST_BACKTRACE", "1")
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Every file with its content, and every folder.
    fn content(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.folder.path().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                match entry.path().is_dir() {
                    true => {
                        found.insert(entry.path(), Vec::new());
                        folders.push(entry.path());
                    }
                    false => drop(found.insert(entry.path(), fs::read(entry.path()).unwrap())),
                }
            }
        }
        found
    }

    /// The program must refuse these arguments with this exit code and an error that holds these words.
    fn refuses(&mut self, what: &str, arguments: &[&str], code: i32, signs: &[&str]) {
        self.tried += 1;
        let before = self.content();
        let (found, error) = self.run(arguments);
        let error: String = error
            .lines()
            .filter(|it| !it.starts_with("note: "))
            .map(|it| it.to_string() + "\n")
            .collect();
        let lines = error.lines().count();
        let mut wrong = Vec::new();
        if found != Some(code) {
            wrong.push(format!("exit code {found:?} in place of {code}"));
        }
        if !error.starts_with("error: ") || lines > if code == 2 { 15 } else { 4 } {
            wrong.push(format!("{lines} lines"));
        }
        if ["panicked", "backtrace", "stack", "frame #", "RUST_"]
            .iter()
            .any(|it| error.contains(it))
        {
            wrong.push("a panic or a backtrace".to_string());
        }
        for sign in signs.iter().filter(|sign| !error.contains(**sign)) {
            wrong.push(format!("no `{sign}`"));
        }
        if self.content() != before {
            wrong.push("files have changed".to_string());
        }
        if !wrong.is_empty() {
            self.failures.push(format!("{what}: {}\n    {error}", wrong.join(", ")));
        }
    }

    /// As [`Bench::refuses`], of a command that is given a file with this content.
    fn refuses_file(
        &mut self,
        name: &str,
        content: impl AsRef<[u8]>,
        arguments: &[&str],
        code: i32,
        sign: &str,
    ) {
        self.write(name, content);
        self.refuses(name, arguments, code, &[name, sign]);
    }

    fn end(self, at_least: usize) {
        println!("{} bad inputs", self.tried);
        assert!(self.failures.is_empty(), "\n{}", self.failures.join("\n"));
        assert!(self.tried >= at_least, "only {}", self.tried);
    }
}

/// A safetensors file in its parts.
struct Parts {
    header: Value,
    data: Vec<u8>,
}

impl Parts {
    fn of(bytes: &[u8]) -> Parts {
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        // As files of others are, whose changes are not found by their checksums.
        header["__metadata__"].as_object_mut().unwrap().remove("f3_tch_crc32").unwrap();
        Parts { header, data: bytes[8 + length..].to_vec() }
    }

    fn bytes(&self) -> Vec<u8> {
        let header = self.header.to_string();
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &self.data].concat()
    }

    /// With one text of the metadata changed, as JSON.
    fn described(&self, change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let place = "/__metadata__/f3_tch_model";
        let text = self.header.pointer(place).unwrap().as_str().unwrap();
        let mut description: Value = serde_json::from_str(text).unwrap();
        change(&mut description);
        self.changed(|header| *header.pointer_mut(place).unwrap() = description.to_string().into())
    }

    fn changed(&self, change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut header = self.header.clone();
        change(&mut header);
        Parts { header, data: self.data.clone() }.bytes()
    }
}

#[test]
fn models_that_cannot_be_used_are_refused() {
    let mut bench = Bench::new();
    let good = fs::read(bench.path("run_images/model.safetensors")).unwrap();
    let parts = Parts::of(&good);
    let header = good.len() - Parts::of(&good).data.len();
    let weight = "/layers.0.1.weight";
    let at = |pointer: &str, value: Value| {
        let place = format!("{weight}{pointer}");
        parts.changed(|header| *header.pointer_mut(&place).unwrap() = value)
    };
    let resized = |size: u64| [&size.to_le_bytes()[..], &good[8..]].concat();
    let architecture =
        |key: &str, value: Value| parts.described(|it| it["architecture"][key] = value);
    let altered = |text: &str| {
        let place = good.windows(text.len()).position(|it| it == text.as_bytes()).expect(text);
        let mut bytes = good.clone();
        bytes[place + text.len() - 1] ^= 1;
        bytes
    };
    let image = |key: &str, value: Value| {
        parts.described(|it| it["preparation"]["inputs"]["image"][key] = value)
    };
    let inputs = |shape: [i64; 3]| {
        parts.described(|it| {
            it["architecture"]["inputs"] = shape.iter().product::<i64>().into();
            it["preparation"]["inputs"]["image"]["shape"] = json!(shape);
        })
    };
    let end = parts.header.pointer(&format!("{weight}/data_offsets/1")).unwrap().as_u64().unwrap();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "is no safetensors file, or was cut off"),
        ("four_bytes", good[..4].to_vec(), "was cut off"),
        ("eight_bytes", good[..8].to_vec(), "was cut off"),
        ("half_a_header", good[..header / 2].to_vec(), "was cut off"),
        ("no_data", good[..header].to_vec(), "was it cut off?"),
        ("half_the_data", good[..header + parts.data.len() / 2].to_vec(), "was it cut off?"),
        ("one_byte_less", good[..good.len() - 1].to_vec(), "was it cut off?"),
        ("one_byte_more", [&good[..], b"x"].concat(), "not as long as its header says"),
        ("huge_header", resized(u64::MAX), "was cut off"),
        ("large_header", resized(99_999_999), "was cut off"),
        ("header_of_all", resized(good.len() as u64 - 8), "is no safetensors file"),
        ("short_header", resized(header as u64 - 100), "is no safetensors file"),
        (
            "no_json",
            [&good[..8], &vec![b'{'; header - 8][..], &parts.data].concat(),
            "is no safetensors file",
        ),
        (
            "binary_header",
            [&good[..8], &vec![255; header - 8][..], &parts.data].concat(),
            "no safetensors",
        ),
        ("list", parts.changed(|it| *it = json!([1, 2])), "is no safetensors file"),
        ("number", parts.changed(|it| *it = json!(3)), "is no safetensors file"),
        ("unknown_type", at("/dtype", json!("F31")), "is no safetensors file"),
        ("other_type", at("/dtype", json!("F64")), "is no safetensors file"),
        ("integers", at("/dtype", json!("I32")), "`layers.0.1.weight` is I32"),
        ("larger_shape", at("/shape", json!([80, 64])), "is no safetensors file"),
        ("other_shape", at("/shape", json!([64, 8])), "is F32 [64, 8]; F32 [8, 64] is needed"),
        ("flat_shape", at("/shape", json!([512])), "is F32 [512]; F32 [8, 64] is needed"),
        ("negative_shape", at("/shape", json!([-8, -64])), "is no safetensors file"),
        ("endless_shape", at("/shape", json!([1u64 << 62, 1u64 << 62])), "is no safetensors file"),
        ("no_shape", at("/shape", json!("8 x 64")), "is no safetensors file"),
        (
            "far_offsets",
            at("/data_offsets", json!([1u64 << 60, (1u64 << 60) + 2048])),
            "no safetensors",
        ),
        ("later_end", at("/data_offsets/1", json!(end + 4)), "is no safetensors file"),
        ("reversed_offsets", at("/data_offsets", json!([end, 0])), "is no safetensors file"),
        ("same_offsets", at("/data_offsets", json!([0, 0])), "is no safetensors file"),
        (
            "no_metadata",
            parts.changed(|it| drop(it.as_object_mut().unwrap().remove("__metadata__"))),
            "does not say what network it holds",
        ),
        (
            "other_metadata",
            parts.changed(|it| it["__metadata__"] = json!({"format": "pt"})),
            "does not say what network it holds",
        ),
        (
            "numbers_as_metadata",
            parts.changed(|it| it["__metadata__"] = json!({"a": 1})),
            "no safetensors",
        ),
        (
            "no_description",
            parts.changed(|it| it["__metadata__"]["f3_tch_model"] = "{".into()),
            "the description cannot be read",
        ),
        ("version_3", parts.described(|it| it["version"] = json!(3)), "is of version 3"),
        ("version_1", parts.described(|it| it["version"] = json!(1)), "is of version 1"),
        (
            "no_version",
            parts.described(|it| drop(it.as_object_mut().unwrap().remove("version"))),
            "is of version ?",
        ),
        ("version_one", parts.described(|it| it["version"] = json!("one")), "is of version ?"),
        ("more", parts.described(|it| it["more"] = json!(1)), "the description cannot be read"),
        (
            "no_architecture",
            parts.described(|it| it["architecture"] = json!(null)),
            "the description cannot be read",
        ),
        (
            "empty_architecture",
            parts.described(|it| it["architecture"] = json!({})),
            "the description cannot be read",
        ),
        ("other_network", architecture("name", json!("cnn")), "the description cannot be read"),
        ("later_key", architecture("later", json!(1)), "the description cannot be read"),
        ("no_activation", architecture("activation", json!("f3")), "cannot be read"),
        ("no_loss", parts.described(|it| it["loss"] = json!("f3")), "cannot be read"),
        ("no_kernels", parts.described(|it| it["kernels"] = json!("f3")), "cannot be read"),
        ("wider", architecture("hidden", json!([9])), "is needed"),
        ("deeper", architecture("hidden", json!([8, 8])), "is needed"),
        ("no_width", architecture("hidden", json!([0])), "a size of"),
        ("huge", architecture("hidden", json!([1_000_000_000_000u64])), "a size of"),
        ("large", architecture("hidden", json!([100_000])), "more weights than it holds"),
        ("very_deep", architecture("hidden", json!(vec![8; 10_000])), "more weights than it holds"),
        ("other_inputs", architecture("inputs", json!(63)), "do not go together"),
        ("other_outputs", architecture("outputs", json!(9)), "do not go together"),
        ("no_preparation", parts.described(|it| it["preparation"] = json!(null)), "cannot be read"),
        ("no_scaling", image("scaling", json!([])), "contradicts itself"),
        (
            "two_scalings",
            image(
                "scaling",
                json!([{"mean": 0.0, "standard_deviation": 1.0}, {"mean": 0.0, "standard_deviation": 1.0}]),
            ),
            "contradicts itself",
        ),
        ("no_image", image("shape", json!([0, 8, 8])), "contradicts itself"),
        ("negative_image", image("shape", json!([-1, 8, -8])), "contradicts itself"),
        ("huge_image", image("shape", json!([1, 1 << 19, 1 << 19])), "contradicts itself"),
        ("larger_image", image("shape", json!([1, 9, 9])), "do not go together"),
        ("larger_inputs", inputs([1, 9, 9]), "more weights than it holds"),
        ("smaller_inputs", inputs([1, 7, 9]), "is needed"),
        ("altered_description", altered("digits"), "has changed since it was written"),
        ("altered_checksums", altered("\\\"layers.0"), "has changed since it was written"),
        (
            "altered_weight",
            [&good[..good.len() - 3], &[good[good.len() - 3] ^ 1], &good[good.len() - 2..]]
                .concat(),
            "has changed since it was written",
        ),
        ("no_largest", image("largest", json!(0.0)), "contradicts itself"),
        (
            "no_classes",
            parts.described(|it| it["preparation"]["targets"]["classes"] = json!([])),
            "contradicts",
        ),
        (
            "three_classes",
            parts.described(|it| it["preparation"]["targets"]["classes"] = json!(["a", "b", "c"])),
            "do not go together",
        ),
        (
            "three_outputs",
            parts.described(|it| {
                it["architecture"]["outputs"] = json!(3);
                it["preparation"]["targets"]["classes"] = json!(["a", "b", "c"]);
            }),
            "is needed",
        ),
        (
            "missing_tensor",
            {
                let name = "layers.9.0.weight";
                parts.changed(|it| {
                    let taken = it.as_object_mut().unwrap().remove("layers.0.1.weight").unwrap();
                    it[name] = taken;
                })
            },
            "has no `weight` of block 1 of the network that it describes",
        ),
        (
            "more_tensors",
            parts.changed(|it| {
                let end = parts.data.len();
                it["layers.9.0.weight"] =
                    json!({"dtype": "F32", "shape": [0], "data_offsets": [end, end]});
            }),
            "for which the network that it describes has no place",
        ),
        (
            "pytorch_archive",
            b"PK\x03\x04archive/data.pkl and so on".to_vec(),
            "is no safetensors file",
        ),
        ("text", b"weights: 1, 2, 3\n".repeat(9), "is no safetensors file"),
    ];
    for (name, content, sign) in cases {
        let name = format!("{name}.safetensors");
        let arguments = ["predict", &name, "table.csv", "-o", "out.csv"];
        bench.refuses_file(&name, content, &arguments, 1, sign);
    }
    bench.refuses(
        "evaluate",
        &["evaluate", "nothing.safetensors"],
        1,
        &["nothing.safetensors: cannot be opened"],
    );
    bench.refuses("a folder", &["evaluate", "."], 1, &["model.safetensors: cannot be opened"]);
    for (name, sign) in
        [("half_the_data", "cut off"), ("other_shape", "is needed"), ("text", "no safetensors")]
    {
        let from = format!("init_from={name}.safetensors");
        bench.refuses(name, &["train", "images.yaml", "--set", &from], 1, &[name, sign]);
    }
    bench.end(60);
}

#[test]
fn checkpoints_that_cannot_be_used_are_refused() {
    let mut bench = Bench::new();
    let copy = |bench: &Bench, name: &str, checkpoint: Option<&[u8]>| {
        let (from, to) = (bench.path("run_images"), bench.path(name));
        fs::create_dir_all(to.join("checkpoints")).unwrap();
        for file in [".lock", "config.yaml", "metrics.csv", "model.safetensors"] {
            fs::copy(from.join(file), to.join(file)).unwrap();
        }
        if let Some(bytes) = checkpoint {
            let rows = "checkpoints/rows.yaml";
            fs::copy(from.join(rows), to.join(rows)).unwrap();
            fs::write(to.join("checkpoints/epoch-000003.safetensors"), bytes).unwrap();
        }
    };
    let good = fs::read(bench.path("run_images/checkpoints/epoch-000003.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    for part in 0..10 {
        for at in [header * part / 10, header + (good.len() - header) * part / 10] {
            let name = format!("cut_{at}");
            copy(&bench, &name, Some(&good[..at]));
            let signs =
                [&name[..], "epoch-000003.safetensors", "no checkpoint is whole", "begin anew"];
            bench.refuses(&name, &["resume", &name], 1, &signs);

            let name = format!("flipped_{at}");
            let mut flipped = good.clone();
            flipped[at] ^= 4;
            copy(&bench, &name, Some(&flipped));
            bench.refuses(&name, &["resume", &name], 1, &[&name, "epoch-000003.safetensors"]);
        }
    }
    let model = fs::read(bench.path("run_images/model.safetensors")).unwrap();
    let other = fs::read(bench.path("run_table/checkpoints/epoch-000001.safetensors")).unwrap();
    for (name, bytes, code, sign) in [
        ("empty", &[][..], 1, "was cut off"),
        ("model", &model, 1, "no checkpoint of f3-tch"),
        ("of_another_run", &other, 1, "is of epoch 1"),
        ("text", b"epoch 3", 1, "was cut off"),
    ] {
        copy(&bench, name, Some(bytes));
        bench.refuses(name, &["resume", name], code, &[name, sign]);
    }
    for (name, from, to, code, sign) in [
        ("wider", "width: 8", "width: 9", 2, "with which the run began"),
        ("sgd", "name: adam", "name: sgd", 2, "optimizer"),
        ("bp", "name: f3", "name: bp", 2, "algorithm"),
        ("no_key", "epochs: 3", "epoch: 3", 2, "did you mean `epochs`?"),
        ("no_yaml", "epochs: 3", "epochs: [3", 2, "is not YAML"),
        ("fewer", "epochs: 3", "epochs: 2", 2, "at least 3"),
    ] {
        copy(&bench, name, Some(&good));
        let place = bench.path(name).join("config.yaml");
        let config = fs::read_to_string(&place).unwrap();
        assert!(config.contains(from), "{from} in {config}");
        fs::write(&place, config.replacen(from, to, 1)).unwrap();
        bench.refuses(name, &["resume", name], code, &[name, sign]);
    }
    copy(&bench, "none", None);
    let place = bench.path("none/config.yaml");
    let config = fs::read_to_string(&place).unwrap();
    fs::write(&place, config.replace("  every: 1", "  every: null")).unwrap();
    bench.refuses("none", &["resume", "none"], 1, &["none: has no checkpoints"]);
    copy(&bench, "lost", None);
    bench.refuses(
        "lost",
        &["resume", "lost"],
        1,
        &["lost: has results of some epochs, but no checkpoint"],
    );
    fs::create_dir(bench.path("bare")).unwrap();
    bench.refuses("bare", &["resume", "bare"], 1, &["bare: is no folder of a run"]);
    bench.refuses("nowhere", &["resume", "nowhere"], 1, &["nowhere: is no folder of a run"]);
    bench.refuses("a file", &["resume", "table.csv"], 1, &["table.csv: is no folder of a run"]);
    bench.refuses(
        "fewer epochs",
        &["resume", "run_images", "--epochs", "1"],
        2,
        &["--epochs 1", "at least 3"],
    );
    bench.refuses(
        "no epochs",
        &["resume", "run_images", "--epochs", "0"],
        2,
        &["--epochs 0", "`epochs` is `0`"],
    );
    bench.refuses("words", &["resume", "run_images", "--epochs", "more"], 2, &["more"]);
    bench.end(50);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

/// A PNG file's beginning, of an image of this size.
fn png(width: u32, height: u32) -> Vec<u8> {
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(width.to_be_bytes());
    chunk.extend(height.to_be_bytes());
    chunk.extend([8, 0, 0, 0, 0]);
    let mut crc = flate2::Crc::new();
    crc.update(&chunk);
    [&b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"[..], &chunk, &crc.sum().to_be_bytes()].concat()
}

#[test]
fn samples_that_cannot_be_predicted_are_refused() {
    let mut bench = Bench::new();
    let good = table();
    let zipped = gzip(good.as_bytes());
    for (name, content, sign) in [
        ("empty.csv", &b""[..], "is empty"),
        ("blank.csv", b"\n\n\n", "is empty"),
        ("no_column.csv", b"size,kind\n1,a\n", "has no column `colour`; it has size, kind"),
        ("two_columns.csv", b"size,size,colour\n1,2,red\n", "more than one column `size`"),
        ("no_names.csv", b"1,2,3\n", "holds numbers where columns are named"),
        ("short_row.csv", b"size,colour\n1,red\n2\n", "line 3: has 1 column(s); 2 were expected"),
        ("long_row.csv", b"size,colour\n1,red,3\n", "line 2: has 3 column(s)"),
        ("word.csv", b"size,colour\nlarge,red\n", "line 2, column `size`: is `large`"),
        ("nan.csv", b"size,colour\nNaN,red\n", "column `size`: is `NaN`"),
        ("infinite.csv", b"size,colour\n1,red\ninf,red\n", "line 3, column `size`: is `inf`"),
        ("too_large.csv", b"size,colour\n1e99,red\n", "column `size`: is `1e99`"),
        ("no_cell.csv", b"size,colour\n,red\n", "column `size`: is ``"),
        (
            "no_colour.csv",
            b"size,colour\n1,green\n",
            "column `colour`: is `green`; expected one of",
        ),
        ("latin.csv", b"size,colour\n1,r\xf6t\n", "line 2, column `colour`"),
        ("binary.csv", &[7, 200, 0, 9, 13, 10, 255, 3].repeat(40), "binary.csv"),
        ("open_quote.csv", b"size,colour\n\"1,red\n2,red\n", "open_quote.csv, line"),
        ("semicolons.csv", b"size;colour\n1;red\n", "has no column `size`"),
        ("cut.csv.gz", &zipped[..zipped.len() / 2], "cut.csv.gz"),
        ("altered.csv.gz", &[&zipped[..30], b"????", &zipped[34..]].concat(), "altered.csv.gz"),
        ("no_gz.csv.gz", good.as_bytes(), "no_gz.csv.gz"),
        ("idx.idx", &[0, 0, 8, 3, 0, 0, 0, 1], "holds images"),
    ] {
        bench.refuses_file(
            name,
            content,
            &["predict", "run_table", name, "-o", "out.csv", "--strict"],
            1,
            sign,
        );
    }
    bench.write("picture.png", png(8, 8));
    bench.refuses(
        "a picture",
        &["predict", "run_table", "picture.png", "-o", "out.csv"],
        1,
        &["rows of a table"],
    );

    let idx = |magic: [u8; 4], sizes: [u32; 3], pixels: usize| {
        let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_be_bytes()).collect();
        [&magic[..], &sizes, &vec![3; pixels]].concat()
    };
    let images = [0, 0, 8, 3];
    let wide = bench.path("wide.png");
    image::GrayImage::new(28, 28).save(&wide).unwrap();
    for (name, content, sign) in [
        ("three.idx", vec![0, 0, 8], "too short for IDX"),
        ("header.idx", idx(images, [2, 8, 8], 0)[..10].to_vec(), "too short for IDX"),
        ("floats.idx", idx([0, 0, 13, 3], [2, 8, 8], 128), "no IDX file of images"),
        ("labels.idx", idx([0, 0, 8, 1], [2, 8, 8], 128), "no IDX file of images"),
        ("tall.idx", idx(images, [2, 16, 4], 128), "holds images of 16 x 4"),
        (
            "huge.idx",
            idx(images, [1, 0xffff_ffff, 0xffff_ffff], 64),
            "holds images of 4294967295 x",
        ),
        ("many.idx", idx(images, [0xffff_ffff, 8, 8], 64), "ends before the last image"),
        ("cut.idx", idx(images, [2, 8, 8], 127), "ends before the last image"),
        ("longer.idx", idx(images, [2, 8, 8], 129), "is longer than it says"),
        ("cut.idx.gz", gzip(&idx(images, [2, 8, 8], 128))[..30].to_vec(), "cut.idx.gz"),
        ("wide.png", fs::read(&wide).unwrap(), "is 28 x 28; pictures of 8 x 8 are needed"),
        ("huge.png", png(1 << 30, 1 << 30), "huge.png"),
        ("cut.png", png(8, 8), "cannot be read as a picture"),
        ("text.png", b"no picture".to_vec(), "cannot be read as a picture"),
        ("empty.jpg", Vec::new(), "cannot be read as a picture"),
        ("noise.jpg", vec![0xff, 0xd8, 0xff, 0xe0, 1, 2, 3, 4], "cannot be read as a picture"),
        (
            "few.csv",
            b"1,2,3\n".to_vec(),
            "has 3 column(s); an image of the training set has 64 pixels",
        ),
        (
            "words.csv",
            ("1,".repeat(63) + "x\n").repeat(2).into_bytes(),
            "words.csv, line 1, column `63`: is `x`",
        ),
        (
            "places.csv", // as pandas names columns
            ((0..64).map(|it| it.to_string()).collect::<Vec<_>>().join(",")
                + "\n17"
                + &",17".repeat(63))
                .into_bytes(),
            "line 2, column `0`: is `17`; expected a pixel, 0 to 16",
        ),
        ("negative.csv", ("-1".to_string() + &",1".repeat(63)).into_bytes(), "expected a pixel"),
        (
            "twice.csv",
            ["left", "right"]
                .map(|text| (0..64).map(|it| format!("{text}{it}")).collect::<Vec<_>>().join(","))
                .join(",")
                .into_bytes(),
            "and no other 64 columns are",
        ),
    ] {
        bench.refuses_file(
            name,
            content,
            &["predict", "run_images", name, "-o", "out.csv", "--strict"],
            1,
            sign,
        );
    }
    fs::create_dir(bench.path("folder")).unwrap();
    let predict =
        |input: &'static str, output: &'static str| ["predict", "run_images", input, "-o", output];
    bench.refuses(
        "no pictures",
        &predict("folder", "out.csv"),
        1,
        &["folder: holds no PNG or JPEG files"],
    );
    bench.refuses("no input", &predict("none.idx", "out.csv"), 1, &["none.idx: cannot be opened"]);
    bench.refuses("output", &predict("cut.idx", "table.csv"), 1, &["table.csv: exists already"]);
    bench.refuses(
        "output's folder",
        &predict("cut.idx", "no/out.csv"),
        1,
        &["no: cannot be written to"],
    );
    bench.refuses(
        "output is a folder",
        &predict("cut.idx", "folder"),
        1,
        &["folder: exists already"],
    );
    bench.refuses("no output", &["predict", "run_images", "cut.idx"], 2, &["--output"]);
    // As many images as are said to be there are not in memory at once.
    fs::write(bench.path("many.idx"), idx(images, [0xffff_ffff, 8, 8], 64)).unwrap();
    bench.refuses(
        "large batches",
        &[&predict("many.idx", "out.csv")[..], &["--batch-size", "4294967295"]].concat(),
        1,
        &["many.idx: ends before the last image"],
    );
    for (option, value) in [("--delimiter", "ab"), ("--batch-size", "0"), ("--device", "gpu")] {
        let arguments = [&predict("cut.idx", "out.csv")[..], &[option, value]].concat();
        bench.refuses(option, &arguments, 2, &[option, value]);
    }
    bench.end(46);
}

#[test]
fn training_data_that_cannot_be_used_are_refused() {
    let mut bench = Bench::new();
    let zipped = gzip(table().as_bytes());
    let head = "size,colour,kind\n";
    for (name, content, sign) in [
        ("empty.csv", Vec::new(), "is empty"),
        ("head.csv", head.into(), "head.csv"),
        ("short_row.csv", format!("{head}1,red,a\n2,red\n").into(), "line 3: has 2 column(s)"),
        (
            "word.csv",
            format!("{head}big,red,a\n2,red,b\n").into(),
            "line 2, column `size`: is `big`",
        ),
        (
            "nan.csv",
            format!("{head}1,red,a\nnan,red,b\n").into(),
            "line 3, column `size`: is `nan`",
        ),
        ("no_target.csv", "size,colour\n1,red\n".into(), "has no column `kind`"),
        ("no_colour.csv", "size,kind\n1,a\n".into(), "has no column `colour`"),
        ("names.csv", "1,2,3\n1,2,3\n".into(), "holds numbers where columns are named"),
        ("one_class.csv", (head.to_string() + &"1,red,a\n".repeat(40)).into(), "class"),
        ("all_missing.csv", (head.to_string() + &"?,red,a\n".repeat(40)).into(), "all_missing.csv"),
        (
            "latin.csv",
            [head.as_bytes(), b"1,r\xf6t,a\n2,red,b\n"].concat(),
            "expected text in UTF-8",
        ),
        ("binary.csv", [7, 200, 0, 9, 13, 10, 255, 3].repeat(40), "binary.csv"),
        ("cut.csv.gz", zipped[..zipped.len() / 2].to_vec(), "cut.csv.gz"),
        ("bomb.csv.gz", gzip(&vec![b'1'; 1 << 30]), "bomb.csv.gz"),
    ] {
        let path = format!("data.path={name}");
        bench.refuses_file(name, content, &["train", "table.yaml", "--set", &path], 1, sign);
    }
    for (set, code, sign) in [
        ("data.path=nothing.csv", 1, "nothing.csv"),
        ("data.path=run_table", 1, "run_table"),
        ("data.targets=weight", 1, "has no column `weight`"),
        ("data.categorical=[shape]", 1, "`shape`"),
        ("data.ignore=[shape]", 1, "`shape`"),
        ("data.delimiter=;", 1, "table.csv"),
        ("data.batch_size=1000", 2, "training samples"),
        ("data.test_fraction=0.999", 1, "cannot be split"),
        ("data.train_samples=1000", 2, "training samples"),
        ("model.name=cnn", 2, "`model.topology` is missing"),
        ("model.name=vit", 2, "no images"),
    ] {
        bench.refuses(set, &["train", "table.yaml", "--set", set], code, &[sign]);
    }
    bench.end(25);
}

#[test]
fn command_lines_and_configurations_that_cannot_be_are_refused() {
    let mut bench = Bench::new();
    let aliases: String = (1..40).map(|i| format!("a{i}: &a{i} [*a{0}, *a{0}]\n", i - 1)).collect();
    for (name, content, sign) in [
        ("nested.yaml", "[".repeat(100_000), "is not YAML"),
        (
            "deep.yaml",
            "a:\n".to_string() + &(1..5000).map(|i| " ".repeat(i) + "a:\n").collect::<String>(),
            "deep.yaml",
        ),
        ("aliases.yaml", format!("a0: &a0 [1, 2]\n{aliases}"), "aliases.yaml"),
        ("tabs.yaml", "data:\n\tname: digits\n".to_string(), "line 2: is indented with a tab"),
        ("null.yaml", "data: {name: \"a\0b\"}".to_string(), "null.yaml"),
        ("tagged.yaml", "data: !x {name: digits}".to_string(), "tagged.yaml"),
        ("merge.yaml", "<<: {epochs: 1}\ndata: {name: digits}".to_string(), "merge.yaml"),
        ("twice.yaml", "epochs: 1\nepochs: 2".to_string(), "is not YAML"),
        ("documents.yaml", "epochs: 1\n---\nepochs: 2".to_string(), "is not YAML"),
    ] {
        bench.refuses_file(name, content, &["train", name], 2, sign);
    }
    bench.write("binary.yaml", [0xff, 0xfe, 0, 1, 2]);
    bench.refuses("binary", &["train", "binary.yaml"], 2, &["binary.yaml"]);
    bench.refuses("a folder", &["train", "run_table"], 2, &["run_table"]);
    bench.refuses("nothing", &["train", "nothing.yaml"], 2, &["nothing.yaml: no such file"]);
    for set in [
        "epochs=0",
        "epochs=-1",
        "epochs=1e30",
        "epochs=ten",
        "epochs=",
        "seed=-1",
        "seed=1.5",
        "threads=0",
        "epochs",
        "=1",
        "data",
        "data.name=",
        "model.width=[]x",
        "model.width=0",
        "model.width=-8",
        "model.width=9999999999999999999999",
        "model.hidden_layers=10001",
        "optimizer.learning_rate=nan",
        "optimizer.learning_rate=0",
        "optimizer.betas=[1,1]",
        "loss=l1",
        "kernels=fast",
        "precision=f8",
        "checkpoint.every=0",
        "checkpoint.every=often",
        "checkpoint.keep=0",
        "checkpoint.best=loss",
        "checkpoint.best=test_mae",
        "checkpoint.of=3",
        "early_stop.metric=accuracy",
        "early_stop.patience=0",
        "max_minutes=0",
        "max_minutes=-1",
        "max_minutes=soon",
        "on_nan=ignore",
        "init_from=[1]",
        "schedule.name=fast",
        "diagnostics.every=0",
        "name=a/b",
        "name=..",
        "data.batch_size=0",
    ] {
        let key = set.split('=').next().unwrap();
        bench.refuses(set, &["train", "images.yaml", "--set", set], 2, &[key]);
    }
    for (arguments, code, sign) in [
        (&["tarin", "images.yaml"][..], 2, "tarin"),
        (&["train"], 2, "CONFIG"),
        (&["train", "images.yaml", "--sed", "1"], 2, "--sed"),
        (&["train", "images.yaml", "--seed", "x"], 2, "--seed x"),
        (&["train", "images.yaml", "--device", "gpu"], 2, "--device gpu"),
        (&["train", "images.yaml", "--device", "cuda:99"], 1, "cuda:99"),
        (&["train", "images.yaml", "--run-dir", "run_table"], 1, "run_table: is not empty"),
        (&["train", "images.yaml", "--run-dir", "table.csv"], 1, "table.csv: cannot be created"),
        (
            &["train", "images.yaml", "--run-dir", "table.csv/run"],
            1,
            "table.csv/run: cannot be created",
        ),
        (&["data", "fetch", "mnits"], 2, "mnits"),
        (&["data", "fetch"], 2, "NAME"),
        (&["config", "show"], 2, "CONFIG"),
        (&["config", "show", "nothing"], 2, "nothing: no such file"),
        (&["evaluate"], 2, "MODEL"),
        (&["evaluate", "run_table", "--data", "nothing.yaml"], 2, "nothing.yaml"),
        (&["evaluate", "run_table", "-o", "table.csv"], 1, "table.csv: exists already"),
        (&["evaluate", "run_table", "--data-dir"], 2, "--data-dir"),
        (&["resume"], 2, "RUN_DIR"),
    ] {
        bench.refuses(&arguments.join(" "), arguments, code, &[sign]);
    }
    bench.end(65);
}
