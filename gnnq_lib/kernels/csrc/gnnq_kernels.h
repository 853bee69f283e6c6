// The C interface between Python (ctypes, see ../native.py) and the kernels. Plain structs and pointers only.
// Python has checked every argument before it gets here: shapes, ranges, sorted row pointers, sums that fit 31 bits.
#pragma once
#include <stdint.h>

// out[i, :] = sum over edges e of row i of  edge_code[e] * ((q[col[e], :] - zero) << exponent[col[e]])      (integers)
// out[i, :] = sum over edges e of row i, in the order of e, of  (edge_weight[e] * node_scale[col[e]]) * (q - zero)  (float)
typedef struct {
  const int64_t* row_ptr;       // num_rows + 1
  const int32_t* col;           // num_edges
  const int32_t* order;         // num_rows: rows by falling degree (narrow rows are processed in this order), or NULL
  const uint8_t* packed;        // num_sources x row_bytes, plane order (quantizers/packing.py)
  const uint8_t* exponents;     // num_sources, 0..7, or NULL
  const uint8_t* node_zero;     // num_sources, or NULL
  const uint8_t* edge_codes;    // num_edges, or NULL
  const float* node_scale;      // num_sources, or NULL
  const float* edge_weight;     // num_edges, or NULL
  const float* row_scale;       // num_rows, or NULL
  const float* column_scale;    // num_values, or NULL
  const float* bias;            // num_values, or NULL
  void* out;                    // num_rows x num_values, int32 or float32
  int64_t num_rows;
  int64_t num_sources;
  int64_t num_edges;
  int64_t num_values;
  int32_t bits;
  int32_t zero_point;           // used where node_zero is NULL
  int32_t max_exponent;         // largest entry of exponents, 0 where NULL
  int32_t max_edge_code;        // largest entry of edge_codes, 1 where NULL
  int32_t float_out;            // 0: int32 out; 1: float32 out
  int32_t num_threads;
  float scale;                  // float out: factor of row i is scale * row_scale[i]
  int32_t fresh_out;            // 1: out was allocated for this call (large pages are then asked for)
} gnnq_spmm_args;

// acc[i, c] = sum over k of (a[i, k] - a_zero[i]) * (w[k, c] - w_zero)
typedef struct {
  const uint8_t* a_packed;      // num_rows x row_bytes(inner, a_bits)
  const uint8_t* w_packed;      // inner x row_bytes(num_values, w_bits)
  const uint8_t* a_node_zero;   // num_rows, or NULL
  const float* row_scale;
  const float* column_scale;
  const float* bias;
  void* out;
  int64_t num_rows;
  int64_t inner;
  int64_t num_values;
  int32_t a_bits;
  int32_t w_bits;
  int32_t a_zero;
  int32_t w_zero;
  int32_t float_out;
  int32_t num_threads;
  float scale;
  int32_t fresh_out;
} gnnq_linear_args;

enum { GNNQ_PLAIN = 0, GNNQ_AVX2 = 1, GNNQ_AVX512 = 2, GNNQ_NUM_ISAS = 3 };
enum { GNNQ_OK = 0, GNNQ_NO_MEMORY = 1, GNNQ_NO_SUCH_ISA = 2 };

typedef struct {
  int (*spmm)(const gnnq_spmm_args*);
  int (*linear)(const gnnq_linear_args*);
} gnnq_kernel_table;
