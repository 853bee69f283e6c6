// spmm with float coefficients (a free scale per node, a weight per edge): sum = sum + coefficient * (q - zero), in the
// order of the edges, each step rounded to float32. Included inside an instruction set's namespace.

static inline float edge_coefficient(const gnnq_spmm_args& a, int64_t e) {
  const float scale = a.node_scale ? a.node_scale[a.col[e]] : 1.0f;
  return a.edge_weight ? a.edge_weight[e] * scale : scale;
}

template <int BITS>
static inline void add_scaled_row(const gnnq_spmm_args& a, int64_t e, int64_t row_bytes, float* sums) {
  const int64_t source = a.col[e];
  const uint8_t* row = a.packed + source * row_bytes;
  const int32_t zero = a.node_zero ? a.node_zero[source] : a.zero_point;
  const float coefficient = edge_coefficient(a, e);
  for (int plane = 0; plane < 8 / BITS; ++plane) {
    const int64_t first = plane * row_bytes, n = min64(row_bytes, a.num_values - first);
    for (int64_t k = 0; k < n; ++k) {
      const int32_t code = (row[k] >> (plane * BITS)) & ((1 << BITS) - 1);
      sums[first + k] = sums[first + k] + coefficient * (float)(code - zero);
    }
  }
}

template <int BITS>
static int spmm_float_bits(const gnnq_spmm_args& a) {
  const int64_t row_bytes = packed_bytes(a.num_values, BITS), last = a.num_edges - 1;
  const int threads = useful_threads(a.num_threads, (a.num_edges + a.num_rows) * a.num_values);
  const int64_t blocks = threads == 1 ? 1 : threads * 16;
  return run_blocks(blocks, threads, a.num_values * 4, [&](int64_t b, void* scratch) {
    float* sums = (float*)scratch;
    const int64_t end = block_start(a.row_ptr, a.num_rows, b + 1, blocks);
    for (int64_t i = block_start(a.row_ptr, a.num_rows, b, blocks); i < end; ++i) {
      memset(sums, 0, a.num_values * 4);
      for (int64_t e = a.row_ptr[i]; e < a.row_ptr[i + 1]; ++e) {
        const uint8_t* coming = a.packed + (int64_t)a.col[min64(e + kPrefetchEdges, last)] * row_bytes;
        for (int64_t line = 0; line < row_bytes; line += 64) __builtin_prefetch(coming + line);
        add_scaled_row<BITS>(a, e, row_bytes, sums);
      }
      const RowOut out = {(uint8_t*)a.out + i * a.num_values * 4, a.column_scale, a.bias,
                          row_factor(a.scale, a.row_scale, i), 0, true};
      finish_float(out, sums, a.num_values);
    }
  }) ? GNNQ_OK : GNNQ_NO_MEMORY;
}

static int spmm_float(const gnnq_spmm_args& a) {
  if (a.bits == 1) return spmm_float_bits<1>(a);
  if (a.bits == 2) return spmm_float_bits<2>(a);
  if (a.bits == 4) return spmm_float_bits<4>(a);
  return spmm_float_bits<8>(a);
}
