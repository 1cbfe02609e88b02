// What f3-tch needs from libtorch and `tch` does not bind: generators with a state of their own,
// and the fused optimizer kernels of torch.optim.
//
// Every function returns nullptr, or a message that the caller hands back to f3_free_message.
// Tensor pointers are tch's own (at::Tensor*); a tensor that is handed out is owned by the caller.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randperm.h>
#include <torch/headeronly/version.h>

#include <cstdlib>
#include <mutex>
#include <vector>

#include "guarded.h"

namespace {

std::vector<at::Tensor> list(at::Tensor* const* tensors, size_t count) {
  std::vector<at::Tensor> result;
  result.reserve(count);
  for (size_t i = 0; i < count; ++i) result.push_back(*tensors[i]);
  return result;
}

}  // namespace

extern "C" {

void f3_free_message(char* message) { free(message); }

// Makes CUDA compute in float32 throughout, and the same each time where cuDNN can.
char* f3_exact_cuda() {
  return guarded([] {
    at::globalContext().setAllowTF32CuDNN(false);
    at::globalContext().setBenchmarkCuDNN(false);
    at::globalContext().setDeterministicCuDNN(true);
  });
}

// Lets CUDA multiply float32 rounded to TF32, or forbids it.
char* f3_allow_tf32(bool allowed) {
  return guarded([&] {
    at::globalContext().setAllowTF32CuDNN(allowed);
    at::globalContext().setAllowTF32CuBLAS(allowed);
  });
}

const char* f3_libtorch_version() { return TORCH_VERSION; }

char* f3_generator_new(uint64_t seed, at::Generator** out) {
  return guarded([&] { *out = new at::Generator(at::detail::createCPUGenerator(seed)); });
}

void f3_generator_free(at::Generator* generator) { delete generator; }

char* f3_generator_uniform(at::Generator* generator, at::Tensor* tensor, double low, double high) {
  return guarded([&] { tensor->uniform_(low, high, *generator); });
}

char* f3_generator_integers(at::Generator* generator, at::Tensor* tensor, int64_t low, int64_t high) {
  return guarded([&] { tensor->random_(low, high, *generator); });
}

char* f3_generator_int64(at::Generator* generator, int64_t* out) {
  return guarded([&] {
    *out = at::empty({}, at::TensorOptions().dtype(at::kLong)).random_(*generator).item<int64_t>();
  });
}

char* f3_generator_permutation(at::Generator* generator, int64_t count, at::Tensor** out) {
  return guarded([&] {
    auto options = at::TensorOptions().dtype(at::kLong);
    *out = new at::Tensor(at::randperm(count, *generator, options));
  });
}

char* f3_generator_state(at::Generator* generator, at::Tensor** out) {
  return guarded([&] {
    std::lock_guard<std::mutex> lock(generator->mutex());
    *out = new at::Tensor(generator->get_state());
  });
}

char* f3_generator_set_state(at::Generator* generator, at::Tensor* state) {
  return guarded([&] {
    std::lock_guard<std::mutex> lock(generator->mutex());
    generator->set_state(*state);
  });
}

// One step of torch.optim.Adam(fused=True) for `count` parameters that share `step`.
char* f3_fused_adam(at::Tensor* const* parameters, at::Tensor* const* gradients,
                    at::Tensor* const* first_moments, at::Tensor* const* second_moments,
                    size_t count, at::Tensor* step, double learning_rate, double beta1,
                    double beta2, double weight_decay, double eps) {
  return guarded([&] {
    at::NoGradGuard no_grad; // parameters may be leaves of autograd
    step->add_(1);
    at::_fused_adam_(list(parameters, count), list(gradients, count), list(first_moments, count),
                     list(second_moments, count), {}, std::vector<at::Tensor>(count, *step),
                     learning_rate, beta1, beta2, weight_decay, eps, /*amsgrad=*/false,
                     /*maximize=*/false);
  });
}

// One step of torch.optim.SGD(fused=True); `buffers` is null without momentum. Buffers that start
// at zero make the first step like all others.
char* f3_fused_sgd(at::Tensor* const* parameters, at::Tensor* const* gradients,
                   at::Tensor* const* buffers, size_t count, double learning_rate, double momentum,
                   double weight_decay, bool nesterov) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    at::_fused_sgd_(list(parameters, count), list(gradients, count),
                    list(buffers, buffers ? count : 0), weight_decay, momentum, learning_rate,
                    /*dampening=*/0.0, nesterov, /*maximize=*/false, /*is_first_step=*/false);
  });
}

}  // extern "C"
