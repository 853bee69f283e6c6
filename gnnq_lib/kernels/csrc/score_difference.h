// Differences of two scores of one user, as training by pairs of items needs them, and their gradient. h_u, h_i, h_j are
// the rows that a triplet t names.
//   out[t] = sum over c of h_u[c] * (h_j[c] - h_i[c])
//   out[u] += g[t] * (h_j - h_i),  out[i] -= g[t] * h_u,  out[j] += g[t] * h_u      (gradient; t by t)
// Each operation is rounded to float32; column c adds to partial sum c % 16, and halves of these are added up until one is
// left. Included inside an instruction set's namespace, after lanes.h.

static constexpr int kPartialSums = 16;
static constexpr int kTripletsAhead = 4;  // triplets whose rows are fetched before they are needed

struct Triplet {
  int64_t user, first, second;
  inline Triplet(const gnnq_score_difference_args& a, int64_t t)
      : user(a.places[t]), first(a.places[a.num_triplets + t]), second(a.places[2 * a.num_triplets + t]) {}
};

static inline void fetch_triplet(const gnnq_score_difference_args& a, int64_t t) {
  const Triplet coming(a, min64(t, a.num_triplets - 1));
  for (int64_t c = 0; c < a.num_values; c += 16) {
    __builtin_prefetch(a.rows + coming.user * a.num_values + c);
    __builtin_prefetch(a.rows + coming.first * a.num_values + c);
    __builtin_prefetch(a.rows + coming.second * a.num_values + c);
  }
}

static inline Lanes::F load_columns(const float* p, int64_t left) {
  return left >= Lanes::kWidth ? Lanes::load(p) : Lanes::load_first(p, (int)left);
}

static inline float difference_of(const float* user, const float* first, const float* second, int64_t num_values) {
  constexpr int kWidth = Lanes::kWidth, kVectors = kPartialSums / kWidth;
  Lanes::F sums[kVectors];
  for (int v = 0; v < kVectors; ++v) sums[v] = Lanes::set(0.0f);
  for (int64_t c = 0; c < num_values; c += kPartialSums)
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = c + v * kWidth, left = num_values - at;
      if (left <= 0) break;
      const Lanes::F change = Lanes::sub(load_columns(second + at, left), load_columns(first + at, left));
      sums[v] = Lanes::add(sums[v], Lanes::mul(load_columns(user + at, left), change));
    }
  float partial[kPartialSums];
  for (int v = 0; v < kVectors; ++v) Lanes::store(partial + v * kWidth, sums[v]);
  for (int half = kPartialSums / 2; half > 0; half /= 2)
    for (int k = 0; k < half; ++k) partial[k] += partial[k + half];
  return partial[0];
}

static void add_gradients(const gnnq_score_difference_args& a, int64_t begin, int64_t end) {
  if (begin == end) return;
  const auto mine = [&](int64_t row) { return begin <= row && row < end; };
  memset(a.out + begin * a.num_values, 0, (size_t)((end - begin) * a.num_values * 4));
  for (int64_t t = 0; t < a.num_triplets; ++t) {
    const Triplet triplet(a, t);
    const bool users = mine(triplet.user), firsts = mine(triplet.first), seconds = mine(triplet.second);
    if (!users && !firsts && !seconds) continue;
    fetch_triplet(a, t + kTripletsAhead);
    const float *user = a.rows + triplet.user * a.num_values, *first = a.rows + triplet.first * a.num_values,
                *second = a.rows + triplet.second * a.num_values;
    float *out_user = a.out + triplet.user * a.num_values, *out_first = a.out + triplet.first * a.num_values,
          *out_second = a.out + triplet.second * a.num_values;
    const Lanes::F grad = Lanes::set(a.grad[t]);
    for (int64_t c = 0; c < a.num_values; c += Lanes::kWidth) {
      const int64_t left = a.num_values - c;
      const int n = (int)min64(left, Lanes::kWidth);
      if (users) {
        const Lanes::F change = Lanes::sub(load_columns(second + c, left), load_columns(first + c, left));
        Lanes::store_first(out_user + c, Lanes::add(load_columns(out_user + c, left), Lanes::mul(grad, change)), n);
      }
      const Lanes::F term = Lanes::mul(grad, load_columns(user + c, left));
      if (firsts) Lanes::store_first(out_first + c, Lanes::sub(load_columns(out_first + c, left), term), n);
      if (seconds) Lanes::store_first(out_second + c, Lanes::add(load_columns(out_second + c, left), term), n);
    }
  }
}

static int score_difference(const gnnq_score_difference_args* args) {
  const gnnq_score_difference_args& a = *args;
  const int threads = useful_threads(a.num_threads, a.num_triplets * a.num_values * 12);
  if (a.backward) ask_for_large_pages(a.out, a.num_rows * a.num_values * 4);
  // A thread has rows of its own to add to, so that the order does not depend on how many threads there are.
  const int64_t size = a.backward ? a.num_rows : a.num_triplets;
  return run_blocks(threads, threads, 0, [&](int64_t b, void*) {
    const int64_t begin = size * b / threads, end = size * (b + 1) / threads;
    if (a.backward) return add_gradients(a, begin, end);
    for (int64_t t = begin; t < end; ++t) {
      fetch_triplet(a, t + kTripletsAhead);
      const Triplet triplet(a, t);
      a.out[t] = difference_of(a.rows + triplet.user * a.num_values, a.rows + triplet.first * a.num_values,
                               a.rows + triplet.second * a.num_values, a.num_values);
    }
  }) ? GNNQ_OK : GNNQ_NO_MEMORY;
}
