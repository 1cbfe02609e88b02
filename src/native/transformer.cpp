// A block of a transformer, h = u + MLP(LN(u)) with u = x + Attention(LN(x)), and its gradients,
// compiled once for each instruction set (see build.rs).
//
// Some samples at a time (a group) go through the whole block, forwards and backwards, while everything
// that is computed for them stays in the core's cache. A group's tokens lie side by side, one feature
// below the other: [features, T]. So every linear map is a product W [out, in] times [in, T] with the
// weights as they are, and sums over features (normalisation) or over keys (softmax) are sums of
// vectors. The tokens of a sample are filled up with zeros to whole vectors: they give no gradients.
//
// The gradients of weights, delta [out, T] times x' [T, in], need x the other way round; of each pair
// the one with w features is turned, since w is small. That of the projection and of the contraction
// is therefore kept transposed.
//
// What a sample's outputs are does not depend on its group. Gradients are sums over the samples of a
// part, in their order, and then over parts.
#include "transformer.h"
#include "vector.h"

namespace {

#if defined(__AVX512F__)
constexpr int ROWS = 12, TALL = 16;  // rows of a tile that is two vectors wide, or one
#elif defined(__AVX2__)
constexpr int ROWS = 6, TALL = 10;
#else
constexpr int ROWS = 4, TALL = 8;
#endif

constexpr float EPSILON = 1e-5f;  // of the normalisations

// How the elements of a matrix lie: from one row to the next, and from one column to the next.
struct Matrix {
  const float* at;
  int64_t row, column;
};

// What is done with a product: it is stored, with a number added to each row, or it is added.
struct Target {
  float* at;
  int64_t row;
  bool add;
  const float* bias;
};

template <int HEIGHT, int VECTORS>
INLINE void product_tile(int64_t depth, const float* a, int64_t a_row, int64_t a_next, const float* b,
                         int64_t b_next, Target c, int64_t i) {
  Vector sums[HEIGHT][VECTORS];
  float* to = c.at + i * c.row;
  each<HEIGHT>([&](auto r) INLINE_LAMBDA {
    each<VECTORS>([&](auto v) INLINE_LAMBDA {
      Vector start = {};
      if (c.add) start = load(to + r.value * c.row + v.value * LANES);
      if (c.bias) start = broadcast(c.bias[i + r.value]);
      sums[r.value][v.value] = start;
    });
  });
  for (int64_t k = 0; k < depth; ++k) {
    Vector row[VECTORS];
    each<VECTORS>([&](auto v) INLINE_LAMBDA { row[v.value] = load(b + v.value * LANES); });
    each<HEIGHT>([&](auto r) INLINE_LAMBDA {
      Vector factor = broadcast(a[r.value * a_row]);
      each<VECTORS>([&](auto v) INLINE_LAMBDA { sums[r.value][v.value] += factor * row[v.value]; });
    });
    a += a_next;
    b += b_next;
  }
  each<HEIGHT>([&](auto r) INLINE_LAMBDA {
    each<VECTORS>([&](auto v) INLINE_LAMBDA {
      store(to + r.value * c.row + v.value * LANES, sums[r.value][v.value]);
    });
  });
}

// c [height, vectors * LANES] of a [height, depth] and b [depth, vectors * LANES], VECTORS columns of
// vectors at a time, in tiles of MOST, 8, 4 and 1 rows.
template <int MOST, int VECTORS>
void product_columns(int64_t height, int64_t depth, Matrix a, const float* b, int64_t b_next, Target c) {
  int64_t i = 0;
  auto rows = [&](auto count) INLINE_LAMBDA {
    for (; height - i >= count.value; i += count.value) {
      product_tile<count.value, VECTORS>(depth, a.at + i * a.row, a.row, a.column, b, b_next, c, i);
    }
  };
  rows(Constant<MOST>{});
  if constexpr (MOST > 8) rows(Constant<8>{});
  if constexpr (MOST > 4) rows(Constant<4>{});
  rows(Constant<1>{});
}

void product(int64_t height, int64_t vectors, int64_t depth, Matrix a, const float* b, int64_t b_next,
             Target c) {
  for (; vectors >= 2; vectors -= 2, b += 2 * LANES, c.at += 2 * LANES) {
    product_columns<ROWS, 2>(height, depth, a, b, b_next, c);
  }
  if (vectors == 1) product_columns<TALL, 1>(height, depth, a, b, b_next, c);
}

// to [columns, rows] of from [rows, columns].
void transpose(const float* from, int64_t from_row, int64_t rows, int64_t columns, float* to,
               int64_t to_row) {
  int64_t r = 0;
#if defined(__AVX512F__)
  for (; rows - r >= LANES; r += LANES) {
    int64_t c = 0;
    for (; columns - c >= LANES; c += LANES) {
      __m512 lines[LANES];
      each<LANES>([&](auto i) INLINE_LAMBDA {
        lines[i.value] = _mm512_loadu_ps(from + (r + i.value) * from_row + c);
      });
      // Halves change places, then quarters, and so on.
      const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
      auto exchange = [&](auto half) INLINE_LAMBDA {
        constexpr int SIZE = half.value;
        const __m512i size = _mm512_set1_epi32(SIZE);
        const __mmask16 upper = _mm512_test_epi32_mask(lane, size);
        const __m512i low = _mm512_mask_add_epi32(lane, upper, lane, _mm512_set1_epi32(LANES - SIZE));
        const __m512i high =
            _mm512_mask_add_epi32(_mm512_add_epi32(lane, size), upper, lane, _mm512_set1_epi32(LANES));
        each<LANES>([&](auto i) INLINE_LAMBDA {
          if constexpr ((i.value & SIZE) == 0) {
            const __m512 a = lines[i.value], b = lines[i.value + SIZE];
            lines[i.value] = _mm512_permutex2var_ps(a, low, b);
            lines[i.value + SIZE] = _mm512_permutex2var_ps(a, high, b);
          }
        });
      };
      exchange(Constant<8>{});
      exchange(Constant<4>{});
      exchange(Constant<2>{});
      exchange(Constant<1>{});
      each<LANES>([&](auto i) INLINE_LAMBDA {
        _mm512_storeu_ps(to + (c + i.value) * to_row + r, lines[i.value]);
      });
    }
    for (; c < columns; ++c) {
      for (int64_t i = r; i < r + LANES; ++i) to[c * to_row + i] = from[i * from_row + c];
    }
  }
#endif
  for (; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) to[c * to_row + r] = from[r * from_row + c];
  }
}

INLINE int64_t whole_vectors(int64_t count) { return (count + LANES - 1) / LANES * LANES; }

// Sizes, and where everything is in the scratch of a group.
struct Group {
  int64_t t, w, a, s, m, inner;
  int64_t padded;   // tokens of a sample, with those of zeros
  int64_t samples;  // most samples of a group
  int64_t T;        // padded tokens of a group
  int64_t row;      // w, filled up to whole vectors
  int64_t size = 0;

  // [features, T]
  float *x, *normal, *xn, *query, *key, *value, *scores, *attended, *u, *mlp_normal, *un, *hidden, *h;
  float *dh, *dhidden, *dun, *du, *dxn, *dattended, *dquery, *dkey, *dvalue;
  float *deviation, *mlp_deviation;  // [T]: 1 / the standard deviation
  // [T, row]: the same the other way round
  float *xn_rows, *un_rows, *du_rows, *dh_rows;
  // [padded, padded] of a head and a sample
  float *dscores, *scores_rows, *dscores_rows;

  Group(const F3Transformer& task, float* scratch)
      : t(task.tokens),
        w(task.width),
        a(task.heads),
        s(task.head_size),
        m(task.hidden),
        inner(a * s),
        padded(whole_vectors(t)),
        samples(padded >= 2 * LANES ? 1 : 2 * LANES / padded),
        T(padded * samples),
        row(whole_vectors(w)) {
    scratch = (float*)(((uintptr_t)scratch + 63) / 64 * 64);
    auto take = [&](float*& place, int64_t floats) {
      if (scratch) place = scratch + size;
      size += whole_vectors(floats);
    };
    float** of_tokens[] = {&x, &normal, &xn, &u, &mlp_normal, &un, &h, &dh, &dun, &du, &dxn};
    for (float** place : of_tokens) take(*place, w * T);
    float** of_heads[] = {&query, &key, &value, &attended};
    for (float** place : of_heads) take(*place, inner * T);
    float** of_head[] = {&dattended, &dquery, &dkey, &dvalue};
    for (float** place : of_head) take(*place, s * T);
    take(hidden, m * T), take(dhidden, m * T);
    take(deviation, T), take(mlp_deviation, T);
    float** turned[] = {&xn_rows, &un_rows, &du_rows, &dh_rows};
    for (float** place : turned) take(*place, T * row);
    float** squares[] = {&dscores, &scores_rows, &dscores_rows};
    for (float** place : squares) take(*place, padded * padded);
    take(scores, a * padded * T);
  }
};

// Where the gradients of the parameters begin in a part's sums.
struct Places {
  enum {
    ATTENTION_SCALE, ATTENTION_SHIFT, QUERY, KEY, VALUE, PROJECTION, PROJECTION_BIAS, MLP_SCALE,
    MLP_SHIFT, EXPANSION, EXPANSION_BIAS, CONTRACTION, CONTRACTION_BIAS, COUNT
  };
  int64_t begin[COUNT], row[COUNT], size = 0;

  explicit Places(const F3Transformer& task) {
    const int64_t wide = whole_vectors(task.width), inner = task.heads * task.head_size;
    for (int which = 0; which < COUNT; ++which) {
      int64_t rows = 1;
      row[which] = wide;
      switch (which) {
        case QUERY: case KEY: case VALUE: case PROJECTION: rows = inner; break;
        case EXPANSION: case CONTRACTION: rows = task.hidden; break;
        case EXPANSION_BIAS: row[which] = whole_vectors(task.hidden);
      }
      begin[which] = size;
      size += rows * row[which];
    }
  }
};

// The samples' rows [t w] as features [w, T], with zeros for the tokens that are none.
void features(const Group& g, const float* rows, int64_t samples, float* to) {
  if (samples < g.samples || g.t < g.padded) {
    for (int64_t at = 0; at < g.w * g.T; at += LANES) store(to + at, Vector{});
  }
  for (int64_t i = 0; i < samples; ++i) {
    transpose(rows + i * g.t * g.w, g.w, g.t, g.w, to + i * g.padded, g.T);
  }
}

// The way back.
void rows_of(const Group& g, const float* from, int64_t samples, float* rows) {
  for (int64_t i = 0; i < samples; ++i) {
    transpose(from + i * g.padded, g.T, g.w, g.t, rows + i * g.t * g.w, g.w);
  }
}

// normal = (x - mean) / deviation over the w features of each token; y = normal * scale + shift.
void normalise(const Group& g, const float* x, const float* scale, const float* shift, float* normal,
               float* deviation, float* y) {
  for (int64_t at = 0; at < g.T; at += LANES) {
    Vector mean = {}, square = {};
    for (int64_t c = 0; c < g.w; ++c) mean += load(x + c * g.T + at);
    mean = mean / (float)g.w;
    for (int64_t c = 0; c < g.w; ++c) {
      Vector centred = load(x + c * g.T + at) - mean;
      square += centred * centred;
    }
    Vector inverse = 1.0f / square_root(square / (float)g.w + EPSILON);
    store(deviation + at, inverse);
    for (int64_t c = 0; c < g.w; ++c) {
      Vector unit = (load(x + c * g.T + at) - mean) * inverse;
      store(normal + c * g.T + at, unit);
      store(y + c * g.T + at, unit * scale[c] + shift[c]);
    }
  }
}

// dx = rest + the gradient of x behind a normalisation whose output has the gradient dy; adds the
// gradients of scale and shift. dx may be where dy is.
void normalise_back(const Group& g, const float* dy, const float* scale, const float* normal,
                    const float* deviation, const float* rest, float* dx, float* dscale, float* dshift) {
  for (int64_t c = 0; c < g.w; ++c) {
    Vector of_scale = {}, of_shift = {};
    for (int64_t at = 0; at < g.T; at += LANES) {
      Vector gradient = load(dy + c * g.T + at);
      of_scale += gradient * load(normal + c * g.T + at);
      of_shift += gradient;
    }
    dscale[c] += sum(of_scale);
    dshift[c] += sum(of_shift);
  }
  for (int64_t at = 0; at < g.T; at += LANES) {
    Vector total = {}, along = {};
    for (int64_t c = 0; c < g.w; ++c) {
      Vector of_normal = load(dy + c * g.T + at) * scale[c];
      total += of_normal;
      along += of_normal * load(normal + c * g.T + at);
    }
    total = total / (float)g.w;
    along = along / (float)g.w;
    Vector inverse = load(deviation + at);
    for (int64_t c = 0; c < g.w; ++c) {
      Vector of_normal = load(dy + c * g.T + at) * scale[c];
      Vector unit = load(normal + c * g.T + at);
      store(dx + c * g.T + at, load(rest + c * g.T + at) + inverse * (of_normal - total - unit * along));
    }
  }
}

// softmax over the keys (rows) of scores [t, padded] times `factor`; the rows behind t become zero.
void softmax(const Group& g, float* scores, float factor) {
  for (int64_t at = 0; at < g.padded; at += LANES) {
    Vector most = load(scores + at);
    for (int64_t u = 1; u < g.t; ++u) {
      Vector score = load(scores + u * g.T + at);
      most = score > most ? score : most;
    }
    Vector total = {};
    for (int64_t u = 0; u < g.t; ++u) {
      Vector below = (load(scores + u * g.T + at) - most) * factor;
      below = below < -87.0f ? broadcast(-87.0f) : below;
      Vector weight = exponential(Vectors<1>{below}).each[0];
      total += weight;
      store(scores + u * g.T + at, weight);
    }
    Vector share = 1.0f / total;
    for (int64_t u = 0; u < g.t; ++u) {
      store(scores + u * g.T + at, load(scores + u * g.T + at) * share);
    }
    for (int64_t u = g.t; u < g.padded; ++u) store(scores + u * g.T + at, Vector{});
  }
}

// Everything from x to h.
void forward_group(const F3Transformer& task, const Group& g, const float* x, int64_t samples) {
  const int64_t vectors = g.T / LANES, own = g.padded / LANES;
  const float factor = 1.0f / __builtin_sqrtf((float)g.s);
  features(g, x, samples, g.x);
  normalise(g, g.x, task.attention_scale, task.attention_shift, g.normal, g.deviation, g.xn);
  auto map = [&](const float* weight, int64_t outputs, int64_t inputs, const float* from, float* to,
                 const float* bias) {
    product(outputs, vectors, inputs, {weight, inputs, 1}, from, g.T, {to, g.T, false, bias});
  };
  map(task.query, g.inner, g.w, g.xn, g.query, nullptr);
  map(task.key, g.inner, g.w, g.xn, g.key, nullptr);
  map(task.value, g.inner, g.w, g.xn, g.value, nullptr);
  for (int64_t head = 0; head < g.a; ++head) {
    for (int64_t i = 0; i < samples; ++i) {
      const int64_t at = head * g.s * g.T + i * g.padded;
      float* scores = g.scores + head * g.padded * g.T + i * g.padded;
      // scores[u, t] = key_u . query_t
      product(g.t, own, g.s, {g.key + at, 1, g.T}, g.query + at, g.T, {scores, g.T, false, nullptr});
      softmax(g, scores, factor);
      product(g.s, own, g.t, {g.value + at, g.T, 1}, scores, g.T, {g.attended + at, g.T, false, nullptr});
    }
    for (int64_t i = samples; i < g.samples; ++i) {
      for (int64_t feature = head * g.s; feature < (head + 1) * g.s; ++feature) {
        for (int64_t at = i * g.padded; at < (i + 1) * g.padded; at += LANES) {
          store(g.attended + feature * g.T + at, Vector{});
        }
      }
    }
  }
  map(task.projection, g.w, g.inner, g.attended, g.u, task.projection_bias);
  for (int64_t at = 0; at < g.w * g.T; at += LANES) store(g.u + at, load(g.u + at) + load(g.x + at));
  normalise(g, g.u, task.mlp_scale, task.mlp_shift, g.mlp_normal, g.mlp_deviation, g.un);
  map(task.expansion, g.m, g.w, g.un, g.hidden, task.expansion_bias);
  activate_row(g.hidden, nullptr, g.hidden, g.m * g.T, task.activation);
  map(task.contraction, g.w, g.m, g.hidden, g.h, task.contraction_bias);
  for (int64_t at = 0; at < g.w * g.T; at += LANES) store(g.h + at, load(g.h + at) + load(g.u + at));
}

// dL/dh of the group as features and as rows; `begin` is its first sample.
void gradient_of_outputs(const F3Transformer& task, const Group& g, int64_t begin, int64_t samples) {
  const int64_t outputs = g.t * g.w;
  for (int64_t at = 0; at < g.w * g.T; at += LANES) store(g.dh + at, Vector{});
  for (int64_t at = 0; at < g.T * g.row; at += LANES) store(g.dh_rows + at, Vector{});
  for (int64_t i = 0; i < samples; ++i) {
    float* rows = g.dh_rows + i * g.padded * g.row;
    for (int64_t token = 0; token < g.t; ++token) {
      for (int64_t c = 0; c < g.w; c += LANES) {
        const int64_t count = smaller(LANES, g.w - c), place = token * g.w + c;
        Vector gradient = {};
        if (task.teacher == 0) {
          const float* error = task.signal + (begin + i) * task.error_size;
          for (int64_t output = 0; output < task.error_size; ++output) {
            gradient += error[output] * load_part(task.feedback + output * outputs + place, count);
          }
        } else {
          gradient = load_part(task.signal + (begin + i) * outputs + place, count);
        }
        store_part(rows + token * g.row + c, gradient, count);
      }
    }
    transpose(rows, g.row, g.t, g.w, g.dh + i * g.padded, g.T);
  }
}

void add_rows(const float* rows, int64_t count, int64_t row, float* to) {
  for (int64_t c = 0; c < row; c += LANES) {
    Vector total = load(to + c);
    for (int64_t i = 0; i < count; ++i) total += load(rows + i * row + c);
    store(to + c, total);
  }
}

// Everything from dL/dh to dL/dx, which is in g.dxn at the end; adds the parameters' gradients.
void backward_group(const F3Transformer& task, const Group& g, int64_t samples, const Places& places,
                    float* gradient) {
  const int64_t vectors = g.T / LANES, own = g.padded / LANES, wide = g.row / LANES;
  const float factor = 1.0f / __builtin_sqrtf((float)g.s);
  auto of = [&](int which) { return gradient + places.begin[which]; };
  // delta [rows, T] times inputs [T, w]
  auto weights = [&](int64_t rows, const float* delta, const float* inputs, float* to) {
    product(rows, wide, g.T, {delta, g.T, 1}, inputs, g.row, {to, g.row, true, nullptr});
  };
  auto turned = [&](const float* from, float* rows) { transpose(from, g.T, g.w, g.T, rows, g.row); };

  weights(g.m, g.hidden, g.dh_rows, of(Places::CONTRACTION));
  add_rows(g.dh_rows, g.T, g.row, of(Places::CONTRACTION_BIAS));
  product(g.m, vectors, g.w, {task.contraction, 1, g.m}, g.dh, g.T, {g.dhidden, g.T, false, nullptr});
  float* bias = of(Places::EXPANSION_BIAS);
  for (int64_t j = 0; j < g.m; ++j) {
    Vector total = {};
    for (int64_t at = j * g.T; at < (j + 1) * g.T; at += LANES) {
      Vector delta = load(g.dhidden + at) * slope(load(g.hidden + at), task.activation);
      store(g.dhidden + at, delta);
      total += delta;
    }
    bias[j] += sum(total);
  }
  turned(g.un, g.un_rows);
  weights(g.m, g.dhidden, g.un_rows, of(Places::EXPANSION));
  product(g.w, vectors, g.m, {task.expansion, 1, g.w}, g.dhidden, g.T, {g.dun, g.T, false, nullptr});
  normalise_back(g, g.dun, task.mlp_scale, g.mlp_normal, g.mlp_deviation, g.dh, g.du,
                 of(Places::MLP_SCALE), of(Places::MLP_SHIFT));

  turned(g.du, g.du_rows);
  weights(g.inner, g.attended, g.du_rows, of(Places::PROJECTION));
  add_rows(g.du_rows, g.T, g.row, of(Places::PROJECTION_BIAS));
  turned(g.xn, g.xn_rows);
  for (int64_t head = 0; head < g.a; ++head) {
    const int64_t first = head * g.s;
    product(g.s, vectors, g.w, {task.projection + first, 1, g.inner}, g.du, g.T,
            {g.dattended, g.T, false, nullptr});
    for (int64_t i = 0; i < samples; ++i) {
      const int64_t at = first * g.T + i * g.padded, here = i * g.padded;
      const float* scores = g.scores + head * g.padded * g.T + i * g.padded;
      product(g.t, own, g.s, {g.value + at, 1, g.T}, g.dattended + here, g.T,
              {g.dscores, g.padded, false, nullptr});
      for (int64_t lane = 0; lane < g.padded; lane += LANES) {
        Vector total = {};
        for (int64_t u = 0; u < g.t; ++u) {
          total += load(scores + u * g.T + lane) * load(g.dscores + u * g.padded + lane);
        }
        for (int64_t u = 0; u < g.t; ++u) {
          float* place = g.dscores + u * g.padded + lane;
          store(place, load(scores + u * g.T + lane) * (load(place) - total) * factor);
        }
        for (int64_t u = g.t; u < g.padded; ++u) store(g.dscores + u * g.padded + lane, Vector{});
      }
      transpose(scores, g.T, g.padded, g.padded, g.scores_rows, g.padded);
      transpose(g.dscores, g.padded, g.padded, g.padded, g.dscores_rows, g.padded);
      auto back = [&](const float* a, const float* b, float* to) {
        product(g.s, own, g.t, {a, g.T, 1}, b, g.padded, {to + here, g.T, false, nullptr});
      };
      back(g.dattended + here, g.scores_rows, g.dvalue);
      back(g.key + at, g.dscores, g.dquery);
      back(g.query + at, g.dscores_rows, g.dkey);
    }
    if (samples < g.samples) {
      float* const last[] = {g.dvalue, g.dquery, g.dkey};
      for (float* place : last) {
        for (int64_t feature = 0; feature < g.s; ++feature) {
          for (int64_t at = samples * g.padded; at < g.T; at += LANES) {
            store(place + feature * g.T + at, Vector{});
          }
        }
      }
    }
    auto linear = [&](const float* weight, const float* delta, int which, bool add) {
      weights(g.s, delta, g.xn_rows, of(which) + first * g.row);
      product(g.w, vectors, g.s, {weight + first * g.w, 1, g.w}, delta, g.T, {g.dxn, g.T, add, nullptr});
    };
    linear(task.query, g.dquery, Places::QUERY, head > 0);
    linear(task.key, g.dkey, Places::KEY, true);
    linear(task.value, g.dvalue, Places::VALUE, true);
  }
  normalise_back(g, g.dxn, task.attention_scale, g.normal, g.deviation, g.du, g.dxn,
                 of(Places::ATTENTION_SCALE), of(Places::ATTENTION_SHIFT));
}

int64_t scratch(const F3Transformer* task) { return Group(*task, nullptr).size + 16; }

int64_t gradient_size(const F3Transformer* task) { return Places(*task).size; }

void places(const F3Transformer* task, int64_t* begin, int64_t* row) {
  const Places found(*task);
  for (int which = 0; which < Places::COUNT; ++which) {
    begin[which] = found.begin[which];
    row[which] = found.row[which];
  }
}

void forward(const F3Transformer* task, int64_t begin, int64_t end, float*, float* scratch) {
  const Group g(*task, scratch);
  const int64_t outputs = g.t * g.w;
  for (int64_t at = begin; at < end; at += g.samples) {
    const int64_t samples = smaller(g.samples, end - at);
    forward_group(*task, g, task->x + at * outputs, samples);
    rows_of(g, g.h, samples, task->h + at * outputs);
  }
}

void learn(const F3Transformer* task, int64_t begin, int64_t end, float* gradient, float* scratch) {
  const Group g(*task, scratch);
  const Places places(*task);
  const int64_t outputs = g.t * g.w;
  for (int64_t at = begin; at < end; at += g.samples) {
    const int64_t samples = smaller(g.samples, end - at);
    forward_group(*task, g, task->x + at * outputs, samples);
    rows_of(g, g.h, samples, task->h + at * outputs);
    gradient_of_outputs(*task, g, at, samples);
    backward_group(*task, g, samples, places, gradient);
    if (task->input_gradient) rows_of(g, g.dxn, samples, task->input_gradient + at * outputs);
  }
}

// The parts' sums of `count` numbers from `at` on.
INLINE Vector sum_of_parts(const F3Stepped& tensor, int64_t at, int64_t count) {
  Vector total = {};
  for (int64_t part = 0; part < tensor.parts; ++part) {
    total += load_part(tensor.sums + part * tensor.next + at, count);
  }
  return total;
}

template <typename Optimizer>
void step_tensor(const F3Stepped& tensor, const F3Steps& steps, int64_t begin, int64_t end) {
  const Optimizer optimizer(steps, 0);
  auto step = [&](int64_t offset, Vector gradient, int64_t count) INLINE_LAMBDA {
    if (tensor.gradient) store_part(tensor.gradient + offset, gradient, count);
    Vector first = {}, second = {};
    if (optimizer.has_first()) first = load_part(tensor.first + offset, count);
    if constexpr (Optimizer::HAS_SECOND) second = load_part(tensor.second + offset, count);
    Vector parameter = load_part(tensor.parameter + offset, count);
    store_part(tensor.parameter + offset, optimizer(parameter, gradient, first, second), count);
    if (optimizer.has_first()) store_part(tensor.first + offset, first, count);
    if constexpr (Optimizer::HAS_SECOND) store_part(tensor.second + offset, second, count);
  };
  if (!tensor.transposed) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t j = 0; j < tensor.columns; j += LANES) {
        const int64_t count = smaller(LANES, tensor.columns - j);
        step(i * tensor.columns + j, sum_of_parts(tensor, i * tensor.sums_row + j, count), count);
      }
    }
    return;
  }
  // A square of LANES x LANES at a time.
  for (int64_t j = begin; j < end; j += LANES) {
    const int64_t count = smaller(LANES, end - j);
    for (int64_t i = 0; i < tensor.rows; i += LANES) {
      const int64_t height = smaller(LANES, tensor.rows - i);
      alignas(64) float kept[LANES * LANES], turned[LANES * LANES];
      for (int64_t c = 0; c < count; ++c) {
        store(kept + c * LANES, sum_of_parts(tensor, (j + c) * tensor.sums_row + i, height));
      }
      transpose(kept, LANES, count, LANES, turned, LANES);
      for (int64_t r = 0; r < height; ++r) {
        step((i + r) * tensor.columns + j, load_part(turned + r * LANES, count), count);
      }
    }
  }
}

void step(const F3Stepped* tensor, const F3Steps* steps, int64_t begin, int64_t end) {
  with_optimizer(*steps, [&](auto chosen) {
    step_tensor<typename decltype(chosen)::type>(*tensor, *steps, begin, end);
  });
}

}  // namespace

extern "C" {
extern const F3TransformerKernels F3_NAMED(transformer, F3_ISA);
}
const F3TransformerKernels F3_NAMED(transformer, F3_ISA) = {scratch, gradient_size, places,
                                                            forward, learn, step};
