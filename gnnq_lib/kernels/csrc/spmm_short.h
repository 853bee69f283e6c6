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

// WIDE: 16-bit lanes, the byte in the lower half of each.
template <bool WIDE>
static void plan_unpacking(const gnnq_spmm_args& a, int64_t row_bytes, UnpackPlan& plan) {
  memset(&plan, 0, sizeof plan);
  memset(plan.index, 0x80, sizeof plan.index);  // "zero" for the instructions that pick bytes
  for (int64_t value = 0; value < a.num_values; ++value) {
    const int64_t plane = value / row_bytes;
    const uint16_t factor = (uint16_t)(256 >> (plane * a.bits));
    plan.index[WIDE ? 2 * value : value] = (uint8_t)(value % row_bytes);
    uint16_t* factors = !WIDE && value % 2 ? plan.odd : plan.even;
    factors[WIDE ? value : value / 2] = factor;
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
  const int64_t row_bytes = packed_bytes(a.num_values, a.bits);
  const int64_t safe = a.num_sources - (kShortBytes + row_bytes - 1) / row_bytes;  // 16 bytes can be read up to this row
  for (int64_t i = first; i < end; ++i) {
    alignas(64) uint8_t piece[V::kBytes], last[kShortBytes] = {0};
    const uint8_t* row = a.packed + i * row_bytes;
    if (i > safe) row = (const uint8_t*)memcpy(last, row, row_bytes);
    for (int at = 0; at < width; at += V::kBytes) {
      V::store(piece, unpack_short<WIDE>(row, plan, at, a.bits, WIDE && a.exponents ? a.exponents[i] : 0));
      memcpy(table + i * width + at, piece, min64(width, V::kBytes));
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
    Row row;
    if constexpr (kWidth == 8) {
      typedef uint64_t Two __attribute__((vector_size(16)));
      uint64_t eight;
      memcpy(&eight, p, 8);
      row = (Row)Two{eight, 0};
    } else {
      memcpy(&row, p, sizeof row);
    }
    return __builtin_convertvector(row, Sum);
  }

  static inline Sum add_edges(const ShortCall& c, int64_t e, int64_t stop) {
    Sum sum = {};
    for (; e < stop; ++e) sum += load(c.table + (int64_t)c.a->col[e] * kWidth);
    return sum;
  }

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
        finish(out, lanes, 0, a.num_values);
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
    const int64_t row_bytes = packed_bytes(a.num_values, a.bits);
    const bool in_place = a.bits == 8 && !a.exponents && row_bytes == kWidth;  // the packed rows are such a table
    uint8_t* table = in_place ? 0 : (uint8_t*)make_room(a.num_sources * kWidth);
    if (!in_place && !table) return GNNQ_NO_MEMORY;
    const ShortCall c = {&a, in_place ? a.packed : table, edges_per_lane(a, 8 * (int)sizeof(Lane)),
                         a.num_values % 16 == 0 && large_result(a)};
    UnpackPlan plan;
    if (table) plan_unpacking<sizeof(Element) == 2>(a, row_bytes, plan);
    const int threads = a.num_edges + 4 * a.num_rows < kShortWork ? 1 : a.num_threads;
    const int64_t blocks = threads == 1 ? 1 : threads * 8;
    const auto start = [&](int64_t b) { return block_start(a.row_ptr, a.num_rows, b, blocks); };
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
      if (table) {
#pragma omp for schedule(static)
        for (int64_t b = 0; b < blocks; ++b)
          unpack_rows<sizeof(Element) == 2>(a, plan, a.num_sources * b / blocks, a.num_sources * (b + 1) / blocks, kWidth, table);
      }
#pragma omp for schedule(dynamic, 1)
      for (int64_t b = 0; b < blocks; ++b) rows(c, start(b), start(b + 1));
#if defined(__SSE2__)
      _mm_sfence();  // streamed results are visible before the threads meet
#endif
    }
    free(table);
    return GNNQ_OK;
  }

  static constexpr int64_t kShortWork = 32768;  // edges and rows below which waking other threads does not pay
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
