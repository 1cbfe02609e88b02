//! From numbers as they stand in files to a data set on the training device.
//!
//! Legend: N samples, n_0 inputs, C outputs.

use tch::{Device, Kind, Tensor};

use super::preparation::{Column, Inputs, Preparation, Scaling, Targets, scale_columns};
use super::{Dataset, Split, Task};

/// Rows of a table on the CPU: inputs `[N, n_0]` and targets `[N, C]`, float or double.
pub(super) struct Table {
    pub inputs: Tensor,
    pub targets: Tensor,
}

impl Table {
    /// Some rows, in the order given.
    pub fn select(&self, rows: &[i64]) -> Table {
        let rows = Tensor::from_slice(rows);
        Table {
            inputs: self.inputs.index_select(0, &rows),
            targets: self.targets.index_select(0, &rows),
        }
    }
}

/// A data set from its training and its test rows; `columns` and `targets` say what these are.
///
/// Standardising takes each column's mean and deviation (Bessel-corrected) over the training rows;
/// of a regression the targets are standardised too. A column that is constant becomes 0.
pub(super) fn dataset(
    name: String,
    mut columns: Vec<Column>,
    mut targets: Targets,
    (train, test): (Table, Table),
    standardize: bool,
    device: Device,
) -> Dataset {
    let scaling = |table: &Tensor| if standardize { standardization(table) } else { Vec::new() };
    let inputs = scaling(&train.inputs);
    let mut left = inputs.as_slice();
    for column in columns.iter_mut().filter(|_| standardize) {
        let (own, others) = left.split_at(column.width());
        column.scaling = own.to_vec();
        left = others;
    }
    let (task, outputs) = match &mut targets {
        Targets::Classes(_) => (Task::Classification, Vec::new()),
        Targets::Numbers { scaling: own, .. } => {
            *own = scaling(&train.targets);
            (Task::Regression, own.clone())
        }
    };
    let split = |table: Table| Split {
        inputs: scale_columns(table.inputs, &inputs).to_device(device).into(),
        targets: scale_columns(table.targets, &outputs).to_device(device).into(),
    };
    let (train, test) = (split(train), split(test));
    let preparation = Some(Preparation { inputs: Inputs::Table { columns }, targets });
    Dataset { name, task, image: None, train, validation: None, test, preparation }
}

/// Mean and deviation of each column.
fn standardization(columns: &Tensor) -> Vec<Scaling> {
    let constants = (0..columns.size()[1]).map(|index| {
        let column = columns.select(1, index).to_kind(Kind::Double);
        let deviation = match column.size()[0] {
            1 => 0.0,
            _ => column.std(true).double_value(&[]),
        };
        // Rounded to float32, as in the paper's program: a relative error such as MAPE tells.
        let rounded = |constant: f64| f64::from(constant as f32);
        let deviation = if deviation > 0.0 { rounded(deviation) } else { 1.0 };
        Scaling { mean: rounded(column.mean(Kind::Double).double_value(&[])), deviation }
    });
    constants.collect()
}

/// Targets [N, classes] with a 1 at each label, from labels `[N]` of any type.
pub(super) fn one_hot(labels: &Tensor, classes: i64, device: Device) -> Tensor {
    labels.to_device(device).to_kind(Kind::Int64).onehot(classes).to_kind(Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_hot_puts_a_one_at_the_label() {
        let targets = one_hot(&Tensor::from_slice(&[2i64, 0]), 3, Device::Cpu);
        let rows: Vec<Vec<f64>> = targets.try_into().unwrap();
        assert_eq!(rows, [[0., 0., 1.], [1., 0., 0.]]);
    }

    #[test]
    fn training_rows_alone_set_mean_and_deviation() {
        let table = |values: &[f32]| Table {
            inputs: Tensor::from_slice(values).reshape([-1, 2]),
            targets: Tensor::from_slice(values).reshape([-1, 2]).narrow(1, 0, 1),
        };
        // The first column has mean 2 and deviation √2, the second is constant.
        let pair = || (table(&[1.0, 5.0, 3.0, 5.0]), table(&[2.0, 6.0]));
        let columns = || vec![Column::number("a"), Column::number("b")];
        let number = || Targets::Numbers { names: vec!["t".into()], scaling: Vec::new() };
        let of = |targets, standardize| {
            dataset("t".into(), columns(), targets, pair(), standardize, Device::Cpu)
        };
        let standardized = of(number(), true);
        let rows = |tensor: &Tensor| Vec::<Vec<f64>>::try_from(tensor).unwrap();
        let half = f64::from(0.5f32.sqrt());
        assert_eq!(rows(&standardized.train.inputs), [[-half, 0.0], [half, 0.0]]);
        assert_eq!(rows(&standardized.test.inputs), [[0.0, 1.0]]);
        assert_eq!(rows(&standardized.train.targets), [[-half], [half]]);
        let as_it_is = of(number(), false);
        assert_eq!(rows(&as_it_is.train.inputs), [[1.0, 5.0], [3.0, 5.0]]);
        let classes = of(Targets::Classes(vec!["x".into(), "y".into()]), true);
        assert_eq!(rows(&classes.test.targets), [[2.0]], "classes are no numbers to scale");
    }
}
