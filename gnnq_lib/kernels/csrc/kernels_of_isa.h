// All kernels of one instruction set. The including file has defined GNNQ_NAMESPACE, GNNQ_VECTOR and included system headers.
namespace GNNQ_NAMESPACE {

#include "common.h"
#include "vectors.h"
#include "lanes.h"
#include "finish.h"
#include "neighbour_sum.h"
#include "score_difference.h"
#include "spmm_packed.h"
#include "spmm_float.h"
#include "linear.h"
#include "spmm_short.h"
#include "propagate.h"
#include "propagate_slices.h"
#include "two_layer.h"
#include "search.h"

static int spmm(const gnnq_spmm_args* args) {
  const gnnq_spmm_args& a = *args;
  if (a.fresh_out) ask_for_large_pages(a.out, a.num_rows * a.num_values * 4);
  if (a.node_scale || a.edge_weight) return spmm_float(a);
  if (edges_per_lane(a, 16) < 1 || (a.exponents && a.edge_codes)) return spmm_wide_terms(a);
  if (short_rows(a)) return spmm_short(a);
  return spmm_packed<GNNQ_VECTOR>(a);
}

}  // namespace GNNQ_NAMESPACE
