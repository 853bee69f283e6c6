// Helpers shared by the kernels of one instruction set (included inside that set's namespace).

#define GNNQ_INLINE __attribute__((always_inline))

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t packed_bytes(int64_t values, int bits) { return (values * bits + 7) / 8; }

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

// Zero-initialised, 64-byte aligned memory with room for vectors that run past the end.
static inline void* make_buffer(int64_t bytes) {
  const size_t size = (size_t)((bytes + 127) / 64 * 64);
  void* p = aligned_alloc(64, size);
  if (p) {
    ask_for_large_pages(p, (int64_t)size);
    memset(p, 0, size);
  }
  return p;
}

// Where the results of one row go, and what is done to its integer sums.
struct RowOut {
  void* out;
  const float* column_scale;
  const float* bias;
  float factor;      // scale * row_scale[i]
  int32_t zero_sum;  // what the zero points add up to in this row
  bool float_out;
  bool streaming;    // past the cache
};

static inline float row_factor(float scale, const float* row_scale, int64_t i) {
  return row_scale ? scale * row_scale[i] : scale;
}

// Copies past the cache where `streaming`: results that are larger than the cache would only push the packed rows out of it.
static inline void put(void* to, const void* from, int64_t bytes, bool streaming) {
#if defined(__AVX512F__)
  if (streaming) {
    for (int64_t k = 0; k < bytes; k += 64) _mm512_stream_si512((__m512i*)((char*)to + k), _mm512_load_si512((const char*)from + k));
    return;
  }
#elif defined(__SSE2__)
  if (streaming) {
    for (int64_t k = 0; k < bytes; k += 16)
      _mm_stream_si128((__m128i*)((char*)to + k), _mm_load_si128((const __m128i*)((const char*)from + k)));
    return;
  }
#else
  (void)streaming;
#endif
  memcpy(to, from, bytes);
}

// 16 integer lanes -> 16 numbers. The compiler's own widening of bytes takes several times as many instructions.
template <class T>
static inline __attribute__((always_inline)) void widen16(const T* lanes, int32_t* whole) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 1) _mm512_store_si512(whole, _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)lanes)));
  else if constexpr (sizeof(T) == 2) _mm512_store_si512(whole, _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)lanes)));
  else _mm512_store_si512(whole, _mm512_loadu_si512(lanes));
#else
  for (int k = 0; k < 16; ++k) whole[k] = (int32_t)lanes[k];
#endif
}

static inline __attribute__((always_inline)) void scale16(const RowOut& r, const int32_t* whole, int64_t first, float* piece) {
  for (int k = 0; k < 16; ++k) piece[k] = r.factor * (float)(whole[k] - r.zero_sum);
  if (r.column_scale)
    for (int k = 0; k < 16; ++k) piece[k] = piece[k] * r.column_scale[first + k];
  if (r.bias)
    for (int k = 0; k < 16; ++k) piece[k] = piece[k] + r.bias[first + k];
}

// out[first ... first + 16) from integer lanes: factor * (lane - zero_sum), then column scale, then bias.
template <class T>
static inline __attribute__((always_inline)) void finish16(const RowOut& r, const T* lanes, int64_t first) {
  alignas(64) int32_t whole[16];
  alignas(64) float piece[16];
  widen16(lanes, whole);
  if (r.float_out) scale16(r, whole, first, piece);
  else
    for (int k = 0; k < 16; ++k) whole[k] -= r.zero_sum;
  put((float*)r.out + first, r.float_out ? (const void*)piece : (const void*)whole, 64, r.streaming);
}

template <class T>
static inline void finish1(const RowOut& r, T lane, int64_t at) {
  const int32_t whole = (int32_t)lane - r.zero_sum;
  if (!r.float_out) {
    ((int32_t*)r.out)[at] = whole;
    return;
  }
  float value = r.factor * (float)whole;
  if (r.column_scale) value = value * r.column_scale[at];
  if (r.bias) value = value + r.bias[at];
  ((float*)r.out)[at] = value;
}

template <class T>
static inline void finish(const RowOut& r, const T* lanes, int64_t first, int64_t n) {
  const int64_t whole = n / 16 * 16;
  for (int64_t k = 0; k < whole; k += 16) finish16(r, lanes + k, first + k);
  if (whole == n) return;
  for (int64_t k = whole; k < n; ++k) finish1(r, lanes[k], first + k);
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

// Streaming needs whole cache lines in every piece: planes of 16 values (or one plane) and an aligned, large result.
static inline bool can_stream(const void* out, int64_t num_rows, int64_t num_values, int64_t row_bytes) {
  return num_values % 16 == 0 && row_bytes % 16 == 0 && (uintptr_t)out % 64 == 0 && num_rows * num_values * 4 > (4 << 20);
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
