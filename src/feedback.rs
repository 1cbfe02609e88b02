//! Feedback matrices: the fixed random B_i that carries the output's error to hidden layer i.
//!
//! Legend: C outputs, n width of the hidden layer; B `[C, n]`.

use anyhow::Result;
use serde_json::json;
use tch::{Kind, Tensor};

use crate::generator::Generator;
use crate::settings::domain::{any, number};
use crate::settings::{Domain, Refusal, section};

section! {
    /// How a feedback matrix B `[C, n]` is made; it is never trained.
    ///
    /// ```
    /// # fn main() -> anyhow::Result<()> {
    /// use f3_tch::Generator;
    /// use f3_tch::feedback::FeedbackInit;
    ///
    /// let mut generator = Generator::new(1)?;
    /// let matrix = FeedbackInit::KaimingUniform.build(10, 500, &mut generator)?;
    /// assert_eq!(matrix.size(), [10, 500]);
    /// # Ok(())
    /// # }
    /// ```
    pub enum FeedbackInit = "kaiming_uniform" {
        /// i.i.d. U(-1/√n, 1/√n).
        KaimingUniform = "kaiming_uniform",
        /// `scalar` times an i.i.d. uniform choice among `values`: [-1, 0, 1] is the paper's
        /// trinomial, [0, 1] its binomial feedback.
        DiscreteUniform = "discrete_uniform" (ScaledValues),
        /// `scalar` times [I, -I, I, …] along the width, cut at n: the paper's ±I.
        IdentityRepeatPm = "identity_repeat_pm" (Scaled),
        /// `scalar` times [I, I, …] along the width, cut at n.
        IdentityRepeat = "identity_repeat" (Scaled),
        /// `scalar` on the main diagonal, 0 elsewhere.
        IdentityFillZero = "identity_fill_zero" (Scaled),
        /// `scalar` everywhere.
        Constant = "constant" (Scaled),
        /// `scalar` everywhere, with the columns 0, 2, 4, … negated.
        AlternateNegative = "alternate_negative" (Scaled),
        /// `scalar` everywhere, with the second half of the columns (from n/2, rounded down) negated.
        ChunkedNegative = "chunked_negative" (Scaled),
        /// `scalar` times all combinations of C `values`, one a column: n must be |values|^C.
        CartesianProduct = "cartesian_product" (ScaledValues),
        /// One column drawn from U(-1, 1), repeated n times.
        KaimingUniformRepeatLine = "kaiming_uniform_repeat_line",
    }
}

section! {
    /// A matrix that is known up to a factor.
    #[derive(Copy)]
    pub struct Scaled {
        /// Factor of every element.
        scalar: f64 = 1.0, factor();
    }
}

section! {
    /// A matrix whose elements are some numbers, up to a factor.
    pub struct ScaledValues {
        /// Factor of every element.
        scalar: f64 = 1.0, factor();
        /// Numbers to choose from, or to combine.
        values: Vec<f64>, numbers();
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
        let FeedbackInit::CartesianProduct(ScaledValues { values, .. }) = self else {
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
        let shape = [outputs, width];
        let of_each = |scalar: f64, element: &dyn Fn(i64, i64) -> f64| {
            let row = |row| (0..width).map(move |column| element(row, column) as f32);
            let elements: Vec<f32> = (0..outputs).flat_map(row).collect();
            Tensor::from_slice(&elements).reshape(shape) * scalar
        };
        let sign = |is_negative: bool| if is_negative { -1.0 } else { 1.0 };
        Ok(match self {
            Self::KaimingUniform => {
                let bound = 1.0 / (width as f64).sqrt();
                generator.uniform(&shape, -bound, bound)?
            }
            Self::DiscreteUniform(it) => {
                let choice = generator.integers(&shape, it.values.len() as i64)?;
                let values = Tensor::from_slice(&it.values).to_kind(Kind::Float);
                values.index_select(0, &choice.flatten(0, -1)).reshape(shape) * it.scalar
            }
            Self::IdentityRepeatPm(it) => of_each(it.scalar, &|row, column| {
                sign(column / outputs % 2 == 1) * f64::from(column % outputs == row)
            }),
            Self::IdentityRepeat(it) => {
                of_each(it.scalar, &|row, column| f64::from(column % outputs == row))
            }
            Self::IdentityFillZero(it) => {
                of_each(it.scalar, &|row, column| f64::from(column == row))
            }
            Self::Constant(it) => of_each(it.scalar, &|_, _| 1.0),
            Self::AlternateNegative(it) => of_each(it.scalar, &|_, column| sign(column % 2 == 0)),
            Self::ChunkedNegative(it) => of_each(it.scalar, &|_, column| sign(column >= width / 2)),
            Self::CartesianProduct(it) => of_each(it.scalar, &|row, column| {
                let count = it.values.len() as i64;
                let period = count.pow((outputs - 1 - row) as u32); // the last row changes fastest
                it.values[(column / period % count) as usize]
            }),
            Self::KaimingUniformRepeatLine => {
                generator.uniform(&[outputs, 1], -1.0, 1.0)?.repeat([1, width])
            }
        })
    }
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
        let scaled = Scaled { scalar: 2.0 };
        let (two, minus) = (2.0, -2.0);
        assert_eq!(
            rows(FeedbackInit::IdentityRepeatPm(scaled), 2, 5),
            [[two, 0., minus, 0., two], [0., two, 0., minus, 0.]]
        );
        assert_eq!(
            rows(FeedbackInit::IdentityRepeat(scaled), 2, 3),
            [[two, 0., two], [0., two, 0.]]
        );
        assert_eq!(
            rows(FeedbackInit::IdentityFillZero(scaled), 2, 3),
            [[two, 0., 0.], [0., two, 0.]]
        );
        assert_eq!(rows(FeedbackInit::Constant(scaled), 1, 2), [[two, two]]);
        assert_eq!(rows(FeedbackInit::AlternateNegative(scaled), 1, 3), [[minus, two, minus]]);
        assert_eq!(rows(FeedbackInit::ChunkedNegative(scaled), 1, 3), [[two, minus, minus]]);
        let values = vec![-1.0, 1.0];
        assert_eq!(
            rows(FeedbackInit::CartesianProduct(ScaledValues { scalar: 2.0, values }), 2, 4),
            [[minus, minus, two, two], [minus, two, minus, two]]
        );
    }

    #[test]
    fn cartesian_product_refuses_another_width() {
        let init = FeedbackInit::CartesianProduct(ScaledValues {
            scalar: 1.0,
            values: vec![0.0, 1.0, 2.0],
        });
        assert!(init.check(2, 9).is_ok());
        let error = init.check(2, 8).unwrap_err().to_string();
        assert!(error.contains("width 9, not 8"), "{error}");
        assert!(init.check(1000, 8).is_err());
    }
}
