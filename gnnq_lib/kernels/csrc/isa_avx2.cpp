// The kernels compiled for one instruction set: avx2 (flags: setup.py). Only dispatch.cpp calls them.
#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(_OPENMP)
#include <omp.h>
#endif

#include "gnnq_kernels.h"
#include "large_pages.h"

#define GNNQ_BUILD_AVX2
#define GNNQ_NAMESPACE gnnq_avx2
#define GNNQ_VECTOR VecAvx2
#include "kernels_of_isa.h"

extern "C" const gnnq_kernel_table gnnq_table_avx2 = {gnnq_avx2::spmm, gnnq_avx2::linear,
                                                   gnnq_avx2::propagate, gnnq_avx2::two_layer,
                                                   gnnq_avx2::neighbour_sum, gnnq_avx2::search,
                                                   gnnq_avx2::score_difference};
