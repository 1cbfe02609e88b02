//! What data sets of images have in common.

use tch::{Device, Tensor};

use super::preparation::{Inputs, Preparation, Scaling, Targets, scale_pixels};
use super::prepare::one_hot;
use super::{Dataset, Split, Task};

/// How a data set's pixels become inputs.
pub(super) struct Pixels {
    /// Channels, height, width.
    pub shape: [i64; 3],
    /// The largest value of a pixel.
    pub largest: f64,
    /// For each channel.
    pub scaling: Vec<Scaling>,
}

impl Pixels {
    /// A split from pixels `[N, n_0]` and labels `[N]`, both on the CPU and of any kind.
    pub fn split(&self, pixels: &Tensor, labels: &Tensor, classes: u8, device: Device) -> Split {
        Split::new(
            scale_pixels(pixels, self.largest, &self.scaling).to_device(device),
            one_hot(labels, i64::from(classes), device),
        )
    }

    /// The data set of these splits, whose classes have these names.
    pub fn dataset(self, name: &str, classes: Vec<String>, train: Split, test: Split) -> Dataset {
        let Pixels { shape, largest, scaling } = self;
        let inputs = Inputs::Image { shape, largest, scaling };
        Dataset {
            image: Some(shape),
            preparation: Some(Preparation { inputs, targets: Targets::Classes(classes) }),
            ..Dataset::new(name, Task::Classification, train, test)
        }
    }
}
