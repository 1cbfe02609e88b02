//! Functions that are applied to each of a layer's outputs.

use tch::Tensor;

use crate::settings::named;

named! {
    /// The function applied to each of a layer's outputs.
    ///
    /// ```
    /// use f3_tch::network::Activation;
    /// use f3_tch::tch::Tensor;
    ///
    /// let z = Tensor::from_slice(&[-1f32, 0.0, 2.0]);
    /// let h = z.relu();
    /// assert_eq!(h, Tensor::from_slice(&[0f32, 0.0, 2.0]));
    /// let slopes = Activation::Relu.backward(&h.ones_like(), &h); // ∂L/∂z where ∂L/∂h is 1
    /// assert_eq!(slopes, Tensor::from_slice(&[0f32, 0.0, 1.0]));
    /// ```
    pub enum Activation {
        /// tanh(z)
        Tanh = "tanh",
        /// max(z, 0)
        Relu = "relu",
        /// 1 / (1 + exp(-z))
        Sigmoid = "sigmoid",
        /// z Φ(z), with the normal distribution Φ
        Gelu = "gelu",
        /// z
        Identity = "identity",
    }
}

impl Activation {
    /// h from z; z may be overwritten.
    pub(crate) fn apply_(self, mut z: Tensor) -> Tensor {
        match self {
            Activation::Tanh => z.tanh_(),
            Activation::Relu => z.relu_(),
            Activation::Sigmoid => z.sigmoid_(),
            Activation::Gelu => z.gelu("none"),
            Activation::Identity => z,
        }
    }

    /// Whether h never falls where z grows.
    pub(crate) fn is_monotone(self) -> bool {
        self != Activation::Gelu
    }

    /// Whether the derivative needs z, and cannot be told from h.
    pub(crate) fn needs_preactivation(self) -> bool {
        self == Activation::Gelu
    }

    /// ∂L/∂z from ∂L/∂h, and from h or, for `gelu`, z.
    pub fn backward(self, output_gradient: &Tensor, output_or_z: &Tensor) -> Tensor {
        match self {
            Activation::Tanh => Tensor::tanh_backward(output_gradient, output_or_z),
            Activation::Relu => output_or_z.threshold_backward(output_gradient, 0.0),
            Activation::Sigmoid => Tensor::sigmoid_backward(output_gradient, output_or_z),
            Activation::Gelu => output_or_z.gelu_backward(output_gradient, "none"),
            Activation::Identity => output_gradient.shallow_clone(),
        }
    }
}
