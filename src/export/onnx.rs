//! Networks as ONNX graphs, from samples as they are before preparation to answers.
//!
//! Legend: N samples, n_0 inputs, C outputs; m inputs and n outputs of a block; images of r x s pixels with c
//! channels; t tokens of width w, a heads of size d.

use std::path::Path;

use anyhow::Result;
use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::Exported;
use super::onnx_file::{Attribute, Dimension, Graph};
use crate::data::{Coding, Column, Inputs, Scaling, Targets};
use crate::files;
use crate::loss::Loss;
use crate::model::{Description, Model};
use crate::network::{Activation, Architecture, Block, Stage, Vit};

/// Writes a network as an ONNX file.
pub fn write(model: &Model, path: &Path) -> Result<Exported> {
    let about = model.description();
    let mut graph = Graph::default();
    let (mut value, inputs) = prepare(&mut graph, about);
    let blocks: Vec<&dyn Block> = model.blocks().collect();
    match &about.architecture {
        Architecture::Mlp(mlp) => {
            for (index, block) in blocks.iter().enumerate() {
                let is_last = index + 1 == blocks.len();
                let activation = if is_last { mlp.output_activation } else { mlp.activation };
                value = dense(&mut graph, *block, &value, activation);
            }
        }
        Architecture::Cnn(cnn) => {
            let mut image = cnn.image;
            for (index, block) in blocks.iter().enumerate() {
                match cnn.topology.0.get(index) {
                    Some(Stage::Convolution { channels, kernel, pool }) => {
                        let stage = (*kernel, *pool, cnn.activation);
                        value = convolution(&mut graph, *block, &value, image, stage);
                        let side = |side: i64| if *pool { side / 2 } else { side };
                        image = [*channels, side(image[1]), side(image[2])];
                    }
                    Some(Stage::Dense { .. }) => {
                        value = dense(&mut graph, *block, &value, cnn.activation);
                    }
                    None => value = dense(&mut graph, *block, &value, cnn.output_activation),
                }
            }
        }
        Architecture::Vit(vit) => {
            let (transformers, last) = blocks.split_at(vit.blocks as usize);
            for block in transformers {
                value = Transformer { vit, block: *block }.add(&mut graph, &value)?;
            }
            for (block, activation) in last.iter().zip([vit.activation, vit.output_activation]) {
                value = dense(&mut graph, *block, &value, activation);
            }
        }
    }
    let outputs = answer(&mut graph, about, &value);
    let columns = match &about.preparation.inputs {
        Inputs::Table { columns, .. } => columns.iter().map(|it| it.name.as_str()).collect(),
        Inputs::Image { .. } => Vec::new(),
    };
    let names = match &about.preparation.targets {
        Targets::Classes(names) | Targets::Numbers { names, .. } => names,
    };
    let texts = [
        ("inputs", inputs.clone()),
        ("outputs", outputs.clone()),
        ("columns", json!(columns).to_string()),
        ("names", json!(names).to_string()),
    ];
    files::write_new(path, &graph.file("network", &texts)?)?;
    Ok(Exported { inputs, outputs })
}

/// The graph's input, and how it becomes inputs `[N, n_0]`: their name, and what the input is.
fn prepare(graph: &mut Graph, about: &Description) -> (String, String) {
    let samples = Dimension::Open("samples");
    match &about.preparation.inputs {
        Inputs::Image { shape, largest, scaling, unbounded, .. } => {
            let [c, r, s] = *shape;
            let sizes = [samples, Dimension::Of(c), Dimension::Of(r), Dimension::Of(s)];
            graph.input("pixels", Kind::Float, &sizes);
            let all = |constant: fn(&Scaling) -> f64| {
                let values: Vec<f32> = scaling.iter().map(|it| constant(it) as f32).collect();
                Tensor::from_slice(&values).reshape([1, c, 1, 1])
            };
            let range = *largest;
            let largest = graph.constant("largest", &Tensor::from(range as f32));
            let mean = graph.constant("mean", &all(|it| it.mean));
            let deviation = graph.constant("standard_deviation", &all(|it| it.standard_deviation));
            let value = graph.node("Div", &["pixels", &largest], &[]);
            let value = graph.node("Sub", &[&value, &mean], &[]);
            let value = graph.node("Div", &[&value, &deviation], &[]);
            let value = graph.node("Flatten", &[&value], &[]);
            let bounds = if *unbounded { String::new() } else { format!(", 0 to {range}") };
            (value, format!("pixels [N, {c}, {r}, {s}], float32{bounds}"))
        }
        Inputs::Table { columns, .. } if columns.iter().all(|it| it.coding == Coding::Number) => {
            let count = columns.len();
            let kind = about.table.kind;
            graph.input("cells", kind, &[samples, Dimension::Of(count as i64)]);
            let name = if kind == Kind::Float { "float32" } else { "float64" };
            let text = format!("cells [N, {count}], {name}: {}", listed(columns));
            (scale_cells(graph, columns, kind), text)
        }
        Inputs::Table { .. } => {
            let n = about.preparation.widths().0;
            graph.input("inputs", Kind::Float, &[samples, Dimension::Of(n)]);
            let text = format!(
                "inputs [N, {n}], float32, prepared already: columns of names have no place in ONNX's \
                 numbers (`f3_tch.load(…).prepare` prepares them)"
            );
            ("inputs".to_string(), text)
        }
    }
}

/// The columns' names.
fn listed(columns: &[Column]) -> String {
    let names: Vec<&str> = columns.iter().take(20).map(|it| it.name.as_str()).collect();
    if names.len() < columns.len() {
        format!("{}, …", names.join(", "))
    } else {
        names.join(", ")
    }
}

/// Cells `[N, n_0]`, all numbers, filled and scaled in float64 as `prepare` does it.
fn scale_cells(graph: &mut Graph, columns: &[Column], kind: Kind) -> String {
    let row = |values: Vec<f64>| Tensor::from_slice(&values).reshape([1, -1]);
    let mut value = cast(graph, "cells", Kind::Double);
    if columns.iter().any(|it| it.fill.is_some()) {
        // Rounded as a number of the table is.
        let rounded = |fill: f64| if kind == Kind::Float { f64::from(fill as f32) } else { fill };
        let fill = columns.iter().map(|it| rounded(it.fill.unwrap_or(f64::NAN))).collect();
        let fill = graph.constant("fill", &row(fill));
        let missing = graph.node("IsNaN", &[&value], &[]);
        value = graph.node("Where", &[&missing, &fill, &value], &[]);
    }
    let scaling = |it: &Column| it.scaling.first().copied().unwrap_or(Scaling::NONE);
    let mean = row(columns.iter().map(|it| scaling(it).mean).collect());
    let deviation = row(columns.iter().map(|it| scaling(it).standard_deviation).collect());
    let mean = graph.constant("mean", &mean);
    let deviation = graph.constant("standard_deviation", &deviation);
    let value = graph.node("Sub", &[&value, &mean], &[]);
    let value = graph.node("Div", &[&value, &deviation], &[]);
    cast(graph, &value, Kind::Float)
}

/// From the network's outputs to the graph's output; says what it is.
fn answer(graph: &mut Graph, about: &Description, outputs: &str) -> String {
    let (mut value, c) = (outputs.to_string(), about.preparation.widths().1);
    let name = match &about.preparation.targets {
        Targets::Classes(_) => {
            if about.loss == Loss::CrossEntropy {
                value = graph.node("Softmax", &[&value], &[Attribute::Integer("axis", -1)]);
            }
            "scores"
        }
        Targets::Numbers { scaling, .. } => {
            if !scaling.is_empty() {
                let row = |constant: fn(&Scaling) -> f64| {
                    let values: Vec<f64> = scaling.iter().map(constant).collect();
                    Tensor::from_slice(&values).reshape([1, -1])
                };
                let deviation = graph.constant("unit_deviation", &row(|it| it.standard_deviation));
                let mean = graph.constant("unit_mean", &row(|it| it.mean));
                value = cast(graph, &value, Kind::Double);
                value = graph.node("Mul", &[&value, &deviation], &[]);
                value = graph.node("Add", &[&value, &mean], &[]);
                value = cast(graph, &value, Kind::Float);
            }
            "numbers"
        }
    };
    graph.output(name, &value, Kind::Float, &[Dimension::Open("samples"), Dimension::Of(c)]);
    format!("{name} [N, {c}], float32")
}

fn cast(graph: &mut Graph, value: &str, kind: Kind) -> String {
    let number = if kind == Kind::Double { 11 } else { 1 };
    graph.node("Cast", &[value], &[Attribute::Integer("to", number)])
}

/// A parameter of a block, by its name there.
fn parameter(graph: &mut Graph, block: &dyn Block, name: &str) -> Option<String> {
    let tensor = block.parameters().into_iter().find(|(own, _)| *own == name)?.1.shallow_clone();
    Some(graph.constant(name, &tensor))
}

/// A parameter that the block has.
fn required(graph: &mut Graph, block: &dyn Block, name: &str) -> String {
    parameter(graph, block, name).expect("every block of this kind has it")
}

/// σ(x Wᵀ + b): `[N, m]` to `[N, n]`.
fn dense(graph: &mut Graph, block: &dyn Block, x: &str, activation: Activation) -> String {
    let mut inputs = vec![x.to_string(), required(graph, block, "weight")];
    inputs.extend(parameter(graph, block, "bias"));
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let z = graph.node("Gemm", &inputs, &[Attribute::Integer("transB", 1)]);
    activate(graph, activation, &z)
}

/// A convolution that keeps the images' size, activation and, if wanted, pooling: `[N, c·r·s]` to
/// `[N, c'·r'·s']`.
fn convolution(
    graph: &mut Graph,
    block: &dyn Block,
    x: &str,
    [c, r, s]: [i64; 3],
    (kernel, pool, activation): (i64, bool, Activation),
) -> String {
    let image = reshape(graph, x, &[-1, c, r, s]);
    let inputs = [image, required(graph, block, "weight"), required(graph, block, "bias")];
    let pads = [kernel / 2; 4];
    let sizes = [kernel; 2];
    let z = graph.node(
        "Conv",
        &inputs.each_ref().map(String::as_str),
        &[Attribute::Integers("kernel_shape", &sizes), Attribute::Integers("pads", &pads)],
    );
    let mut h = activate(graph, activation, &z);
    if pool {
        let two = [2, 2];
        let attributes =
            [Attribute::Integers("kernel_shape", &two), Attribute::Integers("strides", &two)];
        h = graph.node("MaxPool", &[&h], &attributes);
    }
    graph.node("Flatten", &[&h], &[])
}

fn activate(graph: &mut Graph, activation: Activation, z: &str) -> String {
    match activation {
        Activation::Identity => z.to_string(),
        Activation::Tanh => graph.node("Tanh", &[z], &[]),
        Activation::Relu => graph.node("Relu", &[z], &[]),
        Activation::Sigmoid => graph.node("Sigmoid", &[z], &[]),
        Activation::Gelu => {
            // z Φ(z), with Φ(z) = (1 + erf(z / √2)) / 2
            let mut scalar = |value: f32| graph.constant("number", &Tensor::from(value));
            let (root, one, half) = (scalar(2f32.sqrt()), scalar(1.0), scalar(0.5));
            let erf = graph.node("Div", &[z, &root], &[]);
            let erf = graph.node("Erf", &[&erf], &[]);
            let sum = graph.node("Add", &[&erf, &one], &[]);
            let share = graph.node("Mul", &[&sum, &half], &[]);
            graph.node("Mul", &[z, &share], &[])
        }
    }
}

fn reshape(graph: &mut Graph, x: &str, sizes: &[i64]) -> String {
    let shape = graph.constant("shape", &Tensor::from_slice(sizes));
    graph.node("Reshape", &[x, &shape], &[])
}

fn transpose(graph: &mut Graph, x: &str, order: &[i64]) -> String {
    graph.node("Transpose", &[x], &[Attribute::Integers("perm", order)])
}

/// A transformer block, whose tokens lie side by side in a row: `[N, t·w]` to `[N, t·w]`.
struct Transformer<'a> {
    vit: &'a Vit,
    block: &'a dyn Block,
}

impl Transformer<'_> {
    /// u + MLP(LN(u)) with u = x + Attention(LN(x)).
    fn add(&self, graph: &mut Graph, x: &str) -> Result<String> {
        let Vit { token_width, activation, .. } = *self.vit;
        let t = self.vit.tokens()?;
        let mut x = x.to_string();
        if let Some(weight) = parameter(graph, self.block, "embedding.weight") {
            let patches = self.patches(graph, &x);
            let bias = required(graph, self.block, "embedding.bias");
            let product = [Attribute::Integer("transB", 1)];
            x = graph.node("Gemm", &[&patches, &weight, &bias], &product);
        }
        let x = reshape(graph, &x, &[-1, t, token_width]);
        let normal = self.normalise(graph, "attention_norm", &x);
        let attention = self.attention(graph, &normal);
        let u = graph.node("Add", &[&x, &attention], &[]);
        let normal = self.normalise(graph, "mlp_norm", &u);
        let hidden = self.linear(graph, "expansion", &normal);
        let hidden = activate(graph, activation, &hidden);
        let change = self.linear(graph, "contraction", &hidden);
        let output = graph.node("Add", &[&u, &change], &[]);
        Ok(reshape(graph, &output, &[-1, t * token_width]))
    }

    /// Pixels `[N, c·r·s]` with those of a patch side by side: channels, rows, columns.
    fn patches(&self, graph: &mut Graph, x: &str) -> String {
        let Vit { image: [c, r, s], patch_size: side, .. } = *self.vit;
        let cut = reshape(graph, x, &[-1, c, r / side, side, s / side, side]);
        let patches = transpose(graph, &cut, &[0, 2, 4, 1, 3, 5]);
        reshape(graph, &patches, &[-1, c * r * s])
    }

    /// softmax(Q Kᵀ / √d) V of each head, projected: `[N, t, w]` to `[N, t, w]`.
    fn attention(&self, graph: &mut Graph, x: &str) -> String {
        let Vit { heads, head_size, .. } = *self.vit;
        let mut split = |name: &str, order: &[i64]| {
            let all = self.linear(graph, name, x);
            let heads = reshape(graph, &all, &[0, 0, heads, head_size]);
            transpose(graph, &heads, order)
        };
        let query = split("query", &[0, 2, 1, 3]);
        let key = split("key", &[0, 2, 3, 1]);
        let value = split("value", &[0, 2, 1, 3]);
        let root = graph.constant("root", &Tensor::from((head_size as f32).sqrt()));
        let products = graph.node("MatMul", &[&query, &key], &[]);
        let products = graph.node("Div", &[&products, &root], &[]);
        let shares = graph.node("Softmax", &[&products], &[Attribute::Integer("axis", -1)]);
        let attended = graph.node("MatMul", &[&shares, &value], &[]);
        let attended = transpose(graph, &attended, &[0, 2, 1, 3]);
        let attended = reshape(graph, &attended, &[0, 0, heads * head_size]);
        self.linear(graph, "projection", &attended)
    }

    /// x Wᵀ, plus b if there is one, for each token.
    fn linear(&self, graph: &mut Graph, name: &str, x: &str) -> String {
        let weight = self.tensor(&format!("{name}.weight")).expect("the block has this map");
        let weight = graph.constant(&format!("{name}.weight"), &weight.tr());
        let product = graph.node("MatMul", &[x, &weight], &[]);
        match parameter(graph, self.block, &format!("{name}.bias")) {
            Some(bias) => graph.node("Add", &[&product, &bias], &[]),
            None => product,
        }
    }

    fn normalise(&self, graph: &mut Graph, name: &str, x: &str) -> String {
        let weight = required(graph, self.block, &format!("{name}.weight"));
        let bias = required(graph, self.block, &format!("{name}.bias"));
        let attributes = [Attribute::Integer("axis", -1), Attribute::Float("epsilon", 1e-5)];
        graph.node("LayerNormalization", &[x, &weight, &bias], &attributes)
    }

    fn tensor(&self, name: &str) -> Option<Tensor> {
        let found = self.block.parameters().into_iter().find(|(own, _)| *own == name)?;
        Some(found.1.detach().to_device(Device::Cpu))
    }
}
