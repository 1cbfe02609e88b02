// The largest of each 2 x 2 pixels of some planes, and the way back. The same code for all processors:
// rows are short, and wider vectors made it slower.
#include <cstdint>

namespace {

inline void take(float value, int32_t place, float& largest, int32_t& of) {
  const bool more = (value > largest) | (value != value);
  largest = more ? value : largest;
  of = more ? place : of;
}

}  // namespace

extern "C" {

// pooled and places: [planes, height / 2, width / 2].
void f3_max_pool(const float* planes, int64_t count, int64_t height, int64_t width,
                 float* __restrict pooled, int32_t* __restrict places) {
  const int64_t rows = height / 2, columns = width / 2;
  for (int64_t plane = 0; plane < count; ++plane, planes += height * width) {
    for (int64_t i = 0; i < rows; ++i, pooled += columns, places += columns) {
      const float *above = planes + 2 * i * width, *below = above + width;
      for (int64_t j = 0; j < columns; ++j) {
        float largest = above[2 * j];
        int32_t place = 0;
        take(above[2 * j + 1], 1, largest, place);
        take(below[2 * j], 2, largest, place);
        take(below[2 * j + 1], 3, largest, place);
        pooled[j] = largest;
        places[j] = place;
      }
    }
  }
}

void f3_max_pool_backward(const float* pooled, const int32_t* places, int64_t count, int64_t height,
                          int64_t width, float* __restrict planes) {
  const int64_t rows = height / 2, columns = width / 2;
  for (int64_t plane = 0; plane < count; ++plane, planes += height * width) {
    for (int64_t i = 0; i < rows; ++i, pooled += columns, places += columns) {
      float *above = planes + 2 * i * width, *below = above + width;
      for (int64_t j = 0; j < columns; ++j) {
        above[2 * j] = places[j] == 0 ? pooled[j] : 0;
        above[2 * j + 1] = places[j] == 1 ? pooled[j] : 0;
      }
      for (int64_t j = 0; j < columns; ++j) {
        below[2 * j] = places[j] == 2 ? pooled[j] : 0;
        below[2 * j + 1] = places[j] == 3 ? pooled[j] : 0;
      }
      if (width % 2) above[width - 1] = below[width - 1] = 0;
    }
    if (height % 2) {
      for (int64_t j = 0; j < width; ++j) planes[(height - 1) * width + j] = 0;
    }
  }
}

}  // extern "C"
