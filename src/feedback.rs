//! Feedback matrices: the fixed random B_i that carries the output's error to hidden layer i.
//!
//! Legend: C outputs, n width of the hidden layer; B `[C, n]`.

use anyhow::Result;
use serde_json::json;
use tch::{Device, Kind, Tensor};

use crate::generator::Generator;
use crate::settings::domain::{any, number};
use crate::settings::{Domain, Refusal, section};

section! {
    /// How a feedback matrix B `[C, n]` is made; it is never trained.
    pub enum FeedbackInit = "kaiming_uniform" {
        /// i.i.d. U(-1/√n, 1/√n).
        KaimingUniform = "kaiming_uniform",
        /// `scalar` times an i.i.d. uniform choice among `values`: [-1, 0, 1] is the paper's
        /// trinomial, [0, 1] its binomial feedback.
        DiscreteUniform = "discrete_uniform" {
            /// Factor of every element.
            scalar: f64 = 1.0, factor();
            /// Numbers to choose from, or to combine.
            values: Vec<f64>, numbers();
        },
        /// `scalar` times [I, -I, I, …] along the width, cut at n: the paper's ±I.
        IdentityRepeatPm = "identity_repeat_pm" {
            /// Factor of every element.
            scalar: f64 = 1.0, factor();
        },
        /// `scalar` times [I, I, …] along the width, cut at n.
        IdentityRepeat = "identity_repeat" {
            /// Factor of every element.
            scalar: f64 = 1.0, factor();
        },
        /// `scalar` on the main diagonal, 0 elsewhere.
        IdentityFillZero = "identity_fill_zero" {
            /// Factor of every element.
            scalar: f64 = 1.0, factor();
        },
        /// `scalar` everywhere.
        Constant = "constant" {
            /// Factor of every element.
            scalar: f64 = 1.0, factor();
        },
        /// `scalar` everywhere, with the columns 0, 2, 4, … negated.
        AlternateNegative = "alternate_negative" {
            /// Factor of every element.
            scalar: f64 = 1.0, factor();
        },
        /// `scalar` everywhere, with the second half of the columns (from n/2, rounded down) negated.
        ChunkedNegative = "chunked_negative" {
            /// Factor of every element.
            scalar: f64 = 1.0, factor();
        },
        /// `scalar` times all combinations of C `values`, one a column: n must be |values|^C.
        CartesianProduct = "cartesian_product" {
            /// Factor of every element.
            scalar: f64 = 1.0, factor();
            /// Numbers to choose from, or to combine.
            values: Vec<f64>, numbers();
        },
        /// One column drawn from U(-1, 1), repeated n times.
        KaimingUniformRepeatLine = "kaiming_uniform_repeat_line",
    }
}

fn factor() -> Domain<f64> {
    number("a number other than 0", ..).only(|factor| *factor != 0.0)
}

fn numbers() -> Domain<Vec<f64>> {
    let schema = json!({"type": "array", "items": {"type": "number"}, "minItems": 2});
    any("a list of at least two finite numbers, such as [-1, 0, 1]", schema)
        .only(|values: &Vec<f64>| values.len() >= 2 && values.iter().all(|value| value.is_finite()))
}

impl FeedbackInit {
    /// Refuses a width n for which this matrix does not exist, with the reason.
    pub fn check(&self, outputs: i64, width: i64) -> Result<(), String> {
        let FeedbackInit::CartesianProduct { values, .. } = self else {
            return Ok(());
        };
        let count = values.len() as u64;
        let what = format!("`cartesian_product` of {count} values over {outputs} outputs has");
        match u32::try_from(outputs).ok().and_then(|outputs| count.checked_pow(outputs)) {
            Some(columns) if columns == width.cast_unsigned() => Ok(()),
            Some(columns) => Err(format!(
                "{what} {columns} columns, so every hidden layer must have width {columns}, not {width}"
            )),
            None => Err(format!("{what} too many columns")),
        }
    }

    /// Makes B `[C, n]` on the CPU; of all kinds only three draw from the generator.
    pub fn build(&self, outputs: i64, width: i64, generator: &mut Generator) -> Result<Tensor> {
        self.check(outputs, width).map_err(|reason| {
            let expected = format!("one that has such a matrix: {reason}");
            Refusal::new("algorithm.feedback_init.name", "cartesian_product", expected)
        })?;
        let float = (Kind::Float, Device::Cpu);
        let shape = [outputs, width];
        let identities = |second: f64| {
            let identity = Tensor::f_eye(outputs, float)?;
            let blocks: Vec<Tensor> = (0..(width + outputs - 1) / outputs)
                .map(|block| &identity * if block % 2 == 0 { 1.0 } else { second })
                .collect();
            Tensor::f_cat(&blocks, 1)?.f_narrow(1, 0, width)
        };
        Ok(match self {
            FeedbackInit::KaimingUniform => {
                let bound = 1.0 / (width as f64).sqrt();
                generator.uniform(&shape, -bound, bound)?
            }
            FeedbackInit::DiscreteUniform { scalar, values } => {
                let choice = generator.integers(&shape, values.len() as i64)?;
                let chosen = Tensor::from_slice(values)
                    .to_kind(Kind::Float)
                    .index_select(0, &choice.flatten(0, -1));
                chosen.reshape(shape) * *scalar
            }
            FeedbackInit::IdentityRepeatPm { scalar } => identities(-1.0)? * *scalar,
            FeedbackInit::IdentityRepeat { scalar } => identities(1.0)? * *scalar,
            FeedbackInit::IdentityFillZero { scalar } => {
                Tensor::f_eye_m(outputs, width, float)? * *scalar
            }
            FeedbackInit::Constant { scalar } => Tensor::f_full(shape, *scalar, float)?,
            FeedbackInit::AlternateNegative { scalar } => {
                let matrix = Tensor::f_full(shape, *scalar, float)?;
                let _ = matrix.slice(1, 0, width, 2).neg_();
                matrix
            }
            FeedbackInit::ChunkedNegative { scalar } => {
                let matrix = Tensor::f_full(shape, *scalar, float)?;
                let _ = matrix.narrow(1, width / 2, width - width / 2).neg_();
                matrix
            }
            FeedbackInit::CartesianProduct { scalar, values } => {
                combinations(values, outputs, width) * *scalar
            }
            FeedbackInit::KaimingUniformRepeatLine => {
                generator.uniform(&[outputs, 1], -1.0, 1.0)?.repeat([1, width])
            }
        })
    }
}

/// All combinations of `outputs` values, one a column; the last row changes fastest.
fn combinations(values: &[f64], outputs: i64, width: i64) -> Tensor {
    let count = values.len() as i64;
    let rows: Vec<Tensor> = (0..outputs)
        .map(|row| {
            let period = count.pow((outputs - 1 - row) as u32);
            let row: Vec<f32> = (0..width)
                .map(|column| values[(column / period % count) as usize] as f32)
                .collect();
            Tensor::from_slice(&row)
        })
        .collect();
    Tensor::stack(&rows, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(init: FeedbackInit, outputs: i64, width: i64) -> Vec<Vec<f64>> {
        let mut generator = Generator::new(1).unwrap();
        let matrix = init.build(outputs, width, &mut generator).unwrap();
        assert_eq!(matrix.kind(), Kind::Float);
        Vec::try_from(matrix).unwrap()
    }

    #[test]
    fn deterministic_matrices_are_as_documented() {
        let scalar = 2.0;
        let (two, minus) = (2.0, -2.0);
        assert_eq!(
            rows(FeedbackInit::IdentityRepeatPm { scalar }, 2, 5),
            [[two, 0., minus, 0., two], [0., two, 0., minus, 0.]]
        );
        assert_eq!(
            rows(FeedbackInit::IdentityRepeat { scalar }, 2, 3),
            [[two, 0., two], [0., two, 0.]]
        );
        assert_eq!(
            rows(FeedbackInit::IdentityFillZero { scalar }, 2, 3),
            [[two, 0., 0.], [0., two, 0.]]
        );
        assert_eq!(rows(FeedbackInit::Constant { scalar }, 1, 2), [[two, two]]);
        assert_eq!(rows(FeedbackInit::AlternateNegative { scalar }, 1, 3), [[minus, two, minus]]);
        assert_eq!(rows(FeedbackInit::ChunkedNegative { scalar }, 1, 3), [[two, minus, minus]]);
        let values = vec![-1.0, 1.0];
        assert_eq!(
            rows(FeedbackInit::CartesianProduct { scalar, values }, 2, 4),
            [[minus, minus, two, two], [minus, two, minus, two]]
        );
    }

    #[test]
    fn cartesian_product_refuses_another_width() {
        let init = FeedbackInit::CartesianProduct { scalar: 1.0, values: vec![0.0, 1.0, 2.0] };
        assert!(init.check(2, 9).is_ok());
        let error = init.check(2, 8).unwrap_err().to_string();
        assert!(error.contains("width 9, not 8"), "{error}");
        assert!(init.check(1000, 8).is_err());
    }
}
