// What f3-tch needs from libtorch and `tch` does not bind: generators with a state of their own, the
// fused optimizer kernels of torch.optim, the gradients of a convolution, and a number of threads that is the
// calling thread's alone.
//
// Every function returns nullptr, or a message that the caller hands back to f3_free_message.
// Tensor pointers are tch's own (at::Tensor*); what is handed out is assigned to one.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/randperm.h>
#include <dlfcn.h>
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
    at::globalContext().setAllowTF32CuBLAS(false);  // the environment may have allowed it
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

// Sets the number of threads for operations of the calling thread, and nothing else. at::set_num_threads
// does more, see `settle_first_calls`.
char* f3_set_threads(int threads) {
  return guarded([&] {
    using Set = void (*)(int);
    static const auto openmp = reinterpret_cast<Set>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
    static const auto mkl = reinterpret_cast<Set>(dlsym(RTLD_DEFAULT, "MKL_Set_Num_Threads_Local"));
    at::get_num_threads();  // a thread's first call sets its number, and would undo this one
    if (!openmp) return at::set_num_threads(threads);
    openmp(threads);
    if (mkl) mkl(threads);
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

char* f3_generator_integers(at::Generator* generator, at::Tensor* tensor, int64_t bound) {
  return guarded([&] { tensor->random_(0, bound, *generator); });
}

char* f3_generator_int64(at::Generator* generator, int64_t* out) {
  return guarded([&] {
    *out = at::empty({}, at::TensorOptions().dtype(at::kLong)).random_(*generator).item<int64_t>();
  });
}

char* f3_generator_permutation(at::Generator* generator, at::Tensor* out, int64_t count) {
  return guarded([&] {
    *out = at::randperm(count, *generator, at::TensorOptions().dtype(at::kLong));
  });
}

char* f3_generator_state(at::Generator* generator, at::Tensor* out) {
  return guarded([&] {
    std::lock_guard<std::mutex> lock(generator->mutex());
    *out = generator->get_state();
  });
}

char* f3_generator_set_state(at::Generator* generator, at::Tensor* state) {
  return guarded([&] {
    std::lock_guard<std::mutex> lock(generator->mutex());
    generator->set_state(*state);
  });
}

// The numbers of a step, as in mod.rs.
struct F3AdamStep {
  double learning_rate, betas[2], weight_decay, eps;
};
struct F3SgdStep {
  double learning_rate, momentum, weight_decay;
  bool nesterov;
};

// One step of torch.optim.Adam(fused=True) for `count` parameters that share `step`.
char* f3_fused_adam(at::Tensor* const* parameters, at::Tensor* const* gradients,
                    at::Tensor* const* first_moments, at::Tensor* const* second_moments,
                    size_t count, at::Tensor* step, const F3AdamStep* numbers) {
  return guarded([&] {
    at::NoGradGuard no_grad; // parameters may be leaves of autograd
    step->add_(1);
    at::_fused_adam_(list(parameters, count), list(gradients, count), list(first_moments, count),
                     list(second_moments, count), {}, std::vector<at::Tensor>(count, *step),
                     numbers->learning_rate, numbers->betas[0], numbers->betas[1],
                     numbers->weight_decay, numbers->eps, /*amsgrad=*/false, /*maximize=*/false);
  });
}

// One step of torch.optim.SGD(fused=True); `buffers` is null without momentum. Buffers that start
// at zero make the first step like all others.
char* f3_fused_sgd(at::Tensor* const* parameters, at::Tensor* const* gradients,
                   at::Tensor* const* buffers, size_t count, const F3SgdStep* numbers) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    at::_fused_sgd_(list(parameters, count), list(gradients, count),
                    list(buffers, buffers ? count : 0), numbers->weight_decay, numbers->momentum,
                    numbers->learning_rate, /*dampening=*/0.0, numbers->nesterov,
                    /*maximize=*/false, /*is_first_step=*/false);
  });
}

// The gradients of a convolution of stride 1, from that of its output; the input's is null if it is not
// wanted. Those of weight and bias are contiguous.
char* f3_convolution_backward(at::Tensor* gradient, at::Tensor* input, at::Tensor* weight,
                              int64_t padding, at::Tensor* input_gradient,
                              at::Tensor* weight_gradient, at::Tensor* bias_gradient) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    const int64_t one[] = {1, 1}, none[] = {0, 0}, around[] = {padding, padding};
    const int64_t channels[] = {weight->size(0)};
    auto [of_input, of_weight, of_bias] = at::convolution_backward(
        *gradient, *input, *weight, at::OptionalIntArrayRef(channels), one, around, one,
        /*transposed=*/false, none, /*groups=*/1, {input_gradient != nullptr, true, true});
    if (input_gradient) *input_gradient = of_input;
    *weight_gradient = of_weight.contiguous();
    *bias_gradient = of_bias.contiguous();
  });
}

}  // extern "C"
