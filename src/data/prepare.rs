//! From numbers as they stand in files to a data set on the training device.
//!
//! Legend: N samples, n_0 inputs, C outputs.

use tch::{Device, Kind, Tensor};

use super::preparation::{
    Column, Inputs, Preparation, Scaling, Targets, one_hot, scale_columns, scale_pixels,
};
use super::{Dataset, Split, Task};

/// A data set of images from its training and its test set: pixels `[N, n_0]` from 0 to `largest`
/// and labels `[N]`, on the CPU and of any kind. There is a scaling for each channel.
pub(super) fn images(
    name: &str,
    classes: &[&str],
    (shape, largest, scaling): ([i64; 3], f64, Vec<Scaling>),
    [train, test]: [(Tensor, Tensor); 2],
    device: Device,
) -> Dataset {
    let split = |(pixels, labels): (Tensor, Tensor)| {
        let targets = one_hot(&labels, classes.len() as i64, device);
        Split::new(scale_pixels(&pixels, largest, &scaling).to_device(device), targets)
    };
    let (train, test) = (split(train), split(test));
    let inputs = Inputs::Image { shape, largest, scaling };
    let classes = classes.iter().map(|name| name.to_string()).collect();
    Dataset {
        image: Some(shape),
        preparation: Some(Preparation { inputs, targets: Targets::Classes(classes) }),
        ..Dataset::new(name, Task::Classification, train, test)
    }
}

/// A data set of rows of a table from its training and its test set, float or double on the CPU, with
/// these columns and targets.
///
/// Standardising takes each column's mean and standard deviation (Bessel-corrected) over the
/// training rows, and standardises the targets of a regression too. A constant column becomes 0.
pub(super) fn rows(
    name: &str,
    mut columns: Vec<Column>,
    mut targets: Targets,
    (train, test): (Split, Split),
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
    let split = |raw: Split| {
        Split::new(scale_columns(&raw.inputs, &inputs), scale_columns(&raw.targets, &outputs))
            .to_device(device)
    };
    let (train, test) = (split(train), split(test));
    let preparation = Some(Preparation { inputs: Inputs::Table { columns }, targets });
    Dataset { preparation, ..Dataset::new(name, task, train, test) }
}

/// Mean and standard deviation of each column.
fn standardization(columns: &Tensor) -> Vec<Scaling> {
    let constants = (0..columns.size()[1]).map(|index| {
        let column = columns.select(1, index).to_kind(Kind::Double);
        let deviation = match column.size()[0] {
            1 => 0.0,
            _ => column.std(true).double_value(&[]),
        };
        // Rounded to float32, as in the paper's program; a relative error such as MAPE shows it.
        let rounded = |constant: f64| f64::from(constant as f32);
        let standard_deviation = if deviation > 0.0 { rounded(deviation) } else { 1.0 };
        let mean = rounded(column.mean(Kind::Double).double_value(&[]));
        Scaling { mean, standard_deviation }
    });
    constants.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_rows_alone_set_mean_and_standard_deviation() {
        let table = |values: &[f32]| {
            let inputs = Tensor::from_slice(values).reshape([-1, 2]);
            Split::new(inputs.shallow_clone(), inputs.narrow(1, 0, 1))
        };
        // The first column has mean 2 and standard deviation √2, the second is constant.
        let pair = || (table(&[1.0, 5.0, 3.0, 5.0]), table(&[2.0, 6.0]));
        let columns = || vec![Column::number("a"), Column::number("b")];
        let number = || Targets::numbers(["t"]);
        let of = |targets, standardize| {
            super::rows("t", columns(), targets, pair(), standardize, Device::Cpu)
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
