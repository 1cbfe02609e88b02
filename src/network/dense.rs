//! A fully connected layer and its gradients in closed form.
//!
//! Legend: b batch, m inputs, n outputs of the layer.

use anyhow::{Context, Result};
use tch::{Device, Kind, Tensor};

use crate::generator::Generator;

/// The function applied to each of a layer's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// tanh(z)
    Tanh,
    /// 1 / (1 + exp(-z))
    Sigmoid,
    /// z
    Identity,
}

impl Activation {
    fn apply_(self, mut z: Tensor) -> Tensor {
        match self {
            Activation::Tanh => z.tanh_(),
            Activation::Sigmoid => z.sigmoid_(),
            Activation::Identity => z,
        }
    }

    /// ∂L/∂z from ∂L/∂h and h, the activation's output.
    fn backward(self, output_gradient: &Tensor, output: &Tensor) -> Tensor {
        match self {
            Activation::Tanh => Tensor::tanh_backward(output_gradient, output),
            Activation::Sigmoid => Tensor::sigmoid_backward(output_gradient, output),
            Activation::Identity => output_gradient.shallow_clone(),
        }
    }
}

/// h = σ(x Wᵀ + b), with x `[b, m]`, W `[n, m]`, b `[n]`, h `[b, n]`.
pub struct Dense {
    weight: Tensor,
    bias: Tensor,
    activation: Activation,
}

/// What one batch says about a dense layer.
pub struct DenseGradients {
    /// δW `[n, m]` and δb `[n]`, in the order of [`Dense::parameters`].
    pub parameters: [Tensor; 2],
    /// δz `[b, n]`, from which the gradient of the layer's input follows.
    pub preactivation: Tensor,
}

impl Dense {
    /// Draws W and b as PyTorch's `nn.Linear` does, both from U(-1/√m, 1/√m), W first.
    pub fn new(
        inputs: i64,
        outputs: i64,
        activation: Activation,
        generator: &mut Generator,
        device: Device,
    ) -> Result<Dense> {
        // Kaiming's bound with a = √5, in the order of operations that PyTorch rounds in.
        let fan_in = inputs as f64;
        let weight_bound = 3f64.sqrt() * ((2.0f64 / 6.0).sqrt() / fan_in.sqrt());
        let bias_bound = 1.0 / fan_in.sqrt();
        let no_memory = || format!("no memory for a layer of {inputs} x {outputs} weights");
        let weight = generator
            .uniform(&[outputs, inputs], -weight_bound, weight_bound)
            .with_context(no_memory)?;
        let bias =
            generator.uniform(&[outputs], -bias_bound, bias_bound).with_context(no_memory)?;
        Ok(Dense {
            weight: weight.f_to_device(device).with_context(no_memory)?,
            bias: bias.f_to_device(device)?,
            activation,
        })
    }

    /// n.
    pub fn outputs(&self) -> i64 {
        self.weight.size()[0]
    }

    /// W `[n, m]` and b `[n]`.
    pub fn parameters(&self) -> [&Tensor; 2] {
        [&self.weight, &self.bias]
    }

    /// h `[b, n]` from x `[b, m]`.
    pub fn forward(&self, input: &Tensor) -> Tensor {
        let z = self.bias.addmm(input, &self.weight.tr());
        self.activation.apply_(z)
    }

    /// The gradients in closed form, from the input x, the output h and its gradient δh:
    /// δz = δh ⊙ σ'(z), δW = δzᵀ x, δb = Σ_batch δz.
    pub fn gradients(
        &self,
        input: &Tensor,
        output: &Tensor,
        output_gradient: &Tensor,
    ) -> DenseGradients {
        let preactivation = self.activation.backward(output_gradient, output);
        let weight = preactivation.tr().mm(input);
        let bias = preactivation.sum_dim_intlist([0i64].as_slice(), false, None::<Kind>);
        DenseGradients { parameters: [weight, bias], preactivation }
    }

    /// δx `[b, m]` = δz W: what backpropagation hands to the layer before.
    pub fn input_gradient(&self, preactivation: &Tensor) -> Tensor {
        preactivation.mm(&self.weight)
    }
}
