// Kernels for fully connected layers, compiled once for each instruction set (see build.rs).
//
// In F3 a neuron's step needs its layer's input, the stored error and its own weights: nothing of
// its neighbours. So a strip of neurons goes through one batch after the other while its weights
// and its optimizer's state stay in the cache, and no strip waits for another one. Within a strip and
// a batch:
//
//   h     = act(x W' + b)         tiles of dot products along the inputs
//   delta = (e B) * act'(h)
//   g     = delta' x              a tile of it in registers, from which the optimizer steps the
//                                 weights at once: the gradient is never written to memory
//
// In the output layer delta comes from the loss between h and the targets.
//
// A neuron's numbers do not depend on the strip that it is in, nor on the number of threads.
#include "dense.h"
#include "vector.h"

namespace {

#if defined(__AVX512F__)
constexpr int DOT_ROWS = 5, DOT_COLUMNS = 5;    // 25 sums, 5 weights, 1 input: 31 of 32 registers
constexpr int OUTER_ROWS = 5, OUTER_VECTORS = 4;
#elif defined(__AVX2__)
constexpr int DOT_ROWS = 3, DOT_COLUMNS = 4;    // 16 registers
constexpr int OUTER_ROWS = 4, OUTER_VECTORS = 3;
#else
constexpr int DOT_ROWS = 3, DOT_COLUMNS = 3;
constexpr int OUTER_ROWS = 3, OUTER_VECTORS = 3;
#endif

// What is multiplied: float32, or pairs of bfloat16 whose products are added in float32.
struct Single {
  typedef float Element;
  static constexpr int PER_LANE = 1;

  static INLINE Vector load(const Element* from) { return ::load(from); }
  static INLINE Vector load_first(const Element* from, int64_t count) {
    return ::load_first(from, count);
  }
  static INLINE Vector add_product(Vector sum, Vector a, Vector b) { return sum + a * b; }
  static const Element* inputs(const F3Dense& task) { return task.x; }
  // Weights of the strip are where they are stepped.
  static const Element* strip(const F3Dense& task, int64_t begin, Element*) {
    return task.weight + begin * task.inputs;
  }
  static INLINE void keep(Element*, int64_t, Vector, int64_t) {}

  // x[i, k + lane], or zeros behind the row's end.
  static INLINE Vector columns(const Element* x, int64_t, int64_t, int64_t, int64_t count) {
    return load_part(x, count);
  }
  // How delta lies for the sums over the batch.
  static const float* factors(const float* delta, int64_t, int64_t, float*) { return delta; }
};

#if defined(__AVX512BF16__)
// Weights are stepped in float32; beside them a strip keeps what it multiplies with.
struct Half {
  typedef uint16_t Element;
  static constexpr int PER_LANE = 2;

  static INLINE Vector load(const Element* from) { return (Vector)_mm512_loadu_si512(from); }
  static INLINE Vector load_first(const Element* from, int64_t count) {
    return (Vector)_mm512_maskz_loadu_epi16((__mmask32)((1ull << count) - 1), from);
  }
  static INLINE Vector add_product(Vector sum, Vector a, Vector b) {
    return (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
  }
  static const Element* inputs(const F3Dense& task) { return task.x_half; }
  static INLINE __m256i rounded(Vector values) {
    return (__m256i)_mm512_cvtneps_pbh((__m512)values);
  }
  static INLINE void keep(Element* to, int64_t offset, Vector values, int64_t count) {
    _mm256_mask_storeu_epi16(to + offset, (__mmask16)((1u << count) - 1), rounded(values));
  }
  static const Element* strip(const F3Dense& task, int64_t begin, Element* copy) {
    (void)task, (void)begin;
    return copy;
  }
  static void copy_strip(const F3Dense& task, int64_t begin, int64_t end, Element* copy) {
    const int64_t size = (end - begin) * task.inputs;
    const float* weights = task.weight + begin * task.inputs;
    for (int64_t at = 0; at < size; at += LANES) {
      const int64_t count = smaller(LANES, size - at);
      keep(copy, at, load_part(weights + at, count), count);
    }
  }

  // Pairs (x[i, k + lane], x[i + 1, k + lane]); a row behind the batch's end counts as zero.
  static INLINE Vector columns(const Element* x, int64_t m, int64_t i, int64_t b, int64_t count) {
    const __mmask16 mask = count >= LANES ? 0xffff : (__mmask16)((1u << count) - 1);
    __m512i even = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, x));
    if (i + 1 == b) return (Vector)even;
    __m512i odd = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, x + m));
    return (Vector)_mm512_or_si512(even, _mm512_slli_epi32(odd, 16));
  }
  // Pairs (delta[i, j], delta[i + 1, j]).
  static const float* factors(const float* delta, int64_t b, int64_t width, float* pairs) {
    for (int64_t i = 0; i < b; i += 2) {
      for (int64_t j = 0; j < width; j += LANES) {
        const int64_t count = smaller(LANES, width - j);
        Vector even = load_part(delta + i * width + j, count), odd = {};
        if (i + 1 < b) odd = load_part(delta + (i + 1) * width + j, count);
        __m512i low = _mm512_cvtepu16_epi32(rounded(even));
        __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(rounded(odd)), 16);
        store_part(pairs + i / 2 * width + j, (Vector)_mm512_or_si512(low, high), count);
      }
    }
    return pairs;
  }
};
#endif

// Parameters, what the optimizer keeps of them, and the copy that is multiplied with, if there is one.
template <typename Element> struct Stepped {
  float *parameter, *first, *second;
  Element* copy;
};

template <typename Precision, typename Optimizer>
INLINE void step_vector(const Optimizer& optimizer, Stepped<typename Precision::Element> at,
                        int64_t offset, Vector gradient) {
  Vector first = {}, second = {};
  if (optimizer.has_first()) first = load(at.first + offset);
  if constexpr (Optimizer::HAS_SECOND) second = load(at.second + offset);
  Vector updated = optimizer(load(at.parameter + offset), gradient, first, second);
  store(at.parameter + offset, updated);
  Precision::keep(at.copy, offset, updated, LANES);
  if (optimizer.has_first()) store(at.first + offset, first);
  if constexpr (Optimizer::HAS_SECOND) store(at.second + offset, second);
}

// As step_vector, for the first `count` lanes only.
template <typename Precision, typename Optimizer>
INLINE void step_part(const Optimizer& optimizer, Stepped<typename Precision::Element> at,
                      int64_t offset, Vector gradient, int64_t count) {
  if (count >= LANES) return step_vector<Precision>(optimizer, at, offset, gradient);
  Vector first = {}, second = {};
  if (optimizer.has_first()) first = load_first(at.first + offset, count);
  if constexpr (Optimizer::HAS_SECOND) second = load_first(at.second + offset, count);
  Vector old = load_first(at.parameter + offset, count);
  Vector updated = optimizer(old, gradient, first, second);
  store_first(at.parameter + offset, updated, count);
  Precision::keep(at.copy, offset, updated, count);
  if (optimizer.has_first()) store_first(at.first + offset, first, count);
  if constexpr (Optimizer::HAS_SECOND) store_first(at.second + offset, second, count);
}

// Memory that will be needed soon, asked for while there is something else to do.
constexpr int64_t LINE = 64;  // bytes

// Bytes of the cache that a core has for itself: recent processors have as much, or half of it.
constexpr int64_t SECOND_LEVEL = 2 << 20;
constexpr int64_t PACKED = SECOND_LEVEL / 32;  // floats

// So many tiles of the gradient, one below the other, are too few for copies of their columns.
constexpr int64_t DIRECT = 3;

// Columns that one tile of the gradient has.
constexpr int64_t BLOCK = OUTER_VECTORS * LANES;

// One line after the other, up to an end.
struct Ahead {
  const char* at;
  int64_t left;       // lines
  int64_t at_a_time;  // lines

  INLINE void ask() {
    for (int64_t line = 0; line < at_a_time && left > 0; ++line, --left, at += LINE) {
      __builtin_prefetch(at, 0, 2);
    }
  }
};

// A line of each row, without an end: where there is none any more, nothing happens.
struct Down {
  const char* at;
  int64_t stride;  // bytes

  INLINE void ask() {
    __builtin_prefetch(at, 0, 3);
    at += stride;
  }
};

// z[r][c] = x_r . w_c over m inputs.
template <typename Precision, int ROWS, int COLUMNS>
INLINE void dot_tile(const typename Precision::Element* x, const typename Precision::Element* w,
                     int64_t m, float* z, int64_t z_stride, Ahead ahead) {
  typedef const typename Precision::Element Element;
  constexpr int STEP = LANES * Precision::PER_LANE;
  Vector sums[ROWS][COLUMNS] = {};
  auto add = [&](auto loaded) INLINE_LAMBDA {
    Vector weights[COLUMNS];
    each<COLUMNS>([&](auto c) INLINE_LAMBDA { weights[c.value] = loaded(w + c.value * m); });
    each<ROWS>([&](auto r) INLINE_LAMBDA {
      Vector input = loaded(x + r.value * m);
      each<COLUMNS>([&](auto c) INLINE_LAMBDA {
        Vector& sum = sums[r.value][c.value];
        sum = Precision::add_product(sum, input, weights[c.value]);
      });
    });
  };
  int64_t k = 0;
  for (; k + STEP <= m; k += STEP) {
    add([&](Element* row) INLINE_LAMBDA { return Precision::load(row + k); });
    ahead.ask();
  }
  if (k < m) add([&](Element* row) INLINE_LAMBDA { return Precision::load_first(row + k, m - k); });
  if constexpr (ROWS < DOT_ROWS || COLUMNS < DOT_COLUMNS) {
    each<ROWS>([&](auto r) INLINE_LAMBDA {
      each<COLUMNS>([&](auto c) INLINE_LAMBDA {
        z[r.value * z_stride + c.value] = sum(sums[r.value][c.value]);
      });
    });
  } else {
    // Many at once: the same sums in fewer instructions.
    constexpr int COUNT = ROWS * COLUMNS, GROUPS = (COUNT + LANES - 1) / LANES;
    float flat[GROUPS * LANES];
    each<GROUPS>([&](auto group) INLINE_LAMBDA {
      Vector vectors[LANES] = {};
      each<LANES>([&](auto lane) INLINE_LAMBDA {
        constexpr int at = group.value * LANES + lane.value;
        if constexpr (at < COUNT) vectors[vector_of_lane(lane.value)] = sums[at / COLUMNS][at % COLUMNS];
      });
      store(flat + group.value * LANES, all_sums(vectors));
    });
    each<ROWS>([&](auto r) INLINE_LAMBDA {
      each<COLUMNS>([&](auto c) INLINE_LAMBDA {
        z[r.value * z_stride + c.value] = flat[r.value * COLUMNS + c.value];
      });
    });
  }
}

// sums[r][v] = sum over t of a[t, r] * b[t, v], v counting vectors.
template <typename Precision, int ROWS, int VECTORS>
INLINE void outer_tile(const float* a, int64_t a_next, int64_t a_row, const float* b, int64_t b_next,
                       int64_t count, Vector (&sums)[ROWS][VECTORS], Down ahead) {
  for (int64_t t = 0; t < count; ++t) {
    ahead.ask();
    Vector row[VECTORS];
    each<VECTORS>([&](auto v) INLINE_LAMBDA { row[v.value] = load(b + v.value * LANES); });
    each<ROWS>([&](auto r) INLINE_LAMBDA {
      Vector factor = broadcast(a[r.value * a_row]);
      each<VECTORS>([&](auto v) INLINE_LAMBDA {
        Vector& sum = sums[r.value][v.value];
        sum = Precision::add_product(sum, factor, row[v.value]);
      });
    });
    a += a_next;
    b += b_next;
  }
}

// Rows of so many columns, `stride` floats apart.
template <int ROWS, int VECTORS>
INLINE void load_tile(Vector (&tile)[ROWS][VECTORS], const float* from, int64_t stride,
                      int64_t columns) {
  each<ROWS>([&](auto r) INLINE_LAMBDA {
    const float* row = from + r.value * stride;
    each<VECTORS - 1>([&](auto v) INLINE_LAMBDA { tile[r.value][v.value] = load(row + v.value * LANES); });
    constexpr int last = VECTORS - 1;
    tile[r.value][last] = load_part(row + last * LANES, columns - last * LANES);
  });
}

template <int ROWS, int VECTORS>
INLINE void store_tile(const Vector (&tile)[ROWS][VECTORS], float* to, int64_t stride,
                       int64_t columns) {
  each<ROWS>([&](auto r) INLINE_LAMBDA {
    float* row = to + r.value * stride;
    each<VECTORS - 1>([&](auto v) INLINE_LAMBDA { store(row + v.value * LANES, tile[r.value][v.value]); });
    constexpr int last = VECTORS - 1;
    store_part(row + last * LANES, tile[r.value][last], columns - last * LANES);
  });
}

// What the products of the first neurons ask for at sample i: the inputs of the samples after their tile.
template <typename Precision>
INLINE Ahead next_inputs(const typename Precision::Element* x, int64_t m, int64_t samples, int64_t i) {
  const int64_t left = smaller(DOT_ROWS, samples - i - DOT_ROWS);
  if (left <= 0) return {nullptr, 0, 0};
  const int64_t lines = (left * m * (int64_t)sizeof *x + LINE - 1) / LINE;
  const int64_t steps = m / (LANES * Precision::PER_LANE) + 1;
  return {(const char*)(x + (i + DOT_ROWS) * m), lines, lines / steps + 1};
}

// What the products of the tile at sample i, neuron j ask for: its share of what the optimizer keeps of
// the tile's weights, for these will be stepped next.
template <typename Precision>
INLINE Ahead optimizer_state(const F3Dense& task, int64_t b, int64_t i, int64_t j, int64_t neurons) {
  const float* lists[] = {task.weight_first, task.weight_second};
  const int64_t count = !lists[0] ? 0 : !lists[1] ? 1 : 2;
  const int64_t tiles = (b + DOT_ROWS - 1) / DOT_ROWS, tile = i / DOT_ROWS;
  if (count == 0) return {nullptr, 0, 0};
  const int64_t shares = tiles < count ? 1 : tiles / count;  // of each list
  const int64_t lines = (neurons * task.inputs * 4 + LINE - 1) / LINE;
  const int64_t from = lines * (tile / count) / shares;
  const int64_t left = smaller(lines * (tile / count + 1) / shares, lines) - from;
  const int64_t steps = task.inputs / (LANES * Precision::PER_LANE) + 1;
  return {(const char*)(lists[tile % count] + j * task.inputs) + from * LINE, left,
          left / steps + 1};
}

// h = act(z + b) for the neurons [begin, end) of one sample.
INLINE void activate_sample(const F3Dense& task, const float* z, int64_t sample, int64_t begin, int64_t end) {
  activate_row(z, task.bias ? task.bias + begin : nullptr, task.h + sample * task.outputs + begin,
               end - begin, task.activation);
}

// The most inputs that are few: dot products along them would hardly fill a vector.
constexpr int64_t FEW = 32;

// h = act(x W' + b) for one batch and the neurons [begin, end) of few inputs: with vectors along the neurons.
void forward_few(const F3Dense& task, int64_t row, int64_t b, int64_t begin, int64_t end) {
  alignas(64) float packed[FEW * BLOCK];  // W' of a block of neurons
  const int64_t m = task.inputs;
  for (int64_t j = begin; j < end; j += BLOCK) {
    const int64_t columns = smaller(BLOCK, end - j);
    for (int64_t c = 0; c < BLOCK; ++c) {
      const float* weights = task.weight + (j + c) * m;
      for (int64_t k = 0; k < m; ++k) packed[k * BLOCK + c] = c < columns ? weights[k] : 0.0f;
    }
    for (int64_t i = 0; i < b; i += OUTER_ROWS) {
      with_constant<OUTER_ROWS>(b - i, [&](auto rows) INLINE_LAMBDA {
        with_constant<OUTER_VECTORS>((columns + LANES - 1) / LANES, [&](auto width) INLINE_LAMBDA {
          const float* x = task.x + (row + i) * m;
          Vector products[rows.value][width.value] = {};
          outer_tile<Single, rows.value, width.value>(x, 1, m, packed, BLOCK, m, products,
                                                      Down{(const char*)x, 0});
          alignas(64) float z[OUTER_ROWS * BLOCK];
          store_tile(products, z, BLOCK, width.value * LANES);
          for (int64_t r = 0; r < rows.value; ++r) {
            activate_sample(task, z + r * BLOCK, row + i + r, j, j + columns);
          }
        });
      });
    }
  }
}

// What the products of the tile at sample i ask for where weights come from memory: its share of the weights
// of the neurons after it, which are at `next`.
template <typename Precision>
INLINE Ahead next_weights(const typename Precision::Element* next, int64_t m, int64_t b, int64_t i,
                          int64_t neurons) {
  const int64_t tiles = (b + DOT_ROWS - 1) / DOT_ROWS, tile = i / DOT_ROWS;
  const int64_t lines = neurons * m * (int64_t)sizeof *next / LINE;
  const int64_t from = lines * tile / tiles, left = lines * (tile + 1) / tiles - from;
  const int64_t steps = m / (LANES * Precision::PER_LANE) + 1;
  return {(const char*)next + from * LINE, left, left / steps + 1};
}

// x W' for one batch and the neurons [begin, end), whose weights are at `strip`, into h; `asking`: for memory
// that the step after it needs.
template <typename Precision>
void products(const F3Dense& task, int64_t row, int64_t b, int64_t begin, int64_t end,
              const typename Precision::Element* strip, bool asking) {
  const int64_t m = task.inputs, n = task.outputs;
  const auto* x = Precision::inputs(task) + row * m;
  float* h = task.h + row * n;
  const bool is_small = (end - begin) * m * (int64_t)sizeof *strip <= SECOND_LEVEL / 2;
  for (int64_t j = begin; j < end; j += DOT_COLUMNS) {
    for (int64_t i = 0; i < b; i += DOT_ROWS) {
      Ahead ahead = {nullptr, 0, 0};
      const int64_t neurons = smaller(DOT_COLUMNS, end - j);
      if (j == begin) {
        ahead = next_inputs<Precision>(x, m, task.rows - row, i);
      } else if (asking) {
        ahead = optimizer_state<Precision>(task, b, i, j, neurons);
      } else if (!is_small) {
        const int64_t next = j + neurons;
        ahead = next_weights<Precision>(strip + (next - begin) * m, m, b, i,
                                        smaller(DOT_COLUMNS, end - next));
      }
      with_constant<DOT_COLUMNS>(end - j, [&](auto columns) INLINE_LAMBDA {
        with_constant<DOT_ROWS>(b - i, [&](auto rows) INLINE_LAMBDA {
          dot_tile<Precision, rows.value, columns.value>(x + i * m, strip + (j - begin) * m, m,
                                                         h + i * n + j, n, ahead);
        });
      });
    }
  }
}

// h = act(x W' + b) for one batch and the neurons [begin, end); the rest as in `products`.
template <typename Precision>
void forward_batch(const F3Dense& task, int64_t row, int64_t b, int64_t begin, int64_t end,
                   const typename Precision::Element* strip, bool asking) {
  if (Precision::PER_LANE == 1 && task.inputs <= FEW) return forward_few(task, row, b, begin, end);
  products<Precision>(task, row, b, begin, end, strip, asking);
  for (int64_t i = row; i < row + b; ++i) {
    activate_sample(task, task.h + i * task.outputs + begin, i, begin, end);
  }
}

// delta = (e B) * act'(h) for one batch, at `delta` [b, width].
void feedback_batch(const F3Dense& task, int64_t row, int64_t b, int64_t begin, int64_t end,
                    float* delta, int64_t width) {
  const int64_t n = task.outputs, errors = task.error_size;
  for (int64_t i = 0; i < b; ++i) {
    const float* error = task.signal + (row + i) * errors;
    for (int64_t j = begin; j < end; j += LANES) {
      int64_t count = smaller(LANES, end - j);
      Vector signal = {};
      for (int64_t c = 0; c < errors; ++c) {
        signal += error[c] * load_part(task.feedback + c * n + j, count);
      }
      Vector h = load_part(task.h + (row + i) * n + j, count);
      store_part(delta + i * width + j - begin, signal * slope(h, task.activation), count);
    }
  }
}

// dL/dz from dL/dh; of a sigmoid step by step as libtorch has it.
INLINE Vector through(Vector gradient, Vector h, int32_t activation) {
  return activation == 3 ? gradient * (1.0f - h) * h : gradient * slope(h, activation);
}

// delta = dL/dh * act'(h) for one batch, at `delta` [b, width]; step by step as libtorch has it, so that
// learning from the loss and learning from a gradient that libtorch has computed are the same.
void loss_batch(const F3Dense& task, int64_t row, int64_t b, int64_t begin, int64_t end, float* delta,
                int64_t width) {
  const int64_t n = task.outputs;
  const float count = (float)(b * n);
  for (int64_t i = 0; i < b; ++i) {
    for (int64_t j = begin; j < end; j += LANES) {
      const int64_t lanes = smaller(LANES, end - j), at = (row + i) * n + j;
      Vector h = load_part(task.h + at, lanes);
      Vector gradient = h - load_part(task.signal + at, lanes);
      if (task.teacher == 1) {
        Vector spread = (1.0f - h) * h;
        gradient = gradient / (spread < 1e-12f ? broadcast(1e-12f) : spread) / count;
      } else {
        gradient = (float)(2.0 / (double)(b * n)) * gradient;
      }
      store_part(delta + i * width + j - begin, through(gradient, h, task.activation), lanes);
    }
  }
}

// What the gradient of the tile with this number asks for: a line of the samples' columns in the block
// after the one at k, until the block has been asked for; then what is in the cache already.
template <typename Precision>
INLINE Down next_block(const typename Precision::Element* x, int64_t m, int64_t k, int64_t tile) {
  constexpr int64_t PER_LINE = LINE / sizeof *x, SUMS = Precision::PER_LANE;
  const int64_t row = tile % SUMS, column = tile / SUMS * PER_LINE;
  if (column >= BLOCK || k + BLOCK + column >= m) return {(const char*)x, 0};
  return {(const char*)(x + row * m + k + BLOCK + column), SUMS * m * (int64_t)sizeof *x};
}

// What the backward product of the tile with this number asks for: a line of each of the rows of W from j
// on.
INLINE Down next_piece(const F3Dense& task, int64_t j, int64_t k, int64_t tile) {
  const int64_t column = k + tile * LINE / 4;
  if (j >= task.outputs || tile >= OUTER_VECTORS * LANES * 4 / LINE || column >= task.inputs) {
    return {(const char*)task.weight, 0};
  }
  return {(const char*)(task.weight + j * task.inputs + column), task.inputs * 4};
}

// The columns of a block side by side, from rows that are m apart: rows a power of two apart would fall
// on each other in the cache. Zeros fill the last vector.
template <typename Precision>
INLINE void pack(const typename Precision::Element* from, int64_t m, int64_t count, int64_t columns,
                 float* packed) {
  const int64_t vectors = (columns + LANES - 1) / LANES;
  for (int64_t i = 0; i < count; i += Precision::PER_LANE, packed += BLOCK) {
    for (int64_t v = 0; v < vectors; ++v) {
      store(packed + v * LANES, Precision::columns(from + i * m + v * LANES, m, i, count,
                                                   smaller(LANES, columns - v * LANES)));
    }
  }
}

// Whether weights and optimizer state of so many neurons stay in a core's cache from batch to batch.
INLINE bool stays(const F3Dense& task, int64_t neurons) {
  return 12 * neurons * task.inputs <= SECOND_LEVEL;
}

// How many columns of so many rows of x are packed together. Where the strip stays in the cache a block at a
// time, which is in the first-level cache with the next neurons; otherwise as many as the second-level cache
// takes, since memory wants to be gone through along the rows of W.
INLINE int64_t packed_columns(const F3Dense& task, int64_t rows, int64_t neurons) {
  const int64_t blocks = stays(task, neurons) ? 1 : PACKED / (rows * BLOCK);
  return BLOCK * (blocks < 1 ? 1 : blocks);
}

// Floats for them, of this many rows and fewer.
int64_t packed_size(const F3Dense& task, int64_t rows, int64_t neurons) {
  const int64_t block = rows * BLOCK;
  return stays(task, neurons) || block > PACKED ? block : PACKED;
}

// The weights' step where inputs are few, for so many neurons with delta [b, ...], `next` floats from one
// sample to the next: the gradient is summed with vectors along the neurons. `space` takes delta's block.
template <typename Optimizer>
void few_steps(const Optimizer& optimizer, Stepped<float> weights, const float* x, int64_t m, int64_t b,
               int64_t neurons, const float* delta, int64_t next, float* squares, float* space) {
  alignas(64) float sums[FEW * BLOCK], gradient[FEW * BLOCK];  // [m, BLOCK] and [BLOCK, m]
  for (int64_t j = 0; j < neurons; j += BLOCK) {
    const int64_t columns = smaller(BLOCK, neurons - j);
    const float* rows = delta + j;
    int64_t rows_next = next;
    if (columns < BLOCK) {
      pack<Single>(rows, next, b, columns, space);
      rows = space, rows_next = BLOCK;
    }
    for (int64_t k = 0; k < m; k += OUTER_ROWS) {
      with_constant<OUTER_ROWS>(m - k, [&](auto inputs) INLINE_LAMBDA {
        with_constant<OUTER_VECTORS>((columns + LANES - 1) / LANES, [&](auto width) INLINE_LAMBDA {
          Vector tile[inputs.value][width.value] = {};
          outer_tile<Single, inputs.value, width.value>(x + k, m, 1, rows, rows_next, b, tile,
                                                        Down{(const char*)x, 0});
          store_tile(tile, sums + k * BLOCK, BLOCK, BLOCK);
        });
      });
    }
    for (int64_t c = 0; c < columns; ++c) {
      for (int64_t k = 0; k < m; ++k) {
        const float value = sums[k * BLOCK + c];
        gradient[c * m + k] = value;
        if (squares) squares[j + c] += value * value;
      }
    }
    for (int64_t at = 0; at < columns * m; at += LANES) {
      const int64_t count = smaller(LANES, columns * m - at);
      step_part<Single>(optimizer, weights, j * m + at, load_part(gradient + at, count), count);
    }
  }
}

// One step of the neurons [begin, end) along delta' x and the sum of delta over the batch; delta
// [b, ...] with `next` floats from one sample to the next starts at neuron `begin`. `space` is for
// the strip's own use.
template <typename Precision, typename Optimizer>
void step_batch(const F3Dense& task, int64_t step, int64_t row, int64_t b, int64_t begin,
                int64_t end, const float* delta, int64_t next, float* space,
                typename Precision::Element* copy) {
  const int64_t m = task.inputs;
  const auto* x = Precision::inputs(task) + row * m;
  const Optimizer optimizer(task.steps, step);
  const int64_t first = begin * m;  // of the strip's weights
  const Stepped<typename Precision::Element> weights = {
      task.weight + first, task.weight_first ? task.weight_first + first : nullptr,
      task.weight_second ? task.weight_second + first : nullptr, copy};
  const Stepped<float> biases = {task.bias, task.bias_first, task.bias_second, nullptr};
  float* squares = task.squares && row + b == task.rows ? task.squares : nullptr;

  if (task.bias || squares) {
    for (int64_t j = begin; j < end; j += LANES) {
      int64_t count = smaller(LANES, end - j);
      Vector gradient = {};
      for (int64_t i = 0; i < b; ++i) gradient += load_part(delta + i * next + j - begin, count);
      if (!task.bias) gradient = Vector{};
      if (squares) store_part(squares + j, gradient * gradient, count);
      if (task.bias) step_part<Single>(optimizer, biases, j, gradient, count);
    }
  }
  if constexpr (Precision::PER_LANE == 1) {
    if (m <= FEW) {
      return few_steps(optimizer, weights, x, m, b, end - begin, delta, next,
                       squares ? squares + begin : nullptr, space);
    }
  }
  const int64_t sums = (b + Precision::PER_LANE - 1) / Precision::PER_LANE;
  float* packed = space;
  const int64_t wide = packed_columns(task, sums, end - begin);
  const float* factors = Precision::factors(delta, b, next, space + packed_size(task, b, end - begin));
  // A few tiles of neurons read x where it is.
  auto is_direct = [&](int64_t k) {
    return Precision::PER_LANE == 1 && end - begin <= DIRECT * OUTER_ROWS && k + BLOCK <= m;
  };
  for (int64_t from = 0; from < m; from += wide) {
    const int64_t to = smaller(from + wide, m);
    for (int64_t k = from; k < to; k += BLOCK) {
      if (is_direct(k)) continue;
      pack<Precision>(x + k, m, b, smaller(BLOCK, m - k), packed + (k - from) * sums);
    }
    for (int64_t j = 0, neurons, tile = 0; j < end - begin; j += neurons, ++tile) {
      // Of nearly the same size: a small one at the end would hardly use the registers.
      const int64_t left = end - begin - j, tiles = (left + OUTER_ROWS - 1) / OUTER_ROWS;
      neurons = (left + tiles - 1) / tiles;
      with_constant<OUTER_ROWS>(neurons, [&](auto rows) INLINE_LAMBDA {
        for (int64_t k = from; k < to; k += BLOCK) {
          const int64_t columns = smaller(BLOCK, m - k);
          with_constant<OUTER_VECTORS>((columns + LANES - 1) / LANES, [&](auto width) INLINE_LAMBDA {
            Vector gradient[rows.value][width.value] = {};
            const Down ahead = next_block<Precision>(x, m, to - BLOCK, tile);
            const float* columns_of_x = packed + (k - from) * sums;
            if constexpr (Precision::PER_LANE == 1) {
              if (is_direct(k)) columns_of_x = x + k;
            }
            outer_tile<Precision, rows.value, width.value>(factors + j, next, 1, columns_of_x,
                                                           is_direct(k) ? m : BLOCK, sums, gradient,
                                                           ahead);
            each<rows.value>([&](auto r) INLINE_LAMBDA {
              if (squares) {
                Vector total = {};
                each<width.value>([&](auto v) INLINE_LAMBDA {
                  total += gradient[r.value][v.value] * gradient[r.value][v.value];
                });
                squares[begin + j + r.value] += sum(total);
              }
              const int64_t offset = (j + r.value) * m + k;
              each<width.value - 1>([&](auto v) INLINE_LAMBDA {
                step_vector<Precision>(optimizer, weights, offset + v.value * LANES,
                                       gradient[r.value][v.value]);
              });
              constexpr int last = width.value - 1;
              step_part<Precision>(optimizer, weights, offset + last * LANES, gradient[r.value][last],
                                   columns - last * LANES);
            });
          });
        }
      });
    }
  }
}

// Floats for a strip of this width: delta, packed columns of x, delta's pairs and the weights' copy.
int64_t scratch(const F3Dense* task, int64_t width) {
  const int64_t b = task->batch + 1;
  const int64_t copy = task->x_half ? b * width + width * task->inputs / 2 + LANES : 0;
  return b * width + packed_size(*task, b, width) + copy;
}

void forward(const F3Dense* task, int64_t begin, int64_t end, float*) {
  // In pieces that stay in the cache while the strip's weights go over them. Where inputs are few, it is the
  // rows of h that are large.
  const int64_t piece = task->inputs <= FEW ? 128 : 50;
  const float* strip = task->weight + begin * task->inputs;
  for (int64_t row = 0; row < task->rows; row += piece) {
    forward_batch<Single>(*task, row, smaller(piece, task->rows - row), begin, end, strip, false);
  }
}

template <typename Precision>
void step_any(const F3Dense& task, int64_t step, int64_t row, int64_t b, int64_t begin, int64_t end,
              const float* delta, int64_t next, float* space, typename Precision::Element* copy) {
  with_optimizer(task.steps, [&](auto chosen) {
    typedef typename decltype(chosen)::type Optimizer;
    step_batch<Precision, Optimizer>(task, step, row, b, begin, end, delta, next, space, copy);
  });
}

// `own` is for delta, where the strip has to compute it.
template <typename Precision>
void learn_strip(const F3Dense* task, int64_t begin, int64_t end, float* own, float* space,
                 typename Precision::Element* copy) {
  const int64_t n = task->outputs, width = end - begin;
  const auto* strip = Precision::strip(*task, begin, copy);
  int64_t step = 0;
  for (int64_t row = 0; row < task->rows; row += task->batch, ++step) {
    const int64_t b = smaller(task->batch, task->rows - row);
    if (!task->given) forward_batch<Precision>(*task, row, b, begin, end, strip, row == 0);
    const float* delta = own;
    int64_t next = width;  // floats from one sample's delta to the next one's
    switch (task->teacher) {
      case 0: feedback_batch(*task, row, b, begin, end, own, width); break;
      case 3: delta = task->signal + row * n + begin, next = n; break;
      default: loss_batch(*task, row, b, begin, end, own, width);
    }
    step_any<Precision>(*task, step, row, b, begin, end, delta, next, space, copy);
  }
}

void learn(const F3Dense* task, int64_t begin, int64_t end, float* scratch) {
  float* space = scratch + (task->batch + 1) * (end - begin);
  learn_strip<Single>(task, begin, end, scratch, space, nullptr);
}

#if defined(__AVX512BF16__)
void learn_half(const F3Dense* task, int64_t begin, int64_t end, float* scratch) {
  const int64_t b = task->batch + 1;
  float* space = scratch + b * (end - begin);
  auto* copy = (uint16_t*)(space + packed_size(*task, b, end - begin) + b * (end - begin));
  Half::copy_strip(*task, begin, end, copy);
  learn_strip<Half>(task, begin, end, scratch, space, copy);
}

// bfloat16 from float32, for the samples [begin, end); to the nearest, ties to even.
void halve(const F3Dense* task, int64_t begin, int64_t end) {
  const int64_t m = task->inputs;
  for (int64_t at = begin * m; at < end * m; at += LANES) {
    const int64_t count = smaller(LANES, end * m - at);
    Half::keep(task->x_half, at, load_part(task->x + at, count), count);
  }
}
#endif

// delta = dL/dh * act'(h) for the samples [begin, end): dL/dh is the signal, delta goes to `delta`.
void slopes(const F3Dense* task, int64_t begin, int64_t end) {
  const int64_t n = task->outputs;
  for (int64_t at = begin * n; at < end * n; at += LANES) {
    const int64_t count = smaller(LANES, end * n - at);
    Vector h = load_part(task->h + at, count);
    Vector gradient = load_part(task->signal + at, count);
    store_part(task->delta + at, through(gradient, h, task->activation), count);
  }
}

// The block's columns of dL/dx = delta W. A piece of W's rows lies packed in the first-level cache while
// all samples go over it.
void backward_block(const F3Dense& task, int64_t k, int64_t columns) {
  constexpr int64_t PIECE = 64;
  alignas(64) float packed[PIECE * BLOCK];
  const int64_t m = task.inputs, n = task.outputs;
  const int64_t vectors = (columns + LANES - 1) / LANES;
  for (int64_t j = 0; j < n; j += PIECE) {
    const int64_t count = smaller(PIECE, n - j);
    pack<Single>(task.weight + j * m + k, m, count, columns, packed);
    for (int64_t i = 0; i < task.rows; i += OUTER_ROWS) {
      with_constant<OUTER_ROWS>(task.rows - i, [&](auto rows) INLINE_LAMBDA {
        with_constant<OUTER_VECTORS>(vectors, [&](auto width) INLINE_LAMBDA {
          float* to = task.dx + i * m + k;
          Vector sums[rows.value][width.value] = {};
          if (j > 0) load_tile(sums, to, m, columns);
          const Down ahead = next_piece(task, j + PIECE, k, i / OUTER_ROWS);
          outer_tile<Single, rows.value, width.value>(task.signal + i * n + j, 1, n, packed, BLOCK,
                                                      count, sums, ahead);
          store_tile(sums, to, m, columns);
        });
      });
    }
  }
}

void backward(const F3Dense* task, int64_t begin, int64_t end) {
  for (int64_t k = begin; k < end; k += BLOCK) backward_block(*task, k, smaller(BLOCK, end - k));
}

}  // namespace

// Those that multiply bfloat16 stand beside those of AVX-512, and are all that is compiled for it.
extern "C" {
#if defined(__AVX512BF16__)
extern const F3DenseHalfKernels F3_NAMED(dense, F3_ISA);
#else
extern const F3DenseKernels F3_NAMED(dense, F3_ISA);
#endif
}
#if defined(__AVX512BF16__)
const F3DenseHalfKernels F3_NAMED(dense, F3_ISA) = {learn_half, halve};
#else
const F3DenseKernels F3_NAMED(dense, F3_ISA) = {scratch, forward, learn, backward, slopes};
#endif
