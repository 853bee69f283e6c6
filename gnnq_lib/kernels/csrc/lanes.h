// `Lanes`: kWidth 32-bit numbers (float F, integer I) and the operations that quantizing a row takes.
// Included inside an instruction set's namespace.

#if defined(GNNQ_BUILD_AVX512)
struct Lanes {
  static constexpr int kWidth = 16;
  typedef __m512 F;
  typedef __m512i I;
  typedef __mmask16 Mask;
  static inline Mask first(int n) { return (Mask)(n >= 16 ? 0xffff : (1u << n) - 1); }
  static inline F set(float x) { return _mm512_set1_ps(x); }
  static inline I set_int(int32_t x) { return _mm512_set1_epi32(x); }
  static inline F load(const float* p) { return _mm512_loadu_ps(p); }
  static inline void store(float* p, F x) { _mm512_storeu_ps(p, x); }
  static inline F load_first(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
  static inline void store_first(float* p, F x, int n) { _mm512_mask_storeu_ps(p, first(n), x); }
  static inline void stream(float* p, F x) { _mm512_stream_ps(p, x); }  // past the cache; aligned
  static inline bool finite(F x) {
    return _mm512_cmp_ps_mask(_mm512_abs_ps(x), _mm512_set1_ps(__builtin_inff()), _CMP_LT_OQ) == 0xffff;
  }
  static inline F add(F a, F b) { return _mm512_add_ps(a, b); }
  static inline F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static inline F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static inline F min(F a, F b) { return _mm512_min_ps(a, b); }
  static inline F max(F a, F b) { return _mm512_max_ps(a, b); }
  static inline I add_int(I a, I b) { return _mm512_add_epi32(a, b); }
  static inline I sub_int(I a, I b) { return _mm512_sub_epi32(a, b); }
  static inline I max_int(I a, I b) { return _mm512_max_epi32(a, b); }
  static inline I min_int(I a, I b) { return _mm512_min_epi32(a, b); }
  static inline I and_int(I a, I b) { return _mm512_and_si512(a, b); }
  static inline I or_int(I a, I b) { return _mm512_or_si512(a, b); }
  template <int N> static inline I shift_left_by(I a) { return _mm512_slli_epi32(a, N); }
  template <int N> static inline I shift_right_by(I a) { return _mm512_srli_epi32(a, N); }
  static inline I load_int(const uint32_t* p) { return _mm512_loadu_si512(p); }
  static inline void store_int(uint32_t* p, I x) { _mm512_storeu_si512(p, x); }
  static inline void deinterleave(I a, I b, I& even, I& odd) {
    const I first = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    even = _mm512_permutex2var_epi32(a, first, b);
    odd = _mm512_permutex2var_epi32(a, _mm512_add_epi32(first, _mm512_set1_epi32(1)), b);
  }
  static inline void interleave(I even, I odd, I& a, I& b) {
    const I first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    a = _mm512_permutex2var_epi32(even, first, odd);
    b = _mm512_permutex2var_epi32(even, _mm512_add_epi32(first, _mm512_set1_epi32(8)), odd);
  }
  static inline I exponent_of(I shifted) { return _mm512_srli_epi32(shifted, 23); }
  static inline I shift_left(I a, I counts) { return _mm512_sllv_epi32(a, counts); }
  static inline I bits(F x) { return _mm512_castps_si512(x); }
  static inline F from_bits(I x) { return _mm512_castsi512_ps(x); }
  static inline F to_float(I x) { return _mm512_cvtepi32_ps(x); }
  static inline uint32_t at_least(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }  // bit l: lane l
  static inline I to_int(F x) { return _mm512_cvtps_epi32(x); }
  static inline F swap(F x, int distance) {  // lane l <-> lane l ^ distance
    if (distance == 1) return _mm512_permute_ps(x, 0xb1);
    if (distance == 2) return _mm512_permute_ps(x, 0x4e);
    if (distance == 4) return _mm512_shuffle_f32x4(x, x, 0xb1);
    return _mm512_shuffle_f32x4(x, x, 0x4e);
  }
  static inline I load_state(const uint8_t* p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p)); }
  static inline I load_state(const uint16_t* p) { return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)); }
  static inline I load_state(const uint32_t* p) { return _mm512_loadu_si512(p); }
};
#elif defined(GNNQ_BUILD_AVX2)
struct Lanes {
  static constexpr int kWidth = 8;
  typedef __m256 F;
  typedef __m256i I;
  typedef __m256i Mask;
  static inline Mask first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static inline F set(float x) { return _mm256_set1_ps(x); }
  static inline I set_int(int32_t x) { return _mm256_set1_epi32(x); }
  static inline F load(const float* p) { return _mm256_loadu_ps(p); }
  static inline void store(float* p, F x) { _mm256_storeu_ps(p, x); }
  static inline F load_first(const float* p, int n) { return _mm256_maskload_ps(p, first(n)); }
  static inline void store_first(float* p, F x, int n) { _mm256_maskstore_ps(p, first(n), x); }
  static inline void stream(float* p, F x) { _mm256_stream_ps(p, x); }
  static inline bool finite(F x) {
    const F size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
    return _mm256_movemask_ps(_mm256_cmp_ps(size, _mm256_set1_ps(__builtin_inff()), _CMP_LT_OQ)) == 0xff;
  }
  static inline F add(F a, F b) { return _mm256_add_ps(a, b); }
  static inline F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static inline F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static inline F min(F a, F b) { return _mm256_min_ps(a, b); }
  static inline F max(F a, F b) { return _mm256_max_ps(a, b); }
  static inline I add_int(I a, I b) { return _mm256_add_epi32(a, b); }
  static inline I sub_int(I a, I b) { return _mm256_sub_epi32(a, b); }
  static inline I max_int(I a, I b) { return _mm256_max_epi32(a, b); }
  static inline I min_int(I a, I b) { return _mm256_min_epi32(a, b); }
  static inline I and_int(I a, I b) { return _mm256_and_si256(a, b); }
  static inline I or_int(I a, I b) { return _mm256_or_si256(a, b); }
  template <int N> static inline I shift_left_by(I a) { return _mm256_slli_epi32(a, N); }
  template <int N> static inline I shift_right_by(I a) { return _mm256_srli_epi32(a, N); }
  static inline I load_int(const uint32_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
  static inline void store_int(uint32_t* p, I x) { _mm256_storeu_si256((__m256i*)p, x); }
  static inline void deinterleave(I a, I b, I& even, I& odd) {
    const F evens = _mm256_shuffle_ps(from_bits(a), from_bits(b), 0x88), odds = _mm256_shuffle_ps(from_bits(a), from_bits(b), 0xdd);
    even = _mm256_permute4x64_epi64(bits(evens), 0xd8);
    odd = _mm256_permute4x64_epi64(bits(odds), 0xd8);
  }
  static inline void interleave(I even, I odd, I& a, I& b) {
    const I low = _mm256_unpacklo_epi32(even, odd), high = _mm256_unpackhi_epi32(even, odd);
    a = _mm256_permute2x128_si256(low, high, 0x20);
    b = _mm256_permute2x128_si256(low, high, 0x31);
  }
  static inline I exponent_of(I shifted) { return _mm256_srli_epi32(shifted, 23); }
  static inline I shift_left(I a, I counts) { return _mm256_sllv_epi32(a, counts); }
  static inline I bits(F x) { return _mm256_castps_si256(x); }
  static inline F from_bits(I x) { return _mm256_castsi256_ps(x); }
  static inline F to_float(I x) { return _mm256_cvtepi32_ps(x); }
  static inline uint32_t at_least(F a, F b) { return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GE_OQ)); }
  static inline I to_int(F x) { return _mm256_cvtps_epi32(x); }
  static inline F swap(F x, int distance) {
    if (distance == 1) return _mm256_permute_ps(x, 0xb1);
    if (distance == 2) return _mm256_permute_ps(x, 0x4e);
    return _mm256_permute2f128_ps(x, x, 0x01);
  }
  static inline I load_state(const uint8_t* p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p)); }
  static inline I load_state(const uint16_t* p) { return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)); }
  static inline I load_state(const uint32_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
};
#else
struct Lanes {
  static constexpr int kWidth = 4;
  typedef float F __attribute__((vector_size(16)));
  typedef int32_t I __attribute__((vector_size(16)));
  typedef uint32_t Unsigned __attribute__((vector_size(16)));
  typedef I Mask;
  static inline Mask first(int n) { return I{0, 1, 2, 3} < n; }
  static inline F set(float x) { return F{x, x, x, x}; }
  static inline I set_int(int32_t x) { return I{x, x, x, x}; }
  static inline F load(const float* p) { F x; memcpy(&x, p, 16); return x; }
  static inline void store(float* p, F x) { memcpy(p, &x, 16); }
  static inline F load_first(const float* p, int n) {
    float lanes[4] = {0, 0, 0, 0};
    for (int l = 0; l < n && l < 4; ++l) lanes[l] = p[l];
    return load(lanes);
  }
  static inline void store_first(float* p, F x, int n) {
    for (int l = 0; l < n && l < 4; ++l) p[l] = x[l];
  }
#if defined(__SSE2__)
  static inline void stream(float* p, F x) { _mm_stream_ps(p, x); }
#else
  static inline void stream(float* p, F x) { store(p, x); }
#endif
  static inline bool finite(F x) {
    bool all = true;
    for (int l = 0; l < 4; ++l) all = all && __builtin_fabsf(x[l]) < __builtin_inff();
    return all;
  }
  static inline F add(F a, F b) { return a + b; }
  static inline F sub(F a, F b) { return a - b; }
  static inline F mul(F a, F b) { return a * b; }
  static inline F select(Mask m, F yes, F no) { return (F)((m & (I)yes) | (~m & (I)no)); }
  static inline F min(F a, F b) { return select(a < b, a, b); }
  static inline F max(F a, F b) { return select(a > b, a, b); }
  static inline I add_int(I a, I b) { return a + b; }
  static inline I sub_int(I a, I b) { return a - b; }
  static inline I max_int(I a, I b) { const I m = a > b; return (m & a) | (~m & b); }
  static inline I min_int(I a, I b) { const I m = a < b; return (m & a) | (~m & b); }
  static inline I and_int(I a, I b) { return a & b; }
  static inline I or_int(I a, I b) { return a | b; }
  template <int N> static inline I shift_left_by(I a) { return a << N; }
  template <int N> static inline I shift_right_by(I a) { return (I)((Unsigned)a >> N); }
  static inline I load_int(const uint32_t* p) { I x; memcpy(&x, p, 16); return x; }
  static inline void store_int(uint32_t* p, I x) { memcpy(p, &x, 16); }
  static inline void deinterleave(I a, I b, I& even, I& odd) {
    even = I{a[0], a[2], b[0], b[2]};
    odd = I{a[1], a[3], b[1], b[3]};
  }
  static inline void interleave(I even, I odd, I& a, I& b) {
    a = I{even[0], odd[0], even[1], odd[1]};
    b = I{even[2], odd[2], even[3], odd[3]};
  }
  static inline I exponent_of(I shifted) { return shifted >> 23; }
  static inline I shift_left(I a, I counts) { return a << counts; }
  static inline I bits(F x) { return (I)x; }
  static inline F from_bits(I x) { return (F)x; }
  static inline F to_float(I x) { return __builtin_convertvector(x, F); }
  static inline uint32_t at_least(F a, F b) {
    const I m = a >= b;
    return (m[0] & 1) | (m[1] & 2) | (m[2] & 4) | (m[3] & 8);
  }
  static inline I to_int(F x) { return __builtin_convertvector(x, I); }
  static inline F swap(F x, int distance) {
    return distance == 1 ? F{x[1], x[0], x[3], x[2]} : F{x[2], x[3], x[0], x[1]};
  }
  static inline I load_state(const uint8_t* p) { return I{p[0], p[1], p[2], p[3]}; }
  static inline I load_state(const uint16_t* p) { return I{p[0], p[1], p[2], p[3]}; }
  static inline I load_state(const uint32_t* p) { I x; memcpy(&x, p, 16); return x; }
};
#endif

static inline int32_t float_bits(float x) {
  int32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}

// One quantizer, its constants in every lane. `scale_sign` -1: values count downwards from the row's largest.
struct RowQuantizer {
  Lanes::I threshold_bits, scale_bits, inverse_bits, largest_shift, whole_strides;
  Lanes::F top_code, magic;
  inline RowQuantizer(const gnnq_row_quantizer& q, int bits, int max_exponent, float scale_sign) {
    // bits(R) - bits(threshold), rounded up to whole strides, is the number of doublings that the row needs.
    const int32_t stride = q.stride << 23;
    threshold_bits = Lanes::set_int(float_bits(q.threshold) - (stride - 1));
    whole_strides = Lanes::set_int(0x7fffffff & ~(stride - 1));
    scale_bits = Lanes::set_int(float_bits(scale_sign * q.scale));
    inverse_bits = Lanes::set_int(float_bits(q.inverse));
    largest_shift = Lanes::set_int(max_exponent << 23);
    top_code = Lanes::set((float)((1 << bits) - 1));
    magic = Lanes::set(8388608.0f);  // 2^23: adding and taking it away rounds to whole numbers, half to even
  }
  // The row's exponent, as it stands in the bits of a float (shifted left by 23).
  inline Lanes::I shift_of(Lanes::F range) const {
    const Lanes::I over = Lanes::max_int(Lanes::sub_int(Lanes::bits(range), threshold_bits), Lanes::set_int(0));
    return Lanes::min_int(Lanes::and_int(over, whole_strides), largest_shift);
  }
  // 1 / (scale 2^e) and +-scale 2^e. Multiplying by a power of two is exact, so its place does not matter.
  inline Lanes::F factor_of(Lanes::I shift) const { return Lanes::from_bits(Lanes::sub_int(inverse_bits, shift)); }
  inline Lanes::F step_of(Lanes::I shift) const { return Lanes::from_bits(Lanes::add_int(scale_bits, shift)); }
  // 2^23 + rint(min(t / (scale 2^e), n)) for t >= 0: the code stands in the low bits.
  inline Lanes::F raised_code(Lanes::F t, Lanes::F factor) const {
    return Lanes::add(Lanes::min(Lanes::mul(t, factor), top_code), magic);
  }
  inline Lanes::F code(Lanes::F t, Lanes::F factor) const { return Lanes::sub(raised_code(t, factor), magic); }
};

// Largest over each group of `lanes` lanes, in all lanes of the group.
static inline Lanes::F group_max(Lanes::F x, int lanes) {
  for (int distance = 1; distance < lanes; distance *= 2) x = Lanes::max(x, Lanes::swap(x, distance));
  return x;
}
