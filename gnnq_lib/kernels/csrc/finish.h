// From sums to results: factor * (sum - zero_sum), then column scale, then bias, each operation rounded to float32; or the
// integer sums themselves. Included inside an instruction set's namespace, after lanes.h.

// Where the results of one row go, and what is done to its integer sums.
struct RowOut {
  void* out;
  const float* column_scale;
  const float* bias;
  float factor;      // scale * row_scale[i]
  int32_t zero_sum;  // what the zero points add up to in this row
  bool float_out;
  bool streaming;    // past the cache; only whole, aligned vectors
};

static inline float row_factor(float scale, const float* row_scale, int64_t i) {
  return row_scale ? scale * row_scale[i] : scale;
}

// out[first ... first + n) from 8-, 16- or 32-bit sums; up to Lanes::kWidth - 1 of them are read past the end.
template <class T>
static inline GNNQ_INLINE void finish(const RowOut& r, const T* sums, int64_t first, int64_t n) {
  float* out = (float*)r.out + first;
  const Lanes::I zero_sum = Lanes::set_int(r.zero_sum);
  const Lanes::F factor = Lanes::set(r.factor);
  for (int64_t k = 0; k < n; k += Lanes::kWidth) {
    const int left = (int)(n - k);
    const Lanes::I whole = Lanes::sub_int(Lanes::load_state(sums + k), zero_sum);
    Lanes::F value = Lanes::from_bits(whole);
    if (r.float_out) {
      value = Lanes::mul(factor, Lanes::to_float(whole));
      if (r.column_scale) value = Lanes::mul(value, Lanes::load_first(r.column_scale + first + k, left));
      if (r.bias) value = Lanes::add(value, Lanes::load_first(r.bias + first + k, left));
    }
    if (r.streaming) Lanes::stream(out + k, value);
    else Lanes::store_first(out + k, value, left);
  }
}

// The commonest case without a choice per vector: factor * (sum - zero_sum) alone. WHOLE: n fills its vectors.
template <bool WHOLE, class T>
static inline GNNQ_INLINE void finish_scaled(const RowOut& r, const T* sums, int64_t first, int64_t n) {
  float* out = (float*)r.out + first;
  const Lanes::I zero_sum = Lanes::set_int(r.zero_sum);
  const Lanes::F factor = Lanes::set(r.factor);
  for (int64_t k = 0; k < n; k += Lanes::kWidth) {
    const Lanes::F value = Lanes::mul(factor, Lanes::to_float(Lanes::sub_int(Lanes::load_state(sums + k), zero_sum)));
    if (r.streaming) Lanes::stream(out + k, value);
    else if (WHOLE) Lanes::store(out + k, value);
    else Lanes::store_first(out + k, value, (int)(n - k));
  }
}

// Whether that is all that is asked for.
static inline bool only_scaled(const gnnq_spmm_args& a) { return a.float_out && !a.column_scale && !a.bias; }

// Float sums: the same steps without a zero point.
static inline void finish_float(const RowOut& r, const float* sums, int64_t n) {
  float* out = (float*)r.out;
  for (int64_t k = 0; k < n; ++k) out[k] = r.factor * sums[k];
  if (r.column_scale)
    for (int64_t k = 0; k < n; ++k) out[k] = out[k] * r.column_scale[k];
  if (r.bias)
    for (int64_t k = 0; k < n; ++k) out[k] = out[k] + r.bias[k];
}
