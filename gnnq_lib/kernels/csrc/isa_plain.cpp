// The kernels compiled for one instruction set: plain (flags: setup.py). Only dispatch.cpp calls them.
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(_OPENMP)
#include <omp.h>
#endif

#include "gnnq_kernels.h"
#include "large_pages.h"

#define GNNQ_BUILD_PLAIN
#define GNNQ_NAMESPACE gnnq_plain
#define GNNQ_VECTOR VecPlain
#include "kernels_of_isa.h"

extern "C" const gnnq_kernel_table gnnq_table_plain = {gnnq_plain::spmm, gnnq_plain::linear,
                                                   gnnq_plain::propagate, gnnq_plain::two_layer,
                                                   gnnq_plain::neighbour_sum, gnnq_plain::search,
                                                   gnnq_plain::score_difference};
