//! A fully connected block and its gradients in closed form.
//!
//! Legend: b batch, m inputs, n outputs of the block.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use super::block::{Block, Gradients, Tape};
use super::initialise;
use crate::activation::Activation;
use crate::generator::Generator;

/// h = σ(x Wᵀ + b), with x `[b, m]`, W `[n, m]`, b `[n]`, h `[b, n]`.
///
/// ```
/// # fn main() -> anyhow::Result<()> {
/// use f3_tch::Generator;
/// use f3_tch::network::{Activation, Block, Dense, Tape};
/// use f3_tch::tch::{Device, Kind, Tensor};
///
/// let mut generator = Generator::new(1)?;
/// let dense = Dense::new(8, 20, Activation::Tanh, &mut generator, Device::Cpu)?;
/// let tape: Tape = dense.record(&Tensor::rand([5, 8], (Kind::Float, Device::Cpu)));
/// assert_eq!(tape.output.size(), [5, 20]);
/// let of_outputs = tape.output.ones_like(); // ∂L/∂h [b, n]
/// let gradients = dense.gradients(&tape, &of_outputs, true);
/// assert_eq!(gradients.parameters[0].size(), [20, 8]); // of the weights
/// assert_eq!(gradients.input.expect("asked for").size(), [5, 8]);
/// # Ok(())
/// # }
/// ```
pub struct Dense {
    weight: Tensor,
    bias: Option<Tensor>,
    activation: Activation,
    backward_weight: Option<Tensor>,
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
        let (weight, bias) = initialise::weight_and_bias(&[outputs, inputs], generator, device)?;
        Ok(Dense::of(weight, Some(bias), activation))
    }

    /// Draws W alone, from U(-√(6/m), √(6/m)), He et al.'s for ReLU; there is no bias.
    pub fn without_bias(
        inputs: i64,
        outputs: i64,
        activation: Activation,
        generator: &mut Generator,
        device: Device,
    ) -> Result<Dense> {
        let weight = initialise::he_weight(&[outputs, inputs], generator, device)?;
        Ok(Dense::of(weight, None, activation))
    }

    /// A block with these parameters: W `[n, m]`, contiguous, and b `[n]` or none.
    pub fn of(weight: Tensor, bias: Option<Tensor>, activation: Activation) -> Dense {
        Dense { weight, bias, activation, backward_weight: None }
    }

    /// Makes gradients go backwards through a fixed matrix R `[n, m]` in place of W: feedback
    /// alignment (Lillicrap et al. 2016).
    pub fn propagate_through(&mut self, matrix: Tensor) {
        assert_eq!(matrix.size(), self.weight.size(), "R has the shape of W");
        self.backward_weight = Some(matrix);
    }

    /// W `[n, m]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// b `[n]`, if there is one.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// σ.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// The same block, with the same parameters in memory.
    pub(crate) fn shallow_clone(&self) -> Dense {
        let same = |tensor: &Option<Tensor>| tensor.as_ref().map(Tensor::shallow_clone);
        Dense {
            weight: self.weight.shallow_clone(),
            bias: same(&self.bias),
            activation: self.activation,
            backward_weight: same(&self.backward_weight),
        }
    }

    /// What gradients go backwards through: W, or the fixed matrix in its place.
    pub(crate) fn backward_weight(&self) -> &Tensor {
        self.backward_weight.as_ref().unwrap_or(&self.weight)
    }

    fn preactivation(&self, input: &Tensor) -> Tensor {
        match &self.bias {
            Some(bias) => bias.addmm(input, &self.weight.tr()),
            None => input.mm(&self.weight.tr()),
        }
    }
}

impl Block for Dense {
    fn outputs(&self) -> i64 {
        self.weight.size()[0]
    }

    fn parameters(&self) -> Vec<(&str, &Tensor)> {
        let mut parameters = vec![("weight", &self.weight)];
        parameters.extend(self.bias.iter().map(|bias| ("bias", bias)));
        parameters
    }

    fn buffers(&self) -> Vec<(&str, &Tensor)> {
        self.backward_weight.iter().map(|matrix| ("backward_weight", matrix)).collect()
    }

    fn forward(&self, input: &Tensor) -> Tensor {
        self.activation.apply_(self.preactivation(input))
    }

    fn record(&self, input: &Tensor) -> Tape {
        let z = self.preactivation(input);
        let kept = self.activation.needs_preactivation().then(|| z.shallow_clone());
        Tape { input: input.shallow_clone(), output: self.activation.apply_(z), kept }
    }

    /// δz = δh ⊙ σ'(z), δW = δzᵀ x, δb = Σ_batch δz; δx = δz W (or δz R, see
    /// [`Dense::propagate_through`]).
    fn gradients(&self, tape: &Tape, output_gradient: &Tensor, input_too: bool) -> Gradients {
        let known = tape.kept.as_ref().unwrap_or(&tape.output);
        let preactivation = self.activation.backward(output_gradient, known);
        let mut parameters = vec![preactivation.tr().mm(&tape.input)];
        if self.bias.is_some() {
            let over_batch = [0i64].as_slice();
            parameters.push(preactivation.sum_dim_intlist(over_batch, false, None::<Kind>));
        }
        Gradients { parameters, input: input_too.then(|| preactivation.mm(self.backward_weight())) }
    }

    fn as_dense(&self) -> Option<&Dense> {
        Some(self)
    }
}
