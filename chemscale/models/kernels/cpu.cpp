// Kernels of ChemGPT for CPUs: attention within each document of a packed batch, and tanh-GELU.
//
// A lane of a vector is one head of one document. Sixteen of them go through their tokens side by side, laid out
// as (token, head width, lane), so that scores, softmax and sums over tokens need neither a mask nor a sum
// across lanes, whatever the width and number of heads. Documents are taken in the order of their lengths;
// behind the end of a shorter one its lane works on zeros, which nobody reads. A lane sees only itself: results
// depend neither on the other documents of the batch nor on the number of threads. Built by compiled.py.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <vector>

const long LANES = 16;
typedef float Float __attribute__((vector_size(4 * LANES)));
typedef int32_t Int __attribute__((vector_size(4 * LANES)));

// exp(x) for x <= 0, to about 1e-7: 2^n times a polynomial in what is left of x, |r| <= ln(2)/2.
static inline Float exponential(Float x) {
  const Float zero = {};
  const Float least = zero - 87.0f;
  const Float given = x;
  x = x < least ? least : x;  // false for NaN
  const Float shifted = x * 1.44269504088896341f + 12582912.0f;  // 1.5 * 2^23: its last bits are n
  const Float n = shifted - 12582912.0f;
  const Float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  Float p = r * (1.0f / 5040) + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * (r * r) + r + 1.0f;
  const Float result = (Float)((Int)p + ((Int)shifted << 23));
  return given == given ? result : given;  // the bits of some NaN would add up to a number
}

struct Batch {
  const float *qkv, *gradient;  // gradient: null in the forward pass
  float* out;
  const int32_t* offsets;
  long documents, longest, heads, width, window;
  int threads;
};

struct Lane {
  long start, length, head;
};

// Sixteen lanes. K: width of a head where the compiler may know it, else 0.
template <int K> struct Lanes {
  Lane lane[LANES];
  long length, k;

  // from: (tokens, stride) numbers, of which the lane's begin at head * k.
  void load(const float* from, long stride, Float* to) const {
    const long w = K ? K : k;
    memset((void*)to, 0, sizeof(Float) * length * w);
    for (long l = 0; l < LANES; l++) {
      const float* x = from + lane[l].start * stride + lane[l].head * w;
      float* slot = (float*)to + l;
      for (long t = 0; t < lane[l].length; t++)
        for (long c = 0; c < w; c++) slot[(t * w + c) * LANES] = x[t * stride + c];
    }
  }

  void store(float* to, long stride, const Float* from) const {
    const long w = K ? K : k;
    for (long l = 0; l < LANES; l++) {
      float* x = to + lane[l].start * stride + lane[l].head * w;
      const float* slot = (const float*)from + l;
      for (long t = 0; t < lane[l].length; t++)
        for (long c = 0; c < w; c++) x[t * stride + c] = slot[(t * w + c) * LANES];
    }
  }

  // exp(score - largest) of keys first..i into p; returns 1 / their sum.
  static inline Float softmax(const Float* q, const Float* keys, Float* p, long first, long i, long w) {
    Float largest = {};
    for (long j = first; j <= i; j++) {
      Float score = q[0] * keys[j * w];
      for (long c = 1; c < w; c++) score += q[c] * keys[j * w + c];
      p[j] = score;
      if (j == first) largest = score;
      largest = score > largest ? score : largest;
    }
    Float sum = {};
    for (long j = first; j <= i; j++) {
      p[j] = exponential(p[j] - largest);
      sum += p[j];
    }
    return 1.0f / sum;
  }

  void forward(const Float* q, const Float* keys, const Float* values, Float* out, Float* p, long window) const {
    const long w = K ? K : k;
    for (long i = 0; i < length; i++) {
      const long first = i >= window ? i - window + 1 : 0;
      const Float scale = softmax(q + i * w, keys, p, first, i, w);
      Float local[K ? K : 1];
      Float* sums = K ? local : out + i * w;
      for (long c = 0; c < w; c++) sums[c] = Float{};
      for (long j = first; j <= i; j++)
        for (long c = 0; c < w; c++) sums[c] += p[j] * values[j * w + c];
      for (long c = 0; c < w; c++) out[i * w + c] = sums[c] * scale;
    }
  }

  // With P the probabilities and G the gradient of the output: dV = PᵀG, dS = P∘(GVᵀ - rowsum(P∘GVᵀ)),
  // dQ = dS·K, dK = dSᵀQ. Probabilities are computed again: nothing but qkv was kept.
  void backward(const Float* q, const Float* keys, const Float* values, const Float* g, Float* dq, Float* dk,
                Float* dv, Float* p, Float* dp, long window) const {
    const long w = K ? K : k;
    memset((void*)dk, 0, sizeof(Float) * length * w);
    memset((void*)dv, 0, sizeof(Float) * length * w);
    for (long i = 0; i < length; i++) {
      const long first = i >= window ? i - window + 1 : 0;
      const Float *qi = q + i * w, *gi = g + i * w;
      const Float scale = softmax(qi, keys, p, first, i, w);
      Float mean = {};
      for (long j = first; j <= i; j++) {
        p[j] *= scale;
        Float product = gi[0] * values[j * w];
        for (long c = 1; c < w; c++) product += gi[c] * values[j * w + c];
        dp[j] = product;
        mean += p[j] * product;
      }
      Float local[K ? K : 1];
      Float* sums = K ? local : dq + i * w;
      for (long c = 0; c < w; c++) sums[c] = Float{};
      for (long j = first; j <= i; j++) {
        const Float ds = p[j] * (dp[j] - mean);
        for (long c = 0; c < w; c++) {
          sums[c] += ds * keys[j * w + c];
          dk[j * w + c] += ds * qi[c];
          dv[j * w + c] += p[j] * gi[c];
        }
      }
      for (long c = 0; c < w; c++) dq[i * w + c] = sums[c];
    }
  }
};

template <int K> static Lanes<K> lanes_of(const Batch& b, const std::vector<int32_t>& order, long task) {
  Lanes<K> lanes;
  lanes.k = b.width;
  lanes.length = 0;
  for (long l = 0; l < LANES; l++) {
    const long pair = task * LANES + l;
    lanes.lane[l] = {0, 0, 0};  // of the last lanes there may be no more pairs
    if (pair >= b.documents * b.heads) continue;
    const long d = order[pair / b.heads];
    const long start = b.offsets[d], length = b.offsets[d + 1] - start;
    lanes.lane[l] = {start, length, pair % b.heads};
    lanes.length = std::max(lanes.length, length);
  }
  return lanes;
}

// 0, or 1 where there was no memory.
template <int K> static int attend(const Batch& b) {
  std::vector<int32_t> order(b.documents);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t x, int32_t y) {
    return b.offsets[x + 1] - b.offsets[x] < b.offsets[y + 1] - b.offsets[y];
  });
  const long tasks = (b.documents * b.heads + LANES - 1) / LANES, row = b.heads * b.width;
  const long one = b.longest * b.width, tensors = b.gradient ? 7 : 4;
  int failed = 0;
#pragma omp parallel num_threads(b.threads) reduction(| : failed)
  {
    Float* q = (Float*)aligned_alloc(sizeof(Float), (tensors * one + 2 * b.longest) * sizeof(Float));
    if (!q) failed = 1;
    Float *keys = q + one, *values = keys + one, *g = values + one;
    Float *dq = g + one, *dk = dq + one, *dv = dk + one, *p = q + tensors * one;
#pragma omp for schedule(dynamic)
    for (long task = 0; task < tasks; task++) {
      if (failed) continue;
      const Lanes<K> lanes = lanes_of<K>(b, order, task);
      lanes.load(b.qkv, 3 * row, q);
      lanes.load(b.qkv + row, 3 * row, keys);
      lanes.load(b.qkv + 2 * row, 3 * row, values);
      if (!b.gradient) {
        lanes.forward(q, keys, values, g, p, b.window);
        lanes.store(b.out, row, g);
      } else {
        lanes.load(b.gradient, row, g);
        lanes.backward(q, keys, values, g, dq, dk, dv, p, p + b.longest, b.window);
        lanes.store(b.out, 3 * row, dq);
        lanes.store(b.out + row, 3 * row, dk);
        lanes.store(b.out + 2 * row, 3 * row, dv);
      }
    }
    free(q);
  }
  return failed;
}

static int attend_by_width(const Batch& b) {
  switch (b.width) {
    case 1: return attend<1>(b);
    case 2: return attend<2>(b);
    case 3: return attend<3>(b);
    case 4: return attend<4>(b);
    case 6: return attend<6>(b);
    case 8: return attend<8>(b);
    default: return attend<0>(b);
  }
}

// --- one more position of each sequence of a generation ---
//
// A lane is a position here: keys and values are kept in blocks of sixteen positions, (sequence, head, width, lane),
// so that scores and softmax run over sixteen positions at a time whatever the number and width of heads, and
// memory is read in the order in which it lies. A sequence sees only itself.

static inline Float at(const float* from) {
  Float x;
  memcpy(&x, from, sizeof(Float));
  return x;
}

static inline float sum_of(Float x) {
  typedef float Half __attribute__((vector_size(2 * LANES)));
  typedef float Quarter __attribute__((vector_size(LANES)));
  Half h[2];
  memcpy(h, &x, sizeof(Float));
  h[0] += h[1];
  Quarter q[2];
  memcpy(q, h, sizeof(Half));
  q[0] += q[1];
  return (q[0][0] + q[0][2]) + (q[0][1] + q[0][3]);
}

static inline float largest_of(Float x) {
  float largest = x[0];
  for (long l = 1; l < LANES; l++) largest = x[l] > largest ? x[l] : largest;
  return largest;
}

struct Kept {
  const float* qkv;
  float* const* blocks;  // of each, the keys of all sequences, and behind them their values
  float* out;
  long batch, heads, width, first, last;
  int threads;
};

// One head of one sequence; p: room for its probabilities, in whole vectors. K as above.
template <int K> static inline void attend_to_kept(const Kept& b, long pair, Float* p) {
  const long w = K ? K : b.width, row = b.heads * w, size = w * LANES, values = b.batch * b.heads * size;
  const float* q = b.qkv + pair / b.heads * 3 * row + pair % b.heads * w;
  float* newest = b.blocks[b.last / LANES] + pair * size + b.last % LANES;
  for (long c = 0; c < w; c++) {
    newest[c * LANES] = q[row + c];
    newest[values + c * LANES] = q[2 * row + c];
  }
  Int lane;
  for (long l = 0; l < LANES; l++) lane[l] = l;
  const Float hidden = Float{} - __builtin_inff();
  const long begin = b.first / LANES, end = b.last / LANES + 1;
  Float largest = hidden;
  for (long j = begin; j < end; j++) {
    const float* keys = b.blocks[j] + pair * size;
    Float score = q[0] * at(keys);
    for (long c = 1; c < w; c++) score += q[c] * at(keys + c * LANES);
    const Int position = lane + (int32_t)(j * LANES);
    score = position < (int32_t)b.first ? hidden : position > (int32_t)b.last ? hidden : score;
    p[j - begin] = score;
    largest = score > largest ? score : largest;
  }
  const float top = largest_of(largest);
  Float sum = {};
  for (long j = 0; j < end - begin; j++) {
    const Float score = p[j];
    p[j] = score == hidden ? Float{} : exponential(score - top);
    sum += p[j];
  }
  const float scale = 1.0f / sum_of(sum);
  float* out = b.out + pair * w;
  Float local[K ? K : 1];
  if (K) {
    for (long c = 0; c < K; c++) local[c] = Float{};
    for (long j = begin; j < end; j++) {
      const float* v = b.blocks[j] + values + pair * size;
      for (long c = 0; c < K; c++) local[c] += p[j - begin] * at(v + c * LANES);
    }
    for (long c = 0; c < K; c++) out[c] = sum_of(local[c]) * scale;
    return;
  }
  for (long c = 0; c < w; c++) {
    Float weighted = {};
    for (long j = begin; j < end; j++) weighted += p[j - begin] * at(b.blocks[j] + values + pair * size + c * LANES);
    out[c] = sum_of(weighted) * scale;
  }
}

template <int K> static int step_attend(const Kept& b) {
  const long pairs = b.batch * b.heads, vectors = b.last / LANES - b.first / LANES + 1;
  int failed = 0;
#pragma omp parallel num_threads(b.threads) reduction(| : failed) if (pairs * b.width * vectors > 4096)
  {
    Float* p = (Float*)aligned_alloc(sizeof(Float), vectors * sizeof(Float));
    if (!p) failed = 1;
#pragma omp for
    for (long pair = 0; pair < pairs; pair++)
      if (!failed) attend_to_kept<K>(b, pair, p);
    free(p);
  }
  return failed;
}

static int step_attend_by_width(const Kept& b) {
  switch (b.width) {
    case 1: return step_attend<1>(b);
    case 2: return step_attend<2>(b);
    case 4: return step_attend<4>(b);
    case 8: return step_attend<8>(b);
    case 16: return step_attend<16>(b);
    default: return step_attend<0>(b);
  }
}

// gelu(x) = x·s, s = sigmoid(2u), u = √(2/π)(x + 0.044715x³); with a gradient, its product with gelu'(x).
static inline Float gelu_of(Float x, Float gradient, bool backward) {
  const float a = 1.5957691216057308f, b = 0.044715f * a;
  const Float square = x * x, u = x * (a + b * square);
  const Float e = exponential(u < 0 ? u : -u), r = 1.0f / (1.0f + e);
  const Float s = u < 0 ? e * r : r;
  if (!backward) return x * s;
  return gradient * (s + x * s * (1.0f - s) * (a + 3.0f * b * square));
}

extern "C" {

int document_attention(const float* qkv, const float* gradient, float* out, const int32_t* offsets, long documents,
                       long longest, long heads, long width, long window, int threads) {
  const Batch batch = {qkv, gradient, out, offsets, documents, longest, heads, width, window, threads};
  return attend_by_width(batch);
}

// Adds the keys and values of qkv at position `last`, and attends from first to last; 1 where there was no memory.
int step_attention(const float* qkv, float* const* blocks, float* out, long batch, long heads, long width, long first,
                   long last, int threads) {
  const Kept kept = {qkv, blocks, out, batch, heads, width, first, last, threads};
  return step_attend_by_width(kept);
}

void gelu(const float* x, const float* gradient, float* out, long n, int threads) {
#pragma omp parallel for num_threads(threads) if (n > 65536)
  for (long i = 0; i < n; i += LANES) {
    const size_t bytes = (n - i < LANES ? n - i : LANES) * sizeof(float);
    Float value = {}, slope = {};
    memcpy(&value, x + i, bytes);
    if (gradient) memcpy(&slope, gradient + i, bytes);
    const Float result = gelu_of(value, slope, gradient != nullptr);
    memcpy(out + i, &result, bytes);
  }
}
}
