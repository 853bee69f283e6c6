// K quantised propagation steps in one call. Between steps each node holds a row of whole numbers w = q << e (its value is
// -w * scale, counted downwards from the row's largest entry, which is 0), in CP lanes of type T. A step is one pass: sum
// the neighbours' rows, scale, quantize, combine, quantize, store. Included inside an instruction set's namespace.

// Memory kept from call to call by each calling thread, so that small graphs do not pay for page faults.
struct Workspace {
  void* memory = nullptr;
  int64_t size = 0;
  ~Workspace() { free(memory); }
  void release() {
    free(memory);
    memory = nullptr;
    size = 0;
  }
  void* get(int64_t bytes) {
    if (bytes > size) {
      free(memory);
      memory = make_buffer(bytes);
      size = memory ? bytes : 0;
    }
    return memory;
  }
};

static thread_local Workspace propagate_workspace;

static inline int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

template <class T, int CP>
struct Propagate {
  static constexpr int W = Lanes::kWidth;
  static constexpr int NV = CP > W ? CP / W : 1;  // vectors per group of nodes
  static constexpr int L = CP < W ? CP : W;       // lanes of a node in one vector
  static constexpr int G = CP < W ? W / CP : 1;   // nodes per group
  static constexpr int kPiece = CP < 16 ? CP : 16;
  static constexpr int kPieces = CP / kPiece < 4 ? CP / kPiece : 4;
  typedef T Piece __attribute__((vector_size(kPiece * sizeof(T))));

  const gnnq_propagate_args& a;
  int64_t flush;  // edges whose rows cannot overflow T
  Lanes::Mask real[NV];
  T* states[2];
  T* inputs;
  T* gaps;
  float* updates;

  explicit Propagate(const gnnq_propagate_args& args) : a(args) {
    const int64_t largest = (((int64_t)1 << a.bits) - 1) << a.max_exponent;
    flush = (sizeof(T) == 2 ? 65535 : 2147483647) / largest;
    for (int v = 0; v < NV; ++v) {
      if (CP < W) {
        alignas(64) float lanes[W];
        for (int l = 0; l < W; ++l) lanes[l] = l % CP < a.num_values ? 1.0f : 0.0f;
        real[v] = nonzero(lanes);
      } else {
        real[v] = Lanes::first((int)max64(0, min64(W, a.num_values - v * W)));
      }
    }
  }

  static inline Lanes::Mask nonzero(const float* lanes) {
#if defined(GNNQ_BUILD_AVX512)
    return _mm512_cmp_ps_mask(Lanes::load(lanes), _mm512_setzero_ps(), _CMP_NEQ_OQ);
#elif defined(GNNQ_BUILD_AVX2)
    return _mm256_castps_si256(_mm256_cmp_ps(Lanes::load(lanes), _mm256_setzero_ps(), _CMP_NEQ_OQ));
#else
    return Lanes::load(lanes) != Lanes::set(0.0f);
#endif
  }

  // sums[CP] = sum of the rows of edges e0 ... e1 - 1 (which must fit T).
  inline void sum_rows(const T* state, int64_t e0, int64_t e1, T* sums) const {
    for (int first = 0; first < CP; first += kPieces * kPiece) {
      Piece acc[kPieces];
      for (int p = 0; p < kPieces; ++p) acc[p] = Piece{};
      for (int64_t e = e0; e < e1; ++e) {
        const T* row = state + (int64_t)a.col[e] * CP + first;
        for (int p = 0; p < kPieces; ++p) {
          Piece piece;
          memcpy(&piece, row + p * kPiece, sizeof(Piece));
          acc[p] += piece;
        }
      }
      for (int p = 0; p < kPieces; ++p) memcpy(sums + first + p * kPiece, &acc[p], sizeof(Piece));
    }
  }

  // Rows with more edges than T can sum: in parts, into 32 bits.
  void sum_many_rows(const T* state, int64_t e0, int64_t e1, uint32_t* sums) const {
    for (int l = 0; l < CP; ++l) sums[l] = 0;
    for (int64_t e = e0; e < e1; e += flush) {
      alignas(64) T part[CP];
      sum_rows(state, e, min64(e1, e + flush), part);
      for (int l = 0; l < CP; ++l) sums[l] += part[l];
    }
  }

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define GNNQ_JOINS 1
#endif
#endif

  // Sum of one node's rows where a row is a single piece.
  inline Piece sum_piece(const T* state, int64_t e0, int64_t e1) const {
    Piece acc = Piece{};
    for (int64_t e = e0; e < e1; ++e) {
      Piece piece;
      memcpy(&piece, state + (int64_t)a.col[e] * CP, sizeof(Piece));
      acc += piece;
    }
    return acc;
  }

  // Sums of a group's nodes side by side. Joined in registers: a load across several recent stores would have to wait.
  inline void short_group_sums(const T* state, int64_t position, Lanes::I (&sums)[NV]) const {
    const int64_t* ptr = a.row_ptr + position;
    alignas(64) T lanes[G * CP];
#if GNNQ_JOINS
    if constexpr (G == 4) {
      const Piece p0 = sum_piece(state, ptr[0], ptr[1]), p1 = sum_piece(state, ptr[1], ptr[2]);
      const Piece p2 = sum_piece(state, ptr[2], ptr[3]), p3 = sum_piece(state, ptr[3], ptr[4]);
      const auto low = __builtin_shufflevector(p0, p1, 0, 1, 2, 3, 4, 5, 6, 7);
      const auto high = __builtin_shufflevector(p2, p3, 0, 1, 2, 3, 4, 5, 6, 7);
      const auto all = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
      memcpy(lanes, &all, sizeof(all));
    } else if constexpr (G == 2 && CP == 8) {
      const Piece p0 = sum_piece(state, ptr[0], ptr[1]), p1 = sum_piece(state, ptr[1], ptr[2]);
      const auto all = __builtin_shufflevector(p0, p1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
      memcpy(lanes, &all, sizeof(all));
    } else if constexpr (G == 2) {
      const Piece p0 = sum_piece(state, ptr[0], ptr[1]), p1 = sum_piece(state, ptr[1], ptr[2]);
      const auto all = __builtin_shufflevector(p0, p1, 0, 1, 2, 3, 4, 5, 6, 7);
      memcpy(lanes, &all, sizeof(all));
    } else {
      sum_rows(state, ptr[0], ptr[1], lanes);
    }
#else
    for (int g = 0; g < G; ++g) sum_rows(state, ptr[g], ptr[g + 1], lanes + g * CP);
#endif
    for (int v = 0; v < NV; ++v) sums[v] = Lanes::load_state(lanes + v * W);
  }

  inline void group_sums(const T* state, int64_t position, Lanes::I (&sums)[NV]) const {
    int64_t longest = 0;
    for (int g = 0; g < G; ++g) longest = max64(longest, a.row_ptr[position + g + 1] - a.row_ptr[position + g]);
    if (longest <= flush) return short_group_sums(state, position, sums);
    alignas(64) uint32_t lanes[G * CP];
    for (int g = 0; g < G; ++g) sum_many_rows(state, a.row_ptr[position + g], a.row_ptr[position + g + 1], lanes + g * CP);
    for (int v = 0; v < NV; ++v) sums[v] = Lanes::load_state(lanes + v * W);
  }

  // Codes and exponent of one row (or of the rows of one group).
  inline Lanes::I quantize(const RowQuantizer& q, const Lanes::F (&x)[NV], Lanes::F (&code)[NV]) const {
    Lanes::F top = Lanes::select(real[0], x[0], Lanes::set(-__builtin_inff()));
    Lanes::F low = Lanes::select(real[0], x[0], Lanes::set(__builtin_inff()));
    for (int v = 1; v < NV; ++v) {
      top = Lanes::max(top, Lanes::select(real[v], x[v], top));
      low = Lanes::min(low, Lanes::select(real[v], x[v], low));
    }
    top = group_max(top, L);
    low = group_min(low, L);
    const Lanes::I shift = q.shift_of(Lanes::sub(top, low));
    for (int v = 0; v < NV; ++v) code[v] = q.code(Lanes::sub(top, x[v]), shift);
    return shift;
  }

  inline void quantize_to(const RowQuantizer& q, const Lanes::F (&x)[NV], T* to) const {
    Lanes::F code[NV];
    const Lanes::I shift = quantize(q, x, code);
    for (int v = 0; v < NV; ++v) Lanes::store_state(to + v * W, Lanes::keep(real[v], q.shifted_code(code[v], shift)));
  }

  inline void quantize_value(const RowQuantizer& q, const Lanes::F (&x)[NV], Lanes::F (&value)[NV]) const {
    Lanes::F code[NV];
    const Lanes::I shift = quantize(q, x, code);
    for (int v = 0; v < NV; ++v) value[v] = q.value(code[v], shift);
  }

  inline RowQuantizer quantizer(const gnnq_row_quantizer& q) const { return RowQuantizer(q, a.bits, a.max_exponent, -1.0f); }

  // value = (sum * scale) * inverse_degree of the group's nodes.
  inline void mean_of_neighbours(const T* state, float scale, int64_t position, Lanes::F (&mean)[NV]) const {
    Lanes::I sums[NV];
    group_sums(state, position, sums);
    const Lanes::F minus_scale = Lanes::set(-scale), inverse = Lanes::spread(a.inverse_degree + position, L);
    for (int v = 0; v < NV; ++v) mean[v] = Lanes::mul(Lanes::mul(Lanes::to_float(sums[v]), minus_scale), inverse);
  }

  static inline Lanes::F state_value(const T* row, int v, float scale) {
    return Lanes::mul(Lanes::to_float(Lanes::load_state(row + v * W)), Lanes::set(-scale));
  }

  // Row i of x times row_in[i], from memory that may end right behind it.
  inline void read_row(int64_t node, float* row) const {
    const Lanes::F factor = Lanes::set(a.row_in[node]);
    for (int first = 0; first < CP; first += W) {
      const int n = (int)max64(0, min64(W, a.num_values - first));
      const Lanes::F x = Lanes::mul(factor, Lanes::load_first(a.x + node * a.num_values + first, n));
      Lanes::store_first(row + first, x, CP < W ? CP : W);
    }
  }

  // False where x holds NaN or infinity.
  bool read_input(int64_t first, int64_t end) const {
    const RowQuantizer q = quantizer(*a.input);
    bool finite = true;
    for (int64_t position = first; position < end; position += G) {
      alignas(64) float rows[G * CP + W] = {0};
      for (int g = 0; g < G && position + g < a.num_nodes; ++g) read_row(a.order[position + g], rows + g * CP);
      Lanes::F x[NV];
      for (int v = 0; v < NV; ++v) {
        x[v] = Lanes::load(rows + v * W);
        finite = finite && Lanes::finite(x[v]);
      }
      quantize_to(q, x, inputs + position * CP);
    }
    return finite;
  }

  void step(int64_t k, const T* state, T* next, float scale, int64_t first, int64_t end) const {
    const RowQuantizer aggregate = quantizer(a.aggregate[k]), update = quantizer(a.update[k]);
    const bool gap = a.gap_coefficient[k] != 0.0f;
    const RowQuantizer gap_quantizer = quantizer(gap ? a.gap[k] : a.update[k]);
    const Lanes::F ch = Lanes::set(a.state_weight), ca = Lanes::set(a.aggregate_weight), cx = Lanes::set(a.input_weight);
    for (int64_t position = first; position < end; position += G) {
      Lanes::F mean[NV], value[NV], y[NV], difference[NV];
      mean_of_neighbours(state, scale, position, mean);
      quantize_value(aggregate, mean, value);
      for (int v = 0; v < NV; ++v) {
        const Lanes::F h = state_value(state + position * CP, v, scale);
        const Lanes::F x = state_value(inputs + position * CP, v, a.input->scale);
        const Lanes::F neighbours = Lanes::mul(ca, value[v]);
        const Lanes::F both = a.state_weight != 0.0f ? Lanes::add(Lanes::mul(ch, h), neighbours) : neighbours;
        y[v] = Lanes::add(both, Lanes::mul(cx, x));
        difference[v] = Lanes::sub(y[v], h);
      }
      if (!gap) {
        quantize_to(update, y, next + position * CP);
        continue;
      }
      for (int v = 0; v < NV; ++v) Lanes::store(updates + position * CP + v * W, y[v]);
      quantize_to(gap_quantizer, difference, gaps + position * CP);
    }
  }

  // Second half of a step with a gap term: y = y + coefficient * quantized mean of the neighbours' gaps.
  void gap_step(int64_t k, T* next, int64_t first, int64_t end) const {
    const RowQuantizer aggregate = quantizer(a.gap_aggregate[k]), update = quantizer(a.update[k]);
    const Lanes::F coefficient = Lanes::set(a.gap_coefficient[k]);
    for (int64_t position = first; position < end; position += G) {
      Lanes::F mean[NV], value[NV], y[NV];
      mean_of_neighbours(gaps, a.gap[k].scale, position, mean);
      quantize_value(aggregate, mean, value);
      for (int v = 0; v < NV; ++v)
        y[v] = Lanes::add(Lanes::load(updates + position * CP + v * W), Lanes::mul(coefficient, value[v]));
      quantize_to(update, y, next + position * CP);
    }
  }

  void write_output(const T* state, float scale, int64_t first, int64_t end) const {
    for (int64_t position = first; position < min64(end, a.num_nodes); ++position) {
      const int64_t node = a.order[position];
      const Lanes::F factor = Lanes::set(a.row_out[node]);
      for (int at = 0; at < a.num_values; at += W) {  // states end with room for a vector
        const Lanes::I whole = Lanes::sub_int(Lanes::set_int(0), Lanes::load_state(state + position * CP + at));
        const Lanes::F value = Lanes::mul(Lanes::mul(Lanes::to_float(whole), Lanes::set(scale)), factor);
        Lanes::store_first(a.out + node * a.num_values + at, value, (int)min64(W, a.num_values - at));
      }
    }
  }

  // All steps, for the positions of one thread; `meet` waits for the other threads.
  template <class Meet>
  void run_part(int64_t first, int64_t end, int* not_finite, const Meet& meet) const {
    if (!read_input(first, end)) {
#pragma omp atomic write
      *not_finite = 1;
    }
    meet();
    const T* state = inputs;
    float scale = a.input->scale;
    for (int64_t k = 0; k < a.num_steps; ++k) {
      T* next = states[k % 2];
      step(k, state, next, scale, first, end);
      if (a.gap_coefficient[k] != 0.0f) {
        meet();
        gap_step(k, next, first, end);
      }
      meet();
      state = next;
      scale = a.update[k].scale;
    }
    write_output(state, scale, first, end);
  }

  int run() {
    const int64_t state_bytes = round_up(a.num_positions * CP * (int64_t)sizeof(T), 64) + 64;
    int not_finite = 0;
    const int64_t bytes = 4 * state_bytes + a.num_positions * CP * 4;
    uint8_t* memory = (uint8_t*)propagate_workspace.get(bytes);
    if (!memory) return GNNQ_NO_MEMORY;
    inputs = (T*)memory;
    states[0] = (T*)(memory + state_bytes);
    states[1] = (T*)(memory + 2 * state_bytes);
    gaps = (T*)(memory + 3 * state_bytes);
    updates = (float*)(memory + 4 * state_bytes);
    const int wanted = useful_threads(a.num_threads, (a.row_ptr[a.num_positions] + a.num_positions) * CP * (a.num_steps + 1));
#if defined(_OPENMP)
#pragma omp parallel num_threads(wanted) if (wanted > 1)
    {
      const int part = omp_get_thread_num(), parts = omp_get_num_threads();
      const int64_t first = part_start(part, parts), end = part_start(part + 1, parts);
      run_part(first, end, &not_finite, [] {
#pragma omp barrier
      });
    }
#else
    (void)wanted;
    run_part(0, a.num_positions, &not_finite, [] {});
#endif
    if (bytes > (64 << 20)) propagate_workspace.release();
    return not_finite ? GNNQ_NOT_FINITE : GNNQ_OK;
  }

  int64_t part_start(int part, int parts) const {
    return part == parts ? a.num_positions : block_start(a.row_ptr, a.num_positions, part, parts) / 16 * 16;
  }
};

template <class T>
static int propagate_lanes(const gnnq_propagate_args& a) {
  if (a.num_values <= 4) return Propagate<T, 4>(a).run();
  if (a.num_values <= 8) return Propagate<T, 8>(a).run();
  if (a.num_values <= 16) return Propagate<T, 16>(a).run();
  if (a.num_values <= 32) return Propagate<T, 32>(a).run();
  if (a.num_values <= 64) return Propagate<T, 64>(a).run();
  return Propagate<T, 256>(a).run();
}

static int propagate(const gnnq_propagate_args* args) {
  const int64_t largest = (((int64_t)1 << args->bits) - 1) << args->max_exponent;
  return 65535 / largest >= 16 ? propagate_lanes<uint16_t>(*args) : propagate_lanes<uint32_t>(*args);
}
