// One vector of bytes per instruction set, with the few operations the kernels need. All are static functions on a
// struct `Vec...`; `kBytes` is the width. Shifts are those of 64-bit lanes: callers mask the bits that cross over.
// Included once per instruction set, inside that set's own namespace (no symbol is shared between the sets).

// GCC/Clang vector extension: SSE2 on x86, NEON on ARM, whatever the plain target has.
struct VecPlain {
  static constexpr int kBytes = 16;
  static constexpr bool kCopies = false;  // cannot shift each copy of a row by its own count
  typedef uint64_t type __attribute__((vector_size(16)));
  typedef uint8_t bytes __attribute__((vector_size(16)));
  typedef uint16_t halves __attribute__((vector_size(16)));
  static inline type zero() { return type{0, 0}; }
  static inline type load_part(const uint8_t* p, int n) {
    type v = {0, 0};
    if (n >= 16) __builtin_memcpy(&v, p, 16);
    else if (n > 0) __builtin_memcpy(&v, p, n);
    return v;
  }
  static inline type widen_part(const uint8_t* p, int n) {  // 8 bytes -> 8 16-bit lanes
    uint8_t part[8] = {0};
    __builtin_memcpy(part, p, n >= 8 ? 8 : (n > 0 ? n : 0));
    halves h;
    for (int k = 0; k < 8; ++k) h[k] = part[k];
    return (type)h;
  }
  template <int R> static inline type load_copies(const uint8_t* p, int n) { return load_part(p, n); }
  template <int R> static inline type widen_copies(const uint8_t* p, int n) { return widen_part(p, n); }
  static inline type set16(uint16_t x) { return (type)(halves{x, x, x, x, x, x, x, x}); }
  static inline type and_(type a, type b) { return a & b; }
  static inline type or_(type a, type b) { return a | b; }
  static inline type shr16(type a, int n) { return (type)((halves)a >> (uint16_t)n); }
  static inline type pick(const uint8_t* sixteen, const uint8_t* index) {  // byte index[k], 0 where that is 0x80
    bytes v;
    for (int k = 0; k < 16; ++k) v[k] = index[k] & 0x80 ? 0 : sixteen[index[k] & 15];
    return (type)v;
  }
  static inline type add8(type a, type b) { return (type)((bytes)a + (bytes)b); }
  static inline type add16(type a, type b) { return (type)((halves)a + (halves)b); }
  static inline type mul16(type a, type b) { return (type)((halves)a * (halves)b); }
  static inline type shl16(type a, int n) { return (type)((halves)a << (uint16_t)n); }
  struct Shift { int count; };
  template <int R> static inline Shift make_shift(int step, int bits) { return Shift{step * bits}; }
  static inline type shr(type a, Shift s) { return a >> (uint64_t)s.count; }
  static inline void store(uint8_t* p, type v) { __builtin_memcpy(p, &v, 16); }
};

#if defined(GNNQ_BUILD_AVX2) || defined(GNNQ_BUILD_AVX512)
template <int R> static inline __m256i copies_of_16_or_less(const uint8_t* p) {
  if constexpr (R == 2) return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)p));
  int64_t eight;
  __builtin_memcpy(&eight, p, 8);
  return _mm256_set1_epi64x(eight);
}
#endif

#if defined(GNNQ_BUILD_AVX2)
struct VecAvx2 {
  static constexpr int kBytes = 32;
  static constexpr bool kCopies = true;
  typedef __m256i type;
  static inline type zero() { return _mm256_setzero_si256(); }
  static inline type load_part(const uint8_t* p, int n) {
    if (n >= 32) return _mm256_loadu_si256((const __m256i*)p);
    alignas(32) uint8_t part[32] = {0};
    if (n > 0) __builtin_memcpy(part, p, n);
    return _mm256_load_si256((const __m256i*)part);
  }
  static inline type widen_part(const uint8_t* p, int n) {
    if (n >= 16) return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i*)p));
    alignas(16) uint8_t part[16] = {0};
    if (n > 0) __builtin_memcpy(part, p, n);
    return _mm256_cvtepu8_epi16(_mm_load_si128((const __m128i*)part));
  }
  // R copies of a row of exactly kBytes / R bytes (widened: kBytes / 2 / R bytes).
  template <int R> static inline type load_copies(const uint8_t* p, int n) {
    if constexpr (R == 1) return load_part(p, n);
    return copies_of_16_or_less<R>(p);
  }
  template <int R> static inline type widen_copies(const uint8_t* p, int n) {
    if constexpr (R == 1) return widen_part(p, n);
    if constexpr (R == 2) {
      int64_t eight;
      __builtin_memcpy(&eight, p, 8);
      return _mm256_cvtepu8_epi16(_mm_set1_epi64x(eight));
    }
    int32_t four;
    __builtin_memcpy(&four, p, 4);
    return _mm256_cvtepu8_epi16(_mm_set1_epi32(four));
  }
  static inline type set16(uint16_t x) { return _mm256_set1_epi16((short)x); }
  static inline type and_(type a, type b) { return _mm256_and_si256(a, b); }
  static inline type or_(type a, type b) { return _mm256_or_si256(a, b); }
  static inline type shr16(type a, int n) { return _mm256_srl_epi16(a, _mm_cvtsi32_si128(n)); }
  static inline type pick(const uint8_t* sixteen, const uint8_t* index) {
    const __m256i row = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)sixteen));
    return _mm256_shuffle_epi8(row, _mm256_loadu_si256((const __m256i*)index));
  }
  static inline type add8(type a, type b) { return _mm256_add_epi8(a, b); }
  static inline type add16(type a, type b) { return _mm256_add_epi16(a, b); }
  static inline type mul16(type a, type b) { return _mm256_mullo_epi16(a, b); }
  static inline type shl16(type a, int n) { return _mm256_sll_epi16(a, _mm_cvtsi32_si128(n)); }
  typedef __m256i Shift;
  template <int R> static inline Shift make_shift(int step, int bits) {
    alignas(32) int64_t counts[4];
    for (int lane = 0; lane < 4; ++lane) counts[lane] = (step * R + lane * R / 4) * bits;
    return _mm256_load_si256((const __m256i*)counts);
  }
  static inline type shr(type a, Shift s) { return _mm256_srlv_epi64(a, s); }
  static inline void store(uint8_t* p, type v) { _mm256_storeu_si256((__m256i*)p, v); }
};
#endif

#if defined(GNNQ_BUILD_AVX512)
struct VecAvx512 {
  static constexpr int kBytes = 64;
  static constexpr bool kCopies = true;
  typedef __m512i type;
  static inline type zero() { return _mm512_setzero_si512(); }
  static inline type load_part(const uint8_t* p, int n) {
    if (n >= 64) return _mm512_loadu_si512(p);
    return _mm512_maskz_loadu_epi8(n > 0 ? (1ULL << n) - 1 : 0, p);
  }
  static inline type widen_part(const uint8_t* p, int n) {
    if (n >= 32) return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i*)p));
    return _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(n > 0 ? (uint32_t)((1ULL << n) - 1) : 0, p));
  }
  template <int R> static inline type load_copies(const uint8_t* p, int n) {
    if constexpr (R == 1) return load_part(p, n);
    if constexpr (R == 2) return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i*)p));
    if constexpr (R == 4) return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)p));
    int64_t eight;
    __builtin_memcpy(&eight, p, 8);
    return _mm512_set1_epi64(eight);
  }
  template <int R> static inline type widen_copies(const uint8_t* p, int n) {
    if constexpr (R == 1) return widen_part(p, n);
    return _mm512_cvtepu8_epi16(copies_of_16_or_less<R>(p));
  }
  static inline type set16(uint16_t x) { return _mm512_set1_epi16((short)x); }
  static inline type and_(type a, type b) { return _mm512_and_si512(a, b); }
  static inline type or_(type a, type b) { return _mm512_or_si512(a, b); }
  static inline type shr16(type a, int n) { return _mm512_srl_epi16(a, _mm_cvtsi32_si128(n)); }
  static inline type pick(const uint8_t* sixteen, const uint8_t* index) {
    const __m512i row = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)sixteen));
    return _mm512_shuffle_epi8(row, _mm512_loadu_si512(index));
  }
  static inline type add8(type a, type b) { return _mm512_add_epi8(a, b); }
  static inline type add16(type a, type b) { return _mm512_add_epi16(a, b); }
  static inline type mul16(type a, type b) { return _mm512_mullo_epi16(a, b); }
  static inline type shl16(type a, int n) { return _mm512_sll_epi16(a, _mm_cvtsi32_si128(n)); }
  typedef __m512i Shift;
  template <int R> static inline Shift make_shift(int step, int bits) {
    alignas(64) int64_t counts[8];
    for (int lane = 0; lane < 8; ++lane) counts[lane] = (step * R + lane * R / 8) * bits;
    return _mm512_load_si512(counts);
  }
  static inline type shr(type a, Shift s) { return _mm512_srlv_epi64(a, s); }
  static inline void store(uint8_t* p, type v) { _mm512_storeu_si512(p, v); }
};
#endif
