// K propagation steps on states in packed codes: 2 or 4 bits a value and a shift e of 0 ... 3 a row; AVX-512. A node's row is
// a few 32-bit units, each with up to kFields codes and, in its highest bits, e. A slice (16 nodes, one per lane) gathers one
// neighbour of each of its nodes at a time, takes the fields apart in place and adds them up in lanes of 8 (2 bits) or 16
// bits (4 bits): the sums stand in columns already, as scaling and quantizing want them, and the new codes go back together
// without moving across lanes. Included inside an instruction set's namespace, after propagate.h.

#if defined(GNNQ_BUILD_AVX512)

static constexpr int kLargestSliceRow = 256;

// Places of the fields in a unit. Field f lies in plane f / kParts; the fields of one plane have kWidth bits each for
// themselves once the other planes are masked out.
template <int BITS>
struct Unit {
  static constexpr int kParts = BITS == 2 ? 4 : 2;
  static constexpr int kWidth = 32 / kParts;
  static constexpr int kFields = 4 * kParts - 1;  // the last place of four planes holds e
  static constexpr int kExponentAt = 32 - BITS;
  static constexpr uint32_t kCode = (1u << BITS) - 1;
  static constexpr uint32_t kPlane = BITS == 2 ? 0x03030303u : 0x000f000fu;
  static constexpr uint32_t kLastPlane = kPlane >> kWidth;  // without e
  static constexpr int place(int field) { return field % kParts * kWidth + field / kParts * BITS; }

  // acc[p] += plane p of a unit per lane, shifted by e.
  template <int PLANES>
  static inline GNNQ_INLINE void add(__m512i x, __m512i (&acc)[PLANES]) {
    const __m512i e = _mm512_srli_epi32(x, kExponentAt), shifted = _mm512_rolv_epi32(x, e);
    const __m512i mask = _mm512_sllv_epi32(_mm512_set1_epi32(kPlane), e);
    acc[0] = _mm512_add_epi32(acc[0], _mm512_and_si512(shifted, mask));
    if constexpr (PLANES > 1) acc[1] = _mm512_add_epi32(acc[1], _mm512_and_si512(_mm512_ror_epi32(shifted, BITS), mask));
    if constexpr (PLANES > 2) acc[2] = _mm512_add_epi32(acc[2], _mm512_and_si512(_mm512_ror_epi32(shifted, 2 * BITS), mask));
    if constexpr (PLANES > 3) {
      const __m512i without_e = _mm512_set1_epi32((int32_t)(0xffffffffu >> kWidth));
      const __m512i all = _mm512_ror_epi32(shifted, 3 * BITS);
      acc[3] = _mm512_add_epi32(acc[3], _mm512_ternarylogic_epi32(all, mask, without_e, 0x80));  // and of all three
    }
  }

  template <int PLANES>
  static inline GNNQ_INLINE __m512i sum_of(const __m512i (&acc)[PLANES], int field) {
    const int part = field % kParts;
    const __m512i low = part ? _mm512_srli_epi32(acc[field / kParts], part * kWidth) : acc[field / kParts];
    return part == kParts - 1 ? low : _mm512_and_si512(low, _mm512_set1_epi32((1 << kWidth) - 1));
  }
};

// M: columns in use, or 0: known at run time only, rounded up to 4 (see Propagate).
template <int BITS, int M>
struct SlicePropagate {
  typedef __m512 F;
  typedef __m512i I;
  typedef ::GNNQ_NAMESPACE::Unit<BITS> Unit;
  static constexpr int W = 16;
  static constexpr int kFields = Unit::kFields;
  static constexpr int kColumns = M ? M : kLargestSliceRow;
  static constexpr int kBlock = M ? 8 : 2;        // slices summed before the first is quantized, to keep many loads in flight
  static constexpr int64_t kKeptTerms = 2 << 20;  // bytes up to which the input's terms are kept as floats

  const gnnq_propagate_args& a;
  int columns_in_use, units_in_use;
  int64_t num_slices;
  int64_t flush;        // rows that a lane can add up
  bool keep_terms;
  uint32_t* states[2];  // [position][unit], then a row of zeros
  uint32_t* inputs;     // [slice][unit][W]: the input's codes, unless keep_terms
  float* terms;         // [slice][column][W]: cx * x, if keep_terms

  explicit SlicePropagate(const gnnq_propagate_args& args) : a(args) {
    columns_in_use = M ? M : (int)round_up(args.num_values, 4);
    units_in_use = (columns_in_use + kFields - 1) / kFields;
    num_slices = args.num_positions / W;
    flush = ((1 << Unit::kWidth) - 1) / (Unit::kCode << args.max_exponent);
    keep_terms = num_slices * W * columns_in_use * 4 <= kKeptTerms;
  }

  inline int columns() const { return M ? M : columns_in_use; }
  inline int units() const { return M ? (M + kFields - 1) / kFields : units_in_use; }

  template <class Use>
  inline GNNQ_INLINE void for_columns(const Use& use) const {
    if constexpr (M > 0) repeat<M>(use);
    else
      for (int four = 0; four < columns_in_use / 4; ++four) repeat<4>([&](int c) GNNQ_INLINE { use(4 * four + c); });
  }

  // use(c, field) for the columns of unit u.
  template <class Use>
  inline GNNQ_INLINE void for_fields(int u, const Use& use) const {
    if constexpr (M > 0 && M <= kFields) repeat<M>([&](int f) GNNQ_INLINE { use(f, f); });
    else {
      const int fields = columns() - u * kFields;
      repeat<kFields>([&](int f) GNNQ_INLINE { if (f < fields) use(u * kFields + f, f); });
    }
  }

  // One unit of the 16 nodes at `col`, from state + (its number in a row).
  inline GNNQ_INLINE I gather(const uint32_t* state, const int32_t* col) const {
    I at = _mm512_loadu_si512(col);
    if (units() > 1) at = _mm512_mullo_epi32(at, _mm512_set1_epi32(units()));
    return _mm512_i32gather_epi32(at, state, 4);
  }

  // Two units side by side; as many bytes again for the same number of loads.
  inline GNNQ_INLINE void gather_pair(const uint32_t* state, const int32_t* col, I& first, I& second) const {
    const I at = _mm512_mullo_epi32(_mm512_loadu_si512(col), _mm512_set1_epi32(units()));
    const I low = _mm512_i32gather_epi64(_mm512_castsi512_si256(at), state, 4);
    const I high = _mm512_i32gather_epi64(_mm512_extracti64x4_epi64(at, 1), state, 4);
    Lanes::deinterleave(low, high, first, second);
  }

  template <int PLANES>
  inline GNNQ_INLINE void put_sums(const I (&acc)[PLANES], int fields, bool first, I* sums) const {
    repeat<(PLANES < 4 ? PLANES * Unit::kParts : kFields)>([&](int f) GNNQ_INLINE {
      if (f >= fields) return;
      const I sum = Unit::sum_of(acc, f);
      sums[f] = first ? sum : _mm512_add_epi32(sums[f], sum);
    });
  }

  // sums of one unit's fields over a run of edges.
  template <int PLANES>
  inline GNNQ_INLINE void sum_unit(const uint32_t* state, int64_t run, int fields, I* sums) const {
    const int64_t begin = a.run_ptr[run], end = a.run_ptr[run + 1];
    for (int64_t v = begin; v < end || v == begin; v += flush) {
      I acc[PLANES];
      for (int p = 0; p < PLANES; ++p) acc[p] = _mm512_setzero_si512();
      const int64_t stop = min64(end, v + flush);
      for (int64_t w = v; w < stop; ++w) Unit::add(gather(state, a.lane_col + w * W), acc);
      put_sums(acc, fields, v == begin, sums);
    }
  }

  // Likewise of a full unit and its neighbour.
  template <int PLANES>
  inline GNNQ_INLINE void sum_pair(const uint32_t* state, int64_t run, int fields, I* sums) const {
    const int64_t begin = a.run_ptr[run], end = a.run_ptr[run + 1];
    for (int64_t v = begin; v < end || v == begin; v += flush) {
      I full[4], acc[PLANES];
      for (int p = 0; p < 4; ++p) full[p] = _mm512_setzero_si512();
      for (int p = 0; p < PLANES; ++p) acc[p] = _mm512_setzero_si512();
      const int64_t stop = min64(end, v + flush);
      for (int64_t w = v; w < stop; ++w) {
        I x, y;
        gather_pair(state, a.lane_col + w * W, x, y);
        Unit::add(x, full);
        Unit::add(y, acc);
      }
      put_sums(full, kFields, v == begin, sums);
      put_sums(acc, fields, v == begin, sums + kFields);
    }
  }

  inline GNNQ_INLINE void sum_run(const uint32_t* state, int64_t run, I* sums) const {
    int left = columns();
    for (; left > 2 * kFields; left -= 2 * kFields, state += 2, sums += 2 * kFields)
      sum_pair<4>(state, run, kFields, sums);
    const int last = left > kFields ? left - kFields : left, planes = (last + Unit::kParts - 1) / Unit::kParts;
    if (left > kFields) {
      if (planes == 1) sum_pair<1>(state, run, last, sums);
      else if (planes == 2) sum_pair<2>(state, run, last, sums);
      else if (planes == 3) sum_pair<3>(state, run, last, sums);
      else sum_pair<4>(state, run, last, sums);
    } else {
      if (planes == 1) sum_unit<1>(state, run, last, sums);
      else if (planes == 2) sum_unit<2>(state, run, last, sums);
      else if (planes == 3) sum_unit<3>(state, run, last, sums);
      else sum_unit<4>(state, run, last, sums);
    }
  }

  // A slice of nodes of many edges: the edges of each lie across all lanes.
  void sum_hubs(const uint32_t* state, int64_t slice, I* sums) const {
    for (int lane = 0; lane < W; ++lane) {
      I parts[kColumns];
      sum_run(state, slice * W + lane, parts);
      for (int c = 0; c < columns(); ++c)
        sums[c] = _mm512_mask_set1_epi32(sums[c], (__mmask16)(1u << lane), _mm512_reduce_add_epi32(parts[c]));
    }
  }

  // Columns of a slice -> codes. Calls use(unit number, unit).
  template <class Use>
  inline GNNQ_INLINE void quantize(const RowQuantizer& q, const Extent& extent, const F* x, const Use& use) const {
    const I shift = q.shift_of(extent.range());
    const F factor = q.factor_of(shift), top = extent.top();
    const I exponent = _mm512_slli_epi32(_mm512_srli_epi32(shift, 23), Unit::kExponentAt);
    for (int u = 0; u < units(); ++u) {
      I unit = exponent;
      for_fields(u, [&](int c, int f) GNNQ_INLINE {
        const I code = _mm512_castps_si512(q.raised_code(_mm512_sub_ps(top, x[c]), factor));
        const I placed = f ? _mm512_slli_epi32(code, Unit::place(f)) : code;
        const I mask = _mm512_set1_epi32((int32_t)(Unit::kCode << Unit::place(f)));
        unit = _mm512_ternarylogic_epi32(unit, placed, mask, 0xf8);  // unit | (placed & mask)
      });
      use(u, unit);
    }
  }

  inline GNNQ_INLINE void store_unit(uint32_t* state, int64_t slice, int u, I unit) const {
    uint32_t* to = state + slice * W * units() + u;
    if (units() == 1) return _mm512_storeu_si512(to, unit);
    const I lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    _mm512_i32scatter_epi32(to, _mm512_mullo_epi32(lanes, _mm512_set1_epi32(units())), unit, 4);
  }

  // use(c, value): value = code * 2^e * -scale for the fields of a unit.
  template <class Use>
  inline GNNQ_INLINE void for_values(int u, I unit, F minus_scale, const Use& use) const {
    const I e = _mm512_srli_epi32(unit, Unit::kExponentAt);
    for_fields(u, [&](int c, int f) GNNQ_INLINE {
      const I code = _mm512_and_si512(_mm512_srli_epi32(unit, Unit::place(f)), _mm512_set1_epi32(Unit::kCode));
      use(c, _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sllv_epi32(code, e)), minus_scale));
    });
  }

  // With 2 bits, code and e are four bits: weight * (code * 2^e * -scale) comes from a table.
  static inline F table_of(float weight, float scale) {
    float values[W];
    for (int i = 0; i < W; ++i) values[i] = weight * ((float)(i % 4) * (-scale * (float)(1 << i / 4)));
    return _mm512_loadu_ps(values);
  }

  inline GNNQ_INLINE void input_terms(const StepConstants& s, F table, int64_t slice, F* y) const {
    for (int u = 0; u < units(); ++u) {
      const I unit = _mm512_loadu_si512(inputs + (slice * units() + u) * W);
      if constexpr (BITS == 4) {
        for_values(u, unit, s.minus_input_scale, [&](int c, F value) GNNQ_INLINE { y[c] = _mm512_mul_ps(s.input_weight, value); });
      } else {
        const I e = _mm512_slli_epi32(_mm512_srli_epi32(unit, Unit::kExponentAt), 2);
        for_fields(u, [&](int c, int f) GNNQ_INLINE {
          const I at = f ? _mm512_srli_epi32(unit, Unit::place(f)) : unit;
          y[c] = _mm512_permutexvar_ps(_mm512_ternarylogic_epi32(e, at, _mm512_set1_epi32(3), 0xf8), table);  // e | (at & 3)
        });
      }
    }
  }

  // ca * quantized mean of each column: calls use(c, value).
  template <class Use>
  inline GNNQ_INLINE void weighted_means(const StepConstants& s, F table, int64_t slice, const I* sums, const Use& use) const {
    const F inverse = _mm512_loadu_ps(a.inverse_degree + slice * W);
    F mean[kColumns];
    Extent extent;
    for_columns([&](int c) GNNQ_INLINE {
      mean[c] = _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sums[c]), s.minus_scale), inverse);
      extent.take(c, mean[c]);
    });
    const RowQuantizer& q = s.aggregate;
    const I shift = q.shift_of(extent.range());
    const F factor = q.factor_of(shift), step = q.step_of(shift), top = extent.top();
    // Four times e, an even number, does not change how 2^23 + code is rounded.
    const F raise = _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(q.magic), _mm512_srli_epi32(shift, 21)));
    for_columns([&](int c) GNNQ_INLINE {
      const F code = _mm512_min_ps(_mm512_mul_ps(_mm512_sub_ps(top, mean[c]), factor), q.top_code);
      if constexpr (BITS == 2) use(c, _mm512_permutexvar_ps(_mm512_castps_si512(_mm512_add_ps(code, raise)), table));
      else {
        const F whole = _mm512_sub_ps(_mm512_add_ps(code, q.magic), q.magic);
        use(c, _mm512_mul_ps(s.aggregate_weight, _mm512_mul_ps(whole, step)));
      }
    });
  }

  template <bool TERMS>
  inline GNNQ_INLINE void step_slice(const StepConstants& s, const F (&tables)[2], int64_t slice, const I* sums, uint32_t* next) const {
    F y[kColumns];
    Extent extent;
    if (!TERMS) input_terms(s, tables[1], slice, y);
    const float* kept = terms + slice * columns() * W;
    weighted_means(s, tables[0], slice, sums, [&](int c, F value) GNNQ_INLINE {
      y[c] = _mm512_add_ps(value, TERMS ? _mm512_loadu_ps(kept + c * W) : y[c]);
      extent.take(c, y[c]);
    });
    quantize(s.update, extent, y, [&](int u, I unit) GNNQ_INLINE { store_unit(next, slice, u, unit); });
  }

  inline RowQuantizer quantizer(const gnnq_row_quantizer& q) const { return RowQuantizer(q, a.bits, a.max_exponent, -1.0f); }

  template <bool TERMS>
  void step(int64_t k, const uint32_t* state, uint32_t* next, float scale, int64_t first, int64_t end) const {
    const RowQuantizer update = quantizer(a.update[k]);
    const StepConstants s = {quantizer(a.aggregate[k]), update, update, Lanes::set(-scale), Lanes::set(-a.input->scale),
                             Lanes::set(a.state_weight), Lanes::set(a.aggregate_weight), Lanes::set(a.input_weight),
                             false, false};
    const F tables[2] = {table_of(a.aggregate_weight, a.aggregate[k].scale), table_of(a.input_weight, a.input->scale)};
    for (int64_t slice = first; slice < end; slice += kBlock) {
      I sums[kBlock * kColumns];
      const int64_t stop = min64(end, slice + kBlock);
      for (int64_t i = slice; i < stop; ++i) {
        if (i < a.num_hub_slices) sum_hubs(state, i, sums + (i - slice) * kColumns);
        else sum_run(state, run_of(i), sums + (i - slice) * kColumns);
      }
      for (int64_t i = slice; i < stop; ++i) step_slice<TERMS>(s, tables, i, sums + (i - slice) * kColumns, next);
    }
  }

  // Runs: one for each node of the hub slices, then one for each slice.
  inline int64_t run_of(int64_t slice) const {
    return slice < a.num_hub_slices ? slice * W : a.num_hub_slices * (W - 1) + slice;
  }

  // False where x holds NaN or infinity.
  bool read_input(int64_t first, int64_t end) const {
    const RowQuantizer q = quantizer(*a.input);
    const F weight = _mm512_set1_ps(a.input_weight), minus_scale = _mm512_set1_ps(-a.input->scale);
    const I width = _mm512_set1_epi32((int32_t)a.num_values);
    const I lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    bool finite = true;
    for (int64_t slice = first; slice < end; ++slice) {
      const __mmask16 used = Lanes::first((int)min64(W, a.num_nodes - slice * W));
      I node = _mm512_add_epi32(_mm512_set1_epi32((int32_t)(slice * W)), lanes);
      if (a.order) node = _mm512_maskz_loadu_epi32(used, a.order + slice * W);
      const F zero = _mm512_setzero_ps(), factor = _mm512_mask_i32gather_ps(zero, used, node, a.row_in, 4);
      const I start = _mm512_mullo_epi32(node, width);
      F x[kColumns];
      Extent extent;
      for (int c = 0; c < columns(); ++c) {
        const float* from = a.x + min64(c, a.num_values - 1);
        x[c] = _mm512_mul_ps(factor, _mm512_mask_i32gather_ps(zero, used, start, from, 4));
        extent.take(c, x[c]);
        finite = finite && Lanes::finite(x[c]);
      }
      quantize(q, extent, x, [&](int u, I unit) GNNQ_INLINE {
        store_unit(states[0], slice, u, unit);
        if (!keep_terms) return _mm512_storeu_si512(inputs + (slice * units() + u) * W, unit);
        for_values(u, unit, minus_scale, [&](int c, F value) GNNQ_INLINE {
          _mm512_storeu_ps(terms + (slice * columns() + c) * W, _mm512_mul_ps(weight, value));
        });
      });
    }
    return finite;
  }

  // Nodes first ... end - 1: each thread writes one piece of memory, and reads from everywhere.
  void write_output(const uint32_t* state, float scale, int64_t first, int64_t end) const {
    int32_t places[W];
    for (int f = 0; f < W; ++f) places[f] = Unit::place(f % kFields);
    const I shifts = _mm512_loadu_si512(places), codes = _mm512_set1_epi32(Unit::kCode);
    const F step = _mm512_set1_ps(scale);
    for (int64_t node = first; node < end; ++node) {
      const uint32_t* row = state + (int64_t)a.position[node] * units();
      const F factor = _mm512_set1_ps(a.row_out[node]);
      for (int64_t u = 0, at = 0; at < a.num_values; ++u, at += kFields) {
        const I code = _mm512_and_si512(_mm512_srlv_epi32(_mm512_set1_epi32((int32_t)row[u]), shifts), codes);
        const I below = _mm512_sllv_epi32(code, _mm512_set1_epi32((int32_t)(row[u] >> Unit::kExponentAt)));
        // Negated as an integer: a zero keeps its sign, as in the reference.
        const I whole = _mm512_sub_epi32(_mm512_setzero_si512(), below);
        const F value = _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(whole), step), factor);
        Lanes::store_first(a.out + node * a.num_values + at, value, (int)min64(kFields, a.num_values - at));
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
    float scale = a.input->scale;
    for (int64_t k = 0; k < a.num_steps; ++k) {
      if (keep_terms) step<true>(k, states[k % 2], states[(k + 1) % 2], scale, first, end);
      else step<false>(k, states[k % 2], states[(k + 1) % 2], scale, first, end);
      meet();
      scale = a.update[k].scale;
    }
    write_output(states[a.num_steps % 2], scale, a.num_nodes * part / parts, a.num_nodes * (part + 1) / parts);
  }

  int run() {
    const int64_t row_bytes = units() * 4, rows = round_up((a.num_positions + 1) * row_bytes + 64, 64);
    const int64_t floats = keep_terms ? a.num_positions * columns() * 4 : 0;
    const int64_t bytes = 3 * rows + floats;
    uint8_t* memory = (uint8_t*)propagate_workspace.get(bytes);
    if (!memory) return GNNQ_NO_MEMORY;
    for (int i = 0; i < 2; ++i) {
      states[i] = (uint32_t*)(memory + i * rows);
      memset(states[i] + a.num_positions * units(), 0, row_bytes);
    }
    inputs = (uint32_t*)(memory + 2 * rows);
    terms = (float*)(memory + 3 * rows);
    int not_finite = 0;
    const int wanted = useful_threads(a.num_threads, (edge_vectors(num_slices) + num_slices) * W * columns() * (a.num_steps + 1));
    run_threads(wanted, [&](int part, int parts, const auto& meet) { run_part(part, parts, &not_finite, meet); });
    if (bytes > (64 << 20)) propagate_workspace.release();
    return not_finite ? GNNQ_NOT_FINITE : GNNQ_OK;
  }

  inline int64_t edge_vectors(int64_t slice) const { return a.run_ptr[run_of(slice)]; }

  // First slice of a part; parts have the same edges and nodes, a node weighing as much as some edges.
  int64_t part_start(int part, int parts) const {
    const auto cost = [&](int64_t slice) { return edge_vectors(slice) + kSliceCost * slice; };
    const int64_t target = cost(num_slices) * part / parts;
    int64_t low = 0, high = num_slices;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (cost(middle) < target) low = middle + 1;
      else high = middle;
    }
    return part == parts ? num_slices : low;
  }
  static constexpr int64_t kSliceCost = 6;
};

// Rows of more than 16 columns: known in eights, or, where even that gains nothing, in fours at run time.
template <int BITS>
static int propagate_long_slices(const gnnq_propagate_args& a) {
  switch (round_up(a.num_values, 8)) {
    case 24: return SlicePropagate<BITS, 24>(a).run();
    case 32: return SlicePropagate<BITS, BITS == 2 ? 32 : 0>(a).run();
    case 40: return SlicePropagate<BITS, 40>(a).run();
    case 48: return SlicePropagate<BITS, BITS == 2 ? 48 : 0>(a).run();
    case 56: return SlicePropagate<BITS, 56>(a).run();
    default: return SlicePropagate<BITS, 0>(a).run();
  }
}

template <int BITS>
static int propagate_slices(const gnnq_propagate_args& a) {
  if (a.num_values > 16) return propagate_long_slices<BITS>(a);
  switch (a.num_values) {
    case 3: return SlicePropagate<BITS, 3>(a).run();
    case 6: return SlicePropagate<BITS, 6>(a).run();
    case 7: return SlicePropagate<BITS, 7>(a).run();
    case 15: return SlicePropagate<BITS, BITS == 2 ? 15 : 0>(a).run();
    case 16: return SlicePropagate<BITS, BITS == 2 ? 16 : 0>(a).run();
    default: return SlicePropagate<BITS, 0>(a).run();
  }
}

// Rows of 4 bits in several units are faster than whole rows of bytes (propagate.h) where all units are gathered in pairs.
static bool in_pairs_of_units(int64_t num_values) {
  const int64_t units = (round_up(num_values, 8) + Unit<4>::kFields - 1) / Unit<4>::kFields;
  return num_values > 16 && num_values <= 56 && units % 2 == 0;
}

// Whether a row's codes fit units, no term needs a node's own state, and 32-bit numbers reach all of x and the states.
static bool fits_slices(const gnnq_propagate_args& a) {
  const bool fits = a.bits == 2 || (a.bits == 4 && (a.num_values <= Unit<4>::kFields || in_pairs_of_units(a.num_values)));
  const bool reach = a.num_positions * (a.num_values + 4) < 2147483647;
  return fits && a.max_exponent <= 3 && a.state_weight == 0.0f && !a.gap && reach;
}
#endif

static int propagate(const gnnq_propagate_args* args) {
#if defined(GNNQ_BUILD_AVX512)
  if (fits_slices(*args)) return args->bits == 2 ? propagate_slices<2>(*args) : propagate_slices<4>(*args);
#endif
  return propagate_rows(args);
}
