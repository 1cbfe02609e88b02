//! Trains neural networks without backpropagation, and beside their rivals, on libtorch.
//!
//! F³ ("Feed-Forward with delayed Feedback", Flügel et al., ICONIP 2024) trains a feed-forward
//! network in a single forward pass: hidden layer i steps along `e · B_i`, a fixed random matrix
//! times the error that *this sample* had in the *previous epoch*. There is no transport of
//! weights, no update locking, and no activation is stored.
//!
//! Where to look first:
//! - [`trainer::FeedbackTrainer`] is the algorithm, [`layers::Layer::learn`] its inner step.
//! - [`error_info::ErrorInfo`] holds its variants (F³, DFA, DRTP), with all conventions of sign
//!   and scale; [`error_store::ErrorStore`] the errors of the previous epoch, [`prediction`] what they
//!   have become since.
//! - [`network::Block`] is what one feedback matrix teaches; write your own, or use those there.
//! - [`schedule::Schedule`] is the order in which layers and batches take their turns.
//! - [`feedback::FeedbackInit`] makes the matrices B_i.
//! - [`assemble`] turns a [`config::Config`] into these parts; [`run::Run`] trains with them, in a folder
//!   or without one.
//!
//! ```
//! # fn main() -> anyhow::Result<()> {
//! use f3_tch::config::{Config, Source};
//! use f3_tch::data::DataDirectory;
//! use f3_tch::run::Run;
//! use f3_tch::tch::Device;
//!
//! let mut source = Source::open("digits")?; // one that the library carries; a path is one of your own
//! source.set("epochs=2")?;
//! let (config, _) = Config::read(&source)?;
//! let data = config.data.set.load(&DataDirectory::locate(None), Device::Cpu, &mut |_| {})?;
//! let mut run = Run::new(&config, data)?;
//! run.train(&mut ())?;
//! let last = run.state.history.last().expect("there are epochs");
//! println!("test accuracy {:?} %", last.value("test_accuracy"));
//! # Ok(())
//! # }
//! ```
//!
//! Everywhere: N samples in the training set, b batch, C outputs, K layers (K-1 hidden and the
//! output layer), n_i width of layer i.

pub mod activation;
pub mod assemble;
mod batches;
pub mod config;
pub mod data;
pub mod device;
pub mod diagnostics;
pub mod engine;
pub mod error_info;
pub mod error_store;
pub mod export;
pub mod feedback;
pub mod files;
pub mod generator;
pub mod layers;
pub mod learning_rate;
pub mod loss;
mod machine;
pub mod messages;
pub mod metrics;
pub mod model;
mod native;
pub mod network;
pub mod offload;
pub mod optimizer;
pub mod prediction;
mod process;
pub mod report;
pub mod run;
pub mod schedule;
pub mod settings;
pub mod sinks;
pub mod sweep;
mod tensor_file;
pub mod trainer;

pub use generator::Generator;
/// The binding to libtorch whose tensors this library takes and gives.
pub use tch;

pub use native::{has_bfloat16, instruction_set, instruction_sets, kernels_are_fast};
pub use native::{keep_freed_memory, libtorch_version};
pub use process::libtorch_panics_as_errors;

/// The version of this library and program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
