//! What is declared about keys: how configurations extend others, the page and the schema made from
//! the declarations, and the defaults of rules.

use std::fs;
use std::path::Path;
use std::process::Command;

use f3_tch::config::{self, Config, Source};
use f3_tch::settings::carried_names;
use serde_json::Value as Json;
use tempfile::TempDir;

const BASE: &str = "
name: base
data: {name: digits, batch_size: 10}
model: {hidden_layers: 1, width: 8}
algorithm: {name: f3, error_info: delayed_loss, feedback_init: {name: constant, scalar: 2}}
optimizer: {name: sgd, learning_rate: 1e-3, momentum: 0.5}
epochs: 3
";

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// What `f3-tch config show` prints about a configuration in a folder.
fn show(folder: &Path, config: &str, sets: &[&str]) -> Result<(Json, String), String> {
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let output = Command::new(env!("CARGO_BIN_EXE_f3-tch"))
        .args(["config", "show", config])
        .args(sets)
        .current_dir(folder)
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    match output.status.code() {
        Some(0) => Ok((serde_yaml::from_slice(&output.stdout).unwrap(), error)),
        Some(2) => Err(error),
        other => panic!("{other:?}: {error}"),
    }
}

fn read(text: &str) -> (Config, Vec<String>) {
    Config::read(&Source::parse("test.yaml", text).unwrap()).unwrap()
}

#[test]
fn extending_configuration_says_only_what_differs() {
    let files = folder(&[
        ("base.yaml", BASE),
        ("wide.yaml", "extends: base.yaml\nmodel: {width: 16}"),
        ("more/long.yaml", "extends: ../wide\nepochs: 7"),
    ]);
    let (base, _) = show(files.path(), "base.yaml", &[]).unwrap();
    let (long, _) = show(files.path(), "more/long.yaml", &[]).unwrap();
    let mut expected = base.clone();
    expected["name"] = "long".into(); // that of the base is not taken
    expected["model"]["width"] = 16.into();
    expected["epochs"] = 7.into();
    assert_eq!(long, expected);
    assert!(long.get("extends").is_none());
}

#[test]
fn base_is_looked_for_beside_the_file_then_as_given_then_among_the_carried() {
    let files = folder(&[
        ("a/one.yaml", "extends: mnist\nepochs: 1"),
        ("a/two.yaml", "extends: b/base.yaml\nepochs: 1"),
        ("b/base.yaml", BASE),
        ("mnist.yaml", "extends: mnist\nepochs: 5"), // the carried one, not itself
        ("c/mnist.yaml", BASE),
        ("c/three.yaml", "extends: mnist"),
    ]);
    let width = |config: &str| show(files.path(), config, &[]).unwrap().0["model"]["width"].clone();
    assert_eq!(width("a/one.yaml"), 500);
    assert_eq!(width("a/two.yaml"), 8);
    assert_eq!(width("mnist.yaml"), 500);
    assert_eq!(width("c/three.yaml"), 8);
}

#[test]
fn another_choice_leaves_out_the_keys_of_the_base() {
    let files = folder(&[
        ("base.yaml", BASE),
        ("bp.yaml", "extends: base\nalgorithm: {name: bp}\noptimizer: {name: adam}"),
        ("wrong.yaml", "extends: base\nalgorithm: {name: bp, error_info: zeros}"),
        ("deep.yaml", "extends: base\nmodel: {width: [4, 4, 4]}"),
    ]);
    let (bp, notes) = show(files.path(), "bp.yaml", &[]).unwrap();
    assert_eq!(bp["algorithm"], serde_json::json!({"name": "bp"}));
    assert!(bp["optimizer"].get("momentum").is_none() && notes.is_empty(), "{notes}");
    let error = show(files.path(), "wrong.yaml", &[]).unwrap_err();
    assert!(error.contains("wrong.yaml, line 2: unknown key `algorithm.error_info`"), "{error}");
    let (deep, notes) = show(files.path(), "deep.yaml", &[]).unwrap();
    assert!(deep["model"]["hidden_layers"] == 3 && notes.is_empty(), "{notes}");
    // What a `--set` leaves out is said.
    let (_, notes) = show(files.path(), "bp.yaml", &["optimizer.name=sgd"]).unwrap();
    assert!(notes.is_empty(), "{notes}");
    let (_, notes) = show(files.path(), "deep.yaml", &["algorithm.name=llo"]).unwrap();
    assert!(notes.contains("`algorithm.error_info` does not apply"), "{notes}");
}

#[test]
fn complaints_name_the_file_that_is_wrong() {
    let files = folder(&[
        ("base.yaml", &BASE.replace("width: 8", "width: 0")),
        ("top.yaml", "extends: base\nepochs: 1"),
        ("typo.yaml", "extends: mnist\nepoch: 1"),
        ("lost.yaml", "extends: mnits"),
        ("list.yaml", "extends: [mnist]"),
        ("x/a.yaml", "extends: b"),
        ("x/b.yaml", "extends: ../x/a"),
        ("self.yaml", "extends: self.yaml"),
    ]);
    for (config, sets, expected) in [
        ("top.yaml", vec![], "error: base.yaml, line 4: `model.width` is `0`"),
        ("top.yaml", vec!["model.width=-1"], "error: --set model.width=-1: `model.width` is `-1`"),
        (
            "typo.yaml",
            vec![],
            "error: typo.yaml, line 2: unknown key `epoch` (did you mean `epochs`?)",
        ),
        ("lost.yaml", vec![], "error: lost.yaml: `extends` is `mnits`; expected a file, or a conf"),
        ("list.yaml", vec![], "error: list.yaml: `extends` is `[mnist]`; expected the path"),
        ("x/a.yaml", vec![], "x/a.yaml extends x/b.yaml extends x/../x/a.yaml"),
        ("self.yaml", vec![], "self.yaml extends self.yaml"),
        ("top.yaml", vec!["extends=mnist"], "--set extends=mnist: `extends` can only stand in a"),
    ] {
        let error = show(files.path(), config, &sets).unwrap_err();
        assert!(error.contains(expected) && error.lines().count() == 1, "{config}: {error}");
    }
}

/// `F3_BLESS=1` writes the page.
#[test]
fn documentation_is_that_of_the_declarations() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    if std::env::var_os("F3_BLESS").is_some() {
        fs::write(path, config::reference()).unwrap();
    }
    let written = fs::read_to_string(path).unwrap();
    let remedy = "F3_BLESS=1 cargo test --test configurations writes docs/configuration.md anew";
    assert!(written == config::reference(), "{remedy}");
}

#[test]
fn every_key_has_a_meaning() {
    for key in config::keys() {
        assert!(!key.summary().is_empty(), "{}", key.path);
        assert!(!key.summary().contains("  "), "{}", key.path);
    }
    for name in carried_names() {
        let (config, _) = Config::read(&Source::open(name).unwrap()).unwrap();
        for line in config.to_yaml().lines() {
            assert!(line.ends_with(':') || line.contains("  # "), "{name}: {line}");
        }
    }
}

/// The names of a choice, in complaints and in the schema, are those of the enum.
#[test]
fn names_are_those_of_the_enum() {
    use f3_tch::error_info::ErrorInfo;
    use f3_tch::settings::Named;
    let names: Vec<&str> = ErrorInfo::NAMES.iter().map(|(name, _)| *name).collect();
    let schema = config::schema();
    let error_info = &schema["properties"]["algorithm"]["properties"]["error_info"]["enum"];
    assert_eq!(*error_info, serde_json::json!(names));
    let wrong = BASE.replace("delayed_loss", "delayed_lost");
    let error = Config::read(&Source::parse("wrong.yaml", &wrong).unwrap()).unwrap_err();
    let expected = format!("one of {} (did you mean `delayed_loss`?)", names.join(", "));
    assert!(error.to_string().ends_with(&expected), "{error}");
}

#[test]
fn configurations_satisfy_the_schema() {
    let schema = config::schema();
    let rules = [
        "algorithm: {name: pepita}",
        "algorithm: {name: fa}\noptimizer: {schedule: {name: cosine}}",
        "optimizer: {name: sgd, schedule: {name: exponential, warmup_epochs: 2}}",
        "model: {width: [5, 6]}\nschedule: {name: pipelined, devices: [cpu, cuda:1]}",
        "data: {validation_samples: 10}\ncheckpoint: {best: validation_loss}\nmax_minutes: 0.5",
    ];
    let texts = rules.map(|rule| Source::parse("x.yaml", &format!("extends: mnist\n{rule}")));
    let sources = carried_names().into_iter().map(Source::open).chain(texts);
    for source in sources {
        let (config, _) = Config::read(&source.unwrap()).unwrap();
        let value: Json = serde_yaml::from_str(&config.to_yaml()).unwrap();
        assert_eq!(violation(&value, &schema), None, "{}", config.to_yaml());
    }
    let folder = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/configs")).unwrap();
    for path in folder.map(|file| file.unwrap().path()) {
        let value: Json = serde_yaml::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(violation(&value, &schema), None, "{}", path.display());
    }
    for wrong in [
        "epoch: 1",
        "epochs: 0",
        "epochs: 1.5",
        "model: {widht: 3}",
        "model: {width: [0]}",
        "model: 3",
        "optimizer: {learning_rate: 0}",
        "optimizer: {betas: [0.9]}",
        "algorithm: {name: f4}",
        "data: {train_samples: 0}",
        "device: gpu",
        "extends: 3",
    ] {
        let value: Json = serde_yaml::from_str(wrong).unwrap();
        assert!(violation(&value, &schema).is_some(), "{wrong}");
    }
}

/// Why a value does not satisfy a schema, in the words of JSON Schema that ours uses.
fn violation(value: &Json, schema: &Json) -> Option<String> {
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        other => panic!("type {other}"),
    };
    let length = value.as_array().map(|items| items.len() as f64);
    for (word, limit) in schema.as_object().unwrap() {
        let number = |holds: fn(f64, f64) -> bool, value: Option<f64>| {
            value.is_none_or(|value| holds(value, limit.as_f64().unwrap()))
        };
        let holds = match word.as_str() {
            "$schema" | "title" | "description" | "default" | "deprecated" => true,
            "type" => match limit.as_array() {
                Some(types) => types.iter().any(|name| is(name.as_str().unwrap())),
                None => is(limit.as_str().unwrap()),
            },
            "enum" => limit.as_array().unwrap().contains(value),
            "anyOf" => {
                limit.as_array().unwrap().iter().any(|schema| violation(value, schema).is_none())
            }
            "minimum" => number(|value, limit| value >= limit, value.as_f64()),
            "maximum" => number(|value, limit| value <= limit, value.as_f64()),
            "exclusiveMinimum" => number(|value, limit| value > limit, value.as_f64()),
            "exclusiveMaximum" => number(|value, limit| value < limit, value.as_f64()),
            "minItems" => number(|value, limit| value >= limit, length),
            "maxItems" => number(|value, limit| value <= limit, length),
            "pattern" => {
                let device = |name: &str| {
                    let index = name.strip_prefix("cuda:").map(|it| it.parse::<u32>().is_ok());
                    index.unwrap_or(["auto", "cpu", "cuda"].contains(&name))
                };
                value.as_str().is_none_or(device)
            }
            "items" => {
                let items = value.as_array().into_iter().flatten();
                items.into_iter().all(|item| violation(item, limit).is_none())
            }
            "properties" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    let below = limit.get(key).and_then(|schema| violation(value, schema));
                    if let Some(below) = below {
                        return Some(format!("{key}: {below}"));
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object().unwrap();
                value.as_object().into_iter().flatten().all(|(key, _)| known.contains_key(key))
            }
            other => panic!("word {other}"),
        };
        if !holds {
            return Some(format!("{value}: {word}: {limit}"));
        }
    }
    None
}

/// What a rule's own defaults are, and what they give way to.
#[test]
fn pepitas_defaults_lie_beneath_the_file() {
    let shown = |rest: &str| -> Json {
        let text = format!("algorithm: {{name: pepita}}\n{rest}");
        serde_json::to_value(read(&text).0).unwrap()
    };
    let config = shown("data: {name: mnist}");
    let (data, model, optimizer) = (&config["data"], &config["model"], &config["optimizer"]);
    assert!(data["standardize"] == false && data["batch_size"] == 64);
    assert!(model["width"] == 1024 && model["activation"] == "relu");
    assert!(config["loss"] == "cross_entropy");
    assert!(optimizer["name"] == "sgd" && optimizer["learning_rate"] == 0.1);
    assert!(optimizer["momentum"] == 0.9 && optimizer["classical_momentum"] == true);
    let milestones = serde_json::json!([60, 90]);
    assert_eq!(optimizer["schedule"]["milestones"], milestones);

    // `digits` has no `standardize`, and adam no momentum.
    let config = shown("data: {name: digits}\noptimizer: {name: adam}");
    assert!(config["data"].get("standardize").is_none());
    let optimizer = &config["optimizer"];
    assert!(optimizer["learning_rate"] == 0.1 && optimizer.get("momentum").is_none());
    assert_eq!(optimizer["schedule"]["milestones"], milestones);

    for (given, key, expected) in [
        ("learning_rate: 0.2", "/schedule/name", "constant".into()),
        ("schedule: {name: constant}", "/schedule/name", "constant".into()),
        ("schedule: {name: multi_step}", "/schedule/milestones", milestones),
        ("nesterov: true", "/classical_momentum", false.into()),
        ("momentum: 0", "/classical_momentum", false.into()),
        ("momentum: 0.5", "/classical_momentum", true.into()),
    ] {
        let config = shown(&format!("data: {{name: digits}}\noptimizer: {{{given}}}"));
        assert_eq!(*config["optimizer"].pointer(key).unwrap(), expected, "{given}");
    }
}

#[test]
fn former_names_are_accepted_with_a_note() {
    let with = |schedule: &str| {
        BASE.replace("momentum: 0.5", &format!("schedule: {{name: step, {schedule}}}"))
    };
    let (now, notes) = read(&with("period: 3"));
    assert!(notes.is_empty(), "{notes:?}");
    let (then, notes) = read(&with("step_size: 3"));
    assert_eq!(now.to_yaml(), then.to_yaml());
    let expected = "`optimizer.schedule.step_size` is now called `optimizer.schedule.period`";
    assert_eq!(notes, [expected]);

    let both = Source::parse("both.yaml", &with("step_size: 3, period: 4")).unwrap();
    let error = Config::read(&both).unwrap_err().to_string();
    assert!(error.contains("`optimizer.schedule.step_size` is `3`"), "{error}");
    let mut set = Source::parse("old.yaml", &with("step_size: 5")).unwrap();
    set.set("optimizer.schedule.period=3").unwrap();
    let optimizer = |config: &Config| serde_json::to_value(&config.optimizer).unwrap();
    assert_eq!(optimizer(&Config::read(&set).unwrap().0), optimizer(&now));
}

#[test]
fn validation_metrics_need_a_validation_set() {
    let refused = |rest: &str| {
        let text = BASE.replace("batch_size: 10", &format!("batch_size: 10, {rest}"));
        let source = Source::parse("x.yaml", &format!("{text}checkpoint: {{best: validation_f1}}"));
        Config::read(&source.unwrap())
    };
    let error = refused("validation_fraction: 0").unwrap_err().to_string();
    assert!(error.contains("`checkpoint.best` is `validation_f1`"), "{error}");
    assert!(error.contains("set `data.validation_fraction` or"), "{error}");
    for (given, fraction, samples) in
        [("validation_fraction: 0.1", 0.1, None), ("validation_samples: 20", 0.0, Some(20))]
    {
        let (config, notes) = refused(given).unwrap();
        let data = &config.data;
        assert_eq!((data.validation_fraction, data.validation_samples), (fraction, samples));
        assert!(notes.is_empty(), "{notes:?}");
    }
    for wrong in [
        "validation_fraction: 1",
        "validation_fraction: -0.1",
        "validation_samples: 0",
        "validation_fraction: 0.1, validation_samples: 20",
    ] {
        let error = refused(wrong).unwrap_err().to_string();
        assert!(error.contains("`data.validation_"), "{wrong}: {error}");
    }
    let (_, notes) = read(&format!("{BASE}early_stop: {{metric: test_loss}}"));
    assert!(notes.len() == 1 && notes[0].contains("the test set chooses the epoch"), "{notes:?}");
}

fn completions(shell: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_f3-tch"));
    String::from_utf8(command.args(["completions", shell]).output().unwrap().stdout).unwrap()
}

#[test]
fn shells_complete_the_keys_of_set() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = completions(shell);
        let keys = ["optimizer.schedule.period=", "data.batch_size="];
        let keys = keys.iter().filter(|_| !["elvish", "powershell"].contains(&shell));
        for word in keys.chain(&["resume", "seed"]) {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn bash_completes_keys_and_commands() {
    let folder = folder(&[("script", &completions("bash"))]);
    for (line, expected) in [
        ("f3-tch train mnist --set optimizer.schedule.p", "optimizer.schedule.period="),
        ("f3-tch config show mnist --set data.validation_f", "data.validation_fraction="),
        ("f3-tch config sch", "schema"),
        ("f3-tch res", "resume"),
    ] {
        let complete = "source ./script; COMP_WORDS=($LINE); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); \
                        function=$(complete -p f3-tch | sed 's/.*-F \\([^ ]*\\).*/\\1/'); \
                        $function f3-tch ${COMP_WORDS[-1]} ${COMP_WORDS[-2]}; echo ${COMPREPLY[*]}";
        let mut bash = Command::new("bash");
        let Ok(output) =
            bash.args(["-c", complete]).env("LINE", line).current_dir(folder.path()).output()
        else {
            eprintln!("left out: there is no bash");
            return;
        };
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected, "{line}");
    }
}
