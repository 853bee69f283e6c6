// Two linear layers on sparse integer features in one call: sums of rows of W1, then scaling, relu, quantizing per row and
// the product with W2 before the next rows. W1's numbers are w = 2q - n; bytes hold the codes q, of which twice as many fit
// in 8-bit lanes, and a row's sum starts at -n times the sum of its own codes. Columns are handled in blocks of 64. Widening
// a vector parts its even lanes from its odd ones, so four vectors of 32-bit sums hold columns 4l, 4l + 1, 4l + 2 and
// 4l + 3 in lane l: side by side as bytes of one lane, the codes are in order again.
// This file holds the path for any width and instruction set; AVX-512 takes up to 64 hidden values in two_layer_groups.h.
// Included inside an instruction set's namespace, after linear.h and lanes.h.

static thread_local Workspace two_layer_workspace;

typedef uint8_t Bytes __attribute__((vector_size(64)));
typedef int16_t Halves __attribute__((vector_size(64)));
typedef uint16_t UnsignedHalves __attribute__((vector_size(64)));
typedef int32_t Words __attribute__((vector_size(64)));
typedef uint32_t UnsignedWords __attribute__((vector_size(64)));

struct TwoLayerPlan {
  const gnnq_two_layer_args* a;
  Dot::Weight* w2;        // see weight_place
  float* half_step1;      // width, in the order of the sums, 0 beyond hidden
  float* bias1;           // likewise
  float* half_step2;      // columns, 0 beyond num_values; each kGroupRows times where grouped
  float* bias2;           // likewise
  int64_t width;          // hidden, rounded up to 64
  int64_t columns;        // num_values, rounded up
  bool grouped;           // two_layer_groups.h
  bool sum_factor;        // w2 = 2 * stored + 1, else w2 = stored
};

// Rows whose edges stand side by side: edge k of row r of a group is number k * kGroupRows + r.
static constexpr int64_t kGroupRows = 4;

// Where W2's weight for hidden column k and class c stands. Grouped: a vector has 16 inputs of each of 4 classes, in the
// order in which codes_of_row leaves them: column 4l + v is input 16 * (l / 4) + 4v + l % 4.
static inline int64_t weight_place(const TwoLayerPlan& plan, int64_t k, int64_t c) {
  if (!plan.grouped) return (k / Dot::kGroup * plan.columns + c) * Dot::kGroup + k % Dot::kGroup;
  return c / 4 * 256 + k / 16 * 64 + c % 4 * 16 + k % 4 * 4 + k / 4 % 4;
}

// W2 as the dot-product instruction wants it; 8-bit weights do not fit signed bytes as 2q - 255 and are kept as q - 128.
static void prepare_second(TwoLayerPlan& plan, uint8_t* codes) {
  const gnnq_two_layer_args& a = *plan.a;
  const bool bytes = sizeof(Dot::Weight) == 1 && a.w2_bits == 8;
  const int top = (1 << a.w2_bits) - 1;
  plan.sum_factor = bytes;
  const int64_t row_bytes = packed_bytes(a.num_values, a.w2_bits);
  memset(plan.w2, 0, plan.width * plan.columns * sizeof(Dot::Weight));
  for (int64_t k = 0; k < a.hidden; ++k) {
    unpack_row(a.w2_packed + k * row_bytes, row_bytes, a.w2_bits, a.num_values, codes);
    for (int64_t c = 0; c < a.num_values; ++c)
      plan.w2[weight_place(plan, k, c)] = (Dot::Weight)(bytes ? codes[c] - 128 : 2 * codes[c] - top);
  }
}

template <class Vector>
static inline Vector load_vector(const void* p) {
  Vector x;
  memcpy(&x, p, sizeof(x));
  return x;
}

static inline void add_bytes(Bytes bytes, Halves (&sums)[2]) {
  const UnsignedHalves x = (UnsignedHalves)bytes;
  sums[0] += (Halves)(x & 0xff);
  sums[1] += (Halves)(x >> 8);
}

static inline void add_halves(const Halves (&halves)[2], int factor, Words (&sums)[4]) {
  for (int i = 0; i < 2; ++i) {
    const Words x = (Words)halves[i];
    sums[i] += ((Words)((UnsignedWords)x << 16) >> 16) * factor;
    sums[i + 2] += (x >> 16) * factor;
  }
}

// Rows of W1 over edges e ... end - 1 of one row; `col` starts at that row of the group.
template <class Index>
static inline GNNQ_INLINE Bytes sum_bytes(const uint8_t* weights, const Index* col, int64_t e, int64_t end, int64_t width) {
  Bytes even = Bytes{}, odd = Bytes{};
  for (; e + 1 < end; e += 2) {
    even += load_vector<Bytes>(weights + (int64_t)col[e * kGroupRows] * width);
    odd += load_vector<Bytes>(weights + (int64_t)col[(e + 1) * kGroupRows] * width);
  }
  if (e < end) even += load_vector<Bytes>(weights + (int64_t)col[e * kGroupRows] * width);
  return even + odd;
}

// How many rows of W1 lanes of each width can add up.
struct Flush {
  int64_t bytes, halves;
};

static inline Flush flush_of(const gnnq_two_layer_args& a) {
  const int64_t largest = (((int64_t)1 << a.w1_bits) - 1) * max64(a.max_edge_code, 1);
  return {255 / largest, 32767 / largest};
}

// sums += factor * (rows of W1 over edges e ... end - 1), columns of one block.
template <class Index>
static inline GNNQ_INLINE void add_byte_rows(const TwoLayerPlan& plan, const uint8_t* weights, const Index* col, int64_t e,
                                             int64_t end, Flush flush, int factor, Words (&sums)[4]) {
#if defined(GNNQ_BUILD_AVX512)
  for (; e < end; e += flush.bytes) {
    const __m512i bytes = (__m512i)sum_bytes(weights, col, e, min64(end, e + flush.bytes), plan.width);
    for (int v = 0; v < 4; ++v)  // of the four bytes in a lane, number v times the factor
      sums[v] = (Words)_mm512_dpbusd_epi32((__m512i)sums[v], bytes, _mm512_set1_epi32(factor << (8 * v)));
  }
#else
  while (e < end) {
    Halves halves[2] = {Halves{}, Halves{}};
    const int64_t stop = min64(end, e + flush.halves);
    for (; e < stop; e = min64(stop, e + flush.bytes))
      add_bytes(sum_bytes(weights, col, e, min64(stop, e + flush.bytes), plan.width), halves);
    add_halves(halves, factor, sums);
  }
#endif
}

// Likewise of signed 16-bit weights (even columns first), times the edges' codes if CODES.
template <bool CODES>
static inline void add_half_rows(const TwoLayerPlan& plan, const int16_t* weights, const int32_t* col, const int8_t* codes,
                                 int64_t e, int64_t end, Flush flush, Words (&sums)[4]) {
  while (e < end) {
    Halves halves[2] = {Halves{}, Halves{}};
    for (const int64_t stop = min64(end, e + flush.halves); e < stop; ++e) {
      const int16_t* row = weights + (int64_t)col[e * kGroupRows] * plan.width;
      const int16_t code = CODES ? codes[e * kGroupRows] : 1;
      for (int v = 0; v < 2; ++v) {
        const Halves x = load_vector<Halves>(row + v * 32);
        halves[v] += CODES ? x * code : x;
      }
    }
    add_halves(halves, 1, sums);
  }
}

// What a sum of codes q starts at, so that it ends as one of numbers 2q - n.
static inline int32_t start_of(const gnnq_two_layer_args& a, int64_t position) {
  return -((1 << a.w1_bits) - 1) * a.code_sums[position];
}

// sums = rows of W1 over the edges of one position, columns of one block. T: uint8_t, or int16_t (then Index is int32_t).
template <class T, class Index, bool CODES>
static inline void sum_features(const TwoLayerPlan& plan, int64_t position, int64_t block, Flush flush, Words (&sums)[4]) {
  const gnnq_two_layer_args& a = *plan.a;
  const T* weights = (const T*)a.w1 + block * 64;
  const int64_t group = position / kGroupRows, row = position % kGroupRows;
  const int64_t* ends = a.row_ptr + group * a.num_planes;
  const Index* col = (const Index*)a.col + row;
  if constexpr (sizeof(T) == 1) {
    for (int v = 0; v < 4; ++v) sums[v] = Words{} + start_of(a, position);
    for (int plane = 0; plane < a.num_planes; ++plane)
      add_byte_rows(plan, weights, col, ends[plane], ends[plane + 1], flush, 2 << plane, sums);
  } else {
    for (int v = 0; v < 4; ++v) sums[v] = Words{};
    add_half_rows<CODES>(plan, weights, col, CODES ? a.edge_codes + row : nullptr, ends[0], ends[1], flush, sums);
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
    for (int64_t g = 0; g < plan.width / Dot::kGroup; ++g, weights += plan.columns * Dot::kGroup)
      for (int r = 0; r < kTogether; ++r) acc[r] = Dot::dot(acc[r], codes + r * plan.width + g * Dot::kGroup, weights);
    for (int r = 0; r < kTogether; ++r) finish_logits(plan, acc[r], codes + r * plan.width, exponents[r], first, out[r]);
  }
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

template <class T, class Index, bool CODES>
static void two_layer_rows(const TwoLayerPlan& plan, int64_t first, int64_t end, const HiddenRows& rows) {
  const gnnq_two_layer_args& a = *plan.a;
  const RowQuantizer q(a.hidden_quantizer, a.hidden_bits, a.hidden_max_exponent, 1.0f);
  const Flush flush = flush_of(a);
  for (int64_t position = first; position < end; position += kBatch) {
    const int n = (int)min64(kBatch, end - position);
    int32_t exponents[kBatch] = {0};
    float* out[kBatch];
    for (int r = 0; r < n; ++r)
      for (int64_t block = 0; block < plan.width / 64; ++block) {
        Words sums[4];
        sum_features<T, Index, CODES>(plan, position + r, block, flush, sums);
        memcpy(rows.values + r * plan.width + block * 64, sums, sizeof(sums));
      }
    for (int r = 0; r < kBatch; ++r) {
      const int64_t i = r < n ? a.order[position + r] : 0;
      out[r] = r < n ? a.out + i * a.num_values : rows.spare;
      if (r >= n) continue;
      float* values = rows.values + r * plan.width;
      const Lanes::F top = scale_hidden(plan, a.row_scale[i], values);
      exponents[r] = quantize_hidden(plan, q, top, values, rows.bytes + r * plan.width);
    }
    const Dot::Input* codes = dot_inputs(plan, rows);
    for (int r = 0; r < n; r += kTogether) second_layer(plan, codes + r * plan.width, exponents + r, out + r);
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

// Each entry kGroupRows times: one vector holds 4 columns of a group's rows.
static inline void copy_for_group(float* to, const float* from, int64_t n, int64_t padded) {
  for (int64_t k = 0; k < padded * kGroupRows; ++k) to[k] = k / kGroupRows < n ? from[k / kGroupRows] : 0.0f;
}

static void prepare_columns(const TwoLayerPlan& plan) {
  const gnnq_two_layer_args& a = *plan.a;
  const auto copy = plan.grouped ? copy_for_group : copy_padded;
  copy_in_sum_order(plan.half_step1, a.half_step1, a.hidden, plan.width);
  copy_in_sum_order(plan.bias1, a.bias1, a.hidden, plan.width);
  copy(plan.half_step2, a.half_step2, a.num_values, plan.columns);
  copy(plan.bias2, a.bias2, a.num_values, plan.columns);
}

#if defined(GNNQ_BUILD_AVX512)
#include "two_layer_groups.h"
#endif

// Groups first ... end - 1.
template <class T, class Index, bool CODES>
static void two_layer_part(const TwoLayerPlan& plan, int64_t first, int64_t end, void* scratch) {
#if defined(GNNQ_BUILD_AVX512)
  if (plan.grouped) return two_layer_groups<T, Index, CODES>(plan, first, end, (uint8_t*)scratch);
#endif
  const int64_t last = min64(plan.a->num_rows, end * kGroupRows);
  two_layer_rows<T, Index, CODES>(plan, first * kGroupRows, last, HiddenRows(plan, scratch));
}

template <class T, class Index, bool CODES>
static int two_layer_of(const gnnq_two_layer_args& a) {
  TwoLayerPlan plan;
  plan.a = &a;
  plan.width = round_up(a.hidden, 64);
  plan.columns = round_up(a.num_values, Dot::kColumns);
#if defined(GNNQ_BUILD_AVX512)
  plan.grouped = plan.width == 64;
#else
  plan.grouped = false;
#endif
  const int64_t w2_bytes = round_up(plan.width * plan.columns * (int64_t)sizeof(Dot::Weight), 64);
  const int64_t column_floats = plan.columns * (plan.grouped ? kGroupRows : 1);
  const int64_t bytes = w2_bytes + plan.width * 8 + column_floats * 8 + round_up(a.num_values, 64) + 64;
  uint8_t* memory = (uint8_t*)two_layer_workspace.get(bytes);
  if (!memory) return GNNQ_NO_MEMORY;
  plan.w2 = (Dot::Weight*)memory;
  plan.half_step1 = (float*)(memory + w2_bytes);
  plan.bias1 = plan.half_step1 + plan.width;
  plan.half_step2 = plan.bias1 + plan.width;
  plan.bias2 = plan.half_step2 + column_floats;
  prepare_columns(plan);
  prepare_second(plan, (uint8_t*)(plan.bias2 + column_floats));
  const int threads = useful_threads(a.num_threads, (a.num_edges + a.num_rows) * plan.width);
  const int64_t blocks = threads == 1 ? 1 : threads * 8, groups = (a.num_rows + kGroupRows - 1) / kGroupRows;
  const bool done = run_blocks(blocks, threads, HiddenRows::size(plan), [&](int64_t b, void* scratch) {
    two_layer_part<T, Index, CODES>(plan, block_start(a.row_ptr, groups, b, blocks, a.num_planes),
                                    block_start(a.row_ptr, groups, b + 1, blocks, a.num_planes), scratch);
  });
  return done ? GNNQ_OK : GNNQ_NO_MEMORY;
}

static int two_layer(const gnnq_two_layer_args* args) {
  if (args->edge_codes) return two_layer_of<int16_t, int32_t, true>(*args);
  if (args->w1_halves) return two_layer_of<int16_t, int32_t, false>(*args);
  return args->col_bytes == 2 ? two_layer_of<uint8_t, uint16_t, false>(*args) : two_layer_of<uint8_t, int32_t, false>(*args);
}
