// Transformer blocks on some samples: the arguments that Rust fills in, and the functions that every
// instruction set has a copy of. See transformer.cpp.
#pragma once
#include <cstdint>

#include "steps.h"

extern "C" {

// Row-major float32 throughout. b: samples, t: tokens, w: their width, a: heads of size s, m: width of
// the perceptron, C: outputs of the network. What a task does not need is null.
struct F3Transformer {
  int64_t tokens, width, heads, head_size, hidden;  // t, w, a, s, m
  int32_t activation;                               // as in F3Dense
  int32_t teacher;                                  // 0 feedback, 3 gradient: as in F3Dense

  const float *attention_scale, *attention_shift;   // [w]
  const float *query, *key, *value;                 // [a s, w]
  const float *projection, *projection_bias;        // [w, a s], [w]
  const float *mlp_scale, *mlp_shift;               // [w]
  const float *expansion, *expansion_bias;          // [m, w], [m]
  const float *contraction, *contraction_bias;      // [w, m], [w]

  const float* x;         // [b, t w]
  float* h;               // [b, t w]
  const float* signal;    // e [b, C], or dL/dh [b, t w]
  const float* feedback;  // B [C, t w]
  int64_t error_size;     // C
  float* input_gradient;  // dL/dx [b, t w], if it is wanted
};

// A tensor of a block and its optimizer's state, `rows` x `columns`; its gradient is the sum of those
// of all parts.
struct F3Stepped {
  int64_t rows, columns;
  float *parameter, *first, *second;
  float* gradient;       // gets the gradient, if it is not null
  const float* sums;     // where the first part's gradient is
  int64_t sums_row;      // floats from one row to the next; of a tensor that is kept transposed, from one
  int32_t transposed;    // column to the next
  int64_t parts, next;   // of the gradient, and the floats from one to the next
};

// Floats that a call may write to `scratch`, and floats of a part's gradient.
typedef int64_t F3TransformerSize(const F3Transformer* task);
// Samples [begin, end). `gradient` is what `learn` adds to; `forward` leaves it alone.
typedef void F3TransformerPart(const F3Transformer* task, int64_t begin, int64_t end, float* gradient,
                               float* scratch);
// Where the gradient of a parameter begins, in the order of the members above, and how long its rows are.
typedef void F3TransformerPlaces(const F3Transformer* task, int64_t* begin, int64_t* row);
// A step of rows [begin, end), or of columns if the gradient is kept transposed.
typedef void F3TransformerStep(const F3Stepped* tensor, const F3Steps* steps, int64_t begin, int64_t end);

struct F3TransformerKernels {
  F3TransformerSize* scratch;
  F3TransformerSize* gradient;
  F3TransformerPlaces* places;
  F3TransformerPart* forward;  // h from x
  F3TransformerPart* learn;    // h from x, and the gradients of the parameters and of the input
  F3TransformerStep* step;
};
}
