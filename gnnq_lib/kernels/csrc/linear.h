// Packed activations times packed weights. Weights are rewritten once per call, `Dot::kGroup` inputs of a column side by
// side, as the dot-product instructions want them; activations are unpacked a few rows at a time. Sums are 32-bit, and a
// tile of kLinearRows x kBlock vectors of them stays in registers over all inputs.
//   sum_k (a - a_zero)(w - w_zero) = sum_k a * (w - off) + (off - w_zero) * sum_k a - a_zero * sum_k (w - w_zero)
// Included inside an instruction set's namespace.

#if defined(GNNQ_BUILD_AVX512)
struct Dot {  // VNNI: 4 unsigned times 4 signed bytes per lane
  static constexpr int kGroup = 4, kColumns = 16, kBlock = 4;
  typedef int8_t Weight;
  typedef uint8_t Input;
  typedef __m512i Acc;
  static inline int32_t offset(int32_t bits, int32_t zero) { return bits == 8 ? 128 : zero; }
  static inline Acc zero() { return _mm512_setzero_si512(); }
  static inline Acc dot(Acc acc, const Input* inputs, const Weight* weights) {
    int32_t four;
    memcpy(&four, inputs, 4);
    return _mm512_dpbusd_epi32(acc, _mm512_set1_epi32(four), _mm512_loadu_si512(weights));
  }
  // For search.h: queries are signed, codes any byte, kGroup of a row side by side.
  typedef int8_t Query;
  typedef uint8_t Code;
  static inline Acc dot_codes(Acc acc, const Query* queries, const Code* codes) {
    int32_t four;
    memcpy(&four, queries, 4);
    return _mm512_dpbusd_epi32(acc, _mm512_loadu_si512(codes), _mm512_set1_epi32(four));
  }
  static inline void side_by_side(const uint8_t* rows, Code* codes) {  // 4 rows of 64
    const __m512i a = _mm512_loadu_si512(rows), b = _mm512_loadu_si512(rows + 64);
    const __m512i c = _mm512_loadu_si512(rows + 128), d = _mm512_loadu_si512(rows + 192);
    const __m512i ab0 = _mm512_unpacklo_epi8(a, b), ab1 = _mm512_unpackhi_epi8(a, b);
    const __m512i cd0 = _mm512_unpacklo_epi8(c, d), cd1 = _mm512_unpackhi_epi8(c, d);
    // Quarter l of part j holds columns 16l + 4j ... 16l + 4j + 3: the quarters are transposed.
    const __m512i p0 = _mm512_unpacklo_epi16(ab0, cd0), p1 = _mm512_unpackhi_epi16(ab0, cd0);
    const __m512i p2 = _mm512_unpacklo_epi16(ab1, cd1), p3 = _mm512_unpackhi_epi16(ab1, cd1);
    const __m512i low01 = _mm512_shuffle_i32x4(p0, p1, 0x44), high01 = _mm512_shuffle_i32x4(p0, p1, 0xee);
    const __m512i low23 = _mm512_shuffle_i32x4(p2, p3, 0x44), high23 = _mm512_shuffle_i32x4(p2, p3, 0xee);
    _mm512_storeu_si512(codes, _mm512_shuffle_i32x4(low01, low23, 0x88));
    _mm512_storeu_si512(codes + 64, _mm512_shuffle_i32x4(low01, low23, 0xdd));
    _mm512_storeu_si512(codes + 128, _mm512_shuffle_i32x4(high01, high23, 0x88));
    _mm512_storeu_si512(codes + 192, _mm512_shuffle_i32x4(high01, high23, 0xdd));
  }
  static inline void store(int32_t* p, Acc acc) { _mm512_storeu_si512(p, acc); }
};
#elif defined(GNNQ_BUILD_AVX2)
struct Dot {  // 2 times 2 signed 16-bit numbers per lane
  static constexpr int kGroup = 2, kColumns = 8, kBlock = 2;
  typedef int16_t Weight;
  typedef int16_t Input;
  typedef __m256i Acc;
  static inline int32_t offset(int32_t, int32_t zero) { return zero; }
  static inline Acc zero() { return _mm256_setzero_si256(); }
  static inline Acc dot(Acc acc, const Input* inputs, const Weight* weights) {
    int32_t two;
    memcpy(&two, inputs, 4);
    return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_set1_epi32(two), _mm256_loadu_si256((const __m256i*)weights)));
  }
  typedef int16_t Query;
  typedef int16_t Code;
  static inline Acc dot_codes(Acc acc, const Query* queries, const Code* codes) { return dot(acc, queries, codes); }
  static inline void side_by_side(const uint8_t* rows, Code* codes) {  // 2 rows of 64
    for (int c = 0; c < 64; c += 16) {
      const __m128i a = _mm_loadu_si128((const __m128i*)(rows + c)), b = _mm_loadu_si128((const __m128i*)(rows + 64 + c));
      _mm256_storeu_si256((__m256i*)(codes + 2 * c), _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b)));
      _mm256_storeu_si256((__m256i*)(codes + 2 * c + 16), _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b)));
    }
  }
  static inline void store(int32_t* p, Acc acc) { _mm256_storeu_si256((__m256i*)p, acc); }
};
#else
struct Dot {
  static constexpr int kGroup = 1, kColumns = 4, kBlock = 2;
  typedef int32_t Weight;
  typedef int32_t Input;
  typedef int32_t Acc __attribute__((vector_size(16)));
  static inline int32_t offset(int32_t, int32_t zero) { return zero; }
  static inline Acc zero() { return Acc{0, 0, 0, 0}; }
  static inline Acc dot(Acc acc, const Input* inputs, const Weight* weights) {
    Acc w;
    memcpy(&w, weights, 16);
    return acc + w * *inputs;
  }
  typedef int32_t Query;
  typedef int32_t Code;
  static inline Acc dot_codes(Acc acc, const Query* queries, const Code* codes) { return dot(acc, queries, codes); }
  static inline void side_by_side(const uint8_t* row, Code* codes) {
    for (int c = 0; c < 64; ++c) codes[c] = row[c];
  }
  static inline void store(int32_t* p, Acc acc) { memcpy(p, &acc, 16); }
};
#endif

// Codes of packed rows of one width, one byte each.
struct Unpacker {
  typedef GNNQ_VECTOR V;
  int64_t row_bytes;
  int planes;  // that hold values
  V::type mask;
  V::Shift shift[8];

  inline Unpacker(int bits, int64_t num_values) : row_bytes(packed_bytes(num_values, bits)) {
    planes = (int)((num_values + row_bytes - 1) / row_bytes);
    mask = V::set16((uint16_t)(((1 << bits) - 1) * 0x0101));
    for (int plane = 0; plane < planes; ++plane) shift[plane] = V::make_shift<1>(plane, bits);
  }

  // `codes` has room for a vector more than the values. Each plane writes over what the one before left behind its end.
  inline void row(const uint8_t* packed, uint8_t* codes) const {
    for (int plane = 0; plane < planes; ++plane)
      for (int64_t k = 0; k < row_bytes; k += V::kBytes) {
        const V::type bytes = V::load_part(packed + k, (int)min64(V::kBytes, row_bytes - k));
        V::store(codes + plane * row_bytes + k, V::and_(V::shr(bytes, shift[plane]), mask));
      }
  }
};

static inline void unpack_row(const uint8_t* packed, int64_t, int bits, int64_t num_values, uint8_t* codes) {
  Unpacker(bits, num_values).row(packed, codes);
}

struct LinearPlan {
  const gnnq_linear_args* a;
  Dot::Weight* weights;    // [groups][columns][kGroup], columns rounded up
  int32_t* column_sums;    // sum_k (w - w_zero)
  int64_t groups, columns, inputs;
  int32_t offset;
};

// kGroup rows of weights side by side; `codes` holds that many rows, `stride` apart.
static void prepare_weights(const LinearPlan& plan, uint8_t* codes, int64_t stride) {
  const gnnq_linear_args& a = *plan.a;
  const Unpacker unpacker(a.w_bits, a.num_values);
  for (int64_t k = 0; k < a.inner; k += Dot::kGroup) {
    const int rows = (int)min64(Dot::kGroup, a.inner - k);
    for (int r = 0; r < rows; ++r) unpacker.row(a.w_packed + (k + r) * unpacker.row_bytes, codes + r * stride);
    for (int r = rows; r < Dot::kGroup; ++r) memset(codes + r * stride, plan.offset, stride);  // weights of 0
    Dot::Weight* to = plan.weights + k * plan.columns;
    for (int64_t c = 0; c < a.num_values; ++c)
      for (int r = 0; r < Dot::kGroup; ++r) to[c * Dot::kGroup + r] = (Dot::Weight)(codes[r * stride + c] - plan.offset);
    for (int r = 0; r < rows; ++r)
      for (int64_t c = 0; c < a.num_values; ++c) plan.column_sums[c] += codes[r * stride + c] - a.w_zero;
  }
}

static constexpr int kLinearRows = 4;

// kLinearRows rows times NB vectors of columns, into sums[kLinearRows][columns].
template <int NB>
static inline GNNQ_INLINE void multiply_tile(const LinearPlan& plan, const Dot::Input* inputs, int64_t column, int32_t* sums) {
  Dot::Acc acc[kLinearRows][NB];
  for (int r = 0; r < kLinearRows; ++r)
    for (int b = 0; b < NB; ++b) acc[r][b] = Dot::zero();
  const Dot::Weight* weights = plan.weights + column * Dot::kGroup;
  for (int64_t g = 0; g < plan.groups; ++g, weights += plan.columns * Dot::kGroup)
    for (int r = 0; r < kLinearRows; ++r)
      for (int b = 0; b < NB; ++b)
        acc[r][b] = Dot::dot(acc[r][b], inputs + r * plan.inputs + g * Dot::kGroup, weights + b * Dot::kColumns * Dot::kGroup);
  for (int r = 0; r < kLinearRows; ++r)
    for (int b = 0; b < NB; ++b) Dot::store(sums + r * plan.columns + column + b * Dot::kColumns, acc[r][b]);
}

static inline void multiply_rows(const LinearPlan& plan, const Dot::Input* inputs, int32_t* sums) {
  int64_t c = 0;
  for (; c + Dot::kBlock * Dot::kColumns <= plan.columns; c += Dot::kBlock * Dot::kColumns)
    multiply_tile<Dot::kBlock>(plan, inputs, c, sums);
  for (; c < plan.columns; c += Dot::kColumns) multiply_tile<1>(plan, inputs, c, sums);
}

// What the offset of the weights and the zero points add to the products of one row; often nothing.
static inline void add_zero_points(const LinearPlan& plan, const Dot::Input* inputs, int32_t zero, int32_t* row) {
  const gnnq_linear_args& a = *plan.a;
  int32_t of_row = 0;
  if (plan.offset != a.w_zero) {
    for (int64_t k = 0; k < a.inner; ++k) of_row += inputs[k];
    of_row *= plan.offset - a.w_zero;
  }
  if (!of_row && !zero) return;
  for (int64_t c = 0; c < a.num_values; ++c) row[c] += of_row - zero * plan.column_sums[c];
}

static inline void unpack_inputs(const Unpacker& unpacker, const uint8_t* packed, int64_t inner, uint8_t* codes,
                                 Dot::Input* inputs) {
  if constexpr (sizeof(Dot::Input) == 1) {
    unpacker.row(packed, (uint8_t*)inputs);  // what runs over is written again with the next row, or meets weights of 0
  } else {
    unpacker.row(packed, codes);
    for (int64_t k = 0; k < inner; ++k) inputs[k] = (Dot::Input)codes[k];
  }
}

static void linear_rows(const LinearPlan& plan, int64_t first, int64_t end, Dot::Input* inputs, int32_t* sums,
                        uint8_t* codes) {
  const gnnq_linear_args& a = *plan.a;
  const Unpacker unpacker(a.a_bits, a.inner);
  for (int64_t i0 = first; i0 < end; i0 += kLinearRows) {
    const int64_t rows = min64(kLinearRows, end - i0);
    for (int64_t r = 0; r < rows; ++r)
      unpack_inputs(unpacker, a.a_packed + (i0 + r) * unpacker.row_bytes, a.inner, codes, inputs + r * plan.inputs);
    multiply_rows(plan, inputs, sums);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t i = i0 + r;
      int32_t* row = sums + r * plan.columns;
      add_zero_points(plan, inputs + r * plan.inputs, a.a_node_zero ? a.a_node_zero[i] : a.a_zero, row);
      const RowOut out = {(float*)a.out + i * a.num_values, a.column_scale, a.bias, row_factor(a.scale, a.row_scale, i),
                          0, a.float_out != 0, false};
      finish(out, (const uint32_t*)row, 0, a.num_values);
    }
  }
}

static int linear(const gnnq_linear_args* args) {
  const gnnq_linear_args& a = *args;
  if (a.fresh_out) ask_for_large_pages(a.out, a.num_rows * a.num_values * 4);
  LinearPlan plan;
  plan.a = &a;
  plan.offset = Dot::offset(a.w_bits, a.w_zero);
  plan.columns = (a.num_values + Dot::kColumns - 1) / Dot::kColumns * Dot::kColumns;
  plan.groups = (a.inner + Dot::kGroup - 1) / Dot::kGroup;
  plan.inputs = plan.groups * Dot::kGroup;
  plan.weights = (Dot::Weight*)make_buffer(plan.groups * plan.columns * Dot::kGroup * (int64_t)sizeof(Dot::Weight));
  plan.column_sums = (int32_t*)make_buffer(plan.columns * 4);
  const int64_t stride = a.num_values + 64;
  uint8_t* codes = (uint8_t*)make_buffer(Dot::kGroup * stride);
  bool done = plan.weights && plan.column_sums && codes;
  if (done) {
    prepare_weights(plan, codes, stride);
    const int threads = useful_threads(a.num_threads, a.num_rows * a.inner * a.num_values / 8);
    const int64_t blocks = threads == 1 ? 1 : threads * 8;
    const int64_t inputs_bytes = (kLinearRows * plan.inputs * (int64_t)sizeof(Dot::Input) + 127) / 64 * 64;
    const int64_t block_rows = (a.num_rows + blocks - 1) / blocks;
    const int64_t sums_bytes = (kLinearRows * plan.columns * 4 + 63) / 64 * 64;
    done = run_blocks(blocks, threads, inputs_bytes + sums_bytes + a.inner + 64, [&](int64_t b, void* scratch) {
      uint8_t* memory = (uint8_t*)scratch;
      linear_rows(plan, min64(a.num_rows, b * block_rows), min64(a.num_rows, (b + 1) * block_rows), (Dot::Input*)memory,
                  (int32_t*)(memory + inputs_bytes), memory + inputs_bytes + sums_bytes);
    });
  }
  free(plan.weights);
  free(plan.column_sums);
  free(codes);
  return done ? GNNQ_OK : GNNQ_NO_MEMORY;
}
