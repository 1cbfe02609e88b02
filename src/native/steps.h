// An optimizer's coming steps, as Rust fills them in.
#pragma once
#include <cstdint>

struct F3Steps {
  int32_t rule;  // 0 Adam, 1 SGD
  int32_t nesterov;
  int32_t classical;  // momentum adds up steps, and not gradients
  float take_first, keep_second, take_second;  // Adam: 1 - beta1, beta2, 1 - beta2
  float eps, weight_decay, momentum;
  const float* step_sizes;  // a step's learning rate; for Adam divided by 1 - beta1^t
  const float* scales;      // Adam: 1 / sqrt(1 - beta2^t)
};
