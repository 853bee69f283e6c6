// Two linear layers on sparse integer features in one call: a node's sum of rows of W1 (signed numbers w = 2q - n) stays in
// registers; scaling, relu, quantizing per row and the product with W2 follow before the next node. Columns are handled in
// blocks of 64. Widening a vector parts its even lanes from its odd ones, so four vectors of 32-bit sums hold columns
// 4l, 4l + 1, 4l + 2 and 4l + 3 in lane l: side by side as bytes of one lane, the codes are in order again.
// Included inside an instruction set's namespace, after linear.h and lanes.h.

static thread_local Workspace two_layer_workspace;

typedef int8_t Bytes __attribute__((vector_size(64)));
typedef int16_t Halves __attribute__((vector_size(64)));
typedef uint16_t UnsignedHalves __attribute__((vector_size(64)));
typedef int32_t Words __attribute__((vector_size(64)));
typedef uint32_t UnsignedWords __attribute__((vector_size(64)));

struct TwoLayerPlan {
  const gnnq_two_layer_args* a;
  Dot::Weight* w2;        // [groups / split][columns / split][split][kGroup]
  float* half_step1;      // width, in the order of the sums, 0 beyond hidden
  float* bias1;           // likewise
  float* half_step2;      // columns, 0 beyond num_values
  float* bias2;           // columns
  int64_t width;          // hidden, rounded up to 64
  int64_t columns, groups;
  int split;              // groups of inputs side by side in a vector
  bool sum_factor;        // w2 = 2 * stored + 1, else w2 = stored
};

// W2 as the dot-product instruction wants it; 8-bit weights do not fit signed bytes as 2q - 255 and are kept as q - 128.
static void prepare_second(TwoLayerPlan& plan, uint8_t* codes) {
  const gnnq_two_layer_args& a = *plan.a;
  const bool bytes = sizeof(Dot::Weight) == 1 && a.w2_bits == 8;
  const int top = (1 << a.w2_bits) - 1;
  plan.sum_factor = bytes;
  const int64_t row_bytes = packed_bytes(a.num_values, a.w2_bits);
  memset(plan.w2, 0, plan.groups * plan.columns * Dot::kGroup * sizeof(Dot::Weight));
  for (int64_t k = 0; k < a.hidden; ++k) {
    unpack_row(a.w2_packed + k * row_bytes, row_bytes, a.w2_bits, a.num_values, codes);
    const int64_t group = k / Dot::kGroup, split = plan.split;
    Dot::Weight* to = plan.w2 + (group / split * plan.columns + group % split) * Dot::kGroup + k % Dot::kGroup;
    for (int64_t c = 0; c < a.num_values; ++c)
      to[c * split * Dot::kGroup] = (Dot::Weight)(bytes ? codes[c] - 128 : 2 * codes[c] - top);
  }
}

template <class Vector>
static inline Vector load_vector(const void* p) {
  Vector x;
  memcpy(&x, p, sizeof(x));
  return x;
}

static inline void add_bytes(Bytes bytes, Halves (&sums)[2]) {
  const Halves x = (Halves)bytes;
  sums[0] += (Halves)((UnsignedHalves)x << 8) >> 8;
  sums[1] += x >> 8;
}

static inline void add_halves(const Halves (&halves)[2], int plane, Words (&sums)[4]) {
  for (int i = 0; i < 2; ++i) {
    const Words x = (Words)halves[i];
    sums[i] += ((Words)((UnsignedWords)x << 16) >> 16) * (1 << plane);
    sums[i + 2] += (x >> 16) * (1 << plane);
  }
}

static inline GNNQ_INLINE Bytes sum_bytes(const void* weights, const int32_t* col, int64_t e, int64_t end, int64_t width) {
  const int8_t* from = (const int8_t*)weights;
  Bytes even = Bytes{}, odd = Bytes{};
  for (; e + 3 < end; e += 4) {
    even += load_vector<Bytes>(from + (int64_t)col[e] * width);
    odd += load_vector<Bytes>(from + (int64_t)col[e + 1] * width);
    even += load_vector<Bytes>(from + (int64_t)col[e + 2] * width);
    odd += load_vector<Bytes>(from + (int64_t)col[e + 3] * width);
  }
  for (; e < end; ++e) even += load_vector<Bytes>(from + (int64_t)col[e] * width);
  return even + odd;
}

// How many rows of W1 lanes of each width can add up.
struct Flush {
  int64_t bytes, halves;
};

// sums += 2^plane * (rows of W1 over edges e ... end - 1), columns of one block.
static inline GNNQ_INLINE void add_byte_rows(const TwoLayerPlan& plan, const int8_t* weights, int64_t e, int64_t end,
                                             Flush flush, int plane, Words (&sums)[4]) {
  const int32_t* col = plan.a->col;
  const auto sum_to = [&](int64_t stop) GNNQ_INLINE {
    return plan.width == 64 ? sum_bytes(weights, col, e, stop, 64) : sum_bytes(weights, col, e, stop, plan.width);
  };
#if defined(GNNQ_BUILD_AVX512)
  for (; e < end; e += flush.bytes) {
    const __m512i bytes = (__m512i)sum_to(min64(end, e + flush.bytes));
    for (int v = 0; v < 4; ++v)  // of the four bytes in a lane, number v times 2^plane
      sums[v] = (Words)_mm512_dpbusd_epi32((__m512i)sums[v], _mm512_set1_epi32(1 << (8 * v + plane)), bytes);
  }
#else
  while (e < end) {
    Halves halves[2] = {Halves{}, Halves{}};
    const int64_t stop = min64(end, e + flush.halves);
    for (; e < stop; e = min64(stop, e + flush.bytes)) add_bytes(sum_to(min64(stop, e + flush.bytes)), halves);
    add_halves(halves, plane, sums);
  }
#endif
}

// Likewise of 16-bit weights (even columns first), times the edges' codes if CODES.
template <bool CODES>
static inline void add_half_rows(const TwoLayerPlan& plan, const int16_t* weights, int64_t e, int64_t end, Flush flush,
                                 Words (&sums)[4]) {
  const gnnq_two_layer_args& a = *plan.a;
  while (e < end) {
    Halves halves[2] = {Halves{}, Halves{}};
    for (const int64_t stop = min64(end, e + flush.halves); e < stop; ++e) {
      const int16_t* row = weights + (int64_t)a.col[e] * plan.width;
      const int16_t code = CODES ? a.edge_codes[e] : 1;
      for (int v = 0; v < 2; ++v) {
        const Halves x = load_vector<Halves>(row + v * 32);
        halves[v] += CODES ? x * code : x;
      }
    }
    add_halves(halves, 0, sums);
  }
}

// sums = rows of W1 over the edges of one position, columns of one block. T: int8_t, or int16_t.
template <class T, bool CODES>
static inline void sum_features(const TwoLayerPlan& plan, int64_t position, int64_t block, Flush flush, Words (&sums)[4]) {
  const gnnq_two_layer_args& a = *plan.a;
  const T* weights = (const T*)a.w1 + block * 64;
  for (int v = 0; v < 4; ++v) sums[v] = Words{};
  for (int plane = 0; plane < a.num_planes; ++plane) {
    const int64_t* ends = a.row_ptr + position * a.num_planes + plane;
    if constexpr (sizeof(T) == 1) add_byte_rows(plan, weights, ends[0], ends[1], flush, plane, sums);
    else add_half_rows<CODES>(plan, weights, ends[0], ends[1], flush, sums);
  }
}

// First layer's scaling and relu of a row of sums, in place; returns the largest entry (in every lane its share).
static inline Lanes::F scale_hidden(const TwoLayerPlan& plan, float row_scale, float* hidden) {
  constexpr int W = Lanes::kWidth;
  const Lanes::F scale = Lanes::set(row_scale), zero = Lanes::set(0.0f);
  Lanes::F top = zero;
  for (int64_t block = 0; block < plan.width; block += 64)
    for (int k = 0; k < 64; k += W) {
      const int64_t at = block + k;
      const Lanes::I whole = Lanes::bits(Lanes::load(hidden + at));
      Lanes::F x = Lanes::mul(Lanes::mul(Lanes::to_float(whole), scale), Lanes::load(plan.half_step1 + at));
      x = Lanes::max(Lanes::add(x, Lanes::load(plan.bias1 + at)), zero);
      Lanes::store(hidden + at, x);
      top = Lanes::max(top, x);
    }
  return top;
}

// Codes of a hidden row, in the order of the columns, and its exponent.
static inline int32_t quantize_hidden(const TwoLayerPlan& plan, const RowQuantizer& q, Lanes::F top, const float* hidden,
                                      uint8_t* bytes) {
  constexpr int W = Lanes::kWidth;
  const Lanes::I shift = q.shift_of(group_max(top, W)), low = Lanes::set_int(0xff);
  const Lanes::F factor = q.factor_of(shift);
  for (int64_t block = 0; block < plan.width; block += 64)
    for (int k = 0; k < 16; k += W) {
      Lanes::I code[4];
      for (int v = 0; v < 4; ++v)
        code[v] = Lanes::and_int(Lanes::bits(q.raised_code(Lanes::load(hidden + block + 16 * v + k), factor)), low);
      const Lanes::I first = Lanes::or_int(code[0], Lanes::template shift_left_by<8>(code[1]));
      const Lanes::I second = Lanes::or_int(code[2], Lanes::template shift_left_by<8>(code[3]));
      Lanes::store_int((uint32_t*)(bytes + block + 4 * k), Lanes::or_int(first, Lanes::template shift_left_by<16>(second)));
    }
  int32_t exponent[W];
  memcpy(exponent, &shift, sizeof(exponent));
  return exponent[0] >> 23;
}

// Scaling and bias of 32-bit sums of columns first ... of one node.
static inline GNNQ_INLINE void finish_logits(const TwoLayerPlan& plan, Lanes::I dot, const Dot::Input* codes,
                                             int32_t exponent, int64_t first, float* out) {
  const gnnq_two_layer_args& a = *plan.a;
  if (plan.sum_factor) {
    int32_t code_sum = 0;
    for (int64_t k = 0; k < a.hidden; ++k) code_sum += codes[k];
    dot = Lanes::add_int(Lanes::add_int(dot, dot), Lanes::set_int(code_sum));
  }
  const Lanes::F whole = Lanes::to_float(Lanes::shift_left(dot, Lanes::set_int(exponent)));
  const Lanes::F value = Lanes::mul(whole, Lanes::set(a.hidden_quantizer.scale));
  const Lanes::F scaled = Lanes::mul(value, Lanes::load(plan.half_step2 + first));
  const Lanes::F logits = Lanes::add(scaled, Lanes::load(plan.bias2 + first));
  Lanes::store_first(out + first, logits, (int)min64(Dot::kColumns, a.num_values - first));
}

// Logits of kTogether rows of codes, `stride` apart; row r goes to out[r].
static constexpr int kTogether = 4;
static inline void second_layer(const TwoLayerPlan& plan, const Dot::Input* codes, const int32_t* exponents,
                                float* const* out) {
  for (int64_t first = 0; first < plan.columns; first += Dot::kColumns) {
    Dot::Acc acc[kTogether];
    for (int r = 0; r < kTogether; ++r) acc[r] = Dot::zero();
    const Dot::Weight* weights = plan.w2 + first * Dot::kGroup;
    for (int64_t g = 0; g < plan.groups; ++g, weights += plan.columns * Dot::kGroup)
      for (int r = 0; r < kTogether; ++r) acc[r] = Dot::dot(acc[r], codes + r * plan.width + g * Dot::kGroup, weights);
    for (int r = 0; r < kTogether; ++r) finish_logits(plan, acc[r], codes + r * plan.width, exponents[r], first, out[r]);
  }
}

#if defined(GNNQ_BUILD_AVX512)
// Few columns leave lanes of the dot product free: 2 or 4 groups of inputs side by side take a half or a quarter of the
// products. Lane l holds column l / SPLIT and group l % SPLIT.
template <int SPLIT>
static inline void narrow_second_layer(const TwoLayerPlan& plan, const uint8_t* codes, int32_t exponent, float* out) {
  __m512i even = _mm512_setzero_si512(), odd = even;
  for (int64_t g = 0; g < plan.groups; g += 2 * SPLIT) {
    const uint8_t *first = codes + g * 4, *second = first + SPLIT * 4;
    const int8_t* weights = plan.w2 + g * (64 / SPLIT);
    const __m512i a = SPLIT == 4 ? _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)first))
                                 : _mm512_broadcastq_epi64(_mm_loadl_epi64((const __m128i*)first));
    const __m512i b = SPLIT == 4 ? _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)second))
                                 : _mm512_broadcastq_epi64(_mm_loadl_epi64((const __m128i*)second));
    even = _mm512_dpbusd_epi32(even, a, _mm512_loadu_si512(weights));
    odd = _mm512_dpbusd_epi32(odd, b, _mm512_loadu_si512(weights + 64));
  }
  __m512i dot = _mm512_add_epi32(even, odd);
  dot = _mm512_add_epi32(dot, _mm512_shuffle_epi32(dot, (_MM_PERM_ENUM)0xb1));
  if (SPLIT == 4) dot = _mm512_add_epi32(dot, _mm512_shuffle_epi32(dot, (_MM_PERM_ENUM)0x4e));
  const __m512i places = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  dot = _mm512_permutexvar_epi32(_mm512_slli_epi32(places, SPLIT == 4 ? 2 : 1), dot);
  finish_logits(plan, dot, codes, exponent, 0, out);
}
#endif

// How many groups of inputs share a vector.
static inline int split_of(const gnnq_two_layer_args& a) {
#if defined(GNNQ_BUILD_AVX512)
  return a.num_values <= 4 ? 4 : (a.num_values <= 8 ? 2 : 1);
#else
  (void)a;
  return 1;
#endif
}

static inline void logits_of_rows(const TwoLayerPlan& plan, const Dot::Input* codes, const int32_t* exponents,
                                  float* const* out) {
#if defined(GNNQ_BUILD_AVX512)
  for (int r = 0; plan.split > 1 && r < kTogether; ++r) {
    if (plan.split == 4) narrow_second_layer<4>(plan, codes + r * plan.width, exponents[r], out[r]);
    else narrow_second_layer<2>(plan, codes + r * plan.width, exponents[r], out[r]);
  }
  if (plan.split > 1) return;
#endif
  second_layer(plan, codes, exponents, out);
}

// Rows on their way through the two layers. Each stage takes all of them before the next one starts: what one row waits for
// is hidden behind the others.
static constexpr int kBatch = 8;
struct HiddenRows {
  float* values;       // [kBatch][width]: sums, then scaled
  uint8_t* bytes;      // [kBatch][width]: codes
  Dot::Input* codes;   // the same, where the dot product wants them wider
  float* spare;        // a row of results that nobody reads
  static int64_t size(const TwoLayerPlan& plan) {
    return kBatch * plan.width * (5 + (int64_t)sizeof(Dot::Input)) + plan.columns * 4;
  }
  HiddenRows(const TwoLayerPlan& plan, void* memory) {
    values = (float*)memory;
    bytes = (uint8_t*)(values + kBatch * plan.width);
    codes = (Dot::Input*)(bytes + kBatch * plan.width);
    spare = (float*)(codes + kBatch * plan.width);
  }
};

static inline const Dot::Input* dot_inputs(const TwoLayerPlan& plan, const HiddenRows& rows) {
  if (sizeof(Dot::Input) == 1) return (const Dot::Input*)rows.bytes;
  for (int64_t k = 0; k < kBatch * plan.width; ++k) rows.codes[k] = (Dot::Input)rows.bytes[k];
  return rows.codes;
}

template <class T, bool CODES>
static void two_layer_rows(const TwoLayerPlan& plan, int64_t first, int64_t end, const HiddenRows& rows) {
  const gnnq_two_layer_args& a = *plan.a;
  const RowQuantizer q(a.hidden_quantizer, a.hidden_bits, a.hidden_max_exponent, 1.0f);
  const int64_t largest = (((int64_t)1 << a.w1_bits) - 1) * max64(a.max_edge_code, 1);
  const Flush flush = {127 / largest, 32767 / largest};
  for (int64_t position = first; position < end; position += kBatch) {
    const int n = (int)min64(kBatch, end - position);
    int32_t exponents[kBatch] = {0};
    float* out[kBatch];
    for (int r = 0; r < n; ++r)
      for (int64_t block = 0; block < plan.width / 64; ++block) {
        Words sums[4];
        sum_features<T, CODES>(plan, position + r, block, flush, sums);
        memcpy(rows.values + r * plan.width + block * 64, sums, sizeof(sums));
      }
    for (int r = 0; r < kBatch; ++r) {
      const int64_t i = r >= n ? 0 : (a.order ? a.order[position + r] : position + r);
      out[r] = r < n ? a.out + i * a.num_values : rows.spare;
      if (r >= n) continue;
      float* values = rows.values + r * plan.width;
      const Lanes::F top = scale_hidden(plan, a.row_scale[i], values);
      exponents[r] = quantize_hidden(plan, q, top, values, rows.bytes + r * plan.width);
    }
    const Dot::Input* codes = dot_inputs(plan, rows);
    for (int r = 0; r < n; r += kTogether) logits_of_rows(plan, codes + r * plan.width, exponents + r, out + r);
  }
}

static inline void copy_padded(float* to, const float* from, int64_t n, int64_t padded) {
  memcpy(to, from, n * 4);
  for (int64_t k = n; k < padded; ++k) to[k] = 0.0f;
}

// Column 4l + v of a block goes to place 16v + l, where its sum stands.
static inline void copy_in_sum_order(float* to, const float* from, int64_t n, int64_t padded) {
  for (int64_t k = 0; k < padded; ++k) to[k / 64 * 64 + k % 4 * 16 + k % 64 / 4] = k < n ? from[k] : 0.0f;
}

template <class T, bool CODES>
static int two_layer_of(const gnnq_two_layer_args& a) {
  TwoLayerPlan plan;
  plan.a = &a;
  plan.width = round_up(a.hidden, 64);
  plan.columns = round_up(a.num_values, Dot::kColumns);
  plan.groups = plan.width / Dot::kGroup;
  plan.split = split_of(a);
  const int64_t w2_bytes = round_up(plan.groups * plan.columns * Dot::kGroup * (int64_t)sizeof(Dot::Weight), 64);
  const int64_t bytes = w2_bytes + plan.width * 8 + plan.columns * 8 + round_up(a.num_values, 64) + 64;
  uint8_t* memory = (uint8_t*)two_layer_workspace.get(bytes);
  if (!memory) return GNNQ_NO_MEMORY;
  plan.w2 = (Dot::Weight*)memory;
  plan.half_step1 = (float*)(memory + w2_bytes);
  plan.bias1 = plan.half_step1 + plan.width;
  plan.half_step2 = plan.bias1 + plan.width;
  plan.bias2 = plan.half_step2 + plan.columns;
  copy_in_sum_order(plan.half_step1, a.half_step1, a.hidden, plan.width);
  copy_in_sum_order(plan.bias1, a.bias1, a.hidden, plan.width);
  copy_padded(plan.half_step2, a.half_step2, a.num_values, plan.columns);
  copy_padded(plan.bias2, a.bias2, a.num_values, plan.columns);
  prepare_second(plan, (uint8_t*)(plan.bias2 + plan.columns));
  const int threads = useful_threads(a.num_threads, (a.num_edges + a.num_rows) * plan.width);
  const int64_t blocks = threads == 1 ? 1 : threads * 8;
  const bool done = run_blocks(blocks, threads, HiddenRows::size(plan), [&](int64_t b, void* scratch) {
    two_layer_rows<T, CODES>(plan, block_start(a.row_ptr, a.num_rows, b, blocks, a.num_planes),
                             block_start(a.row_ptr, a.num_rows, b + 1, blocks, a.num_planes), HiddenRows(plan, scratch));
  });
  return done ? GNNQ_OK : GNNQ_NO_MEMORY;
}

static int two_layer(const gnnq_two_layer_args* args) {
  if (args->edge_codes) return two_layer_of<int16_t, true>(*args);
  return args->w1_halves ? two_layer_of<int16_t, false>(*args) : two_layer_of<int8_t, false>(*args);
}
