// Sums of neighbours' float rows, for training in full precision: a sparse product with what stands before and after it.
//   out[p, :] = row_scale[i] * sum over edges e of row i of  source_scale[col[e]] * x[x_place[col[e]], :]  + added[added_place[i], :]
// with i = rows[p], in the order of the edges, each operation rounded to float32. Included inside an instruction set's
// namespace, after lanes.h.

static constexpr int kRowsAhead = 16;  // rows of x that are fetched before they are needed; col has more entries, all 0
static constexpr int kSumVectors = 8;  // vectors of columns whose sums stay in registers over all edges of a row

static inline int64_t place_of(const int32_t* places, int64_t i) { return places ? places[i] : i; }

// NV vectors of columns from `first` on; the last one holds `last` columns.
template <int NV, bool SCALED>
static inline GNNQ_INLINE void sum_neighbours(const gnnq_neighbour_sum_args& a, int64_t p, int64_t first, int last) {
  constexpr int kWidth = Lanes::kWidth;
  const int64_t i = place_of(a.rows, p), e0 = a.row_ptr[i], e1 = a.row_ptr[i + 1];
  const float* x = a.x + first;
  Lanes::F sums[NV];
  for (int v = 0; v < NV; ++v) sums[v] = Lanes::set(0.0f);
  for (int64_t e = e0; e < e1; ++e) {
    const float* coming = x + place_of(a.x_place, a.col[e + kRowsAhead]) * a.num_values;
    for (int v = 0; v < NV; v += 64 / (4 * kWidth)) __builtin_prefetch(coming + v * kWidth);
    const float* row = x + place_of(a.x_place, a.col[e]) * a.num_values;
    const Lanes::F scale = Lanes::set(SCALED ? a.source_scale[a.col[e]] : 1.0f);
    for (int v = 0; v < NV; ++v) {
      const Lanes::F term = v == NV - 1 ? Lanes::load_first(row + v * kWidth, last) : Lanes::load(row + v * kWidth);
      sums[v] = Lanes::add(sums[v], SCALED ? Lanes::mul(scale, term) : term);
    }
  }
  const Lanes::F factor = Lanes::set(a.row_scale ? a.row_scale[i] : 1.0f);
  const float* added = a.added ? a.added + place_of(a.added_place, i) * a.num_values + first : nullptr;
  float* out = a.out + p * a.num_values + first;
  for (int v = 0; v < NV; ++v) {
    const int n = v == NV - 1 ? last : kWidth;
    Lanes::F value = Lanes::mul(factor, sums[v]);
    if (added) value = Lanes::add(value, Lanes::load_first(added + v * kWidth, n));
    Lanes::store_first(out + v * kWidth, value, n);
  }
}

template <int NV, bool SCALED>
static inline void sum_block(const gnnq_neighbour_sum_args& a, int64_t begin, int64_t end, int64_t first) {
  const int last = (int)min64(Lanes::kWidth, a.num_values - first - (NV - 1) * Lanes::kWidth);
  for (int64_t p = begin; p < end; ++p) sum_neighbours<NV, SCALED>(a, p, first, last);
}

template <bool SCALED>
static void sum_columns_of_block(const gnnq_neighbour_sum_args& a, int64_t begin, int64_t end) {
  for (int64_t first = 0; first < a.num_values; first += kSumVectors * Lanes::kWidth) {
    switch ((min64(a.num_values - first, kSumVectors * Lanes::kWidth) + Lanes::kWidth - 1) / Lanes::kWidth) {
      case 1: sum_block<1, SCALED>(a, begin, end, first); break;
      case 2: sum_block<2, SCALED>(a, begin, end, first); break;
      case 3: sum_block<3, SCALED>(a, begin, end, first); break;
      case 4: sum_block<4, SCALED>(a, begin, end, first); break;
      case 5: sum_block<5, SCALED>(a, begin, end, first); break;
      case 6: sum_block<6, SCALED>(a, begin, end, first); break;
      case 7: sum_block<7, SCALED>(a, begin, end, first); break;
      default: sum_block<8, SCALED>(a, begin, end, first); break;
    }
  }
}

static int neighbour_sum(const gnnq_neighbour_sum_args* args) {
  const gnnq_neighbour_sum_args& a = *args;
  if (a.fresh_out) ask_for_large_pages(a.out, a.num_rows * a.num_values * 4);
  const int threads = useful_threads(a.num_threads, a.num_edges * a.num_values * 4);
  const int64_t blocks = threads == 1 ? 1 : threads * 64;
  return run_blocks(blocks, threads, 0, [&](int64_t b, void*) {
    const bool all = !a.rows;  // a choice of rows is cut by their number: their edges are not counted anywhere
    const int64_t begin = all ? block_start(a.row_ptr, a.num_rows, b, blocks) : a.num_rows * b / blocks;
    const int64_t end = all ? block_start(a.row_ptr, a.num_rows, b + 1, blocks) : a.num_rows * (b + 1) / blocks;
    if (a.source_scale) sum_columns_of_block<true>(a, begin, end);
    else sum_columns_of_block<false>(a, begin, end);
  }) ? GNNQ_OK : GNNQ_NO_MEMORY;
}
