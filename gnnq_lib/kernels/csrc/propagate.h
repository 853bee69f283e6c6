// K steps of quantised propagation in one call. Between steps each node holds a row of whole numbers w = q << e (its value is
// -w * scale, counted downwards from the row's largest entry, which is 0), in CP fields of type T. A step is one pass over
// blocks of nodes: add up the neighbours' rows, row by row, in fields of type S; then turn the sums of a slice (W nodes, one
// per lane) into columns and scale, quantize, combine, quantize them there, where a row's largest entry is a maximum of whole
// vectors and nothing moves across lanes; then turn the codes back into rows. Included inside an instruction set's namespace.

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

// work(part, parts, meet) on every thread; meet() waits for the others.
template <class Work>
static void run_threads(int threads, const Work& work) {
#if defined(_OPENMP)
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    work(omp_get_thread_num(), omp_get_num_threads(), [] {
#pragma omp barrier
    });
  }
#else
  (void)threads;
  work(0, 1, [] {});
#endif
}

static inline int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

// W rows of N 32-bit units, row after row in N vectors <-> N columns of W units. Row-major position r * N + c becomes
// c * W + r: its bits rotate by log2(N), one place per round of parting even from odd.
template <int N>
static inline GNNQ_INLINE void rows_to_columns(Lanes::I (&x)[N]) {
  for (int round = 1; round < N; round *= 2) {
    Lanes::I y[N];
    for (int i = 0; i < N / 2; ++i) Lanes::deinterleave(x[2 * i], x[2 * i + 1], y[i], y[N / 2 + i]);
    for (int i = 0; i < N; ++i) x[i] = y[i];
  }
}

template <int N>
static inline GNNQ_INLINE void columns_to_rows(Lanes::I (&x)[N]) {
  for (int round = 1; round < N; round *= 2) {
    Lanes::I y[N];
    for (int i = 0; i < N / 2; ++i) Lanes::interleave(x[i], x[N / 2 + i], y[2 * i], y[2 * i + 1]);
    for (int i = 0; i < N; ++i) x[i] = y[i];
  }
}

// Largest and smallest entry of each row of a slice, taken column after column from the first (two at least); even and odd
// columns apart, so that neither waits for the other.
struct Extent {
  Lanes::F tops[2], lows[2];
  inline GNNQ_INLINE void take(unsigned column, Lanes::F x) {
    tops[column % 2] = column < 2 ? x : Lanes::max(tops[column % 2], x);
    lows[column % 2] = column < 2 ? x : Lanes::min(lows[column % 2], x);
  }
  inline Lanes::F top() const { return Lanes::max(tops[0], tops[1]); }
  inline Lanes::F range() const { return Lanes::sub(top(), Lanes::min(lows[0], lows[1])); }
};

// What is the same for all nodes of a step.
struct StepConstants {
  RowQuantizer aggregate, update, gap;
  Lanes::F minus_scale, minus_input_scale, state_weight, aggregate_weight, input_weight;
  bool with_state, with_gap;
};

// use(0), ..., use(N - 1), without a loop.
template <int N, class Use>
static inline GNNQ_INLINE void repeat(const Use& use) {
  if constexpr (N > 0) {
    repeat<N - 1>(use);
    use(N - 1);
  }
}

// Bytes -> 16-bit numbers; left to itself the compiler does it in halves.
template <class Wide, class Narrow>
static inline Wide widened(const Narrow& bytes) {
#if defined(__AVX2__)
  if constexpr (sizeof(Wide) == 16) {
    __m128i x = _mm_setzero_si128();
    memcpy(&x, &bytes, sizeof(bytes));
    return (Wide)_mm_cvtepu8_epi16(x);
  } else if constexpr (sizeof(Wide) == 32) {
    return (Wide)_mm256_cvtepu8_epi16((__m128i)bytes);
#if defined(__AVX512BW__)
  } else if constexpr (sizeof(Wide) == 64) {
    return (Wide)_mm512_cvtepu8_epi16((__m256i)bytes);
#endif
  }
#endif
  return __builtin_convertvector(bytes, Wide);
}

// M: columns in use, or 0: known at run time only, rounded up to 4. A row that has fewer repeats its last column: the copies take
// part in everything and change nothing.
template <class T, class S, int CP, int M>
struct Propagate {
  typedef Lanes::F F;
  typedef Lanes::I I;
  static constexpr int W = Lanes::kWidth;
  static constexpr int kPerUnit = 4 / sizeof(T);        // fields in a 32-bit unit of a state's row
  static constexpr int U = CP / kPerUnit;               // units in such a row
  static constexpr int kSumUnits = CP * sizeof(S) / 4;  // units in a row of sums
  static constexpr int kBlock = CP <= 16 ? 64 : 16;     // nodes whose sums are formed before the first is used
  static constexpr int kRowBytes = CP * sizeof(T);
  static constexpr bool kTerms = CP <= 16;              // the input's term is kept as floats, not formed anew in every step
  // Rows are added up in pieces of one vector register; bytes at least eight at a time, which may read past a row.
  static constexpr int kPiece = CP * (int)sizeof(S) >= 64 ? 64 / (int)sizeof(S) : (CP < 8 && sizeof(T) == 1 ? 8 : CP);
  static constexpr int kPieces = CP / kPiece < 1 ? 1 : (CP / kPiece < 4 ? CP / kPiece : 4);
  static constexpr int kAhead = 24;                     // the rows of so many coming edges are fetched, where rows are long
  static constexpr int kUnrolled = 8;  // rows of up to so many edges are added up without a loop
  typedef T StatePiece __attribute__((vector_size(kPiece * sizeof(T))));
  typedef S SumPiece __attribute__((vector_size(kPiece * sizeof(S))));

  const gnnq_propagate_args& a;
  int columns_in_use;
  int64_t flush;     // rows that a field can add up
  int64_t long_end;  // positions before it may have more edges than that; a multiple of 16
  T* states[2];
  T* gaps;
  int64_t first_below[kUnrolled + 2];  // [d]: first position of fewer than d edges
  uint32_t* inputs;  // [slice][U][W]: the input's codes in columns, unless kTerms
  float* terms;      // [slice][CP][W]: cx * x, if kTerms
  uint32_t* own;     // likewise the current state, kept where a step needs a node's own state
  float* updates;    // [slice][CP][W]: y of steps with a gap term

  explicit Propagate(const gnnq_propagate_args& args) : a(args), columns_in_use((int)round_up(args.num_values, 4)) {
    const int64_t largest = (((int64_t)1 << a.bits) - 1) << a.max_exponent;
    flush = (sizeof(S) == 2 ? 65535 : 2147483647) / largest;
    long_end = round_up(first_position_below(flush + 1), 16);
    for (int d = 0; d <= kUnrolled + 1; ++d) first_below[d] = first_position_below(d);
  }

  // Positions are sorted by falling degree.
  int64_t first_position_below(int64_t degree) const {
    int64_t low = 0, high = a.num_positions;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (a.row_ptr[middle + 1] - a.row_ptr[middle] >= degree) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  inline int columns() const { return M ? M : columns_in_use; }
  inline int units() const { return (columns() + kPerUnit - 1) / kPerUnit; }

  template <class Use>
  inline GNNQ_INLINE void for_columns(const Use& use) const {
    if constexpr (M > 0) repeat<M>(use);
    else
      for (int four = 0; four < columns_in_use / 4; ++four) repeat<4>([&](int c) GNNQ_INLINE { use(4 * four + c); });
  }

  static inline SumPiece load_piece(const T* row) {
    StatePiece piece;
    memcpy(&piece, row, sizeof(piece));
    if constexpr (sizeof(T) == sizeof(S)) return piece;
    else return widened<SumPiece>(piece);
  }

  // The col array ends with room for kAhead more edges.
  static inline GNNQ_INLINE void fetch(const T* row) {
    if (kRowBytes < 64) return;
    for (int b = 0; b < (kRowBytes < 256 ? kRowBytes : 256); b += 64) __builtin_prefetch((const uint8_t*)row + b, 0, 3);
  }

  // sums[CP] = sum of the rows of edges e0 ... e1 - 1 (which must fit S).
  inline void sum_rows(const T* state, int64_t e0, int64_t e1, S* sums) const {
    for (int first = 0; first < CP; first += kPieces * kPiece) {
      SumPiece acc[kPieces];
      for (int p = 0; p < kPieces; ++p) acc[p] = SumPiece{};
      for (int64_t e = e0; e < e1; ++e) {
        const T* row = state + (int64_t)a.col[e] * CP + first;
        fetch(state + (int64_t)a.col[e + kAhead] * CP + first);
        for (int p = 0; p < kPieces; ++p) acc[p] += load_piece(row + p * kPiece);
      }
      memcpy(sums + first, acc, CP < kPiece ? CP * sizeof(S) : sizeof(acc));
    }
  }

  // The same for positions p ... end - 1, which all have D edges.
  template <int D>
  inline void sum_equal_rows(const T* state, int64_t p, int64_t end, S* sums) const {
    const int32_t* col = a.col + a.row_ptr[p];
    for (; p < end; ++p, col += D, sums += CP)
      for (int first = 0; first < CP; first += kPiece) {
        SumPiece acc = SumPiece{};
        for (int d = 0; d < D; ++d) {
          fetch(state + (int64_t)col[d + kAhead] * CP + first);
          acc += load_piece(state + (int64_t)col[d] * CP + first);
        }
        memcpy(sums + first, &acc, (CP < kPiece ? CP : kPiece) * sizeof(S));
      }
  }

  template <int D>
  inline int64_t sum_equal_part(const T* state, int64_t first, int64_t p, int64_t end, S* sums) const {
    const int64_t stop = min64(end, first_below[D]);
    if (p >= stop) return p;
    sum_equal_rows<D>(state, p, stop, sums + (p - first) * CP);
    return stop;
  }

  // Sums of positions first ... end - 1.
  inline void sum_block(const T* state, int64_t first, int64_t end, S* sums) const {
    int64_t p = first;
    for (const int64_t stop = min64(end, first_below[kUnrolled + 1]); p < stop; ++p)
      sum_rows(state, a.row_ptr[p], a.row_ptr[p + 1], sums + (p - first) * CP);
    p = sum_equal_part<8>(state, first, p, end, sums);
    p = sum_equal_part<7>(state, first, p, end, sums);
    p = sum_equal_part<6>(state, first, p, end, sums);
    p = sum_equal_part<5>(state, first, p, end, sums);
    p = sum_equal_part<4>(state, first, p, end, sums);
    p = sum_equal_part<3>(state, first, p, end, sums);
    p = sum_equal_part<2>(state, first, p, end, sums);
    p = sum_equal_part<1>(state, first, p, end, sums);
    if (p < end) memset(sums + (p - first) * CP, 0, (end - p) * CP * sizeof(S));
  }

  // Field `number` of fields of B bytes.
  template <int B>
  static inline GNNQ_INLINE I field(I unit, int number) {
    if (B == 4) return unit;
    if (B == 2) return number ? Lanes::template shift_right_by<16>(unit) : Lanes::and_int(unit, Lanes::set_int(0xffff));
    if (number == 3) return Lanes::template shift_right_by<24>(unit);
    if (number == 2) unit = Lanes::template shift_right_by<16>(unit);
    if (number == 1) unit = Lanes::template shift_right_by<8>(unit);
    return Lanes::and_int(unit, Lanes::set_int(0xff));
  }

  // Rows of sums of a slice, as columns.
  inline GNNQ_INLINE void load_columns(const S* rows, I (&x)[CP]) const {
    constexpr int kPerSum = 4 / sizeof(S);
    I unit[kSumUnits];
    for (int u = 0; u < kSumUnits; ++u) unit[u] = Lanes::load_int((const uint32_t*)rows + u * W);
    rows_to_columns<kSumUnits>(unit);
    for_columns([&](int c) GNNQ_INLINE { x[c] = field<sizeof(S)>(unit[c / kPerSum], c % kPerSum); });
  }

  // Sums of a slice with more edges than S can add up: in parts, into 32 bits.
  void long_sums(const T* state, int64_t position, I (&x)[CP]) const {
    alignas(64) uint32_t sums[CP * W] = {0};
    for (int lane = 0; lane < W; ++lane) {
      const int64_t e1 = a.row_ptr[position + lane + 1];
      for (int64_t e = a.row_ptr[position + lane]; e < e1; e += flush) {
        alignas(64) S part[CP];
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
      alignas(64) S sums[kBlock * CP];
      const int64_t stop = min64(end, first + kBlock);
      sum_block(state, first, stop, sums);
      for (int64_t p = first; p < stop; p += W) {
        load_columns(sums + (p - first) * CP, x);
        use(p, x);
      }
    }
  }

  // Codes of a slice, stored as rows, and as columns where `kept` is given.
  inline GNNQ_INLINE void quantize_rows(const RowQuantizer& q, const Extent& extent, const F (&x)[CP], T* rows,
                                        uint32_t* kept) const {
    const I shift = q.shift_of(extent.range()), count = Lanes::exponent_of(shift);
    const F factor = q.factor_of(shift), top = extent.top();
    I unit[U];
    for (int u = 0; u < U; ++u) unit[u] = Lanes::set_int(0);
    for_columns([&](int c) GNNQ_INLINE {
      const I code = Lanes::bits(q.raised_code(Lanes::sub(top, x[c]), factor));
      unit[c / kPerUnit] = Lanes::or_int(unit[c / kPerUnit], placed(code, c % kPerUnit));
    });
    for (int u = 0; u < units(); ++u) unit[u] = Lanes::shift_left(unit[u], count);
    if (kept)
      for (int u = 0; u < U; ++u) Lanes::store_int(kept + u * W, unit[u]);
    columns_to_rows<U>(unit);
    for (int u = 0; u < U; ++u) Lanes::store_int((uint32_t*)rows + u * W, unit[u]);
  }

  // The low bits of a raised code (what stands above them is dropped) as field f of a unit.
  static inline GNNQ_INLINE I placed(I bits, int f) {
    if (sizeof(T) == 1 && f == 3) return Lanes::template shift_left_by<24>(bits);
    if (sizeof(T) == 2 && f == 1) return Lanes::template shift_left_by<16>(bits);
    const I code = Lanes::and_int(bits, Lanes::set_int(0xff));
    if (f == 1) return Lanes::template shift_left_by<8>(code);
    return f == 2 ? Lanes::template shift_left_by<16>(code) : code;
  }

  // x[c] = (sum * scale) * inverse_degree, quantized: calls use(c, value).
  template <class Use>
  inline GNNQ_INLINE void quantized_mean(const RowQuantizer& q, F minus_scale, int64_t position, const I (&sums)[CP],
                             const Use& use) const {
    const F inverse = Lanes::load(a.inverse_degree + position);
    Extent extent;
    F mean[CP];
    for_columns([&](int c) GNNQ_INLINE {
      mean[c] = Lanes::mul(Lanes::mul(Lanes::to_float(sums[c]), minus_scale), inverse);
      extent.take(c, mean[c]);
    });
    const I shift = q.shift_of(extent.range());
    const F factor = q.factor_of(shift), step = q.step_of(shift), top = extent.top();
    for_columns([&](int c) GNNQ_INLINE { use(c, Lanes::mul(q.code(Lanes::sub(top, mean[c]), factor), step)); });
  }

  inline GNNQ_INLINE F kept_value(const uint32_t* kept, int c, F minus_scale) const {
    const I unit = Lanes::load_int(kept + c / kPerUnit * W);
    return Lanes::mul(Lanes::to_float(field<sizeof(T)>(unit, c % kPerUnit)), minus_scale);
  }

  // cx * x
  inline GNNQ_INLINE F input_term(const StepConstants& s, int64_t position, int c) const {
    if (kTerms) return Lanes::load(terms + position * CP + c * W);
    return Lanes::mul(s.input_weight, kept_value(inputs + position * U, c, s.minus_input_scale));
  }

  template <bool STATE>
  inline GNNQ_INLINE void step_slice(const StepConstants& s, int64_t position, const I (&sums)[CP], T* next) const {
    const uint32_t* state = own + position * U;
    F y[CP], difference[CP];
    Extent extent, gap_extent;
    quantized_mean(s.aggregate, s.minus_scale, position, sums, [&](int c, F value) GNNQ_INLINE {
      F sum = Lanes::mul(s.aggregate_weight, value);
      const F h = STATE ? kept_value(state, c, s.minus_scale) : value;
      if (STATE && s.with_state) sum = Lanes::add(Lanes::mul(s.state_weight, h), sum);
      y[c] = Lanes::add(sum, input_term(s, position, c));
      extent.take(c, y[c]);
      if (STATE) gap_extent.take(c, difference[c] = Lanes::sub(y[c], h));
    });
    if (!STATE || !s.with_gap)
      return quantize_rows(s.update, extent, y, next + position * CP, STATE ? own + position * U : nullptr);
    for (int c = 0; c < columns(); ++c) Lanes::store(updates + position * CP + c * W, y[c]);
    quantize_rows(s.gap, gap_extent, difference, gaps + position * CP, nullptr);
  }

  // Second half of a step with a gap term: y = y + coefficient * quantized mean of the neighbours' gaps.
  inline GNNQ_INLINE void gap_slice(const StepConstants& s, F coefficient, int64_t position, const I (&sums)[CP], T* next) const {
    F y[CP];
    Extent extent;
    quantized_mean(s.aggregate, s.minus_scale, position, sums, [&](int c, F value) GNNQ_INLINE {
      y[c] = Lanes::add(Lanes::load(updates + position * CP + c * W), Lanes::mul(coefficient, value));
      extent.take(c, y[c]);
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
    if (keeps_own())
      for_sums(state, first, end, [&](int64_t position, const I (&sums)[CP]) { step_slice<true>(s, position, sums, next); });
    else
      for_sums(state, first, end, [&](int64_t position, const I (&sums)[CP]) { step_slice<false>(s, position, sums, next); });
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

  // Row i of x (i: node, or position where x comes in that order) times row_in[i], from memory that may end right behind
  // it; its last column fills the rest.
  inline void read_row(int64_t position, float* row) const {
    const int64_t i = a.order ? a.order[position] : position;
    const float* from = a.x + i * a.num_values;
    const F factor = Lanes::set(a.row_in[i]);
    for (int64_t at = 0; at < a.num_values; at += W) {
      const int n = (int)min64(W, a.num_values - at);
      Lanes::store_first(row + at, Lanes::mul(factor, Lanes::load_first(from + at, n)), n);
    }
    for (int c = (int)a.num_values; c < columns(); ++c) row[c] = row[a.num_values - 1];
  }

  inline void keep_input(const uint32_t* kept, int64_t position) const {
    if (!kTerms) {
      memcpy(inputs + position * U, kept, U * W * 4);
      return;
    }
    const F weight = Lanes::set(a.input_weight), minus_scale = Lanes::set(-a.input->scale);
    for (int c = 0; c < columns(); ++c)
      Lanes::store(terms + position * CP + c * W, Lanes::mul(weight, kept_value(kept, c, minus_scale)));
  }

  // False where x holds NaN or infinity.
  bool read_input(int64_t first, int64_t end) const {
    const RowQuantizer q = quantizer(*a.input);
    bool finite = true;
    alignas(64) float rows[W * CP + W];
    memset(rows, 0, sizeof(rows));
    for (int64_t position = first; position < end; position += W) {
      for (int lane = 0; lane < W && position + lane < a.num_nodes; ++lane) read_row(position + lane, rows + lane * CP);
      F x[CP];
      float_columns(rows, x);
      Extent extent;
      for (int c = 0; c < columns(); ++c) {
        extent.take(c, x[c]);
        finite = finite && Lanes::finite(x[c]);
      }
      alignas(64) uint32_t kept[U * W];
      quantize_rows(q, extent, x, states[0] + position * CP, kept);
      if (keeps_own()) memcpy(own + position * U, kept, sizeof(kept));
      keep_input(kept, position);
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

  // Nodes first ... end - 1: each thread writes one piece of memory, and reads from everywhere.
  void write_output(const T* state, float scale, int64_t first, int64_t end) const {
    for (int64_t node = first; node < end; ++node) {
      const T* row = state + (int64_t)a.position[node] * CP;
      const F factor = Lanes::set(a.row_out[node]);
      for (int64_t at = 0; at < a.num_values; at += W) {  // states end with room for a vector
        const I whole = Lanes::sub_int(Lanes::set_int(0), Lanes::load_state(row + at));
        const F value = Lanes::mul(Lanes::mul(Lanes::to_float(whole), Lanes::set(scale)), factor);
        Lanes::store_first(a.out + node * a.num_values + at, value, (int)min64(W, a.num_values - at));
      }
    }
  }

  // All steps, for the part of one thread; `meet` waits for the other threads.
  template <class Meet>
  void run_part(int part, int parts, int* not_finite, const Meet& meet) const {
    const int64_t first = part_start(part, parts), end = part_start(part + 1, parts);
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
    write_output(state, scale, a.num_nodes * part / parts, a.num_nodes * (part + 1) / parts);
  }

  int run() {
    const int64_t rows = round_up(a.num_positions * kRowBytes + 64, 64), floats = a.num_positions * CP * 4;
    const int64_t bytes = (keeps_own() ? 5 : 4) * rows + (kTerms ? floats : 0) + (a.gap ? floats : 0);
    uint8_t* memory = (uint8_t*)propagate_workspace.get(bytes);
    if (!memory) return GNNQ_NO_MEMORY;
    const auto take = [&memory](int64_t size) {
      uint8_t* part = memory;
      memory += size;
      return part;
    };
    states[0] = (T*)take(rows);
    states[1] = (T*)take(rows);
    gaps = (T*)take(rows);
    inputs = (uint32_t*)take(rows);
    own = (uint32_t*)take(keeps_own() ? rows : 0);
    terms = (float*)take(kTerms ? floats : 0);
    updates = (float*)take(a.gap ? floats : 0);
    int not_finite = 0;
    const int wanted = useful_threads(a.num_threads, (a.row_ptr[a.num_positions] + a.num_positions) * CP * (a.num_steps + 1));
    run_threads(wanted, [&](int part, int parts, const auto& meet) { run_part(part, parts, &not_finite, meet); });
    if (bytes > (64 << 20)) propagate_workspace.release();
    return not_finite ? GNNQ_NOT_FINITE : GNNQ_OK;
  }

  int64_t part_start(int part, int parts) const {
    return part == parts ? a.num_positions : block_start(a.row_ptr, a.num_positions, part, parts) / 16 * 16;
  }
};

template <class T, class S>
static int propagate_wide(const gnnq_propagate_args& a) {
  if (a.num_values <= 16) return Propagate<T, S, 16, 0>(a).run();
  if (a.num_values <= 32) return Propagate<T, S, 32, 0>(a).run();
  if (a.num_values <= 64) return Propagate<T, S, 64, 0>(a).run();
  return Propagate<T, S, 256, 0>(a).run();
}

template <class T>
static int propagate_narrow(const gnnq_propagate_args& a) {
  if (a.num_values <= 4) return Propagate<T, uint16_t, 4, 4>(a).run();
  if (a.num_values <= 8) return Propagate<T, uint16_t, 8, 8>(a).run();
  if (a.num_values <= 16) return Propagate<T, uint16_t, 16, 16>(a).run();
  return propagate_wide<T, uint16_t>(a);
}

static int propagate_bytes(const gnnq_propagate_args& a) {
  if (a.num_values <= 2) return Propagate<uint8_t, uint16_t, 4, 2>(a).run();
  if (a.num_values == 3) return Propagate<uint8_t, uint16_t, 4, 3>(a).run();
  if (a.num_values == 5 || a.num_values == 6) return Propagate<uint8_t, uint16_t, 8, 6>(a).run();
  if (a.num_values == 7) return Propagate<uint8_t, uint16_t, 8, 7>(a).run();
  if (a.num_values > 8 && a.num_values <= 12) return Propagate<uint8_t, uint16_t, 16, 12>(a).run();
  return propagate_narrow<uint8_t>(a);
}

static int propagate_rows(const gnnq_propagate_args* args) {
  const int64_t largest = (((int64_t)1 << args->bits) - 1) << args->max_exponent;
  if (largest <= 255) return propagate_bytes(*args);
  return 65535 / largest >= 16 ? propagate_narrow<uint16_t>(*args) : propagate_wide<uint32_t, uint32_t>(*args);
}
