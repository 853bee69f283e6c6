// spmm with float coefficients (a free scale per node, a weight per edge): sum = sum + coefficient * (q - zero), in the
// order of the edges, each operation rounded to float32. Sums of a few vectors of columns stay in registers over all
// edges of a row. Included inside an instruction set's namespace.

// `Float...`: kWidth columns at a time; a Coder turns codes (in 32-bit lanes, shifted to the right) into terms.
#if defined(GNNQ_BUILD_AVX512)
struct FloatVec {
  static constexpr int kWidth = 16, kRegisters = 16;
  typedef __m512 Sum;
  typedef __m512i Codes;
  static inline Sum zero() { return _mm512_setzero_ps(); }
  static inline Sum add(Sum a, Sum b) { return _mm512_add_ps(a, b); }
  static inline void store(float* p, Sum v) { _mm512_storeu_ps(p, v); }
  static inline Codes load(const uint8_t* p, int n) {
    if (n >= 16) return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p));
    return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8((__mmask16)((1u << n) - 1), p));
  }
  // Up to 4 bits there are at most 16 different terms: a table of them in one register replaces the arithmetic.
  template <int BITS> struct Coder {
    __m512 coefficient_or_table;
    __m512i zero;
    inline Coder(float coefficient, int32_t zero_point) {
      zero = _mm512_set1_epi32(zero_point);
      coefficient_or_table = _mm512_set1_ps(coefficient);
      if (BITS == 8) return;
      const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
      const __m512i codes = _mm512_and_si512(lanes, _mm512_set1_epi32((1 << BITS) - 1));
      coefficient_or_table = _mm512_mul_ps(coefficient_or_table, _mm512_cvtepi32_ps(_mm512_sub_epi32(codes, zero)));
    }
    inline Sum term(Codes x, int shift) const {
      if (BITS == 8) return _mm512_mul_ps(coefficient_or_table, _mm512_cvtepi32_ps(_mm512_sub_epi32(x, zero)));
      return _mm512_permutexvar_ps(shift ? _mm512_srli_epi32(x, shift) : x, coefficient_or_table);
    }
  };
};
#elif defined(GNNQ_BUILD_AVX2)
struct FloatVec {
  static constexpr int kWidth = 8, kRegisters = 8;
  typedef __m256 Sum;
  typedef __m256i Codes;
  static inline Sum zero() { return _mm256_setzero_ps(); }
  static inline Sum add(Sum a, Sum b) { return _mm256_add_ps(a, b); }
  static inline void store(float* p, Sum v) { _mm256_storeu_ps(p, v); }
  static inline Codes load(const uint8_t* p, int n) {
    uint64_t eight = 0;
    memcpy(&eight, p, n < 8 ? n : 8);
    return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)eight));
  }
  template <int BITS> struct Coder {
    __m256 coefficient;
    __m256i zero, mask;
    inline Coder(float c, int32_t zero_point)
        : coefficient(_mm256_set1_ps(c)), zero(_mm256_set1_epi32(zero_point)), mask(_mm256_set1_epi32((1 << BITS) - 1)) {}
    inline Sum term(Codes x, int shift) const {
      const __m256i code = _mm256_and_si256(_mm256_srli_epi32(x, shift), mask);
      return _mm256_mul_ps(coefficient, _mm256_cvtepi32_ps(_mm256_sub_epi32(code, zero)));
    }
  };
};
#else
struct FloatVec {
  static constexpr int kWidth = 4, kRegisters = 8;
  typedef float Sum __attribute__((vector_size(16)));
  typedef int32_t Codes __attribute__((vector_size(16)));
  static inline Sum zero() { return Sum{0, 0, 0, 0}; }
  static inline Sum add(Sum a, Sum b) { return a + b; }
  static inline void store(float* p, Sum v) { memcpy(p, &v, 16); }
  static inline Codes load(const uint8_t* p, int n) {
    uint8_t four[4] = {0, 0, 0, 0};
    memcpy(four, p, n < 4 ? n : 4);
    return Codes{four[0], four[1], four[2], four[3]};
  }
  template <int BITS> struct Coder {
    float coefficient;
    int32_t zero;
    inline Coder(float c, int32_t zero_point) : coefficient(c), zero(zero_point) {}
    inline Sum term(Codes x, int shift) const {
      return coefficient * __builtin_convertvector(((x >> shift) & ((1 << BITS) - 1)) - zero, Sum);
    }
  };
};
#endif

static inline float edge_coefficient(const gnnq_spmm_args& a, int64_t e) {
  const float scale = a.node_scale ? a.node_scale[a.col[e]] : 1.0f;
  return a.edge_weight ? a.edge_weight[e] * scale : scale;
}

// Sums of NB vectors of bytes (times 8 / BITS planes), starting at byte0 of the packed rows.
template <int BITS, int NB>
static inline void sum_columns(const gnnq_spmm_args& a, int64_t e0, int64_t e1, int64_t row_bytes, int64_t byte0, float* sums) {
  constexpr int kPlanes = 8 / BITS, kWidth = FloatVec::kWidth;
  FloatVec::Sum acc[NB][kPlanes];
  int part[NB];
  for (int b = 0; b < NB; ++b) {
    part[b] = (int)max64(0, min64(kWidth, row_bytes - byte0 - b * kWidth));
    for (int p = 0; p < kPlanes; ++p) acc[b][p] = FloatVec::zero();
  }
  for (int64_t e = e0; e < e1; ++e) {
    const int64_t source = a.col[e];
    __builtin_prefetch(a.packed + (int64_t)a.col[e + kPrefetchEdges] * row_bytes + byte0);
    const uint8_t* row = a.packed + source * row_bytes + byte0;
    const FloatVec::Coder<BITS> coder(edge_coefficient(a, e), a.node_zero ? a.node_zero[source] : a.zero_point);
    for (int b = 0; b < NB; ++b) {
      const FloatVec::Codes x = FloatVec::load(row + b * kWidth, part[b]);
      for (int p = 0; p < kPlanes; ++p) acc[b][p] = FloatVec::add(acc[b][p], coder.term(x, p * BITS));
    }
  }
  for (int b = 0; b < NB; ++b)
    for (int p = 0; p < kPlanes; ++p) {
      alignas(64) float lanes[kWidth];
      FloatVec::store(lanes, acc[b][p]);
      const int64_t first = p * row_bytes + byte0 + b * kWidth;
      const int64_t n = min64(part[b], a.num_values - first);
      if (n > 0) memcpy(sums + first, lanes, n * 4);
    }
}

template <int BITS>
static int spmm_float_bits(const gnnq_spmm_args& a) {
  constexpr int kPlanes = 8 / BITS, kWidth = FloatVec::kWidth;
  constexpr int kMany = FloatVec::kRegisters / kPlanes > 0 ? FloatVec::kRegisters / kPlanes : 1;
  const int64_t row_bytes = packed_bytes(a.num_values, BITS);
  const int threads = useful_threads(a.num_threads, (a.num_edges + a.num_rows) * a.num_values);
  const int64_t blocks = threads == 1 ? 1 : threads * 16;
  return run_blocks(blocks, threads, a.num_values * 4, [&](int64_t b, void* scratch) {
    float* sums = (float*)scratch;
    const int64_t end = block_start(a.row_ptr, a.num_rows, b + 1, blocks);
    for (int64_t position = block_start(a.row_ptr, a.num_rows, b, blocks); position < end; ++position) {
      const int64_t i = a.order ? a.order[position] : position;
      const int64_t e0 = a.row_ptr[position], e1 = a.row_ptr[position + 1];
      int64_t byte = 0;
      for (; byte + (kMany - 1) * kWidth < row_bytes; byte += kMany * kWidth)
        sum_columns<BITS, kMany>(a, e0, e1, row_bytes, byte, sums);
      for (; byte < row_bytes; byte += kWidth) sum_columns<BITS, 1>(a, e0, e1, row_bytes, byte, sums);
      const RowOut out = {(uint8_t*)a.out + i * a.num_values * 4, a.column_scale, a.bias,
                          row_factor(a.scale, a.row_scale, i), 0, true, false};
      finish_float(out, sums, a.num_values);
    }
  }) ? GNNQ_OK : GNNQ_NO_MEMORY;
}

static int spmm_float(const gnnq_spmm_args& a) {
  if (a.bits == 1) return spmm_float_bits<1>(a);
  if (a.bits == 2) return spmm_float_bits<2>(a);
  if (a.bits == 4) return spmm_float_bits<4>(a);
  return spmm_float_bits<8>(a);
}
