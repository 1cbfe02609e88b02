//! A block of a Vision Transformer; inside it, gradients are exact, by autograd.
//!
//! Legend: b batch, t tokens, w their width, a heads of size s.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use super::block::{Block, trainable};
use super::initialise;
use super::vit::Vit;
use crate::generator::Generator;

/// h = u + MLP(LN(u)) with u = x + Attention(LN(x)), on t tokens of width w that lie side by side
/// in a row `[b, t·w]`. The first block of a network also makes the tokens out of the image.
pub struct TransformerBlock {
    shape: Vit,
    tokens: i64,
    embedding: Option<Linear>,
    attention_norm: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    projection: Linear,
    mlp_norm: LayerNorm,
    expansion: Linear,
    contraction: Linear,
}

struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}

impl TransformerBlock {
    /// Draws a block in the order of [`Block::parameters`], each linear map as PyTorch does; `first`
    /// says whether it begins with the embedding.
    pub fn new(
        shape: &Vit,
        first: bool,
        generator: &mut Generator,
        device: Device,
    ) -> Result<TransformerBlock> {
        let tokens = shape.tokens()?;
        let (width, inner) = (shape.token_width, shape.heads * shape.head_size);
        let mut linear = |inputs: i64, outputs: i64, with_bias: bool| -> Result<Linear> {
            let size = [outputs, inputs];
            let weight = initialise::weight(&size, generator, device)?;
            let bias = match with_bias {
                true => Some(trainable(initialise::bias(&size, generator, device)?)),
                false => None,
            };
            Ok(Linear { weight: trainable(weight), bias })
        };
        let norm = || LayerNorm {
            weight: trainable(Tensor::ones([width], (Kind::Float, device))),
            bias: trainable(Tensor::zeros([width], (Kind::Float, device))),
        };
        let pixels: i64 = shape.image.iter().product();
        Ok(TransformerBlock {
            tokens,
            embedding: match first {
                true => Some(linear(pixels, tokens * width, true)?),
                false => None,
            },
            attention_norm: norm(),
            query: linear(width, inner, false)?,
            key: linear(width, inner, false)?,
            value: linear(width, inner, false)?,
            projection: linear(inner, width, true)?,
            mlp_norm: norm(),
            expansion: linear(width, shape.mlp_width, true)?,
            contraction: linear(shape.mlp_width, width, true)?,
            shape: shape.clone(),
        })
    }

    /// Pixels `[b, c·height·width]` as patches side by side `[b, c·height·width]`, each patch with
    /// its channels, rows and columns in this order.
    fn patches(&self, images: &Tensor) -> Tensor {
        let [channels, height, width] = self.shape.image;
        let side = self.shape.patch_size;
        images
            .reshape([-1, channels, height / side, side, width / side, side])
            .permute([0, 2, 4, 1, 3, 5])
            .flatten(1, -1)
    }

    /// Multi-head attention over tokens [b, t, w], softmax(Q Kᵀ / √s) V of each head, projected.
    ///
    /// Heads are the matrices of batched products, so that nothing has to be copied from one order to
    /// another: for as few tokens as here that is faster than libtorch's attention kernels.
    fn attention(&self, x: &Tensor) -> Tensor {
        let (heads, size, width) = (self.shape.heads, self.shape.head_size, x.size()[2]);
        let rows = x.reshape([1, -1, width]).expand([heads, -1, -1], false);
        // [a, b·t, w] -> [a·b, t, s]
        let split = |map: &Linear| {
            let weight = map.weight.view([heads, size, width]).transpose(1, 2);
            rows.bmm(&weight).view([-1, self.tokens, size])
        };
        let query = split(&self.query) * (size as f64).sqrt().recip();
        let scores = query.bmm(&split(&self.key).transpose(1, 2)).softmax(-1, None::<Kind>);
        let attended = scores.bmm(&split(&self.value)).view([heads, -1, size]);
        let projection = self.projection.weight.view([width, heads, size]).permute([1, 2, 0]);
        let projected =
            attended.bmm(&projection).sum_dim_intlist([0i64].as_slice(), false, None::<Kind>);
        let projected = projected.view_as(x);
        match &self.projection.bias {
            Some(bias) => projected + bias,
            None => projected,
        }
    }
}

impl Block for TransformerBlock {
    fn outputs(&self) -> i64 {
        self.tokens * self.shape.token_width
    }

    fn parameters(&self) -> Vec<(&str, &Tensor)> {
        let mut list = Vec::new();
        if let Some(embedding) = &self.embedding {
            embedding.list(["embedding.weight", "embedding.bias"], &mut list);
        }
        self.attention_norm.list(["attention_norm.weight", "attention_norm.bias"], &mut list);
        self.query.list(["query.weight", ""], &mut list);
        self.key.list(["key.weight", ""], &mut list);
        self.value.list(["value.weight", ""], &mut list);
        self.projection.list(["projection.weight", "projection.bias"], &mut list);
        self.mlp_norm.list(["mlp_norm.weight", "mlp_norm.bias"], &mut list);
        self.expansion.list(["expansion.weight", "expansion.bias"], &mut list);
        self.contraction.list(["contraction.weight", "contraction.bias"], &mut list);
        list
    }

    fn operations(&self) -> i64 {
        let per_token = [&self.query, &self.key, &self.value, &self.projection, &self.expansion];
        let numbers = |map: &Linear| map.weight.numel() as i64;
        let once: i64 = self.embedding.iter().map(numbers).sum();
        let attention = 2 * self.tokens * self.shape.heads * self.shape.head_size;
        let token: i64 = per_token.into_iter().chain([&self.contraction]).map(numbers).sum();
        once + self.tokens * (token + attention)
    }

    fn forward(&self, input: &Tensor) -> Tensor {
        let tokens = match &self.embedding {
            Some(embedding) => embedding.apply(&self.patches(input)),
            None => input.shallow_clone(),
        };
        let x = tokens.reshape([-1, self.tokens, self.shape.token_width]);
        let u = &x + self.attention(&self.attention_norm.apply(&x));
        let hidden = self.expansion.apply(&self.mlp_norm.apply(&u));
        let h = &u + self.contraction.apply(&self.shape.activation.apply_(hidden));
        h.flatten(1, -1)
    }
}

impl Linear {
    fn apply(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, self.bias.as_ref())
    }

    fn list<'a>(&'a self, names: [&'a str; 2], list: &mut Vec<(&'a str, &'a Tensor)>) {
        list.push((names[0], &self.weight));
        list.extend(self.bias.iter().map(|bias| (names[1], bias)));
    }
}

impl LayerNorm {
    fn apply(&self, x: &Tensor) -> Tensor {
        x.layer_norm(x.size()[2..].to_vec(), Some(&self.weight), Some(&self.bias), 1e-5, false)
    }

    fn list<'a>(&'a self, names: [&'a str; 2], list: &mut Vec<(&'a str, &'a Tensor)>) {
        list.push((names[0], &self.weight));
        list.push((names[1], &self.bias));
    }
}
