// Vectors of float32, as wide as the instruction set has them: what all kernels are written with.
//
// Nothing of the standard library is included: its inline functions, compiled here for AVX-512,
// could be the copies that the linker keeps for the whole program.
#pragma once
#include <cstdint>

#include "steps.h"

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#if !defined(F3_ISA)
#error "F3_ISA names the instruction set"
#endif

#define F3_NAME_OF(kernels, isa) f3_##kernels##_##isa
#define F3_NAMED(kernels, isa) F3_NAME_OF(kernels, isa)

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef int32_t Integers __attribute__((vector_size(4 * LANES)));

#define INLINE inline __attribute__((always_inline))
#define INLINE_LAMBDA __attribute__((always_inline))

INLINE Vector load(const float* from) {
  Vector vector;
  __builtin_memcpy(&vector, from, sizeof vector);
  return vector;
}

INLINE void store(float* to, Vector vector) { __builtin_memcpy(to, &vector, sizeof vector); }

INLINE Vector broadcast(float value) { return value - Vector{}; }

// The first `count` lanes, then zeros; and the first `count` lanes only. Nothing behind is touched.
#if defined(__AVX512F__)
INLINE Vector load_first(const float* from, int64_t count) {
  return (Vector)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), from);
}

INLINE void store_first(float* to, Vector vector, int64_t count) {
  _mm512_mask_storeu_ps(to, (__mmask16)((1u << count) - 1), (__m512)vector);
}
#else
INLINE Vector load_first(const float* from, int64_t count) {
  Vector vector = {};
  for (int64_t lane = 0; lane < LANES; ++lane) {
    if (lane < count) vector[lane] = from[lane];
  }
  return vector;
}

INLINE void store_first(float* to, Vector vector, int64_t count) {
  for (int64_t lane = 0; lane < LANES; ++lane) {
    if (lane < count) to[lane] = vector[lane];
  }
}
#endif

INLINE Vector load_part(const float* from, int64_t count) {
  return count >= LANES ? load(from) : load_first(from, count);
}

INLINE void store_part(float* to, Vector vector, int64_t count) {
  if (count >= LANES) {
    store(to, vector);
  } else {
    store_first(to, vector, count);
  }
}

INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Folds pairs of vectors into one each: what the first list picks of both, and what the second picks, added
// lane by lane.
template <int COUNT, typename Fold> INLINE void fold(Vector* v, Fold folded) {
  for (int i = 0; i < COUNT; ++i) v[i] = folded(v[2 * i], v[2 * i + 1]);
}
#define PICK __builtin_shufflevector

// The sum of each of so many vectors, side by side. The lanes of a vector are added halves onto halves, the
// same way for each. Each fold halves the number of vectors, and of the lanes that one of the former has.
INLINE Vector all_sums(Vector (&v)[LANES]) {
#if defined(__AVX512F__)
  fold<8>(v, [](Vector a, Vector b) INLINE_LAMBDA {
    return PICK(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
           PICK(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  });
  fold<4>(v, [](Vector a, Vector b) INLINE_LAMBDA {
    return PICK(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
           PICK(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
  });
  fold<2>(v, [](Vector a, Vector b) INLINE_LAMBDA {
    return PICK(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
           PICK(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  });
  return PICK(v[0], v[1], 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30) +
         PICK(v[0], v[1], 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31);
#elif defined(__AVX2__)
  fold<4>(v, [](Vector a, Vector b) INLINE_LAMBDA {
    return PICK(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + PICK(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
  });
  fold<2>(v, [](Vector a, Vector b) INLINE_LAMBDA {
    return PICK(a, b, 0, 1, 8, 9, 4, 5, 12, 13) + PICK(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
  });
  return PICK(v[0], v[1], 0, 2, 8, 10, 4, 6, 12, 14) + PICK(v[0], v[1], 1, 3, 9, 11, 5, 7, 13, 15);
#else
  fold<2>(v, [](Vector a, Vector b) INLINE_LAMBDA {
    return PICK(a, b, 0, 1, 4, 5) + PICK(a, b, 2, 3, 6, 7);
  });
  return PICK(v[0], v[1], 0, 2, 4, 6) + PICK(v[0], v[1], 1, 3, 5, 7);
#endif
}
#undef PICK

// Which of the vectors for `all_sums` has its sum in this lane.
constexpr int vector_of_lane(int lane) { return lane % 4 * (LANES / 4) + lane / 4; }

INLINE float sum(Vector vector) {
  // Halves onto halves, in a fixed order.
#if defined(__AVX512F__)
  typedef float Half __attribute__((vector_size(32)));
  Half half = __builtin_shufflevector(vector, vector, 0, 1, 2, 3, 4, 5, 6, 7) +
              __builtin_shufflevector(vector, vector, 8, 9, 10, 11, 12, 13, 14, 15);
#elif defined(__AVX2__)
  Vector half = vector;
#endif
  typedef float Quarter __attribute__((vector_size(16)));
#if defined(__AVX2__)
  Quarter q = __builtin_shufflevector(half, half, 0, 1, 2, 3) +
              __builtin_shufflevector(half, half, 4, 5, 6, 7);
#else
  Quarter q = vector;
#endif
  return (q[0] + q[2]) + (q[1] + q[3]);
}

// Some vectors that go through a formula side by side. A formula is a chain of operations, each of which waits
// for the one before, and a processor does not look far enough ahead to begin with the next vector's.
template <int N> struct Vectors {
  Vector each[N];
};

// As many as the registers take.
#if defined(__AVX512F__)
constexpr int SIDE_BY_SIDE = 4;
#else
constexpr int SIDE_BY_SIDE = 3;
#endif

// operation(v) for each of them.
template <int N, typename Operation> INLINE Vectors<N> for_each(Operation operation) {
  Vectors<N> result;
  for (int v = 0; v < N; ++v) result.each[v] = operation(v);
  return result;
}

#define F3_OPERATOR(SIGN)                                                               \
  template <int N> INLINE Vectors<N> operator SIGN(Vectors<N> a, Vectors<N> b) {        \
    return for_each<N>([&](int v) INLINE_LAMBDA { return a.each[v] SIGN b.each[v]; });  \
  }                                                                                     \
  template <int N> INLINE Vectors<N> operator SIGN(Vectors<N> a, float b) {             \
    return for_each<N>([&](int v) INLINE_LAMBDA { return a.each[v] SIGN b; });          \
  }                                                                                     \
  template <int N> INLINE Vectors<N> operator SIGN(float a, Vectors<N> b) {             \
    return for_each<N>([&](int v) INLINE_LAMBDA { return a SIGN b.each[v]; });          \
  }
F3_OPERATOR(+)
F3_OPERATOR(-)
F3_OPERATOR(*)
F3_OPERATOR(/)
#undef F3_OPERATOR

template <int N> INLINE Vectors<N> bounded(Vectors<N> z, float bound) {
  return for_each<N>([&](int v) INLINE_LAMBDA {
    Vector lower = z.each[v] > bound ? broadcast(bound) : z.each[v];
    return lower < -bound ? broadcast(-bound) : lower;
  });
}

// 2^k, k being in the last bits of `shifted`.
template <int N> INLINE Vectors<N> power_of_two(Vectors<N> shifted) {
  return for_each<N>([&](int v) INLINE_LAMBDA {
    return (Vector)(((Integers)shifted.each[v] << 23) + (127 << 23));
  });
}

// `near` where |z| is small, `far` elsewhere; NaN stays NaN.
template <int N>
INLINE Vectors<N> near_or_far(Vectors<N> z, Vectors<N> square, Vectors<N> near, Vectors<N> far) {
  return for_each<N>([&](int v) INLINE_LAMBDA {
    Vector far_or_nan = z.each[v] == z.each[v] ? far.each[v] : z.each[v];
    return square.each[v] < 0.390625f ? near.each[v] : far_or_nan;
  });
}

// exp(x) for x in [-87, 88], by 2^k e^r with |r| <= ln(2)/2.
template <int N> INLINE Vectors<N> exponential(Vectors<N> x) {
  const float log2e = 1.44269504088896341f;
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  Vectors<N> shifted = x * log2e + magic;
  Vectors<N> k = shifted - magic;
  Vectors<N> r = x - k * 0.693359375f;
  r = r + k * 2.12194440e-4f;
  Vectors<N> p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  return p * power_of_two(shifted);
}

template <int N> INLINE Vectors<N> sigmoid(Vectors<N> z) {
  return 1.0f / (1.0f + exponential(-1.0f * bounded(z, 87.0f)));
}

// Near zero a polynomial, since 1 - 2 / (e^2z + 1) would cancel there.
template <int N> INLINE Vectors<N> hyperbolic_tangent(Vectors<N> z) {
  Vectors<N> square = z * z;
  Vectors<N> p = square * -5.70498872745e-3f + 2.06390887954e-2f;
  p = p * square - 5.37397155531e-2f;
  p = p * square + 1.33314422036e-1f;
  p = p * square - 3.33332819422e-1f;
  Vectors<N> near = p * square * z + z;
  Vectors<N> far = 1.0f - 2.0f / (exponential(2.0f * bounded(z, 10.0f)) + 1.0f);
  return near_or_far(z, square, near, far);
}

template <int N> INLINE Vectors<N> positive(Vectors<N> z) {
  return for_each<N>([&](int v) INLINE_LAMBDA { return z.each[v] < 0.0f ? Vector{} : z.each[v]; });
}

template <int N> INLINE Vectors<N> activate(Vectors<N> z, int32_t activation) {
  switch (activation) {
    case 1: return hyperbolic_tangent(z);
    case 2: return positive(z);
    case 3: return sigmoid(z);
    default: return z;
  }
}

// h = act(z + b), so many of each; b may be null, and h may be z.
INLINE void activate_row(const float* z, const float* b, float* h, int64_t count, int32_t activation) {
  int64_t at = 0;
  for (; at + SIDE_BY_SIDE * LANES <= count; at += SIDE_BY_SIDE * LANES) {
    auto values = for_each<SIDE_BY_SIDE>([&](int v) INLINE_LAMBDA {
      Vector sum = load(z + at + v * LANES);
      return b ? sum + load(b + at + v * LANES) : sum;
    });
    values = activate(values, activation);
    for (int v = 0; v < SIDE_BY_SIDE; ++v) store(h + at + v * LANES, values.each[v]);
  }
  for (; at < count; at += LANES) {
    const int64_t lanes = smaller(LANES, count - at);
    Vector sum = load_part(z + at, lanes);
    if (b) sum += load_part(b + at, lanes);
    store_part(h + at, activate(Vectors<1>{sum}, activation).each[0], lanes);
  }
}

// act'(z), told from h.
INLINE Vector slope(Vector h, int32_t activation) {
  switch (activation) {
    case 1: return 1.0f - h * h;
    case 2: return h > 0.0f ? broadcast(1.0f) : Vector{};
    case 3: return h * (1.0f - h);
    default: return broadcast(1.0f);
  }
}

INLINE Vector square_root(Vector vector) {
#if defined(__AVX512F__)
  return (Vector)_mm512_sqrt_ps((__m512)vector);
#elif defined(__AVX2__)
  return (Vector)_mm256_sqrt_ps((__m256)vector);
#else
  for (int lane = 0; lane < LANES; ++lane) vector[lane] = __builtin_sqrtf(vector[lane]);
  return vector;
#endif
}

// A number that is known when a tile's code is compiled.
template <int N> struct Constant { static constexpr int value = N; };

// body(0), body(1), ... body(N - 1), without a loop: what an array holds stays in registers then.
template <int N, typename Body> INLINE void each(Body body) {
  if constexpr (N > 0) {
    each<N - 1>(body);
    body(Constant<N - 1>{});
  }
}

// Tiles at the edge are smaller.
template <int MOST, typename Body> INLINE void with_constant(int64_t count, Body body) {
  if (count >= MOST) return body(Constant<MOST>{});
  if constexpr (MOST > 1) with_constant<MOST - 1>(count, body);
}

// The steps of torch.optim.Adam and torch.optim.SGD for one vector of parameters.
struct Adam {
  static constexpr bool HAS_SECOND = true;
  Vector decay, keep_second, take_first, take_second, eps, scale, step_size;

  Adam(const F3Steps& steps, int64_t step)
      : decay(broadcast(steps.weight_decay)),
        keep_second(broadcast(steps.keep_second)),
        take_first(broadcast(steps.take_first)),
        take_second(broadcast(steps.take_second)),
        eps(broadcast(steps.eps)),
        scale(broadcast(steps.scales[step])),
        step_size(broadcast(steps.step_sizes[step])) {}

  INLINE bool has_first() const { return true; }

  INLINE Vector operator()(Vector parameter, Vector gradient, Vector& first, Vector& second) const {
    gradient = gradient + decay * parameter;
    first = first + take_first * (gradient - first);
    second = keep_second * second + take_second * (gradient * gradient);
    return parameter - step_size * first / (square_root(second) * scale + eps);
  }
};

// Without momentum, with PyTorch's, or with classical momentum, which adds up steps and not gradients
// (Sutskever et al. 2013). One type for all: kernels are compiled for each type, and a branch that always
// goes the same way costs next to nothing beside the memory that a step goes through.
struct Sgd {
  static constexpr bool HAS_SECOND = false;
  Vector decay, step_size, momentum, ahead, direct;
  bool has_momentum, is_classical;

  Sgd(const F3Steps& steps, int64_t step)
      : decay(broadcast(steps.weight_decay)),
        step_size(broadcast(steps.step_sizes[step])),
        momentum(broadcast(steps.momentum)),
        ahead(broadcast(steps.nesterov ? steps.momentum : 1.0f)),
        direct(broadcast(steps.nesterov ? 1.0f : 0.0f)),
        has_momentum(steps.momentum != 0.0f),
        is_classical(steps.classical) {}

  INLINE bool has_first() const { return has_momentum; }

  INLINE Vector operator()(Vector parameter, Vector gradient, Vector& velocity, Vector&) const {
    gradient = gradient + decay * parameter;
    if (!has_momentum) return parameter - step_size * gradient;
    if (is_classical) {
      velocity = momentum * velocity + step_size * gradient;
      return parameter - velocity;
    }
    velocity = momentum * velocity + gradient;
    return parameter - step_size * (direct * gradient + ahead * velocity);
  }
};

// What a kernel is compiled for: `body` gets a Chosen of the optimizer in use.
template <typename Optimizer> struct Chosen { typedef Optimizer type; };

template <typename Body> INLINE void with_optimizer(const F3Steps& steps, Body body) {
  if (steps.rule == 0) return body(Chosen<Adam>{});
  body(Chosen<Sgd>{});
}

}  // namespace
