// The kernels compiled for one instruction set: avx512 (flags: setup.py). Only dispatch.cpp calls them.
#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(_OPENMP)
#include <omp.h>
#endif

#include "gnnq_kernels.h"
#include "large_pages.h"

#define GNNQ_BUILD_AVX512
#define GNNQ_NAMESPACE gnnq_avx512
#define GNNQ_VECTOR VecAvx512
#include "kernels_of_isa.h"

extern "C" const gnnq_kernel_table gnnq_table_avx512 = {gnnq_avx512::spmm, gnnq_avx512::linear,
                                                   gnnq_avx512::propagate, gnnq_avx512::two_layer,
                                                   gnnq_avx512::neighbour_sum, gnnq_avx512::search,
                                                   gnnq_avx512::score_difference};
