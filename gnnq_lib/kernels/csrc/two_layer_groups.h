// The two layers for up to 64 hidden values on AVX-512, four rows (a group) at a time. A row stays in registers from its sums
// to its codes; what a single row would wait for (its largest entry, its exponent, the products with W2) is done for four
// rows at once. Where rows are results of a reduction, lane r of every 128 bits belongs to row r.
// Included by two_layer.h.

typedef __m512i GroupSums[kGroupRows][4];  // of each row columns 4l, 4l + 1, 4l + 2, 4l + 3 in lane l

// sums += factor * (rows of W1 over steps first ... end - 1, an edge of each row per step).
template <class Index>
static inline GNNQ_INLINE void add_group_rows(const uint8_t* weights, const Index* col, int64_t steps, int factor,
                                              GroupSums& sums) {
  __m512i bytes[kGroupRows];
  for (int r = 0; r < kGroupRows; ++r) bytes[r] = _mm512_setzero_si512();
  for (const Index* end = col + steps * kGroupRows; col < end; col += kGroupRows)
    for (int r = 0; r < kGroupRows; ++r)
      bytes[r] = _mm512_add_epi8(bytes[r], _mm512_loadu_si512(weights + (int64_t)col[r] * 64));
  for (int v = 0; v < 4; ++v) {
    const __m512i number_v = _mm512_set1_epi32(factor << (8 * v));
    for (int r = 0; r < kGroupRows; ++r) sums[r][v] = _mm512_dpbusd_epi32(sums[r][v], bytes[r], number_v);
  }
}

template <class T, class Index, bool CODES>
static inline GNNQ_INLINE void sum_group(const TwoLayerPlan& plan, int64_t group, Flush flush, GroupSums& sums) {
  const gnnq_two_layer_args& a = *plan.a;
  if constexpr (sizeof(T) == 1) {
    for (int r = 0; r < kGroupRows; ++r)
      for (int v = 0; v < 4; ++v) sums[r][v] = _mm512_set1_epi32(start_of(a, group * kGroupRows + r));
    const int64_t* ends = a.row_ptr + group * a.num_planes;
    for (int plane = 0; plane < a.num_planes; ++plane)
      for (int64_t k = ends[plane]; k < ends[plane + 1]; k += flush.bytes)
        add_group_rows((const uint8_t*)a.w1, (const Index*)a.col + k * kGroupRows,
                       min64(flush.bytes, ends[plane + 1] - k), 2 << plane, sums);
  } else {
    for (int r = 0; r < kGroupRows; ++r) {
      Words row[4];
      sum_features<T, Index, CODES>(plan, group * kGroupRows + r, 0, flush, row);
      for (int v = 0; v < 4; ++v) sums[r][v] = (__m512i)row[v];
    }
  }
}

// First layer's scaling and bias of a row of sums; returns the largest entry and 0 (in every lane its share).
static inline GNNQ_INLINE __m512 scale_group_row(const TwoLayerPlan& plan, float row_scale, const __m512i (&sums)[4],
                                                 __m512 (&hidden)[4]) {
  const __m512 scale = _mm512_set1_ps(row_scale);
  __m512 top = _mm512_setzero_ps();
  for (int v = 0; v < 4; ++v) {
    const __m512 whole = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[v]), scale);
    const __m512 scaled = _mm512_mul_ps(whole, _mm512_loadu_ps(plan.half_step1 + 16 * v));
    hidden[v] = _mm512_add_ps(scaled, _mm512_loadu_ps(plan.bias1 + 16 * v));
    top = _mm512_max_ps(hidden[v], top);  // NaN: top
  }
  return top;
}

// Largest entry of each row.
static inline __m512 group_tops(const __m512 (&x)[kGroupRows]) {
  const __m512 low = _mm512_max_ps(_mm512_unpacklo_ps(x[0], x[1]), _mm512_unpackhi_ps(x[0], x[1]));
  const __m512 high = _mm512_max_ps(_mm512_unpacklo_ps(x[2], x[3]), _mm512_unpackhi_ps(x[2], x[3]));
  const __m512 rows = _mm512_max_ps(_mm512_shuffle_ps(low, high, 0x44), _mm512_shuffle_ps(low, high, 0xee));
  const __m512 halves = _mm512_max_ps(rows, _mm512_shuffle_f32x4(rows, rows, 0x4e));
  return _mm512_max_ps(halves, _mm512_shuffle_f32x4(halves, halves, 0xb1));
}

// Sum of the four lanes in each 128 bits of each row.
static inline __m512i group_sums(const __m512i (&x)[kGroupRows]) {
  const __m512i low = _mm512_add_epi32(_mm512_unpacklo_epi32(x[0], x[1]), _mm512_unpackhi_epi32(x[0], x[1]));
  const __m512i high = _mm512_add_epi32(_mm512_unpacklo_epi32(x[2], x[3]), _mm512_unpackhi_epi32(x[2], x[3]));
  return _mm512_add_epi32(_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high));
}

// Codes of a row before relu: what is negative (or NaN, which `min` hands on and no whole number can hold) packs to 0.
static inline GNNQ_INLINE __m512i codes_of_row(const __m512 (&hidden)[4], __m512 factor, __m512 top_code) {
  __m512i code[4];
  for (int v = 0; v < 4; ++v)
    code[v] = _mm512_cvtps_epi32(_mm512_min_ps(top_code, _mm512_mul_ps(hidden[v], factor)));
  return _mm512_packus_epi16(_mm512_packs_epi32(code[0], code[1]), _mm512_packs_epi32(code[2], code[3]));
}

// Codes of all rows, 64 bytes each; returns the exponents.
static inline GNNQ_INLINE __m512i quantize_group(const RowQuantizer& q, const __m512 (&tops)[kGroupRows],
                                                 const __m512 (&hidden)[kGroupRows][4], uint8_t* codes) {
  const __m512i shift = q.shift_of(group_tops(tops));
  const __m512 factor = q.factor_of(shift);
  _mm512_store_si512(codes, codes_of_row(hidden[0], _mm512_permute_ps(factor, 0x00), q.top_code));
  _mm512_store_si512(codes + 64, codes_of_row(hidden[1], _mm512_permute_ps(factor, 0x55), q.top_code));
  _mm512_store_si512(codes + 128, codes_of_row(hidden[2], _mm512_permute_ps(factor, 0xaa), q.top_code));
  _mm512_store_si512(codes + 192, codes_of_row(hidden[3], _mm512_permute_ps(factor, 0xff), q.top_code));
  return _mm512_srli_epi32(shift, 23);
}

// Products of the rows' codes with BLOCKS times four columns of W2; of each four, column c is in the c-th 128 bits.
template <int BLOCKS>
static inline GNNQ_INLINE void group_products(const uint8_t* codes, const int8_t* weights, __m512i (&products)[BLOCKS]) {
  __m512i sums[BLOCKS][kGroupRows];
  for (int b = 0; b < BLOCKS; ++b)
    for (int r = 0; r < kGroupRows; ++r) sums[b][r] = _mm512_setzero_si512();
  for (int at = 0; at < 64; at += 16)
    for (int r = 0; r < kGroupRows; ++r) {
      const __m512i inputs = _mm512_broadcast_i32x4(_mm_load_si128((const __m128i*)(codes + 64 * r + at)));
      for (int b = 0; b < BLOCKS; ++b)
        sums[b][r] = _mm512_dpbusd_epi32(sums[b][r], inputs, _mm512_loadu_si512(weights + 256 * b + 4 * at));
    }
  for (int b = 0; b < BLOCKS; ++b) products[b] = group_sums(sums[b]);
}

// What the codes of each row add up to.
static inline __m512i group_code_sums(const uint8_t* codes) {
  __m512i sums[kGroupRows];
  for (int r = 0; r < kGroupRows; ++r)
    sums[r] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_load_si512(codes + 64 * r), _mm512_set1_epi8(1));
  const __m512i quarters = group_sums(sums);
  const __m512i halves = _mm512_add_epi32(quarters, _mm512_shuffle_i32x4(quarters, quarters, 0x4e));
  return _mm512_add_epi32(halves, _mm512_shuffle_i32x4(halves, halves, 0xb1));
}

// Up to four logits of each row from a vector of rows by columns.
static inline GNNQ_INLINE void store_group(__m512 logits, int64_t n, int64_t first, float* const* out) {
  const __m512i by_row = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512 rows = _mm512_permutexvar_ps(by_row, logits);
  const __mmask8 columns = (__mmask8)(n >= 4 ? 0xf : (1 << n) - 1);
  _mm_mask_storeu_ps(out[0] + first, columns, _mm512_castps512_ps128(rows));
  _mm_mask_storeu_ps(out[1] + first, columns, _mm512_extractf32x4_ps(rows, 1));
  _mm_mask_storeu_ps(out[2] + first, columns, _mm512_extractf32x4_ps(rows, 2));
  _mm_mask_storeu_ps(out[3] + first, columns, _mm512_extractf32x4_ps(rows, 3));
}

// Logits of BLOCKS times four columns from `first` on.
template <int BLOCKS>
static inline GNNQ_INLINE void logits_of_columns(const TwoLayerPlan& plan, const uint8_t* codes, __m512i exponents,
                                                 __m512i code_sums, int64_t first, float* const* out) {
  const gnnq_two_layer_args& a = *plan.a;
  __m512i products[BLOCKS];
  group_products<BLOCKS>(codes, plan.w2 + first * 64, products);
  for (int b = 0; b < BLOCKS; ++b, first += 4) {
    __m512i dot = products[b];
    if (plan.sum_factor) dot = _mm512_add_epi32(_mm512_add_epi32(dot, dot), code_sums);
    const __m512 whole = _mm512_cvtepi32_ps(_mm512_sllv_epi32(dot, exponents));
    const __m512 value = _mm512_mul_ps(whole, _mm512_set1_ps(a.hidden_quantizer.scale));
    const __m512 scaled = _mm512_mul_ps(value, _mm512_loadu_ps(plan.half_step2 + first * kGroupRows));
    store_group(_mm512_add_ps(scaled, _mm512_loadu_ps(plan.bias2 + first * kGroupRows)), a.num_values - first, first, out);
  }
}

static inline GNNQ_INLINE void group_logits(const TwoLayerPlan& plan, const uint8_t* codes, __m512i exponents,
                                            float* const* out) {
  const int64_t n = plan.a->num_values;
  const __m512i code_sums = plan.sum_factor ? group_code_sums(codes) : _mm512_setzero_si512();
  int64_t first = 0;
  for (; n - first > 4; first += 8) logits_of_columns<2>(plan, codes, exponents, code_sums, first, out);
  if (first < n) logits_of_columns<1>(plan, codes, exponents, code_sums, first, out);
}

// Groups first ... end - 1. `scratch`: 64 bytes of codes per row, then a row of results that nobody reads.
template <class T, class Index, bool CODES>
static void two_layer_groups(const TwoLayerPlan& plan, int64_t first, int64_t end, uint8_t* scratch) {
  const gnnq_two_layer_args& a = *plan.a;
  const RowQuantizer q(a.hidden_quantizer, a.hidden_bits, a.hidden_max_exponent, 1.0f);
  const Flush flush = flush_of(a);
  float* spare = (float*)(scratch + 64 * kGroupRows);
  for (int64_t group = first; group < end; ++group) {
    GroupSums sums;
    sum_group<T, Index, CODES>(plan, group, flush, sums);
    __m512 hidden[kGroupRows][4], tops[kGroupRows];
    float* out[kGroupRows];
    for (int r = 0; r < kGroupRows; ++r) {
      const int64_t position = group * kGroupRows + r;
      const int64_t i = position < a.num_rows ? a.order[position] : 0;
      out[r] = position < a.num_rows ? a.out + i * a.num_values : spare;
      tops[r] = scale_group_row(plan, a.row_scale[i], sums[r], hidden[r]);
    }
    const __m512i exponents = quantize_group(q, tops, hidden, scratch);
    group_logits(plan, scratch, exponents, out);
  }
}
