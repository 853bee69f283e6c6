// Helpers shared by the kernels of one instruction set (included inside that set's namespace).

#define GNNQ_INLINE __attribute__((always_inline))

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static constexpr int64_t kLargeResult = 4 << 20;
static inline int64_t packed_bytes(int64_t values, int bits) { return (values * bits + 7) / 8; }

// 64-byte aligned memory with room for vectors that run past the end.
static inline void* make_room(int64_t bytes) {
  const size_t size = (size_t)((bytes + 127) / 64 * 64);
  void* p = aligned_alloc(64, size);
  if (p) ask_for_large_pages(p, (int64_t)size);
  return p;
}

// The same, all zeros.
static inline void* make_buffer(int64_t bytes) {
  void* p = make_room(bytes);
  if (p) memset(p, 0, (size_t)bytes + 64);
  return p;
}

// Results that go past the cache: aligned ones so large that they would only push the packed rows out of it.
static inline bool large_result(const gnnq_spmm_args& a) {
  return (uintptr_t)a.out % 64 == 0 && a.num_rows * a.num_values * 4 > kLargeResult;
}

// Streaming needs whole cache lines in every piece: planes of 16 values (or one plane).
static inline bool can_stream(const gnnq_spmm_args& a, int64_t row_bytes) {
  return a.num_values % 16 == 0 && row_bytes % 16 == 0 && large_result(a);
}

// Row where block b of `blocks` starts, so that each block has the same edges plus kRowCost per row. A row has `stride`
// entries in row_ptr.
static inline int64_t block_start(const int64_t* row_ptr, int64_t num_rows, int64_t b, int64_t blocks, int64_t stride = 1) {
  const int64_t kRowCost = 4;
  const int64_t total = row_ptr[num_rows * stride] + kRowCost * num_rows;
  const int64_t target = (int64_t)((double)total * (double)b / (double)blocks);
  int64_t low = 0, high = num_rows;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (row_ptr[middle * stride] + kRowCost * middle < target) low = middle + 1;
    else high = middle;
  }
  return b == blocks ? num_rows : low;
}

static inline int thread_number() {
#if defined(_OPENMP)
  return omp_get_thread_num();
#else
  return 0;
#endif
}

// Shares the blocks among the threads of the surrounding parallel region, without waiting at the end.
template <class Work>
static inline void each_block(int64_t blocks, int threads, const Work& work) {
  if (blocks == threads) {
#pragma omp for schedule(static, 1) nowait
    for (int64_t b = 0; b < blocks; ++b) work(b);
  } else {
#pragma omp for schedule(dynamic, 1) nowait
    for (int64_t b = 0; b < blocks; ++b) work(b);
  }
}

// Calls work(block, scratch) for every block, over the threads. False when a thread had no memory. With one block a thread,
// a block stays on the same thread from call to call: what it read and wrote last time is in that core's cache.
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
    const auto block = [&](int64_t b) {
      if (scratch) work(b, scratch);
    };
    each_block(blocks, threads, block);
#if defined(__SSE2__)
    _mm_sfence();  // streamed results are visible before the threads meet
#endif
    free(scratch);
  }
  return !failed;
}

// Small work stays on the calling thread: waking the others costs some microseconds.
static inline int useful_threads(int threads, int64_t byte_operations) {
  return byte_operations < (1 << 17) ? 1 : threads;
}
