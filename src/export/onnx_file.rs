//! The messages of an ONNX file, as far as they are needed; the numbers of their fields are those of
//! `onnx.proto`.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use protobuf::CodedOutputStream;
use tch::{Device, Kind, Tensor};

/// Version of the format, and of the set of operators.
const IR_VERSION: i64 = 8;
const OPERATORS: i64 = 17;

/// No message of protobuf may be longer.
const MOST_BYTES: usize = i32::MAX as usize;

/// A message that is being put together.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn integer(self, field: u32, value: i64) -> Message {
        self.with(|out| out.write_int64(field, value))
    }

    fn float(self, field: u32, value: f32) -> Message {
        self.with(|out| out.write_float(field, value))
    }

    fn text(self, field: u32, value: &str) -> Message {
        self.with(|out| out.write_string(field, value))
    }

    fn bytes(self, field: u32, value: &[u8]) -> Message {
        self.with(|out| out.write_bytes(field, value))
    }

    fn message(self, field: u32, value: Message) -> Message {
        self.bytes(field, &value.0) // they are written alike
    }

    fn each<T>(self, values: &[T], add: impl Fn(Message, &T) -> Message) -> Message {
        values.iter().fold(self, add)
    }

    fn with(
        mut self,
        write: impl FnOnce(&mut CodedOutputStream) -> protobuf::ProtobufResult<()>,
    ) -> Message {
        let mut out = CodedOutputStream::vec(&mut self.0);
        write(&mut out).and_then(|()| out.flush()).expect("there is memory for the message");
        drop(out);
        self
    }
}

/// An attribute of a node.
pub enum Attribute<'a> {
    Integer(&'a str, i64),
    Integers(&'a str, &'a [i64]),
    Float(&'a str, f32),
}

impl Attribute<'_> {
    fn message(&self) -> Message {
        let new = |name: &str, kind: i64| Message::default().text(1, name).integer(20, kind);
        match self {
            Attribute::Float(name, value) => new(name, 1).float(2, *value),
            Attribute::Integer(name, value) => new(name, 2).integer(3, *value),
            Attribute::Integers(name, values) => {
                new(name, 7).each(values, |it, value| it.integer(8, *value))
            }
        }
    }
}

/// The kind of a tensor's numbers.
fn kind_number(kind: Kind) -> i64 {
    match kind {
        Kind::Float => 1,
        Kind::Int64 => 7,
        Kind::Double => 11,
        other => unreachable!("no tensor of a network is {other:?}"),
    }
}

/// A dimension: a size, or what it is called where it is open.
pub enum Dimension {
    Of(i64),
    Open(&'static str),
}

/// A graph that is being put together. Values are known by their names.
#[derive(Default)]
pub struct Graph {
    nodes: Vec<Message>,
    constants: Vec<Message>,
    inputs: Vec<Message>,
    outputs: Vec<Message>,
    counts: BTreeMap<String, usize>,
}

impl Graph {
    /// Adds an operation with one output; gives its name.
    pub fn node(&mut self, operator: &str, inputs: &[&str], attributes: &[Attribute]) -> String {
        let output = self.new_name(&operator.to_lowercase());
        let node = Message::default()
            .each(inputs, |it, input| it.text(1, input))
            .text(2, &output)
            .text(3, &output)
            .text(4, operator)
            .each(attributes, |it, attribute| it.message(5, attribute.message()));
        self.nodes.push(node);
        output
    }

    /// Adds a constant; gives its name.
    pub fn constant(&mut self, name: &str, tensor: &Tensor) -> String {
        let name = self.new_name(name);
        let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
        let mut bytes = vec![0u8; tensor.numel() * tensor.kind().elt_size_in_bytes()];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        let message = Message::default()
            .each(&tensor.size(), |it, size| it.integer(1, *size))
            .integer(2, kind_number(tensor.kind()))
            .text(8, &name)
            .bytes(9, &bytes);
        self.constants.push(message);
        name
    }

    /// Adds an input of the graph.
    pub fn input(&mut self, name: &str, kind: Kind, sizes: &[Dimension]) {
        self.inputs.push(value(name, kind, sizes));
    }

    /// Adds an output of the graph: a value, under a name of its own.
    pub fn output(&mut self, name: &str, of: &str, kind: Kind, sizes: &[Dimension]) {
        let node = Message::default().text(1, of).text(2, name).text(3, name).text(4, "Identity");
        self.nodes.push(node);
        self.outputs.push(value(name, kind, sizes));
    }

    /// The whole file; `about` are texts that it carries.
    ///
    /// # Errors
    /// If it is too long for the format.
    pub fn file(self, name: &str, about: &[(&str, String)]) -> Result<Vec<u8>> {
        let field = |number: u32| move |it: Message, value: &Message| it.bytes(number, &value.0);
        let graph = Message::default()
            .each(&self.nodes, field(1))
            .text(2, name)
            .each(&self.constants, field(5))
            .each(&self.inputs, field(11))
            .each(&self.outputs, field(12));
        if graph.0.len() > MOST_BYTES - (1 << 20) {
            bail!("an ONNX file holds up to 2 GiB, and the network is larger");
        }
        let operators = Message::default().text(1, "").integer(2, OPERATORS);
        let model = Message::default()
            .integer(1, IR_VERSION)
            .text(2, "f3-tch")
            .text(3, env!("CARGO_PKG_VERSION"))
            .message(7, graph)
            .message(8, operators)
            .each(about, |it, (key, text)| {
                it.message(14, Message::default().text(1, key).text(2, text))
            });
        Ok(model.0)
    }

    /// A name that nothing has yet.
    fn new_name(&mut self, name: &str) -> String {
        let count = self.counts.entry(name.to_string()).or_default();
        *count += 1;
        if *count == 1 { name.to_string() } else { format!("{name}_{count}") }
    }
}

/// What an input or output is.
fn value(name: &str, kind: Kind, sizes: &[Dimension]) -> Message {
    let shape = Message::default().each(sizes, |it, size| {
        it.message(
            1,
            match size {
                Dimension::Of(size) => Message::default().integer(1, *size),
                Dimension::Open(name) => Message::default().text(2, name),
            },
        )
    });
    let tensor = Message::default().integer(1, kind_number(kind)).message(2, shape);
    Message::default().text(1, name).message(2, Message::default().message(1, tensor))
}
