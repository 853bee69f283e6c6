// The k rows of largest score for every query, over packed codes (../search.py has the equation). 64 rows at a time are
// unpacked and multiplied with all queries; a score is compared with the least one kept while it is in registers, so
// scores never reach memory. Included inside an instruction set's namespace, after linear.h.

static constexpr int kSearchColumns = 64;

struct Candidate {
  float score;
  int32_t row;
};

static inline bool worse(Candidate a, Candidate b) { return a.score < b.score || (a.score == b.score && a.row > b.row); }

// The best `k` of the candidates offered, as a heap: no entry is better than those below it, so the first is the worst.
struct Best {
  Candidate* heap;
  int64_t k, count;

  inline void down(Candidate c) {  // puts c in place of the first entry
    int64_t i = 0;
    for (int64_t child = 1; child < count; child = 2 * i + 1) {
      if (child + 1 < count && worse(heap[child + 1], heap[child])) ++child;
      if (!worse(heap[child], c)) break;
      heap[i] = heap[child];
      i = child;
    }
    heap[i] = c;
  }
  inline void up(Candidate c) {  // one entry more
    int64_t i = count++;
    for (; i > 0 && worse(c, heap[(i - 1) / 2]); i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = c;
  }
  inline void offer(Candidate c) {
    if (count < k) up(c);
    else if (worse(heap[0], c)) down(c);
  }
  inline Candidate take_worst() {
    const Candidate worst = heap[0], last = heap[--count];
    if (count) down(last);
    return worst;
  }
};

// What one thread has found so far: for each query k candidates, how many of them there are, and the least score that
// could still be among the best.
struct Found {
  Candidate* heaps;
  int64_t* counts;
  float* least;
  int64_t k;
  inline Best best(int64_t q) const { return Best{heaps + q * k, k, counts[q]}; }
};

struct SearchPlan {
  const gnnq_search_args* a;
  Dot::Query* queries;  // [queries rounded up to kLinearRows][inputs]
  int32_t* base;        // per query: what the grid's shift adds to its sums
  Found* found;         // per thread
  int64_t groups, inputs, row_bytes, plane_tiles;
  int shift;            // codes count 2^shift times
};

static void prepare_queries(const SearchPlan& plan) {
  const gnnq_search_args& a = *plan.a;
  const int32_t grid_shift = a.bits == 8 ? -128 : -((1 << a.bits) - 1);
  for (int64_t q = 0; q < a.num_queries; ++q) {
    int32_t sum = 0;
    for (int64_t d = 0; d < a.inner; ++d) {
      plan.queries[q * plan.inputs + d] = a.queries[q * a.inner + d];
      sum += a.queries[q * a.inner + d];
    }
    plan.base[q] = grid_shift * sum;
  }
}

// Codes of `n` rows from byte `first` of one plane on, as the dot products want them: [groups][kSearchColumns][kGroup].
static void unpack_columns(const SearchPlan& plan, const Unpacker& unpacker, int plane, int64_t first, int64_t n,
                           uint8_t* rows, Dot::Code* codes) {
  typedef GNNQ_VECTOR V;
  const gnnq_search_args& a = *plan.a;
  for (int64_t g = 0; g < plan.groups; ++g) {
    for (int r = 0; r < Dot::kGroup; ++r) {
      const int64_t d = g * Dot::kGroup + r;
      for (int64_t c = 0; c < kSearchColumns; c += V::kBytes) {
        const int64_t left = d < a.inner ? n - c : 0;  // beyond the last input, zeros
        const V::type bytes = V::load_part(a.packed + (left > 0 ? d * plan.row_bytes + first + c : 0),
                                           (int)min64(V::kBytes, left));
        V::store(rows + r * kSearchColumns + c, V::and_(V::shr(bytes, unpacker.shift[plane]), unpacker.mask));
      }
    }
    Dot::side_by_side(rows, codes + g * kSearchColumns * Dot::kGroup);
  }
}

// Sums of kLinearRows queries and kSearchColumns rows.
static inline GNNQ_INLINE void multiply_queries(const SearchPlan& plan, const Dot::Query* queries, const Dot::Code* codes,
                                                int32_t* sums) {
  for (int64_t c = 0; c < kSearchColumns; c += Dot::kBlock * Dot::kColumns) {
    Dot::Acc acc[kLinearRows][Dot::kBlock];
    for (int r = 0; r < kLinearRows; ++r)
      for (int b = 0; b < Dot::kBlock; ++b) acc[r][b] = Dot::zero();
    const Dot::Code* of_block = codes + c * Dot::kGroup;
    for (int64_t g = 0; g < plan.groups; ++g, of_block += kSearchColumns * Dot::kGroup)
      for (int r = 0; r < kLinearRows; ++r)
        for (int b = 0; b < Dot::kBlock; ++b)
          acc[r][b] = Dot::dot_codes(acc[r][b], queries + r * plan.inputs + g * Dot::kGroup,
                                     of_block + b * Dot::kColumns * Dot::kGroup);
    for (int r = 0; r < kLinearRows; ++r)
      for (int b = 0; b < Dot::kBlock; ++b) Dot::store(sums + r * kSearchColumns + c + b * Dot::kColumns, acc[r][b]);
  }
}

// Some rows' numbers beside their codes, so that vectors may read past the last one.
struct SearchTile {
  float factor[kSearchColumns], offset[kSearchColumns];
  int64_t first_row, n;
};

// Turns the sums of one query into scores and keeps the best.
static inline GNNQ_INLINE void keep_best(const SearchPlan& plan, const SearchTile& tile, int64_t q, const int32_t* sums,
                                         const Found& found) {
  const Lanes::I base = Lanes::set_int(plan.base[q]), shift = Lanes::set_int(plan.shift);
  const Lanes::F offset_scale = Lanes::set(plan.a->offset_scale[q]);
  for (int64_t c = 0; c < tile.n; c += Lanes::kWidth) {
    const Lanes::I sum = Lanes::add_int(Lanes::shift_left(Lanes::load_int((const uint32_t*)sums + c), shift), base);
    const Lanes::F score = Lanes::add(Lanes::mul(Lanes::to_float(sum), Lanes::load(tile.factor + c)),
                                      Lanes::mul(offset_scale, Lanes::load(tile.offset + c)));
    uint32_t lanes = Lanes::at_least(score, Lanes::set(found.least[q]));
    if (tile.n - c < Lanes::kWidth) lanes &= (1u << (tile.n - c)) - 1;
    if (!lanes) continue;
    float scores[Lanes::kWidth];
    Lanes::store(scores, score);
    Best best = found.best(q);
    for (; lanes; lanes &= lanes - 1) {
      const int l = __builtin_ctz(lanes);
      best.offer(Candidate{scores[l], (int32_t)(tile.first_row + c + l)});
    }
    found.counts[q] = best.count;
    if (best.count == best.k) found.least[q] = best.heap[0].score;
  }
}

static void search_tile(const SearchPlan& plan, const Unpacker& unpacker, int64_t number, const Found& found,
                        uint8_t* rows, Dot::Code* codes) {
  const gnnq_search_args& a = *plan.a;
  const int plane = (int)(number / plan.plane_tiles);
  const int64_t first = number % plan.plane_tiles * kSearchColumns;
  SearchTile tile;
  tile.first_row = plane * plan.row_bytes + first;
  tile.n = min64(kSearchColumns, min64(plan.row_bytes - first, a.num_rows - tile.first_row));
  if (tile.n <= 0) return;
  for (int64_t c = 0; c < kSearchColumns; ++c) {
    tile.factor[c] = c < tile.n ? a.factor[tile.first_row + c] : 0;
    tile.offset[c] = c < tile.n ? a.offset[tile.first_row + c] : 0;
  }
  unpack_columns(plan, unpacker, plane, first, tile.n, rows, codes);
  int32_t sums[kLinearRows * kSearchColumns];
  for (int64_t q0 = 0; q0 < a.num_queries; q0 += kLinearRows) {
    multiply_queries(plan, plan.queries + q0 * plan.inputs, codes, sums);
    for (int64_t q = q0; q < min64(a.num_queries, q0 + kLinearRows); ++q)
      keep_best(plan, tile, q, sums + (q - q0) * kSearchColumns, found);
  }
}

// The best of what all threads have found for one query, best first.
static void write_best(const SearchPlan& plan, int threads, int64_t q) {
  const gnnq_search_args& a = *plan.a;
  Best best = plan.found[0].best(q);
  for (int t = 1; t < threads; ++t) {
    const Best other = plan.found[t].best(q);
    for (int64_t i = 0; i < other.count; ++i) best.offer(other.heap[i]);
  }
  for (int64_t i = a.k - 1; i >= 0; --i) {
    const Candidate c = best.take_worst();
    a.scores[q * a.k + i] = c.score;
    a.rows[q * a.k + i] = c.row;
  }
}

static int search_all(SearchPlan& plan, int threads) {
  const gnnq_search_args& a = *plan.a;
  const Unpacker unpacker(a.bits, a.num_rows);
  const int64_t planes = (a.num_rows + plan.row_bytes - 1) / plan.row_bytes, tiles = planes * plan.plane_tiles;
  const int64_t blocks = threads == 1 ? 1 : min64(tiles, threads * 8);
  const int64_t codes_bytes = plan.inputs * kSearchColumns * (int64_t)sizeof(Dot::Code);
  const int64_t scratch = codes_bytes + Dot::kGroup * kSearchColumns;
  const bool searched = run_blocks(blocks, threads, scratch, [&](int64_t b, void* memory) {
    for (int64_t t = tiles * b / blocks; t < tiles * (b + 1) / blocks; ++t)
      search_tile(plan, unpacker, t, plan.found[thread_number()], (uint8_t*)memory + codes_bytes, (Dot::Code*)memory);
  });
  if (!searched) return GNNQ_NO_MEMORY;
  const int64_t parts = threads;
  const bool merged = run_blocks(parts, threads, 0, [&](int64_t b, void*) {
    for (int64_t q = a.num_queries * b / parts; q < a.num_queries * (b + 1) / parts; ++q) write_best(plan, threads, q);
  });
  return merged ? GNNQ_OK : GNNQ_NO_MEMORY;
}

static int search(const gnnq_search_args* args) {
  const gnnq_search_args& a = *args;
  const int threads = useful_threads(a.num_threads, a.num_rows * a.inner * (a.num_queries + 8) / 8);
  const int64_t query_rows = (a.num_queries + kLinearRows - 1) / kLinearRows * kLinearRows;
  SearchPlan plan;
  plan.a = &a;
  plan.groups = (a.inner + Dot::kGroup - 1) / Dot::kGroup;
  plan.inputs = plan.groups * Dot::kGroup;
  plan.row_bytes = packed_bytes(a.num_rows, a.bits);
  plan.plane_tiles = (plan.row_bytes + kSearchColumns - 1) / kSearchColumns;
  plan.shift = a.bits == 8 ? 0 : 1;
  // One piece of memory: base, queries, then for each thread heaps, counts and least scores.
  const int64_t head = (query_rows * 4 + 63) / 64 * 64;
  const int64_t queries = (query_rows * plan.inputs * (int64_t)sizeof(Dot::Query) + 63) / 64 * 64;
  const int64_t heaps = a.num_queries * a.k * (int64_t)sizeof(Candidate);
  const int64_t of_thread = (heaps + a.num_queries * 12 + 63) / 64 * 64;
  uint8_t* memory = (uint8_t*)make_room(head + queries + threads * of_thread);
  plan.found = (Found*)make_room(threads * (int64_t)sizeof(Found));
  int status = GNNQ_NO_MEMORY;
  if (memory && plan.found) {
    plan.base = (int32_t*)memory;
    plan.queries = (Dot::Query*)(memory + head);
    memset(plan.queries, 0, queries);
    for (int t = 0; t < threads; ++t) {
      uint8_t* part = memory + head + queries + t * of_thread;
      plan.found[t] = Found{(Candidate*)part, (int64_t*)(part + heaps), (float*)(part + heaps + a.num_queries * 8), a.k};
      for (int64_t q = 0; q < a.num_queries; ++q) {
        plan.found[t].counts[q] = 0;
        plan.found[t].least[q] = -__builtin_inff();
      }
    }
    prepare_queries(plan);
    status = search_all(plan, threads);
  }
  free(memory);
  free(plan.found);
  return status;
}
