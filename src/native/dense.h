// One strip of neurons of a fully connected layer through some batches: the arguments that Rust
// fills in, and the functions that every instruction set has a copy of. See dense.cpp.
#pragma once
#include <cstdint>

#include "steps.h"

extern "C" {

// Row-major float32 throughout. b: samples of a step, m: inputs, n: outputs of the layer, C: outputs
// of the network. What a task does not need is null.
struct F3Dense {
  int64_t rows;      // samples in all
  int64_t batch;     // b; the last step may have fewer
  int64_t inputs;    // m
  int64_t outputs;   // n
  const float* x;    // [rows, m]
  uint16_t* x_half;  // x as bfloat16, if that is what is to be multiplied
  float* weight;     // W [n, m]
  float* bias;       // [n], or null
  float* h;          // [rows, n]
  int32_t activation;  // 0 identity, 1 tanh, 2 relu, 3 sigmoid

  // What a layer learns from: a row of `signal` for each sample.
  int32_t given;          // whether h is there already
  int32_t teacher;        // 0 feedback: the rows are e [rows, C]
                          // 1 binary cross-entropy, 2 squared error, the means over all b * n outputs of
                          // a step: they are y* [rows, n]
                          // 3 a gradient that is known: they are delta = dL/dz [rows, n]
  const float* signal;
  const float* feedback;  // B [C, n]
  int64_t error_size;     // C

  F3Steps steps;  // one for each batch
  // The optimizer's state has the shapes of W and b.
  float *weight_first, *weight_second, *bias_first, *bias_second;

  float* delta;    // [rows, n]
  float* dx;       // [rows, m]
  float* squares;  // [n], or null: the squared norm of each neuron's gradient in the last step
};

// How many floats a call with these arguments may write to `scratch` for a strip of this width.
typedef int64_t F3DenseScratch(const F3Dense* task, int64_t width);
// Neurons [begin, end).
typedef void F3DenseStrip(const F3Dense* task, int64_t begin, int64_t end, float* scratch);
// Of some columns or rows of a matrix: [begin, end).
typedef void F3DensePart(const F3Dense* task, int64_t begin, int64_t end);

struct F3DenseKernels {
  F3DenseScratch* scratch;
  F3DenseStrip* forward;   // h from x
  F3DenseStrip* learn;     // h from x, unless it is given; a step along delta for each batch
  F3DensePart* backward;   // columns of dx = dL/dx = delta W; delta is the signal
  F3DensePart* slopes;     // rows of delta = dL/dz from the signal dL/dh and h
};

// With AVX512_BF16, beside the others.
struct F3DenseHalfKernels {
  F3DenseStrip* learn;  // multiplies x_half
  F3DensePart* halve;   // rows of x_half from x
};
}
