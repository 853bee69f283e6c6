// spmm of short rows (at most 16 packed bytes and 64 values): each source row is unpacked once, into one lane per value,
// zeros up to 8, 16, 32 or 64 lanes. An edge then costs one load and one addition, without shifts and masks, and a row of
// the result stays in registers until it is finished. Included inside an instruction set's namespace, after lanes.h.

struct ShortCall {
  const gnnq_spmm_args* a;
  const uint8_t* table;  // num_sources rows of one Element per lane
  int64_t flush;         // edges that fit a lane
  bool streaming;
};

static constexpr int kShortBytes = 16, kShortValues = 64;

// How a packed row becomes lanes: lane k is byte index[k] of the row, times a power of two so that the wanted bits come
// to lie in bits 8 and up of 16, shifted back and masked. (No instruction set here shifts each byte by its own count.)
struct UnpackPlan {
  alignas(64) uint8_t index[2 * kShortValues];
  alignas(64) uint16_t even[kShortValues], odd[kShortValues];
};

// Rows that are unpacked together, since their bytes lie within 16 and their lanes within a vector.
static inline int64_t rows_at_once(int64_t row_bytes, int64_t width) {
  return max64(1, min64(GNNQ_VECTOR::kBytes / width, kShortBytes / row_bytes));
}

// WIDE: 16-bit lanes, the byte in the lower half of each; one row at a time.
template <bool WIDE>
static void plan_unpacking(const gnnq_spmm_args& a, int64_t row_bytes, int64_t width, UnpackPlan& plan) {
  memset(&plan, 0, sizeof plan);
  memset(plan.index, 0x80, sizeof plan.index);  // "zero" for the instructions that pick bytes
  const int64_t rows = WIDE ? 1 : rows_at_once(row_bytes, width);
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t value = 0; value < a.num_values; ++value) {
      const int64_t plane = value / row_bytes, lane = row * width + value;
      const uint16_t factor = (uint16_t)(256 >> (plane * a.bits));
      plan.index[WIDE ? 2 * lane : lane] = (uint8_t)(row * row_bytes + value % row_bytes);
      uint16_t* factors = !WIDE && lane % 2 ? plan.odd : plan.even;
      factors[WIDE ? lane : lane / 2] = factor;
    }
}

template <bool WIDE>
static inline __attribute__((always_inline)) GNNQ_VECTOR::type unpack_short(const uint8_t* sixteen, const UnpackPlan& plan,
                                                                           int at, int bits, int exponent) {
  typedef GNNQ_VECTOR V;
  const uint16_t mask = (uint16_t)((1 << bits) - 1);
  const V::type bytes = V::pick(sixteen, plan.index + at);
  const V::type even = V::and_(bytes, V::set16(0x00ff));
  const V::type low = V::and_(V::shr16(V::mul16(even, V::load_part((const uint8_t*)plan.even + at, V::kBytes)), 8), V::set16(mask));
  if constexpr (WIDE) return V::shl16(low, exponent);
  const V::type high = V::mul16(V::shr16(bytes, 8), V::load_part((const uint8_t*)plan.odd + at, V::kBytes));
  return V::or_(low, V::and_(high, V::set16((uint16_t)(mask << 8))));
}

// Source rows first ... end of the table, `width` bytes each.
template <bool WIDE>
static void unpack_rows(const gnnq_spmm_args& a, const UnpackPlan& plan, int64_t first, int64_t end, int width, uint8_t* table) {
  typedef GNNQ_VECTOR V;
  const int64_t row_bytes = packed_bytes(a.num_values, a.bits), step = WIDE ? 1 : rows_at_once(row_bytes, width);
  const int64_t safe = a.num_sources - (kShortBytes + row_bytes - 1) / row_bytes;  // 16 bytes can be read up to this row
  for (int64_t i = first; i < end; i += step) {
    alignas(64) uint8_t piece[V::kBytes], last[kShortBytes] = {0};
    const int64_t rows = min64(step, end - i);
    const uint8_t* row = a.packed + i * row_bytes;
    if (i > safe) row = (const uint8_t*)memcpy(last, row, rows * row_bytes);
    for (int64_t at = 0; at < rows * width; at += V::kBytes) {
      const V::type lanes = unpack_short<WIDE>(row, plan, (int)at, a.bits, WIDE && a.exponents ? a.exponents[i] : 0);
      uint8_t* to = table + i * width + at;
      if ((end - i) * width - at >= V::kBytes) {  // what is too much, the next rows replace
        V::store(to, lanes);
      } else {
        V::store(piece, lanes);
        memcpy(to, piece, rows * width - at);
      }
    }
  }
}

// L lanes in the table, of type Element; sums of type Lane.
template <class Element, class Lane, int L>
struct ShortRows {
  static constexpr int kWidth = L * (int)sizeof(Element);  // bytes of a row of the table
  static constexpr int kLanes = L < 16 ? 16 : L;           // finishing reads 16 at a time
  typedef Element Row __attribute__((vector_size(kLanes * sizeof(Element))));
  typedef Lane Sum __attribute__((vector_size(kLanes * sizeof(Lane))));

  static inline Sum load(const uint8_t* p) {
    if constexpr (kWidth == 8) {
      typedef uint64_t Two __attribute__((vector_size(16)));
      uint64_t eight;
      memcpy(&eight, p, 8);
      const Two two = {eight, 0};
#if defined(__AVX2__)
      if constexpr (sizeof(Sum) == 32) return (Sum)_mm256_cvtepu8_epi16((__m128i)two);  // the compiler takes it in halves
#endif
      return __builtin_convertvector((Row)two, Sum);
    } else {
      Row row;
      memcpy(&row, p, sizeof row);
      return __builtin_convertvector(row, Sum);
    }
  }

  static inline Sum add_edges(const ShortCall& c, int64_t e, int64_t stop) {
    Sum sum = {};
    for (; e < stop; ++e) sum += load(c.table + (int64_t)c.a->col[e] * kWidth);
    return sum;
  }

  template <bool SCALED>
  static void rows(const ShortCall& c, int64_t first_row, int64_t end_row) {
    const gnnq_spmm_args& a = *c.a;
    for (int64_t position = first_row; position < end_row; ++position) {
      const int64_t i = a.order ? a.order[position] : position;
      const int64_t e0 = a.row_ptr[position], e1 = a.row_ptr[position + 1];
      const int32_t zero_sum = a.exponents ? zero_sum_of<true, false>(a, e0, e1) : zero_sum_of<false, false>(a, e0, e1);
      const RowOut out = {(uint8_t*)a.out + i * a.num_values * 4, a.column_scale, a.bias, row_factor(a.scale, a.row_scale, i),
                          zero_sum, a.float_out != 0, c.streaming};
      if (e1 - e0 <= c.flush) {
        const Sum sum = add_edges(c, e0, e1);
        alignas(64) Lane lanes[kLanes];
        memcpy(lanes, &sum, sizeof sum);
        if constexpr (SCALED) finish_scaled<false>(out, lanes, 0, a.num_values);
        else finish(out, lanes, 0, a.num_values);
      } else {
        alignas(64) uint32_t sums[kLanes] = {0};
        for (int64_t e = e0; e < e1; e += c.flush) {
          const Sum sum = add_edges(c, e, min64(e1, e + c.flush));
          for (int k = 0; k < kLanes; ++k) sums[k] += sum[k];
        }
        finish(out, sums, 0, a.num_values);
      }
    }
  }

  static int run(const gnnq_spmm_args& a) {
    const int64_t row_bytes = packed_bytes(a.num_values, a.bits), work = a.num_edges + 4 * a.num_rows;
    const int threads = work < kAlone ? 1 : a.num_threads;
    const bool even = threads == 1 || work < kEven;
    const int64_t blocks = even ? threads : threads * 8;
    const bool in_place = a.bits == 8 && !a.exponents && row_bytes == kWidth;  // the packed rows are such a table
    // A small table is made by every thread for itself: taking rows from another core's cache takes longer.
    const bool shared = !even || a.num_sources * kWidth > kSmallTable;
    const int64_t table_bytes = (a.num_sources * kWidth + 127) / 64 * 64;
    uint8_t* tables = in_place ? 0 : (uint8_t*)make_room(table_bytes * (shared ? 1 : threads));
    if (!in_place && !tables) return GNNQ_NO_MEMORY;
    UnpackPlan plan;
    if (tables) plan_unpacking<sizeof(Element) == 2>(a, row_bytes, kWidth, plan);
    const auto start = [&](int64_t b) { return block_start(a.row_ptr, a.num_rows, b, blocks); };
    const auto block = only_scaled(a) ? rows<true> : rows<false>;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
      uint8_t* table = shared || !tables ? tables : tables + thread_number() * table_bytes;
      const ShortCall c = {&a, in_place ? a.packed : table, edges_per_lane(a, 8 * (int)sizeof(Lane)),
                           a.num_values % 16 == 0 && large_result(a)};
      if (table && !shared) unpack_rows<sizeof(Element) == 2>(a, plan, 0, a.num_sources, kWidth, table);
      if (table && shared) {
#pragma omp for schedule(static)
        for (int64_t b = 0; b < blocks; ++b)
          unpack_rows<sizeof(Element) == 2>(a, plan, a.num_sources * b / blocks, a.num_sources * (b + 1) / blocks, kWidth, table);
      }
      each_block(blocks, threads, [&](int64_t b) { block(c, start(b), start(b + 1)); });
#if defined(__SSE2__)
      _mm_sfence();  // streamed results are visible before the threads meet
#endif
    }
    free(tables);
    return GNNQ_OK;
  }

  // Edges and rows below which waking other threads does not pay, and below which each thread takes one block.
  static constexpr int64_t kAlone = 8192, kEven = 1 << 18;
  static constexpr int64_t kSmallTable = 1 << 16;  // bytes
};

template <class Element, class Lane>
static int spmm_short_of(const gnnq_spmm_args& a) {
  if constexpr (sizeof(Element) == 1)
    if (a.num_values <= 8) return ShortRows<Element, Lane, 8>::run(a);
  if (a.num_values <= 16) return ShortRows<Element, Lane, 16>::run(a);
  if constexpr (sizeof(Lane) == 2) return ShortRows<Element, Lane, 32>::run(a);
  else return a.num_values <= 32 ? ShortRows<Element, Lane, 32>::run(a) : ShortRows<Element, Lane, 64>::run(a);
}

// Whether the table pays: short rows without edge codes, most of which are read more than once.
static inline bool short_rows(const gnnq_spmm_args& a) {
  const int64_t row_bytes = packed_bytes(a.num_values, a.bits);
  const int largest = a.exponents ? kShortValues / 2 : kShortValues;
  return !a.edge_codes && row_bytes <= kShortBytes && a.num_values <= largest && a.num_edges >= 2 * a.num_sources &&
         !has_copies<GNNQ_VECTOR>(a, row_bytes);
}

static int spmm_short(const gnnq_spmm_args& a) {
  if (a.exponents) return spmm_short_of<uint16_t, uint16_t>(a);
  return a.bits == 8 ? spmm_short_of<uint8_t, uint16_t>(a) : spmm_short_of<uint8_t, uint8_t>(a);
}
