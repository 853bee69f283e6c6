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

static inline void add_halves(const Halves (&halves)[2], Words (&sums)[4]) {
  for (int i = 0; i < 2; ++i) {
    const Words x = (Words)halves[i];
    sums[i] += (Words)((UnsignedWords)x << 16) >> 16;
    sums[i + 2] += x >> 16;
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

// sums = rows of W1 over edges e0 ... e1 - 1, columns of one block. T: int8_t, or int16_t with even columns first.
template <class T, bool CODES>
static inline void sum_features(const TwoLayerPlan& plan, int64_t e0, int64_t e1, int64_t block, Flush flush,
                                Words (&sums)[4]) {
  const gnnq_two_layer_args& a = *plan.a;
  const T* weights = (const T*)a.w1 + block * 64;
  for (int v = 0; v < 4; ++v) sums[v] = Words{};
  for (int64_t e = e0; e < e1;) {
    Halves halves[2] = {Halves{}, Halves{}};
    const int64_t stop = min64(e1, e + flush.halves);
    while (e < stop) {
      if (sizeof(T) == 1) {
        Bytes bytes;
        const int64_t full = min64(stop, e + flush.bytes);
        if (plan.width == 64) bytes = sum_bytes(weights, a.col, e, full, 64);
        else bytes = sum_bytes(weights, a.col, e, full, plan.width);
        e = full;
        add_bytes(bytes, halves);
        continue;
      }
      const T* row = weights + (int64_t)a.col[e] * plan.width;
      const int16_t code = CODES ? a.edge_codes[e] : 1;
      for (int v = 0; v < 2; ++v) {
        const Halves x = load_vector<Halves>(row + v * 32);
        halves[v] += CODES ? x * code : x;
      }
      ++e;
    }
    add_halves(halves, sums);
  }
}

// First layer's scaling and relu of one block; `top` takes in the largest entry.
static inline void scale_hidden(const TwoLayerPlan& plan, float row_scale, int64_t block, const Words (&sums)[4],
                                float* hidden, Lanes::F& top) {
  constexpr int W = Lanes::kWidth;
  const Lanes::F scale = Lanes::set(row_scale), zero = Lanes::set(0.0f);
  for (int k = 0; k < 64; k += W) {
    const int64_t at = block * 64 + k;
    const Lanes::I whole = Lanes::load_int((const uint32_t*)sums + k);
    Lanes::F x = Lanes::mul(Lanes::mul(Lanes::to_float(whole), scale), Lanes::load(plan.half_step1 + at));
    x = Lanes::max(Lanes::add(x, Lanes::load(plan.bias1 + at)), zero);
    Lanes::store(hidden + at, x);
    top = Lanes::max(top, x);
  }
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

static inline void second_layer(const TwoLayerPlan& plan, const Dot::Input* codes, int32_t exponent, float* out) {
  for (int64_t first = 0; first < plan.columns; first += Dot::kColumns) {
    Dot::Acc even = Dot::zero(), odd = Dot::zero();
    const Dot::Weight* weights = plan.w2 + first * Dot::kGroup;
    const int64_t stride = plan.columns * Dot::kGroup;
    for (int64_t g = 0; g + 1 < plan.groups; g += 2) {
      even = Dot::dot(even, codes + g * Dot::kGroup, weights + g * stride);
      odd = Dot::dot(odd, codes + (g + 1) * Dot::kGroup, weights + (g + 1) * stride);
    }
    finish_logits(plan, Lanes::add_int(even, odd), codes, exponent, first, out);
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

static inline void logits_of_row(const TwoLayerPlan& plan, const Dot::Input* codes, int32_t exponent, float* out) {
#if defined(GNNQ_BUILD_AVX512)
  if (plan.split == 4) return narrow_second_layer<4>(plan, codes, exponent, out);
  if (plan.split == 2) return narrow_second_layer<2>(plan, codes, exponent, out);
#endif
  second_layer(plan, codes, exponent, out);
}

struct HiddenRow {
  float* values;
  uint8_t* bytes;
  Dot::Input* codes;
};

static inline const Dot::Input* dot_inputs(const TwoLayerPlan& plan, const HiddenRow& row) {
  if (sizeof(Dot::Input) == 1) return (const Dot::Input*)row.bytes;
  for (int64_t k = 0; k < plan.width; ++k) row.codes[k] = (Dot::Input)row.bytes[k];
  return row.codes;
}

template <class T, bool CODES>
static void two_layer_rows(const TwoLayerPlan& plan, int64_t first, int64_t end, const HiddenRow& row) {
  const gnnq_two_layer_args& a = *plan.a;
  const RowQuantizer q(a.hidden_quantizer, a.hidden_bits, a.hidden_max_exponent, 1.0f);
  const int64_t largest = (((int64_t)1 << a.w1_bits) - 1) * max64(a.max_edge_code, 1);
  const Flush flush = {127 / largest, 32767 / largest};
  for (int64_t position = first; position < end; ++position) {
    const int64_t i = a.order ? a.order[position] : position;
    Lanes::F top = Lanes::set(0.0f);
    for (int64_t block = 0; block < plan.width / 64; ++block) {
      Words sums[4];
      sum_features<T, CODES>(plan, a.row_ptr[position], a.row_ptr[position + 1], block, flush, sums);
      scale_hidden(plan, a.row_scale[i], block, sums, row.values, top);
    }
    const int32_t exponent = quantize_hidden(plan, q, top, row.values, row.bytes);
    logits_of_row(plan, dot_inputs(plan, row), exponent, a.out + i * a.num_values);
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
  const bool done = run_blocks(blocks, threads, plan.width * (5 + (int64_t)sizeof(Dot::Input)), [&](int64_t b, void* scratch) {
    uint8_t* memory_of_row = (uint8_t*)scratch;
    const HiddenRow row = {(float*)memory_of_row, memory_of_row + plan.width * 4, (Dot::Input*)(memory_of_row + plan.width * 5)};
    two_layer_rows<T, CODES>(plan, block_start(a.row_ptr, a.num_rows, b, blocks),
                             block_start(a.row_ptr, a.num_rows, b + 1, blocks), row);
  });
  return done ? GNNQ_OK : GNNQ_NO_MEMORY;
}

static int two_layer(const gnnq_two_layer_args* args) {
  if (args->edge_codes) return two_layer_of<int16_t, true>(*args);
  return args->w1_halves ? two_layer_of<int16_t, false>(*args) : two_layer_of<int8_t, false>(*args);
}
