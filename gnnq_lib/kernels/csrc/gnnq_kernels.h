// The C interface between Python (ctypes, see ../native.py) and the kernels. Plain structs and pointers only.
// Python has checked every argument before it gets here: shapes, ranges, sorted row pointers, sums that fit 31 bits.
#pragma once
#include <stdint.h>

// out[i, :] = sum over edges e of row i of  edge_code[e] * ((q[col[e], :] - zero) << exponent[col[e]])      (integers)
// out[i, :] = sum over edges e of row i, in the order of e, of  (edge_weight[e] * node_scale[col[e]]) * (q - zero)  (float)
typedef struct {
  const int64_t* row_ptr;       // num_rows + 1
  const int32_t* col;           // num_edges, then 32 zeros (rows of coming edges are fetched ahead)
  const int32_t* order;         // num_rows: which row of the result comes at each position of row_ptr, or NULL: the same
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

// A quantizer with one power-of-two exponent per row (propagation.h): R the row's range, n = 2^bits - 1,
//   e = stride * (number of j >= 0 with threshold * 2^(stride * j) < R), at most max_exponent (a multiple of stride);
//   q = rint(min(t * inverse * 2^-e, n));  q << e
typedef struct {
  float scale;
  float inverse;    // 1 / scale
  float threshold;  // scale * n / gamma
  int32_t stride;   // distance between neighbouring exponents: 1, 2 or 4
} gnnq_row_quantizer;

// K steps of quantised propagation (see ../propagation.py for the equations). Arrays of nodes are in node order; the
// graph is in position order, by falling degree: position p is node `order[p]`, and col holds positions.
typedef struct {
  const int64_t* row_ptr;       // num_positions + 1
  const int32_t* col;           // num_edges positions
  const int64_t* run_ptr;       // 16 * num_hub_slices runs (one per position), one for each later slice of 16 positions, 1
  const int32_t* lane_col;      // vectors of 16 positions; the runs' vectors start at run_ptr. Of a slice, lane l belongs to
                                // its l-th position; of a hub, all lanes. What is left over is num_positions (a row of zeros)
  const int32_t* order;         // num_nodes: the node at each position; NULL: x and row_in are in position order
  const int32_t* position;      // num_nodes: the position of each node
  const float* inverse_degree;  // num_positions, in position order, 0 beyond num_nodes
  const float* x;               // num_nodes x num_values
  const float* row_in;          // num_nodes: x is multiplied by it first
  const float* row_out;         // num_nodes: the result is multiplied by it
  const gnnq_row_quantizer* input;            // 1
  const gnnq_row_quantizer* aggregate;        // num_steps
  const gnnq_row_quantizer* update;           // num_steps
  const gnnq_row_quantizer* gap;              // num_steps, or NULL where all gap coefficients are 0
  const gnnq_row_quantizer* gap_aggregate;    // num_steps, or NULL
  const float* gap_coefficient;               // num_steps
  float* out;                   // num_nodes x num_values
  int64_t num_nodes;
  int64_t num_positions;        // num_nodes rounded up to a multiple of 16; the last ones have no edges
  int64_t num_values;
  int64_t num_steps;
  int64_t max_degree;
  int64_t num_hub_slices;
  int32_t bits;
  int32_t max_exponent;         // largest shift: (number of exponents - 1) * stride
  int32_t num_threads;
  float state_weight;           // ch; 0: the term is left out
  float aggregate_weight;       // ca
  float input_weight;           // cx
} gnnq_propagate_args;

// Two linear layers on sparse integer features: relu between them, its result quantised per row (propagation.py).
// Positions form groups of 4, whose edges stand side by side: edge k of position 4g + r is entry 4k + r of col. What a
// shorter position lacks is num_features, a row of zeros in w1.
typedef struct {
  const int64_t* row_ptr;       // num_groups * num_planes + 1: where k starts for each plane of each group
  const void* col;              // num_edges, uint16_t or int32_t; see col_bytes
  const int32_t* order;         // num_rows: the row at each position
  const int8_t* edge_codes;     // num_edges, or NULL: all 1; only with w1_halves
  const int32_t* code_sums;     // 4 * num_groups: what the codes of each position add up to; only without w1_halves
  const float* row_scale;       // num_rows
  const void* w1;               // num_features + 1 rows of hidden rounded up to 64; see w1_halves
  const float* half_step1;      // hidden
  const float* bias1;           // hidden
  const uint8_t* w2_packed;     // hidden x row_bytes(num_values, w2_bits)
  const float* half_step2;      // num_values
  const float* bias2;           // num_values
  gnnq_row_quantizer hidden_quantizer;
  float* out;                   // num_rows x num_values
  int64_t num_rows;
  int64_t num_edges;
  int64_t num_features;
  int64_t hidden;
  int64_t num_values;
  int32_t w1_bits;
  int32_t w2_bits;
  int32_t hidden_bits;
  int32_t hidden_max_exponent;
  int32_t max_edge_code;        // largest absolute value of edge_codes, 1 where NULL
  int32_t num_planes;           // 1 ... 6, 1 with w1_halves: edges of plane b count 2^b times
  int32_t w1_halves;            // 0: w1 is uint8_t, codes q; 1: int16_t, numbers 2q - n, of each 64 columns the even first
  int32_t col_bytes;            // 2 or 4; 4 with w1_halves
  int32_t num_threads;
} gnnq_two_layer_args;

// Sums of neighbours' float rows (neighbour_sum.h has the equation). Places are the row of x or added that belongs to a
// node; NULL: the one of the same number.
typedef struct {
  const int64_t* row_ptr;       // rows of the graph + 1
  const int32_t* col;           // num_edges, then 32 zeros (rows of coming edges are fetched ahead)
  const int32_t* rows;          // num_rows: which rows of the graph are asked for; NULL: all
  const float* x;               // rows of num_values
  const int32_t* x_place;       // a place in x per source, or NULL
  const float* source_scale;    // per source, or NULL
  const float* row_scale;       // per row of the graph, or NULL
  const float* added;           // rows of num_values, or NULL
  const int32_t* added_place;   // a place in added per row of the graph, or NULL
  float* out;                   // num_rows x num_values
  int64_t num_rows;
  int64_t num_edges;
  int64_t num_values;
  int32_t num_threads;
  int32_t fresh_out;
} gnnq_neighbour_sum_args;

// Differences of two scores of one user, or their gradient (score_difference.h has the equations).
typedef struct {
  const float* rows;            // num_rows x num_values
  const int64_t* places;        // 3 x num_triplets, rows of: the users, the first items, the second items
  const float* grad;            // num_triplets, where the gradient of rows is asked for
  float* out;                   // num_triplets, or num_rows x num_values for the gradient
  int64_t num_rows;
  int64_t num_values;
  int64_t num_triplets;
  int32_t backward;             // 1: the gradient is asked for
  int32_t num_threads;
} gnnq_score_difference_args;

// The k rows of largest score for every query (search.py has the equation), best first; of equal ones the lower row.
typedef struct {
  const uint8_t* packed;        // inner x row_bytes(num_rows, bits): a row of the table is a column of codes
  const int8_t* queries;        // num_queries x inner
  const float* factor;          // num_rows
  const float* offset;          // num_rows
  const float* offset_scale;    // num_queries
  float* scores;                // num_queries x k
  int64_t* rows;                // num_queries x k
  int64_t num_rows;
  int64_t inner;
  int64_t num_queries;
  int64_t k;
  int32_t bits;
  int32_t num_threads;
} gnnq_search_args;

enum { GNNQ_PLAIN = 0, GNNQ_AVX2 = 1, GNNQ_AVX512 = 2, GNNQ_NUM_ISAS = 3 };
enum { GNNQ_OK = 0, GNNQ_NO_MEMORY = 1, GNNQ_NO_SUCH_ISA = 2, GNNQ_NOT_FINITE = 3 };

typedef struct {
  int (*spmm)(const gnnq_spmm_args*);
  int (*linear)(const gnnq_linear_args*);
  int (*propagate)(const gnnq_propagate_args*);
  int (*two_layer)(const gnnq_two_layer_args*);
  int (*neighbour_sum)(const gnnq_neighbour_sum_args*);
  int (*search)(const gnnq_search_args*);
  int (*score_difference)(const gnnq_score_difference_args*);
} gnnq_kernel_table;
