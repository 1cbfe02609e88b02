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
    embedding: Option<Affine>,
    attention_norm: Affine,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    projection: Affine,
    mlp_norm: Affine,
    expansion: Affine,
    contraction: Affine,
}

/// A linear map, or a normalisation.
struct Affine {
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
        let weight = |inputs: i64, outputs: i64, generator: &mut Generator| {
            initialise::weight(&[outputs, inputs], generator, device).map(trainable)
        };
        let linear = |inputs: i64, outputs: i64, generator: &mut Generator| -> Result<Affine> {
            let (weight, bias) =
                initialise::weight_and_bias(&[outputs, inputs], generator, device)?;
            Ok(Affine { weight: trainable(weight), bias: trainable(bias) })
        };
        let norm = || Affine {
            weight: trainable(Tensor::ones([width], (Kind::Float, device))),
            bias: trainable(Tensor::zeros([width], (Kind::Float, device))),
        };
        let pixels: i64 = shape.image.iter().product();
        Ok(TransformerBlock {
            tokens,
            embedding: match first {
                true => Some(linear(pixels, tokens * width, generator)?),
                false => None,
            },
            attention_norm: norm(),
            query: weight(width, inner, generator)?,
            key: weight(width, inner, generator)?,
            value: weight(width, inner, generator)?,
            projection: linear(inner, width, generator)?,
            mlp_norm: norm(),
            expansion: linear(width, shape.mlp_width, generator)?,
            contraction: linear(shape.mlp_width, width, generator)?,
            shape: shape.clone(),
        })
    }

    /// The same block, with the same parameters in memory.
    pub(crate) fn shallow_clone(&self) -> TransformerBlock {
        TransformerBlock {
            shape: self.shape.clone(),
            tokens: self.tokens,
            embedding: self.embedding.as_ref().map(Affine::shallow_clone),
            attention_norm: self.attention_norm.shallow_clone(),
            query: self.query.shallow_clone(),
            key: self.key.shallow_clone(),
            value: self.value.shallow_clone(),
            projection: self.projection.shallow_clone(),
            mlp_norm: self.mlp_norm.shallow_clone(),
            expansion: self.expansion.shallow_clone(),
            contraction: self.contraction.shallow_clone(),
        }
    }

    /// Weight and bias of the linear map from patches to tokens, if the block begins with it.
    pub(crate) fn embedding(&self) -> Option<(&Tensor, &Tensor)> {
        self.embedding.as_ref().map(|map| (&map.weight, &map.bias))
    }

    /// The sizes, and the activation of the perceptron.
    pub(crate) fn shape(&self) -> &Vit {
        &self.shape
    }

    /// t.
    pub(crate) fn tokens(&self) -> i64 {
        self.tokens
    }

    /// Pixels `[b, c·height·width]` as patches side by side `[b, c·height·width]`, each patch with
    /// its channels, rows and columns in this order.
    pub(crate) fn patches(&self, images: &Tensor) -> Tensor {
        let [channels, height, width] = self.shape.image;
        let side = self.shape.patch_size;
        images
            .reshape([-1, channels, height / side, side, width / side, side])
            .permute([0, 2, 4, 1, 3, 5])
            .flatten(1, -1)
    }

    /// The way back: of patches side by side, the pixels.
    pub(crate) fn pixels(&self, patches: &Tensor) -> Tensor {
        let [channels, height, width] = self.shape.image;
        let side = self.shape.patch_size;
        patches
            .reshape([-1, height / side, width / side, channels, side, side])
            .permute([0, 3, 1, 4, 2, 5])
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
        let split = |weight: &Tensor| {
            let weight = weight.view([heads, size, width]).transpose(1, 2);
            rows.bmm(&weight).view([-1, self.tokens, size])
        };
        let query = split(&self.query) * (size as f64).sqrt().recip();
        let scores = query.bmm(&split(&self.key).transpose(1, 2)).softmax(-1, None::<Kind>);
        let attended = scores.bmm(&split(&self.value)).view([heads, -1, size]);
        let projection = self.projection.weight.view([width, heads, size]).permute([1, 2, 0]);
        let projected =
            attended.bmm(&projection).sum_dim_intlist([0i64].as_slice(), false, None::<Kind>);
        projected.view_as(x) + &self.projection.bias
    }
}

impl Block for TransformerBlock {
    fn outputs(&self) -> i64 {
        self.tokens * self.shape.token_width
    }

    fn parameters(&self) -> Vec<(&str, &Tensor)> {
        let mut list = Vec::new();
        if let Some(Affine { weight, bias }) = &self.embedding {
            list.extend([("embedding.weight", weight), ("embedding.bias", bias)]);
        }
        list.extend([
            ("attention_norm.weight", &self.attention_norm.weight),
            ("attention_norm.bias", &self.attention_norm.bias),
            ("query.weight", &self.query),
            ("key.weight", &self.key),
            ("value.weight", &self.value),
            ("projection.weight", &self.projection.weight),
            ("projection.bias", &self.projection.bias),
            ("mlp_norm.weight", &self.mlp_norm.weight),
            ("mlp_norm.bias", &self.mlp_norm.bias),
            ("expansion.weight", &self.expansion.weight),
            ("expansion.bias", &self.expansion.bias),
            ("contraction.weight", &self.contraction.weight),
            ("contraction.bias", &self.contraction.bias),
        ]);
        list
    }

    fn operations(&self) -> i64 {
        let maps = [&self.projection, &self.expansion, &self.contraction].map(|map| &map.weight);
        let per_token = [&self.query, &self.key, &self.value].into_iter().chain(maps);
        let once = self.embedding.as_ref().map_or(0, |map| map.weight.numel());
        let attention = 2 * self.tokens * self.shape.heads * self.shape.head_size;
        let token = per_token.map(Tensor::numel).sum::<usize>() as i64;
        once as i64 + self.tokens * (token + attention)
    }

    fn as_transformer(&self) -> Option<&TransformerBlock> {
        Some(self)
    }

    fn forward(&self, input: &Tensor) -> Tensor {
        let tokens = match &self.embedding {
            Some(embedding) => embedding.map(&self.patches(input)),
            None => input.shallow_clone(),
        };
        let x = tokens.reshape([-1, self.tokens, self.shape.token_width]);
        let u = &x + self.attention(&self.attention_norm.normalise(&x));
        let hidden = self.expansion.map(&self.mlp_norm.normalise(&u));
        let h = &u + self.contraction.map(&self.shape.activation.apply_(hidden));
        h.flatten(1, -1)
    }
}

impl Affine {
    fn shallow_clone(&self) -> Affine {
        Affine { weight: self.weight.shallow_clone(), bias: self.bias.shallow_clone() }
    }

    fn map(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }

    fn normalise(&self, x: &Tensor) -> Tensor {
        x.layer_norm(x.size()[2..].to_vec(), Some(&self.weight), Some(&self.bias), 1e-5, false)
    }
}
