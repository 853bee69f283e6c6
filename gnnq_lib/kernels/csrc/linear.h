// Packed activations times packed weights. Weights are rewritten once per call, `Dot::kGroup` inputs of a column side by
// side, as the dot-product instructions want them; activations are unpacked a few rows at a time. Sums are 32-bit.
//   sum_k (a - a_zero)(w - w_zero) = sum_k a * (w - off) + (off - w_zero) * sum_k a - a_zero * sum_k (w - w_zero)
// Included inside an instruction set's namespace.

#if defined(GNNQ_BUILD_AVX512)
struct Dot {  // VNNI: 4 unsigned times 4 signed bytes per lane
  static constexpr int kGroup = 4, kColumns = 16;
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
  static inline void store(int32_t* p, Acc acc) { _mm512_storeu_si512(p, acc); }
};
#elif defined(GNNQ_BUILD_AVX2)
struct Dot {  // 2 times 2 signed 16-bit numbers per lane
  static constexpr int kGroup = 2, kColumns = 8;
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
  static inline void store(int32_t* p, Acc acc) { _mm256_storeu_si256((__m256i*)p, acc); }
};
#else
struct Dot {
  static constexpr int kGroup = 1, kColumns = 4;
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
  static inline void store(int32_t* p, Acc acc) { memcpy(p, &acc, 16); }
};
#endif

// Codes of one packed row, one byte each. `codes` has room for a vector more than num_values.
static inline void unpack_row(const uint8_t* packed, int64_t row_bytes, int bits, int64_t num_values, uint8_t* codes) {
  typedef GNNQ_VECTOR V;
  const V::type mask = V::set16((uint16_t)(((1 << bits) - 1) * 0x0101));
  for (int plane = 0; plane * row_bytes < num_values; ++plane) {
    const V::Shift shift = V::make_shift<1>(plane, bits);
    for (int64_t k = 0; k < row_bytes; k += V::kBytes) {
      const V::type bytes = V::load_part(packed + k, (int)min64(V::kBytes, row_bytes - k));
      V::store(codes + plane * row_bytes + k, V::and_(V::shr(bytes, shift), mask));
    }
  }
}

struct LinearPlan {
  const gnnq_linear_args* a;
  Dot::Weight* weights;    // [groups][columns][kGroup], columns rounded up
  int32_t* column_sums;    // sum_k (w - w_zero)
  int64_t groups, columns, inputs;
  int32_t offset;
};

static void prepare_weights(const LinearPlan& plan, uint8_t* codes) {
  const gnnq_linear_args& a = *plan.a;
  const int64_t row_bytes = packed_bytes(a.num_values, a.w_bits);
  for (int64_t k = 0; k < a.inner; ++k) {
    unpack_row(a.w_packed + k * row_bytes, row_bytes, a.w_bits, a.num_values, codes);
    Dot::Weight* to = plan.weights + k / Dot::kGroup * plan.columns * Dot::kGroup + k % Dot::kGroup;
    for (int64_t c = 0; c < a.num_values; ++c) {
      to[c * Dot::kGroup] = (Dot::Weight)(codes[c] - plan.offset);
      plan.column_sums[c] += codes[c] - a.w_zero;
    }
  }
}

static constexpr int kLinearRows = 4;

// kLinearRows rows times all columns, into sums[kLinearRows][columns].
static inline void multiply_rows(const LinearPlan& plan, const Dot::Input* inputs, int32_t* sums) {
  for (int64_t c = 0; c < plan.columns; c += Dot::kColumns) {
    Dot::Acc acc[kLinearRows];
    for (int r = 0; r < kLinearRows; ++r) acc[r] = Dot::zero();
    const Dot::Weight* weights = plan.weights + c * Dot::kGroup;
    for (int64_t g = 0; g < plan.groups; ++g, weights += plan.columns * Dot::kGroup)
      for (int r = 0; r < kLinearRows; ++r) acc[r] = Dot::dot(acc[r], inputs + r * plan.inputs + g * Dot::kGroup, weights);
    for (int r = 0; r < kLinearRows; ++r) Dot::store(sums + r * plan.columns + c, acc[r]);
  }
}

static void linear_rows(const LinearPlan& plan, int64_t first, int64_t end, Dot::Input* inputs, int32_t* sums,
                        uint8_t* codes) {
  const gnnq_linear_args& a = *plan.a;
  const int64_t row_bytes = packed_bytes(a.inner, a.a_bits);
  for (int64_t i0 = first; i0 < end; i0 += kLinearRows) {
    const int64_t rows = min64(kLinearRows, end - i0);
    for (int64_t r = 0; r < rows; ++r) {
      unpack_row(a.a_packed + (i0 + r) * row_bytes, row_bytes, a.a_bits, a.inner, codes);
      for (int64_t k = 0; k < a.inner; ++k) inputs[r * plan.inputs + k] = (Dot::Input)codes[k];
    }
    multiply_rows(plan, inputs, sums);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t i = i0 + r;
      int32_t input_sum = 0;
      for (int64_t k = 0; k < a.inner; ++k) input_sum += inputs[r * plan.inputs + k];
      const int32_t zero = a.a_node_zero ? a.a_node_zero[i] : a.a_zero;
      int32_t* row = sums + r * plan.columns;
      for (int64_t c = 0; c < a.num_values; ++c)
        row[c] += (plan.offset - a.w_zero) * input_sum - zero * plan.column_sums[c];
      const RowOut out = {(uint8_t*)a.out + i * a.num_values * 4, a.column_scale, a.bias,
                          row_factor(a.scale, a.row_scale, i), 0, a.float_out != 0, false};
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
  uint8_t* codes = (uint8_t*)make_buffer(a.num_values + 64);
  bool done = plan.weights && plan.column_sums && codes;
  if (done) {
    prepare_weights(plan, codes);
    const int threads = useful_threads(a.num_threads, a.num_rows * a.inner * a.num_values / 8);
    const int64_t blocks = threads == 1 ? 1 : threads * 8;
    const int64_t inputs_bytes = (kLinearRows * plan.inputs * (int64_t)sizeof(Dot::Input) + 63) / 64 * 64;
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
