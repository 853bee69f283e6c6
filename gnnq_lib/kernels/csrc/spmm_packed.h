// spmm that reads packed rows: shift and mask bring each plane of a row into 8- or 16-bit lanes, lanes of many edges are
// added, and only every `flush` edges (as many as cannot overflow a lane) do the sums move to 32 bits.
// Included inside an instruction set's namespace, after vectors.h and common.h.

struct PackedCall {
  const gnnq_spmm_args* a;
  int64_t row_bytes;
  int64_t flush;      // edges that fit a lane
  int planes;         // codes per byte
  uint16_t lane_mask; // one code, in every lane
};

static constexpr int kPrefetchEdges = 24;  // col has this many more entries, all 0: csr.py

template <class T>
static inline void add_lanes(int32_t* sums, const T* lanes, int64_t n) {
  for (int64_t k = 0; k < n; ++k) sums[k] += lanes[k];
}

// What the zero points of row's edges add up to: sum of edge_code * (zero << exponent).
template <bool EXP, bool CODE>
static inline int32_t zero_sum_of(const gnnq_spmm_args& a, int64_t e0, int64_t e1) {
  if (!a.node_zero && a.zero_point == 0) return 0;
  if (!a.node_zero && !EXP && !CODE) return (int32_t)(a.zero_point * (e1 - e0));
  int32_t sum = 0;
  for (int64_t e = e0; e < e1; ++e) {
    int32_t zero = a.node_zero ? a.node_zero[a.col[e]] : a.zero_point;
    if constexpr (EXP) zero <<= a.exponents[a.col[e]];
    if constexpr (CODE) zero *= a.edge_codes[e];
    sum += zero;
  }
  return sum;
}

// V vector; LANE 8 or 16 bits; R copies of a row in a vector; S steps (vectors of lanes per vector of bytes);
// NC vectors of bytes at a time; EXP per-node exponents; CODE integer edge weights.
template <class V, int LANE, int R, int S, int NC, bool EXP, bool CODE>
struct PackedRows {
  typedef typename V::type Vec;
  static constexpr int kLoad = V::kBytes * 8 / LANE / R;  // bytes of a row per vector
  static constexpr int kLanes = V::kBytes * 8 / LANE / R; // lanes per copy: one per loaded byte

  // Hands the lanes of each plane to `use(lanes, first value, count)`. FULL: every vector holds kLanes values of a row.
  template <bool FULL, class Use>
  static inline __attribute__((always_inline)) void each_plane(const PackedCall& c, Vec (&acc)[NC][S], int64_t byte0, const Use& use) {
    alignas(64) uint8_t store[V::kBytes + 32];  // finishing reads whole vectors of lanes
    for (int s = 0; s < S; ++s)
      for (int chunk = 0; chunk < NC; ++chunk) {
        V::store(store, acc[chunk][s]);
        const int64_t byte = byte0 + chunk * kLoad;
        if constexpr (FULL && R > 1) {  // the copies' lanes follow each other
          if constexpr (LANE == 8) use((const uint8_t*)store, s * R * c.row_bytes, R * kLanes);
          else use((const uint16_t*)store, s * R * c.row_bytes, R * kLanes);
          continue;
        }
        for (int r = 0; r < R; ++r) {
          const int64_t first = (s * R + r) * c.row_bytes + byte;
          const int64_t n = FULL ? kLanes : min64(min64(kLanes, c.row_bytes - byte), c.a->num_values - first);
          if (!FULL && n <= 0) continue;
          if constexpr (LANE == 8) use((const uint8_t*)store + r * kLanes, first, n);
          else use((const uint16_t*)store + r * kLanes, first, n);
        }
      }
  }

  // 2-bit codes in two or more steps: 4-bit lanes hold five edges, so most edges cost half the shifts, masks and sums.
  static constexpr bool kNibbles = LANE == 8 && !CODE && S * R == 4 && S >= 2;
  static constexpr int kNibbleEdges = 5;

  struct Rows {  // where the rows are, kept in registers
    const uint8_t* packed;
    const int32_t* col;
    int64_t row_bytes;
    inline const uint8_t* fetch(int64_t e) const {
      const uint8_t* coming = packed + (int64_t)col[e + kPrefetchEdges] * row_bytes;
      for (int line = 0; line < NC * kLoad; line += 64) __builtin_prefetch(coming + line);
      return packed + (int64_t)col[e] * row_bytes;
    }
  };

  static inline __attribute__((always_inline)) void add_nibbles(const Rows& rows, int64_t e, int64_t count, Vec (&acc)[NC][S],
                                                                const typename V::Shift (&shift)[S], const int (&part)[NC]) {
    const Vec pairs = V::set16(0x3333), nibbles = V::set16(0x0f0f);
    const typename V::Shift four = V::template make_shift<1>(1, 4);
    Vec sum[NC][S / 2];
    for (int chunk = 0; chunk < NC; ++chunk)
      for (int s = 0; s < S / 2; ++s) sum[chunk][s] = V::zero();
    for (int64_t k = 0; k < count; ++k) {
      const uint8_t* row = rows.fetch(e + k);
      for (int chunk = 0; chunk < NC; ++chunk) {
        const Vec x = V::template load_copies<R>(row + chunk * kLoad, part[chunk]);
        for (int s = 0; s < S / 2; ++s)
          sum[chunk][s] = V::add8(sum[chunk][s], V::and_(R == 1 && s == 0 ? x : V::shr(x, shift[s]), pairs));
      }
    }
    for (int chunk = 0; chunk < NC; ++chunk)
      for (int s = 0; s < S / 2; ++s) {
        acc[chunk][s] = V::add8(acc[chunk][s], V::and_(sum[chunk][s], nibbles));
        acc[chunk][s + S / 2] = V::add8(acc[chunk][s + S / 2], V::and_(V::shr(sum[chunk][s], four), nibbles));
      }
  }

  static inline void add_edges(const PackedCall& c, int64_t e, int64_t stop, int64_t byte0, Vec (&acc)[NC][S],
                               const typename V::Shift (&shift)[S], const int (&part)[NC]) {
    const gnnq_spmm_args& a = *c.a;
    const Rows rows = {a.packed + byte0, a.col, c.row_bytes};
    if constexpr (kNibbles) {
      for (; e + kNibbleEdges <= stop; e += kNibbleEdges) add_nibbles(rows, e, kNibbleEdges, acc, shift, part);
      if (e < stop) add_nibbles(rows, e, stop - e, acc, shift, part);
      return;
    }
    const Vec mask = V::set16(c.lane_mask);
#pragma GCC unroll 4
    for (; e < stop; ++e) {
      const uint8_t* row = rows.fetch(e);
      Vec m = mask, code = mask;
      int exponent = 0;
      if constexpr (EXP) {
        exponent = a.exponents[a.col[e]];
        m = V::shl16(mask, exponent);
      }
      if constexpr (CODE) code = V::set16(a.edge_codes[e]);
      for (int chunk = 0; chunk < NC; ++chunk) {
        Vec x = LANE == 8 ? V::template load_copies<R>(row + chunk * kLoad, part[chunk])
                          : V::template widen_copies<R>(row + chunk * kLoad, part[chunk]);
        if constexpr (EXP) x = V::shl16(x, exponent);
        for (int s = 0; s < S; ++s) {
          Vec y = x;
          if (S * R > 1) y = V::and_(R == 1 && s == 0 ? x : V::shr(x, shift[s]), m);
          if constexpr (CODE) y = V::mul16(y, code);
          acc[chunk][s] = LANE == 8 ? V::add8(acc[chunk][s], y) : V::add16(acc[chunk][s], y);
        }
      }
    }
  }

  static inline void clear(Vec (&acc)[NC][S]) {
    for (int chunk = 0; chunk < NC; ++chunk)
      for (int s = 0; s < S; ++s) acc[chunk][s] = V::zero();
  }

  static inline void part_widths(const PackedCall& c, int64_t byte0, int (&part)[NC]) {
    for (int chunk = 0; chunk < NC; ++chunk) part[chunk] = (int)max64(0, min64(kLoad, c.row_bytes - byte0 - chunk * kLoad));
  }

  // A row that fits the lanes and fills its vectors: from lanes to results, without a detour over 32-bit sums.
  template <bool SCALED>
  static inline GNNQ_INLINE void whole_row(const PackedCall& c, int64_t e0, int64_t e1, const RowOut& out,
                                           const typename V::Shift (&shift)[S]) {
    int part[NC];
    for (int chunk = 0; chunk < NC; ++chunk) part[chunk] = kLoad;
    int64_t byte0 = 0;
    do {
      Vec acc[NC][S];
      clear(acc);
      add_edges(c, e0, e1, byte0, acc, shift, part);
      each_plane<true>(c, acc, byte0, [&](auto* lanes, int64_t first, int64_t n) {
        if constexpr (SCALED) finish_scaled<true>(out, lanes, first, n);
        else finish(out, lanes, first, n);
      });
      byte0 += NC * kLoad;
    } while (R == 1 && byte0 < c.row_bytes);  // copies fit one vector
  }

  static __attribute__((noinline)) void any_row(const PackedCall& c, int64_t e0, int64_t e1, const RowOut& out,
                                                const typename V::Shift (&shift)[S], int32_t* sums) {
    memset(sums, 0, c.a->num_values * 4);
    for (int64_t byte0 = 0; byte0 < c.row_bytes; byte0 += NC * kLoad) {
      int part[NC];
      part_widths(c, byte0, part);
      for (int64_t e = e0; e < e1; e += c.flush) {
        Vec acc[NC][S];
        clear(acc);
        add_edges(c, e, min64(e1, e + c.flush), byte0, acc, shift, part);
        each_plane<false>(c, acc, byte0, [&](auto* lanes, int64_t first, int64_t n) { add_lanes(sums + first, lanes, n); });
      }
    }
    finish(out, (const uint32_t*)sums, 0, c.a->num_values);
  }

  // WHOLE: every row fills its vectors; SCALED: see only_scaled.
  template <bool WHOLE, bool SCALED>
  static void each_row(const PackedCall& c, int64_t first_row, int64_t end_row, bool streaming, int32_t* sums) {
    const gnnq_spmm_args& a = *c.a;
    typename V::Shift shift[S];
    for (int s = 0; s < S; ++s) shift[s] = V::template make_shift<R>(s, a.bits);
    for (int64_t position = first_row; position < end_row; ++position) {
      const int64_t i = a.order ? a.order[position] : position;
      const int64_t e0 = a.row_ptr[position], e1 = a.row_ptr[position + 1];
      const RowOut out = {(float*)a.out + i * a.num_values, a.column_scale, a.bias, row_factor(a.scale, a.row_scale, i),
                          zero_sum_of<EXP, CODE>(a, e0, e1), a.float_out != 0, streaming};
      if (WHOLE && e1 - e0 <= c.flush) whole_row<SCALED>(c, e0, e1, out, shift);
      else any_row(c, e0, e1, out, shift, sums);
    }
  }

  static void rows(const PackedCall& c, int64_t first_row, int64_t end_row, int32_t* sums) {
    const gnnq_spmm_args& a = *c.a;
    const bool full = c.row_bytes % (NC * kLoad) == 0 && c.row_bytes * c.planes == a.num_values;
    const bool streaming = can_stream(a, R > 1 && full ? V::kBytes : c.row_bytes);
    const bool scaled = only_scaled(a);
    if (full && scaled) each_row<true, true>(c, first_row, end_row, streaming, sums);
    else if (full) each_row<true, false>(c, first_row, end_row, streaming, sums);
    else each_row<false, false>(c, first_row, end_row, streaming, sums);
  }
};

typedef void (*PackedRowsFn)(const PackedCall&, int64_t, int64_t, int32_t*);

template <class V, int LANE, int R, int S, int NC>
static PackedRowsFn packed_variant(bool exponents, bool codes) {
  if constexpr (LANE == 16)
    if (exponents) return PackedRows<V, LANE, R, S, NC, true, false>::rows;
  if (codes) return PackedRows<V, LANE, R, S, NC, false, true>::rows;
  return PackedRows<V, LANE, R, S, NC, false, false>::rows;
}

template <class V, int LANE, int S>
static PackedRowsFn packed_chunks(int64_t chunks, bool exponents, bool codes) {
  if (chunks <= 1) return packed_variant<V, LANE, 1, S, 1>(exponents, codes);
  if constexpr (S <= 8)
    if (chunks == 2 || S == 8) return packed_variant<V, LANE, 1, S, 2>(exponents, codes);
  if constexpr (S <= 4) return packed_variant<V, LANE, 1, S, 4>(exponents, codes);
}

// The row function for this row width: several copies of a short row per vector where the vector has the shifts for it.
template <class V, int LANE>
static PackedRowsFn choose_packed(const PackedCall& c, bool exponents, bool codes) {
  constexpr int kLoad = V::kBytes * 8 / LANE;
  if constexpr (V::kCopies) {
    if (c.row_bytes * 2 == kLoad) {
      if (c.planes == 2) return packed_variant<V, LANE, 2, 1, 1>(exponents, codes);
      if (c.planes == 4) return packed_variant<V, LANE, 2, 2, 1>(exponents, codes);
      if (c.planes == 8) return packed_variant<V, LANE, 2, 4, 1>(exponents, codes);
    }
    if (c.row_bytes * 4 == kLoad) {
      if (c.planes == 4) return packed_variant<V, LANE, 4, 1, 1>(exponents, codes);
      if (c.planes == 8) return packed_variant<V, LANE, 4, 2, 1>(exponents, codes);
    }
    if constexpr (LANE == 8 && V::kBytes == 64)
      if (c.row_bytes * 8 == kLoad && c.planes == 8) return packed_variant<V, LANE, 8, 1, 1>(exponents, codes);
  }
  const int64_t chunks = (c.row_bytes + kLoad - 1) / kLoad;
  if (c.planes == 1) return packed_chunks<V, LANE, 1>(chunks, exponents, codes);
  if (c.planes == 2) return packed_chunks<V, LANE, 2>(chunks, exponents, codes);
  if (c.planes == 4) return packed_chunks<V, LANE, 4>(chunks, exponents, codes);
  return packed_chunks<V, LANE, 8>(chunks, exponents, codes);
}

// Whether a vector of bytes holds several copies of a row, one per plane, so that one shift unpacks the whole row.
template <class V>
static inline bool has_copies(const gnnq_spmm_args& a, int64_t row_bytes) {
  return V::kCopies && !a.exponents && row_bytes * (8 / a.bits) == V::kBytes;
}

// Edges whose terms cannot overflow one unsigned lane.
static inline int64_t edges_per_lane(const gnnq_spmm_args& a, int lane_bits) {
  const int64_t largest = ((((int64_t)1 << a.bits) - 1) << a.max_exponent) * max64(a.max_edge_code, 1);
  return (((int64_t)1 << lane_bits) - 1) / largest;
}

static constexpr int64_t kSmallWork = 1 << 22;  // below it, handing out many blocks takes longer than uneven threads

template <class V>
static int spmm_packed(const gnnq_spmm_args& a) {
  PackedCall c;
  c.a = &a;
  c.row_bytes = packed_bytes(a.num_values, a.bits);
  c.planes = 8 / a.bits;
  const bool bytes = !a.exponents && edges_per_lane(a, 8) >= 16;
  c.flush = edges_per_lane(a, bytes ? 8 : 16);
  const uint16_t code = (uint16_t)((1 << a.bits) - 1);
  c.lane_mask = bytes ? (uint16_t)(code * 0x0101) : code;
  const PackedRowsFn rows = bytes ? choose_packed<V, 8>(c, false, a.edge_codes != 0)
                                  : choose_packed<V, 16>(c, a.exponents != 0, a.edge_codes != 0);
  const int64_t work = (a.num_edges + a.num_rows) * a.num_values;
  const int threads = useful_threads(a.num_threads, work);
  const int64_t blocks = threads == 1 || work < kSmallWork ? threads : threads * 16;
  return run_blocks(blocks, threads, a.num_values * 4, [&](int64_t b, void* scratch) {
    rows(c, block_start(a.row_ptr, a.num_rows, b, blocks), block_start(a.row_ptr, a.num_rows, b + 1, blocks),
         (int32_t*)scratch);
  }) ? GNNQ_OK : GNNQ_NO_MEMORY;
}

// Exponents together with edge codes (which may leave no room for even one edge in 16 bits): plain 32-bit sums.
static int spmm_wide_terms(const gnnq_spmm_args& a) {
  const int64_t row_bytes = packed_bytes(a.num_values, a.bits);
  const int mask = (1 << a.bits) - 1, planes = 8 / a.bits;
  const int64_t blocks = a.num_threads == 1 ? 1 : a.num_threads * 16;
  return run_blocks(blocks, a.num_threads, a.num_values * 4, [&](int64_t b, void* scratch) {
    int32_t* sums = (int32_t*)scratch;
    const int64_t end = block_start(a.row_ptr, a.num_rows, b + 1, blocks);
    for (int64_t position = block_start(a.row_ptr, a.num_rows, b, blocks); position < end; ++position) {
      const int64_t i = a.order ? a.order[position] : position;
      memset(sums, 0, a.num_values * 4);
      for (int64_t e = a.row_ptr[position]; e < a.row_ptr[position + 1]; ++e) {
        const int64_t source = a.col[e];
        const int32_t zero = a.node_zero ? a.node_zero[source] : a.zero_point;
        const int32_t factor = (a.edge_codes ? a.edge_codes[e] : 1) << (a.exponents ? a.exponents[source] : 0);
        const uint8_t* row = a.packed + source * row_bytes;
        for (int plane = 0; plane < planes; ++plane) {
          const int64_t first = plane * row_bytes, n = min64(row_bytes, a.num_values - first);
          for (int64_t k = 0; k < n; ++k) sums[first + k] += factor * (((row[k] >> (plane * a.bits)) & mask) - zero);
        }
      }
      const RowOut out = {(uint8_t*)a.out + i * a.num_values * 4, a.column_scale, a.bias,
                          row_factor(a.scale, a.row_scale, i), 0, a.float_out != 0, false};
      finish(out, (const uint32_t*)sums, 0, a.num_values);
    }
  }) ? GNNQ_OK : GNNQ_NO_MEMORY;
}
