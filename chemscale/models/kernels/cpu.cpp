// Kernels of ChemGPT for CPUs: attention within each document of a packed batch, and tanh-GELU.
//
// The lanes of a vector are heads: queries, keys and values of a document are laid out as (token, head width,
// head), so that scores, softmax and sums over tokens need neither a mask nor a sum across lanes, whatever the
// head width is. Every document is computed on its own and in one order: results depend neither on the other
// documents of the batch nor on the number of threads. Built and loaded by compiled.py.

#include <cstdint>
#include <cstdlib>
#include <cstring>

template <int W> struct Lanes;
template <> struct Lanes<8> {
  typedef float Float __attribute__((vector_size(32)));
  typedef int32_t Int __attribute__((vector_size(32)));
};
template <> struct Lanes<16> {
  typedef float Float __attribute__((vector_size(64)));
  typedef int32_t Int __attribute__((vector_size(64)));
};

// exp(x) for x <= 0, to about 1e-7: 2^n times a polynomial in what is left of x, |r| <= ln(2)/2.
template <int W> static inline typename Lanes<W>::Float exponential(typename Lanes<W>::Float x) {
  typedef typename Lanes<W>::Float Float;
  typedef typename Lanes<W>::Int Int;
  const Float zero = {};
  const Float least = zero - 87.0f;
  x = x < least ? least : x;  // false for NaN, which stays
  const Float shifted = x * 1.44269504088896341f + 12582912.0f;  // 1.5 * 2^23: its last bits are n
  const Float n = shifted - 12582912.0f;
  const Float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  Float p = r * (1.0f / 5040) + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * (r * r) + r + 1.0f;
  return (Float)((Int)p + ((Int)shifted << 23));
}

// K: width of a head where the compiler may know it, else 0.
template <int W, int K> struct Document {
  typedef typename Lanes<W>::Float Float;

  static void load(const float* from, long stride, long lanes, long length, long width, Float* to) {
    const long k = K ? K : width;
    for (long t = 0; t < length; t++) {
      float* slot = (float*)(to + t * k);
      for (long lane = 0; lane < lanes; lane++)
        for (long c = 0; c < k; c++) slot[c * W + lane] = from[t * stride + lane * k + c];
      for (long lane = lanes; lane < W; lane++)
        for (long c = 0; c < k; c++) slot[c * W + lane] = 0;
    }
  }

  static void store(float* to, long stride, long lanes, long length, long width, const Float* from) {
    const long k = K ? K : width;
    for (long t = 0; t < length; t++) {
      const float* slot = (const float*)(from + t * k);
      for (long lane = 0; lane < lanes; lane++)
        for (long c = 0; c < k; c++) to[t * stride + lane * k + c] = slot[c * W + lane];
    }
  }

  // exp(score - largest) of keys first..i into p; returns 1 / their sum.
  static inline Float softmax(const Float* q, const Float* keys, Float* p, long first, long i, long k) {
    Float largest = {};
    for (long j = first; j <= i; j++) {
      Float score = q[0] * keys[j * k];
      for (long c = 1; c < k; c++) score += q[c] * keys[j * k + c];
      p[j] = score;
      if (j == first) largest = score;
      largest = score > largest ? score : largest;
    }
    Float sum = {};
    for (long j = first; j <= i; j++) {
      p[j] = exponential<W>(p[j] - largest);
      sum += p[j];
    }
    return 1.0f / sum;
  }

  static void forward(const Float* q, const Float* keys, const Float* values, Float* out, Float* p, long length,
                      long width, long window) {
    const long k = K ? K : width;
    for (long i = 0; i < length; i++) {
      const long first = i >= window ? i - window + 1 : 0;
      const Float scale = softmax(q + i * k, keys, p, first, i, k);
      Float local[K ? K : 1];
      Float* sums = K ? local : out + i * k;
      for (long c = 0; c < k; c++) sums[c] = Float{};
      for (long j = first; j <= i; j++)
        for (long c = 0; c < k; c++) sums[c] += p[j] * values[j * k + c];
      for (long c = 0; c < k; c++) out[i * k + c] = sums[c] * scale;
    }
  }

  // With P the probabilities and G the gradient of the output: dV = PᵀG, dS = P∘(GVᵀ - rowsum(P∘GVᵀ)),
  // dQ = dS·K, dK = dSᵀQ. Probabilities are computed again: nothing but qkv was kept.
  static void backward(const Float* q, const Float* keys, const Float* values, const Float* g, Float* dq, Float* dk,
                       Float* dv, Float* p, Float* dp, long length, long width, long window) {
    const long k = K ? K : width;
    memset((void*)dk, 0, sizeof(Float) * length * k);
    memset((void*)dv, 0, sizeof(Float) * length * k);
    for (long i = 0; i < length; i++) {
      const long first = i >= window ? i - window + 1 : 0;
      const Float *qi = q + i * k, *gi = g + i * k;
      const Float scale = softmax(qi, keys, p, first, i, k);
      Float mean = {};
      for (long j = first; j <= i; j++) {
        p[j] *= scale;
        Float product = gi[0] * values[j * k];
        for (long c = 1; c < k; c++) product += gi[c] * values[j * k + c];
        dp[j] = product;
        mean += p[j] * product;
      }
      Float local[K ? K : 1];
      Float* sums = K ? local : dq + i * k;
      for (long c = 0; c < k; c++) sums[c] = Float{};
      for (long j = first; j <= i; j++) {
        const Float ds = p[j] * (dp[j] - mean);
        for (long c = 0; c < k; c++) {
          sums[c] += ds * keys[j * k + c];
          dk[j * k + c] += ds * qi[c];
          dv[j * k + c] += p[j] * gi[c];
        }
      }
      for (long c = 0; c < k; c++) dq[i * k + c] = sums[c];
    }
  }
};

struct Batch {
  const float *qkv, *gradient;  // gradient: null in the forward pass
  float* out;
  const int32_t* offsets;
  long documents, longest, heads, width, window;
  int threads;
};

// 0, or 1 where there was no memory.
template <int W, int K> static int attend(const Batch& b) {
  typedef typename Lanes<W>::Float Float;
  const long blocks = (b.heads + W - 1) / W, row = b.heads * b.width, one = b.longest * b.width;
  const size_t bytes = ((b.gradient ? 7 : 4) * one + 2 * b.longest) * sizeof(Float);
  int failed = 0;
#pragma omp parallel num_threads(b.threads) reduction(| : failed)
  {
    Float* q = (Float*)aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!q) failed = 1;
    Float *keys = q + one, *values = keys + one, *g = values + one;
    Float *dq = g + one, *dk = dq + one, *dv = dk + one;
    Float* p = q + (b.gradient ? 7 : 4) * one;
#pragma omp for schedule(dynamic, 4)
    for (long task = 0; task < b.documents * blocks; task++) {
      if (failed) continue;
      const long head = task / b.documents * W, d = task % b.documents;
      const long start = b.offsets[d], length = b.offsets[d + 1] - start;
      const long lanes = b.heads - head < W ? b.heads - head : W;
      const long from = start * 3 * row + head * b.width, to = start * row + head * b.width;
      typedef Document<W, K> D;
      D::load(b.qkv + from, 3 * row, lanes, length, b.width, q);
      D::load(b.qkv + from + row, 3 * row, lanes, length, b.width, keys);
      D::load(b.qkv + from + 2 * row, 3 * row, lanes, length, b.width, values);
      if (!b.gradient) {
        D::forward(q, keys, values, g, p, length, b.width, b.window);
        D::store(b.out + to, row, lanes, length, b.width, g);
      } else {
        D::load(b.gradient + to, row, lanes, length, b.width, g);
        D::backward(q, keys, values, g, dq, dk, dv, p, p + b.longest, length, b.width, b.window);
        D::store(b.out + from, 3 * row, lanes, length, b.width, dq);
        D::store(b.out + from + row, 3 * row, lanes, length, b.width, dk);
        D::store(b.out + from + 2 * row, 3 * row, lanes, length, b.width, dv);
      }
    }
    free(q);
  }
  return failed;
}

template <int W> static int attend_by_width(const Batch& b) {
  switch (b.width) {
    case 1: return attend<W, 1>(b);
    case 2: return attend<W, 2>(b);
    case 3: return attend<W, 3>(b);
    case 4: return attend<W, 4>(b);
    case 6: return attend<W, 6>(b);
    case 8: return attend<W, 8>(b);
    default: return attend<W, 0>(b);
  }
}

// gelu(x) = x·s, s = sigmoid(2u), u = √(2/π)(x + 0.044715x³); with a gradient, its product with gelu'(x).
static inline Lanes<16>::Float gelu_of(Lanes<16>::Float x, Lanes<16>::Float gradient, bool backward) {
  typedef Lanes<16>::Float Float;
  const float a = 1.5957691216057308f, b = 0.044715f * a;
  const Float square = x * x, u = x * (a + b * square);
  const Float e = exponential<16>(u < 0 ? u : -u), r = 1.0f / (1.0f + e);
  const Float s = u < 0 ? e * r : r;
  if (!backward) return x * s;
  return gradient * (s + x * s * (1.0f - s) * (a + 3.0f * b * square));
}

extern "C" {

int document_attention(const float* qkv, const float* gradient, float* out, const int32_t* offsets, long documents,
                       long longest, long heads, long width, long window, int threads) {
  const Batch batch = {qkv, gradient, out, offsets, documents, longest, heads, width, window, threads};
  return heads % 16 == 0 || heads > 24 ? attend_by_width<16>(batch) : attend_by_width<8>(batch);
}

void gelu(const float* x, const float* gradient, float* out, long n, int threads) {
  typedef Lanes<16>::Float Float;
#pragma omp parallel for num_threads(threads) if (n > 65536)
  for (long i = 0; i < n; i += 16) {
    const size_t bytes = (n - i < 16 ? n - i : 16) * sizeof(float);
    Float value = {}, slope = {};
    memcpy(&value, x + i, bytes);
    if (gradient) memcpy(&slope, gradient + i, bytes);
    const Float result = gelu_of(value, slope, gradient != nullptr);
    memcpy(out + i, &result, bytes);
  }
}
}
