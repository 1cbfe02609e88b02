//! Means, their spread, and differences of paired values.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// Values in short.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// How many there are; more than 0.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Their sample standard deviation (n - 1); none of a single one.
    pub deviation: Option<f64>,
}

impl Summary {
    /// Of some values; none of none.
    pub fn of(values: &[f64]) -> Option<Summary> {
        let n = values.len();
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (n > 1).then(|| (squares / (n as f64 - 1.0)).sqrt());
        (n > 0).then_some(Summary { n, mean, deviation })
    }

    /// Half the width of the confidence interval of the mean by Student's t; none of a single value.
    pub fn half_width(&self, confidence: f64) -> Option<f64> {
        let deviation = self.deviation?;
        let t = StudentsT::new(0.0, 1.0, self.n as f64 - 1.0).expect("the freedom is positive");
        let t = t.inverse_cdf(0.5 + confidence / 2.0);
        Some(t * deviation / (self.n as f64).sqrt())
    }
}
