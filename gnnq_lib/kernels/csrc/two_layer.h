// Two linear layers on sparse integer features in one call: W1 is widened once to signed numbers w = 2q - n; a node's sum
// of rows of W1 stays in registers; scaling, relu, quantizing per row and the product with W2 follow before the next node.
// Included inside an instruction set's namespace, after linear.h and lanes.h.

static thread_local Workspace two_layer_workspace;

struct TwoLayerPlan {
  const gnnq_two_layer_args* a;
  void* w1;               // num_features x width numbers (int8 or int16)
  Dot::Weight* w2;        // [groups][columns][kGroup]
  float* half_step1;      // width, 0 beyond hidden
  float* bias1;           // width
  float* half_step2;      // columns, 0 beyond num_values
  float* bias2;           // columns
  int64_t width;          // hidden, rounded up to 64
  int64_t columns, groups;
  bool sum_factor;        // w2 = 2 * stored + 1, else w2 = stored
};

// Rows first ... end - 1 of W1 as signed odd numbers 2q - n.
template <class T>
static void widen_weights(const TwoLayerPlan& plan, int64_t first, int64_t end, uint8_t* codes) {
  const gnnq_two_layer_args& a = *plan.a;
  const int64_t row_bytes = packed_bytes(a.hidden, a.w1_bits);
  const T top = (T)((1 << a.w1_bits) - 1);
  const int64_t width = plan.width, hidden = a.hidden;  // copies: bytes written through `row` may alias anything
  for (int64_t f = first; f < end; ++f) {
    unpack_row(a.w1_packed + f * row_bytes, row_bytes, a.w1_bits, a.hidden, codes);
    T* __restrict row = (T*)plan.w1 + f * width;
    for (int64_t k = 0; k < width; ++k) row[k] = (T)((T)codes[k] + (T)codes[k] - top);
    for (int64_t k = hidden; k < width; ++k) row[k] = 0;
  }
}

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
    Dot::Weight* to = plan.w2 + k / Dot::kGroup * plan.columns * Dot::kGroup + k % Dot::kGroup;
    for (int64_t c = 0; c < a.num_values; ++c)
      to[c * Dot::kGroup] = (Dot::Weight)(bytes ? codes[c] - 128 : 2 * codes[c] - top);
  }
}

// sums[64 * block ... ) += rows of W1 over edges e0 ... e1 - 1, in lanes of type T, moved to 32 bits every `flush` edges.
template <class T, bool CODES>
static inline void sum_features(const TwoLayerPlan& plan, int64_t e0, int64_t e1, int64_t block, int64_t flush, int32_t* sums) {
  constexpr int kLanes = 64 / sizeof(T), kVectors = sizeof(T);  // 64 numbers
  typedef T Vector __attribute__((vector_size(64)));
  const gnnq_two_layer_args& a = *plan.a;
  const T* weights = (const T*)plan.w1 + block * 64;
  int32_t* to = sums + block * 64;
  memset(to, 0, 64 * 4);
  for (int64_t e = e0; e < e1;) {
    Vector acc[kVectors];
    for (int v = 0; v < kVectors; ++v) acc[v] = Vector{};
    const int64_t stop = min64(e1, e + flush);
    for (; e < stop; ++e) {
      const T* row = weights + (int64_t)a.col[e] * plan.width;
      for (int v = 0; v < kVectors; ++v) {
        Vector x;
        memcpy(&x, row + v * kLanes, 64);
        if (CODES) x *= (T)a.edge_codes[e];
        acc[v] += x;
      }
    }
    alignas(64) T lanes[64];
    memcpy(lanes, acc, sizeof(lanes));
    for (int k = 0; k < 64; ++k) to[k] += lanes[k];
  }
}

// First layer's scaling and relu, then the row quantizer: codes of the hidden row, and its exponent.
static inline int32_t quantize_hidden(const TwoLayerPlan& plan, const RowQuantizer& q, float row_scale, const int32_t* sums,
                                      float* hidden, Dot::Input* codes) {
  constexpr int W = Lanes::kWidth;
  const Lanes::F scale = Lanes::set(row_scale), zero = Lanes::set(0.0f);
  Lanes::F top = zero;
  for (int64_t k = 0; k < plan.width; k += W) {
    Lanes::I whole;
    memcpy(&whole, sums + k, sizeof(whole));
    Lanes::F x = Lanes::mul(Lanes::mul(Lanes::to_float(whole), scale), Lanes::load(plan.half_step1 + k));
    x = Lanes::max(Lanes::add(x, Lanes::load(plan.bias1 + k)), zero);
    Lanes::store(hidden + k, x);
    top = Lanes::max(top, x);
  }
  const Lanes::I shift = q.shift_of(group_max(top, W));
  const Lanes::F factor = q.factor_of(shift);
  for (int64_t k = 0; k < plan.width; k += W) {
    Lanes::store_codes(codes + k, Lanes::to_int(q.code(Lanes::load(hidden + k), factor)));
  }
  int32_t exponent[W];
  memcpy(exponent, &shift, sizeof(exponent));
  return exponent[0] >> 23;
}

static inline void second_layer(const TwoLayerPlan& plan, const Dot::Input* codes, int32_t exponent, float* out) {
  const gnnq_two_layer_args& a = *plan.a;
  int32_t code_sum = 0;
  if (plan.sum_factor)
    for (int64_t k = 0; k < a.hidden; ++k) code_sum += codes[k];
  for (int64_t first = 0; first < plan.columns; first += Dot::kColumns) {
    Dot::Acc even = Dot::zero(), odd = Dot::zero();
    const Dot::Weight* weights = plan.w2 + first * Dot::kGroup;
    const int64_t stride = plan.columns * Dot::kGroup;
    for (int64_t g = 0; g + 1 < plan.groups; g += 2) {
      even = Dot::dot(even, codes + g * Dot::kGroup, weights + g * stride);
      odd = Dot::dot(odd, codes + (g + 1) * Dot::kGroup, weights + (g + 1) * stride);
    }
    Lanes::I dot = Lanes::add_int(even, odd);
    if (plan.sum_factor) dot = Lanes::add_int(Lanes::add_int(dot, dot), Lanes::set_int(code_sum));
    const Lanes::F whole = Lanes::to_float(Lanes::shift_left(dot, Lanes::set_int(exponent)));
    const Lanes::F value = Lanes::mul(whole, Lanes::set(a.hidden_quantizer.scale));
    const Lanes::F scaled = Lanes::mul(value, Lanes::load(plan.half_step2 + first));
    const Lanes::F logits = Lanes::add(scaled, Lanes::load(plan.bias2 + first));
    Lanes::store_first(out + first, logits, (int)min64(Dot::kColumns, a.num_values - first));
  }
}

template <class T, bool CODES>
static void two_layer_rows(const TwoLayerPlan& plan, int64_t first, int64_t end, uint8_t* scratch) {
  const gnnq_two_layer_args& a = *plan.a;
  const RowQuantizer q(a.hidden_quantizer, a.hidden_bits, a.hidden_max_exponent, 1.0f);
  const int64_t largest = (((int64_t)1 << a.w1_bits) - 1) * max64(a.max_edge_code, 1);
  const int64_t flush = (sizeof(T) == 1 ? 127 : 32767) / largest;
  int32_t* sums = (int32_t*)scratch;
  float* hidden = (float*)(scratch + plan.width * 4);
  Dot::Input* codes = (Dot::Input*)(scratch + plan.width * 8);
  for (int64_t position = first; position < end; ++position) {
    const int64_t i = a.order ? a.order[position] : position;
    for (int64_t block = 0; block < plan.width / 64; ++block)
      sum_features<T, CODES>(plan, a.row_ptr[position], a.row_ptr[position + 1], block, flush, sums);
    const int32_t exponent = quantize_hidden(plan, q, a.row_scale[i], sums, hidden, codes);
    second_layer(plan, codes, exponent, a.out + i * a.num_values);
  }
}

static inline void copy_padded(float* to, const float* from, int64_t n, int64_t padded) {
  memcpy(to, from, n * 4);
  for (int64_t k = n; k < padded; ++k) to[k] = 0.0f;
}

template <class T, bool CODES>
static int two_layer_of(const gnnq_two_layer_args& a) {
  TwoLayerPlan plan;
  plan.a = &a;
  plan.width = round_up(a.hidden, 64);
  plan.columns = round_up(a.num_values, Dot::kColumns);
  plan.groups = plan.width / Dot::kGroup;
  const int64_t w1_bytes = round_up(a.num_features * plan.width * (int64_t)sizeof(T), 64);
  const int64_t w2_bytes = round_up(plan.groups * plan.columns * Dot::kGroup * (int64_t)sizeof(Dot::Weight), 64);
  const int64_t bytes = w1_bytes + w2_bytes + plan.width * 8 + plan.columns * 8 + round_up(a.num_values, 64) + 64;
  uint8_t* memory = (uint8_t*)two_layer_workspace.get(bytes);
  if (!memory) return GNNQ_NO_MEMORY;
  plan.w1 = memory;
  plan.w2 = (Dot::Weight*)(memory + w1_bytes);
  plan.half_step1 = (float*)(memory + w1_bytes + w2_bytes);
  plan.bias1 = plan.half_step1 + plan.width;
  plan.half_step2 = plan.bias1 + plan.width;
  plan.bias2 = plan.half_step2 + plan.columns;
  copy_padded(plan.half_step1, a.half_step1, a.hidden, plan.width);
  copy_padded(plan.bias1, a.bias1, a.hidden, plan.width);
  copy_padded(plan.half_step2, a.half_step2, a.num_values, plan.columns);
  copy_padded(plan.bias2, a.bias2, a.num_values, plan.columns);
  prepare_second(plan, (uint8_t*)(plan.bias2 + plan.columns));
  const int threads = useful_threads(a.num_threads, (a.num_edges + a.num_rows + a.num_features) * plan.width);
  const int64_t blocks = threads == 1 ? 1 : threads * 8;
  const int64_t part = (a.num_features + blocks - 1) / blocks;
  bool done = run_blocks(blocks, threads, plan.width + 64, [&](int64_t b, void* scratch) {
    widen_weights<T>(plan, min64(a.num_features, b * part), min64(a.num_features, (b + 1) * part), (uint8_t*)scratch);
  });
  done = done && run_blocks(blocks, threads, plan.width * 12, [&](int64_t b, void* scratch) {
    two_layer_rows<T, CODES>(plan, block_start(a.row_ptr, a.num_rows, b, blocks),
                             block_start(a.row_ptr, a.num_rows, b + 1, blocks), (uint8_t*)scratch);
  });
  if (bytes > (64 << 20)) two_layer_workspace.release();
  return done ? GNNQ_OK : GNNQ_NO_MEMORY;
}

static int two_layer(const gnnq_two_layer_args* args) {
  if (args->edge_codes) return two_layer_of<int16_t, true>(*args);
  return args->w1_bits <= 2 ? two_layer_of<int8_t, false>(*args) : two_layer_of<int16_t, false>(*args);
}
