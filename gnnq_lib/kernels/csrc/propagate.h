// K quantised propagation steps in one call. Between steps each node holds a row of whole numbers w = q << e (its value is
// -w * scale, counted downwards from the row's largest entry, which is 0), in CP lanes of type T. A step is one pass: sum
// the neighbours' rows, scale, quantize, combine, quantize, store. Included inside an instruction set's namespace.

// Memory kept from call to call by each calling thread, so that small graphs do not pay for page faults.
struct Workspace {
  void* memory = nullptr;
  int64_t size = 0;
  ~Workspace() { free(memory); }
  void release() {
    free(memory);
    memory = nullptr;
    size = 0;
  }
  void* get(int64_t bytes) {
    if (bytes > size) {
      free(memory);
      memory = make_buffer(bytes);
      size = memory ? bytes : 0;
    }
    return memory;
  }
};

static thread_local Workspace propagate_workspace;

static inline int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

// W rows of N 32-bit units, row after row in N vectors <-> N columns of W units. Row-major position r * N + c becomes
// c * W + r: its bits rotate by log2(N), one place per round of parting even from odd.
template <int N>
static inline __attribute__((always_inline)) void rows_to_columns(Lanes::I (&x)[N]) {
  for (int round = 1; round < N; round *= 2) {
    Lanes::I y[N];
    for (int i = 0; i < N / 2; ++i) Lanes::deinterleave(x[2 * i], x[2 * i + 1], y[i], y[N / 2 + i]);
    for (int i = 0; i < N; ++i) x[i] = y[i];
  }
}

template <int N>
static inline __attribute__((always_inline)) void columns_to_rows(Lanes::I (&x)[N]) {
  for (int round = 1; round < N; round *= 2) {
    Lanes::I y[N];
    for (int i = 0; i < N / 2; ++i) Lanes::interleave(x[i], x[N / 2 + i], y[2 * i], y[2 * i + 1]);
    for (int i = 0; i < N; ++i) x[i] = y[i];
  }
}

// Largest and smallest entry of each row of a slice.
struct Extent {
  Lanes::F top = Lanes::set(-__builtin_inff()), low = Lanes::set(__builtin_inff());
  inline void take(Lanes::F x) {
    top = Lanes::max(top, x);
    low = Lanes::min(low, x);
  }
  inline Lanes::F range() const { return Lanes::sub(top, low); }
};

// What is the same for all nodes of a step.
struct StepConstants {
  RowQuantizer aggregate, update, gap;
  Lanes::F minus_scale, minus_input_scale, state_weight, aggregate_weight, input_weight;
  bool with_state, with_gap;
};

// M: columns in use, even, or 0: known at run time only. A row of an odd number of columns repeats its last one: the
// copy takes part in everything and changes nothing.
template <class T, int CP, int M>
struct Propagate {
  typedef Lanes::F F;
  typedef Lanes::I I;
  static constexpr int W = Lanes::kWidth;
  static constexpr int kPerUnit = 4 / sizeof(T);     // fields in a 32-bit unit
  static constexpr int U = CP / kPerUnit;            // units in a row
  static constexpr int kBlock = CP <= 16 ? 64 : 16;  // nodes whose sums are formed before the first is used
  static constexpr int kRowBytes = CP * sizeof(T);
  static constexpr int kPieceBytes = kRowBytes < 64 ? kRowBytes : 64;
  static constexpr int kPieces = kRowBytes / kPieceBytes < 4 ? kRowBytes / kPieceBytes : 4;
  // Fields do not overflow, so a piece is added as 64-bit numbers.
  typedef uint64_t Piece __attribute__((vector_size(kPieceBytes)));

  const gnnq_propagate_args& a;
  int columns_in_use;
  int64_t flush;     // rows that a field can add up
  int64_t long_end;  // positions before it may have more edges than that; a multiple of 16
  T* states[2];
  T* gaps;
  uint32_t* inputs;  // [slice][U][W]: the input's codes in columns
  uint32_t* own;     // likewise the current state, kept where a step needs a node's own state
  float* updates;    // [slice][CP][W]: y of steps with a gap term

  explicit Propagate(const gnnq_propagate_args& args) : a(args), columns_in_use((int)(args.num_values + 1) / 2 * 2) {
    const int64_t largest = (((int64_t)1 << a.bits) - 1) << a.max_exponent;
    flush = (sizeof(T) == 2 ? 65535 : 2147483647) / largest;
    long_end = 0;
    while (long_end < a.num_positions && a.row_ptr[long_end + 1] - a.row_ptr[long_end] > flush) ++long_end;
    long_end = round_up(long_end, 16);
  }

  inline int columns() const { return M ? M : columns_in_use; }
  inline int units() const { return columns() / kPerUnit; }

  static inline Piece load_piece(const T* row) {
    Piece piece;
    memcpy(&piece, row, sizeof(Piece));
    return piece;
  }

  // sums[CP] = sum of the rows of edges e0 ... e1 - 1 (which must fit T).
  inline void sum_rows(const T* state, int64_t e0, int64_t e1, T* sums) const {
    constexpr int kPieceFields = kPieceBytes / sizeof(T);
    for (int first = 0; first < CP; first += kPieces * kPieceFields) {
      Piece acc[kPieces];
      for (int p = 0; p < kPieces; ++p) acc[p] = Piece{};
      for (int64_t e = e0; e < e1; ++e) {
        const T* row = state + (int64_t)a.col[e] * CP + first;
        for (int p = 0; p < kPieces; ++p) acc[p] += load_piece(row + p * kPieceFields);
      }
      memcpy(sums + first, acc, sizeof(acc));
    }
  }

  static inline I field(I unit, int number) {
    if (sizeof(T) == 4) return unit;
    return number ? Lanes::template shift_right_by<16>(unit) : Lanes::and_int(unit, Lanes::set_int(0xffff));
  }

  // Rows of a slice, as columns.
  inline void load_columns(const T* rows, I (&x)[CP]) const {
    I unit[U];
    for (int u = 0; u < U; ++u) unit[u] = Lanes::load_int((const uint32_t*)rows + u * W);
    rows_to_columns<U>(unit);
    for (int u = 0; u < units(); ++u)
      for (int f = 0; f < kPerUnit; ++f) x[u * kPerUnit + f] = field(unit[u], f);
  }

  // Sums of a slice with more edges than T can add up: in parts, into 32 bits.
  void long_sums(const T* state, int64_t position, I (&x)[CP]) const {
    alignas(64) uint32_t sums[CP * W] = {0};
    for (int lane = 0; lane < W; ++lane) {
      const int64_t e1 = a.row_ptr[position + lane + 1];
      for (int64_t e = a.row_ptr[position + lane]; e < e1; e += flush) {
        alignas(64) T part[CP];
        sum_rows(state, e, min64(e1, e + flush), part);
        for (int c = 0; c < columns(); ++c) sums[c * W + lane] += part[c];
      }
    }
    for (int c = 0; c < columns(); ++c) x[c] = Lanes::load_int(sums + c * W);
  }

  // Calls use(position, sums in columns) for each slice of positions first ... end - 1.
  template <class Use>
  inline void for_sums(const T* state, int64_t first, int64_t end, const Use& use) const {
    I x[CP];
    for (; first < min64(end, long_end); first += W) {
      long_sums(state, first, x);
      use(first, x);
    }
    for (; first < end; first += kBlock) {
      alignas(64) T sums[kBlock * CP];
      const int64_t stop = min64(end, first + kBlock);
      for (int64_t p = first; p < stop; ++p) sum_rows(state, a.row_ptr[p], a.row_ptr[p + 1], sums + (p - first) * CP);
      for (int64_t p = first; p < stop; p += W) {
        load_columns(sums + (p - first) * CP, x);
        use(p, x);
      }
    }
  }

  // Codes of a slice, stored as rows, and as columns where `kept` is given.
  inline void quantize_rows(const RowQuantizer& q, const Extent& extent, const F (&x)[CP], T* rows, uint32_t* kept) const {
    const I shift = q.shift_of(extent.range()), count = Lanes::exponent_of(shift), low = Lanes::set_int(0xffff);
    const F factor = q.factor_of(shift);
    I unit[U];
    for (int u = 0; u < U; ++u) unit[u] = Lanes::set_int(0);
    for (int u = 0; u < units(); ++u) {
      I code = Lanes::and_int(Lanes::bits(q.raised_code(Lanes::sub(extent.top, x[u * kPerUnit]), factor)), low);
      if (kPerUnit == 2) {
        const I high = Lanes::bits(q.raised_code(Lanes::sub(extent.top, x[u * kPerUnit + kPerUnit - 1]), factor));
        code = Lanes::or_int(code, Lanes::template shift_left_by<16>(high));
      }
      unit[u] = Lanes::shift_left(code, count);
    }
    if (kept)
      for (int u = 0; u < U; ++u) Lanes::store_int(kept + u * W, unit[u]);
    columns_to_rows<U>(unit);
    for (int u = 0; u < U; ++u) Lanes::store_int((uint32_t*)rows + u * W, unit[u]);
  }

  // x[c] = (sum * scale) * inverse_degree, quantized: calls use(c, value), unit by unit.
  template <class Use>
  inline void quantized_mean(const RowQuantizer& q, F minus_scale, int64_t position, const I (&sums)[CP],
                             const Use& use) const {
    const F inverse = Lanes::load(a.inverse_degree + position);
    Extent extent;
    F mean[CP];
    for (int c = 0; c < columns(); ++c) {
      mean[c] = Lanes::mul(Lanes::mul(Lanes::to_float(sums[c]), minus_scale), inverse);
      extent.take(mean[c]);
    }
    const I shift = q.shift_of(extent.range());
    const F factor = q.factor_of(shift), step = q.step_of(shift);
    for (int u = 0; u < units(); ++u)
      for (int f = 0; f < kPerUnit; ++f) {
        const int c = u * kPerUnit + f;
        use(u, f, c, Lanes::mul(q.code(Lanes::sub(extent.top, mean[c]), factor), step));
      }
  }

  inline F kept_value(const uint32_t* kept, int u, int f, F minus_scale) const {
    return Lanes::mul(Lanes::to_float(field(Lanes::load_int(kept + u * W), f)), minus_scale);
  }

  inline void step_slice(const StepConstants& s, int64_t position, const I (&sums)[CP], T* next) const {
    const uint32_t *in = inputs + position * U, *state = own + position * U;
    F y[CP], difference[CP];
    Extent extent, gap_extent;
    quantized_mean(s.aggregate, s.minus_scale, position, sums, [&](int u, int f, int c, F value) {
      F sum = Lanes::mul(s.aggregate_weight, value);
      const F h = s.with_state || s.with_gap ? kept_value(state, u, f, s.minus_scale) : value;
      if (s.with_state) sum = Lanes::add(Lanes::mul(s.state_weight, h), sum);
      y[c] = Lanes::add(sum, Lanes::mul(s.input_weight, kept_value(in, u, f, s.minus_input_scale)));
      extent.take(y[c]);
      if (s.with_gap) gap_extent.take(difference[c] = Lanes::sub(y[c], h));
    });
    if (!s.with_gap) return quantize_rows(s.update, extent, y, next + position * CP, keeps_own() ? own + position * U : nullptr);
    for (int c = 0; c < columns(); ++c) Lanes::store(updates + position * CP + c * W, y[c]);
    quantize_rows(s.gap, gap_extent, difference, gaps + position * CP, nullptr);
  }

  // Second half of a step with a gap term: y = y + coefficient * quantized mean of the neighbours' gaps.
  inline void gap_slice(const StepConstants& s, F coefficient, int64_t position, const I (&sums)[CP], T* next) const {
    F y[CP];
    Extent extent;
    quantized_mean(s.aggregate, s.minus_scale, position, sums, [&](int, int, int c, F value) {
      y[c] = Lanes::add(Lanes::load(updates + position * CP + c * W), Lanes::mul(coefficient, value));
      extent.take(y[c]);
    });
    quantize_rows(s.update, extent, y, next + position * CP, own + position * U);
  }

  inline RowQuantizer quantizer(const gnnq_row_quantizer& q) const { return RowQuantizer(q, a.bits, a.max_exponent, -1.0f); }
  inline bool keeps_own() const { return a.state_weight != 0.0f || a.gap != nullptr; }

  void step(int64_t k, const T* state, T* next, float scale, int64_t first, int64_t end) const {
    const bool gap = a.gap_coefficient[k] != 0.0f;
    const StepConstants s = {quantizer(a.aggregate[k]), quantizer(a.update[k]), quantizer(gap ? a.gap[k] : a.update[k]),
                             Lanes::set(-scale), Lanes::set(-a.input->scale), Lanes::set(a.state_weight),
                             Lanes::set(a.aggregate_weight), Lanes::set(a.input_weight), a.state_weight != 0.0f, gap};
    for_sums(state, first, end, [&](int64_t position, const I (&sums)[CP]) { step_slice(s, position, sums, next); });
  }

  void gap_step(int64_t k, T* next, int64_t first, int64_t end) const {
    const RowQuantizer update = quantizer(a.update[k]);
    const F zero = Lanes::set(0.0f);
    const StepConstants s = {quantizer(a.gap_aggregate[k]), update, update, Lanes::set(-a.gap[k].scale), zero, zero, zero, zero,
                             false, true};
    const F coefficient = Lanes::set(a.gap_coefficient[k]);
    for_sums(gaps, first, end,
             [&](int64_t position, const I (&sums)[CP]) { gap_slice(s, coefficient, position, sums, next); });
  }

  // Row i of x times row_in[i], from memory that may end right behind it; the last column twice where their number is odd.
  inline void read_row(int64_t node, float* row) const {
    const float* from = a.x + node * a.num_values;
    const F factor = Lanes::set(a.row_in[node]);
    for (int64_t at = 0; at < a.num_values; at += W) {
      const int n = (int)min64(W, a.num_values - at);
      Lanes::store_first(row + at, Lanes::mul(factor, Lanes::load_first(from + at, n)), n);
    }
    row[a.num_values] = row[a.num_values - 1];
  }

  // False where x holds NaN or infinity.
  bool read_input(int64_t first, int64_t end) const {
    const RowQuantizer q = quantizer(*a.input);
    bool finite = true;
    alignas(64) float rows[W * CP + W];
    memset(rows, 0, sizeof(rows));
    for (int64_t position = first; position < end; position += W) {
      for (int lane = 0; lane < W && position + lane < a.num_nodes; ++lane) read_row(a.order[position + lane], rows + lane * CP);
      F x[CP];
      float_columns(rows, x);
      Extent extent;
      for (int c = 0; c < columns(); ++c) {
        extent.take(x[c]);
        finite = finite && Lanes::finite(x[c]);
      }
      quantize_rows(q, extent, x, states[0] + position * CP, inputs + position * U);
      if (keeps_own()) memcpy(own + position * U, inputs + position * U, U * W * 4);
    }
    return finite;
  }

  inline void float_columns(const float* rows, F (&x)[CP]) const {
    if constexpr (CP <= 64) {
      I unit[CP];
      for (int u = 0; u < CP; ++u) unit[u] = Lanes::bits(Lanes::load(rows + u * W));
      rows_to_columns<CP>(unit);
      for (int u = 0; u < CP; ++u) x[u] = Lanes::from_bits(unit[u]);
    } else {
      for (int c = 0; c < columns(); ++c) {
        alignas(64) float column[W];
        for (int lane = 0; lane < W; ++lane) column[lane] = rows[lane * CP + c];
        x[c] = Lanes::load(column);
      }
    }
  }

  void write_output(const T* state, float scale, int64_t first, int64_t end) const {
    for (int64_t position = first; position < min64(end, a.num_nodes); ++position) {
      const int64_t node = a.order[position];
      const F factor = Lanes::set(a.row_out[node]);
      for (int64_t at = 0; at < a.num_values; at += W) {  // states end with room for a vector
        const I whole = Lanes::sub_int(Lanes::set_int(0), Lanes::load_state(state + position * CP + at));
        const F value = Lanes::mul(Lanes::mul(Lanes::to_float(whole), Lanes::set(scale)), factor);
        Lanes::store_first(a.out + node * a.num_values + at, value, (int)min64(W, a.num_values - at));
      }
    }
  }

  // All steps, for the positions of one thread; `meet` waits for the other threads.
  template <class Meet>
  void run_part(int64_t first, int64_t end, int* not_finite, const Meet& meet) const {
    if (!read_input(first, end)) {
#pragma omp atomic write
      *not_finite = 1;
    }
    meet();
    const T* state = states[0];
    float scale = a.input->scale;
    for (int64_t k = 0; k < a.num_steps; ++k) {
      T* next = states[(k + 1) % 2];
      step(k, state, next, scale, first, end);
      if (a.gap_coefficient[k] != 0.0f) {
        meet();
        gap_step(k, next, first, end);
      }
      meet();
      state = next;
      scale = a.update[k].scale;
    }
    write_output(state, scale, first, end);
  }

  int run() {
    const int64_t state_bytes = a.num_positions * kRowBytes + 64, update_bytes = a.gap ? a.num_positions * CP * 4 : 0;
    const int64_t bytes = (keeps_own() ? 5 : 4) * round_up(state_bytes, 64) + update_bytes;
    uint8_t* memory = (uint8_t*)propagate_workspace.get(bytes);
    if (!memory) return GNNQ_NO_MEMORY;
    uint8_t* parts[6];
    for (int p = 0; p < 6; ++p) parts[p] = memory + p * round_up(state_bytes, 64);
    states[0] = (T*)parts[0];
    states[1] = (T*)parts[1];
    gaps = (T*)parts[2];
    inputs = (uint32_t*)parts[3];
    own = (uint32_t*)parts[4];
    updates = (float*)parts[5];
    int not_finite = 0;
    const int wanted = useful_threads(a.num_threads, (a.row_ptr[a.num_positions] + a.num_positions) * CP * (a.num_steps + 1));
#if defined(_OPENMP)
#pragma omp parallel num_threads(wanted) if (wanted > 1)
    {
      const int part = omp_get_thread_num(), number = omp_get_num_threads();
      run_part(part_start(part, number), part_start(part + 1, number), &not_finite, [] {
#pragma omp barrier
      });
    }
#else
    (void)wanted;
    run_part(0, a.num_positions, &not_finite, [] {});
#endif
    if (bytes > (64 << 20)) propagate_workspace.release();
    return not_finite ? GNNQ_NOT_FINITE : GNNQ_OK;
  }

  int64_t part_start(int part, int parts) const {
    return part == parts ? a.num_positions : block_start(a.row_ptr, a.num_positions, part, parts) / 16 * 16;
  }
};

template <class T>
static int propagate_wide(const gnnq_propagate_args& a) {
  if (a.num_values <= 16) return Propagate<T, 16, 0>(a).run();
  if (a.num_values <= 32) return Propagate<T, 32, 0>(a).run();
  if (a.num_values <= 64) return Propagate<T, 64, 0>(a).run();
  return Propagate<T, 256, 0>(a).run();
}

static int propagate(const gnnq_propagate_args* args) {
  const gnnq_propagate_args& a = *args;
  const int64_t largest = (((int64_t)1 << a.bits) - 1) << a.max_exponent;
  if (65535 / largest < 16) return propagate_wide<uint32_t>(a);
  if (a.num_values <= 2) return Propagate<uint16_t, 4, 2>(a).run();
  if (a.num_values <= 4) return Propagate<uint16_t, 4, 4>(a).run();
  if (a.num_values <= 6) return Propagate<uint16_t, 8, 6>(a).run();
  if (a.num_values <= 8) return Propagate<uint16_t, 8, 8>(a).run();
  return propagate_wide<uint16_t>(a);
}
