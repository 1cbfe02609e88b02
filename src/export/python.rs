//! Networks as modules of plain PyTorch, and as what `torch.export` makes of them.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Exported;
use crate::files::{self, At};
use crate::model::{self, Model};

/// The package `f3_tch`, of which a module is made that stands alone.
const PREPARATION: &str = include_str!("../../python/f3_tch/preparation.py");
const NETWORK: &str = include_str!("../../python/f3_tch/network.py");

/// What `torch.export` is told; arguments: the module, the weights, the file to write, n_0.
const PROGRAM: &str = "\
import importlib.util, sys
import torch
module, weights, path, inputs = sys.argv[1:]
spec = importlib.util.spec_from_file_location('module', module)
it = importlib.util.module_from_spec(spec)
spec.loader.exec_module(it)
network = it.load(weights)
samples = torch.export.Dim('samples')
program = torch.export.export(network, (torch.zeros(2, int(inputs)),), dynamic_shapes=({0: samples},))
torch.export.save(program, path)
";

/// Writes a module, and its weights beside it as `.safetensors`.
///
/// # Errors
/// If the name is none of a module, if something has one of the two names, or they cannot be written.
pub fn write_module(model: &Model, source: &Path, path: &Path) -> Result<Exported> {
    let name = path.file_stem().and_then(|it| it.to_str()).unwrap_or_default();
    let part = |it: char| it.is_ascii_alphanumeric() || it == '_';
    if name.is_empty()
        || name.starts_with(|it: char| it.is_ascii_digit())
        || !name.chars().all(part)
    {
        bail!(
            "{}: expected a name that Python can import: letters, digits and _, a letter first",
            path.display()
        );
    }
    let weights = path.with_extension("safetensors");
    [path, &weights].into_iter().try_for_each(files::refuse_existing)?;
    files::write_new(&weights, &model::bytes(source)?)?;
    files::write_new(path, text(path).as_bytes())?;
    Ok(about(model))
}

/// Writes an exported program.
///
/// # Errors
/// If there is no Python that can make it, or something has the name.
pub fn write_program(model: &Model, source: &Path, path: &Path) -> Result<Exported> {
    files::refuse_existing(path)?;
    let folder = files::temporary_folder()?;
    let [module, program] = ["module.py", "program.pt2"].map(|name| folder.path().join(name));
    files::write(&module, &text(&module))?;
    let python = env::var_os("F3_PYTHON").unwrap_or_else(|| OsString::from("python3"));
    let mut command = Command::new(&python);
    command.args(["-c", PROGRAM]).arg(&module).arg(source).arg(&program);
    command.arg(model.description().preparation.widths().0.to_string());
    let ended = command.output().with_context(|| {
        let python = python.display();
        format!("`{python}` cannot be started; name a Python that has PyTorch: F3_PYTHON")
    })?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        let reason =
            said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        bail!(
            "`{}` could not export the network: {reason}; .pt2 takes a Python with PyTorch and safetensors, \
             which F3_PYTHON may name",
            python.display()
        );
    }
    files::write_new(path, &fs::read(&program).at(&program, "cannot be read")?)?;
    Ok(about(model))
}

fn about(model: &Model) -> Exported {
    let (inputs, outputs) = model.description().preparation.widths();
    Exported {
        inputs: format!("inputs [N, {inputs}], float32, prepared"),
        outputs: format!("outputs [N, {outputs}], float32"),
    }
}

/// A module that stands alone.
fn text(path: &Path) -> String {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let (open, beside) =
        ("def load(path, ", "def load(path=pathlib.Path(__file__).with_suffix(\".safetensors\"), ");
    let relative = "from .preparation import Inputs, Targets\n";
    let network = without_docstring(NETWORK).replacen(open, beside, 1).replacen(relative, "", 1);
    let head = format!(
        "\"\"\"A network that f3-tch has trained, as a module of PyTorch. It needs PyTorch, NumPy and safetensors,\n\
         and its weights in {name}.safetensors beside it.\n\n    \
         from {name} import load\n\n    \
         network = load()                             # a torch.nn.Module\n    \
         outputs = network(network.prepare(samples))  # or network.predict(samples)\n\"\"\"\n\n"
    );
    [head.as_str(), without_docstring(PREPARATION), "\n\n", network.trim_start()].concat()
}

/// A file of the package without what it says about itself.
fn without_docstring(file: &str) -> &str {
    file.splitn(3, "\"\"\"").last().unwrap_or(file).trim_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_stands_alone() {
        let text = text(Path::new("digits.py"));
        assert!(text.contains("__file__") && !text.contains("from .") && !text.contains("f3_tch."));
    }
}
