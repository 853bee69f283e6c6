// Helpers shared by the kernels of one instruction set (included inside that set's namespace).

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t packed_bytes(int64_t values, int bits) { return (values * bits + 7) / 8; }

// Zero-initialised, 64-byte aligned memory with room for vectors that run past the end.
static inline void* make_buffer(int64_t bytes) {
  const size_t size = (size_t)((bytes + 127) / 64 * 64);
  void* p = aligned_alloc(64, size);
  if (p) memset(p, 0, size);
  return p;
}

// Large pages for memory that nobody has touched yet: writing 86 MB of results otherwise takes 21,000 page faults.
static inline void ask_for_large_pages(void* p, int64_t bytes) {
#if defined(__linux__)
  const uintptr_t page = 1u << 21;
  const uintptr_t first = ((uintptr_t)p + page - 1) / page * page, last = ((uintptr_t)p + bytes) / page * page;
  if (last > first) madvise((void*)first, last - first, MADV_HUGEPAGE);
#else
  (void)p;
  (void)bytes;
#endif
}

// Where the results of one row go, and what is done to its integer sums.
struct RowOut {
  void* out;
  const float* column_scale;
  const float* bias;
  float factor;      // scale * row_scale[i]
  int32_t zero_sum;  // what the zero points add up to in this row
  bool float_out;
};

static inline float row_factor(float scale, const float* row_scale, int64_t i) {
  return row_scale ? scale * row_scale[i] : scale;
}

// out[first ... first + n) from integer lanes: out = factor * (lane - zero_sum), then column scale, then bias.
template <class T>
static inline void finish(const RowOut& r, const T* lanes, int64_t first, int64_t n) {
  const int32_t zero_sum = r.zero_sum;
  if (!r.float_out) {
    int32_t* out = (int32_t*)r.out + first;
    for (int64_t k = 0; k < n; ++k) out[k] = (int32_t)lanes[k] - zero_sum;
    return;
  }
  float* out = (float*)r.out + first;
  const float factor = r.factor;
  for (int64_t k = 0; k < n; ++k) out[k] = factor * (float)((int32_t)lanes[k] - zero_sum);
  if (r.column_scale)
    for (int64_t k = 0; k < n; ++k) out[k] = out[k] * r.column_scale[first + k];
  if (r.bias)
    for (int64_t k = 0; k < n; ++k) out[k] = out[k] + r.bias[first + k];
}

// Float sums: the same steps without a zero point.
static inline void finish_float(const RowOut& r, const float* sums, int64_t n) {
  float* out = (float*)r.out;
  for (int64_t k = 0; k < n; ++k) out[k] = r.factor * sums[k];
  if (r.column_scale)
    for (int64_t k = 0; k < n; ++k) out[k] = out[k] * r.column_scale[k];
  if (r.bias)
    for (int64_t k = 0; k < n; ++k) out[k] = out[k] + r.bias[k];
}

// Row where block b of `blocks` starts, so that each block has the same edges plus kRowCost per row.
static inline int64_t block_start(const int64_t* row_ptr, int64_t num_rows, int64_t b, int64_t blocks) {
  const int64_t kRowCost = 4;
  const int64_t total = row_ptr[num_rows] + kRowCost * num_rows;
  const int64_t target = (int64_t)((double)total * (double)b / (double)blocks);
  int64_t low = 0, high = num_rows;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (row_ptr[middle] + kRowCost * middle < target) low = middle + 1;
    else high = middle;
  }
  return b == blocks ? num_rows : low;
}

// Calls work(block, scratch) for every block, over the threads. False when a thread had no memory.
template <class Work>
static bool run_blocks(int64_t blocks, int threads, int64_t scratch_bytes, const Work& work) {
  int failed = 0;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    void* scratch = make_buffer(scratch_bytes);
    if (!scratch) {
#pragma omp atomic write
      failed = 1;
    }
#pragma omp for schedule(dynamic, 1)
    for (int64_t b = 0; b < blocks; ++b)
      if (scratch) work(b, scratch);
    free(scratch);
  }
  return !failed;
}

// Small work stays on the calling thread: waking the others costs some microseconds.
static inline int useful_threads(int threads, int64_t byte_operations) {
  return byte_operations < (1 << 17) ? 1 : threads;
}
