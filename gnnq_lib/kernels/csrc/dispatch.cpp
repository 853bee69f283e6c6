// Which instruction sets this processor has, and the entry points that Python calls.
#include <stdint.h>

#include "gnnq_kernels.h"
#include "large_pages.h"

#if defined(_OPENMP)
#include <omp.h>
#endif

#if defined(__x86_64__) || defined(_M_X64)
#define GNNQ_X86 1
#endif

extern "C" {

extern const gnnq_kernel_table gnnq_table_plain;
#if GNNQ_X86
extern const gnnq_kernel_table gnnq_table_avx2;
extern const gnnq_kernel_table gnnq_table_avx512;
#endif

static const gnnq_kernel_table* table_of(int isa) {
  if (isa == GNNQ_PLAIN) return &gnnq_table_plain;
#if GNNQ_X86
  if (isa == GNNQ_AVX2 && __builtin_cpu_supports("avx2")) return &gnnq_table_avx2;
  if (isa == GNNQ_AVX512 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
    return &gnnq_table_avx512;
#endif
  return nullptr;
}

#if defined(_WIN32)
#define GNNQ_EXPORT __declspec(dllexport)
#else
#define GNNQ_EXPORT __attribute__((visibility("default")))
#endif

GNNQ_EXPORT int gnnq_abi_version(void) { return 10; }

GNNQ_EXPORT int gnnq_has_isa(int isa) { return table_of(isa) != nullptr; }

GNNQ_EXPORT int gnnq_has_openmp(void) {
#if defined(_OPENMP)
  return 1;
#else
  return 0;
#endif
}

GNNQ_EXPORT int gnnq_spmm(int isa, const gnnq_spmm_args* args) {
  const gnnq_kernel_table* table = table_of(isa);
  return table ? table->spmm(args) : GNNQ_NO_SUCH_ISA;
}

GNNQ_EXPORT int gnnq_linear(int isa, const gnnq_linear_args* args) {
  const gnnq_kernel_table* table = table_of(isa);
  return table ? table->linear(args) : GNNQ_NO_SUCH_ISA;
}

GNNQ_EXPORT int gnnq_propagate(int isa, const gnnq_propagate_args* args) {
  const gnnq_kernel_table* table = table_of(isa);
  return table ? table->propagate(args) : GNNQ_NO_SUCH_ISA;
}

GNNQ_EXPORT int gnnq_two_layer(int isa, const gnnq_two_layer_args* args) {
  const gnnq_kernel_table* table = table_of(isa);
  return table ? table->two_layer(args) : GNNQ_NO_SUCH_ISA;
}

GNNQ_EXPORT int gnnq_neighbour_sum(int isa, const gnnq_neighbour_sum_args* args) {
  const gnnq_kernel_table* table = table_of(isa);
  return table ? table->neighbour_sum(args) : GNNQ_NO_SUCH_ISA;
}

GNNQ_EXPORT int gnnq_search(int isa, const gnnq_search_args* args) {
  const gnnq_kernel_table* table = table_of(isa);
  return table ? table->search(args) : GNNQ_NO_SUCH_ISA;
}

GNNQ_EXPORT int gnnq_score_difference(int isa, const gnnq_score_difference_args* args) {
  const gnnq_kernel_table* table = table_of(isa);
  return table ? table->score_difference(args) : GNNQ_NO_SUCH_ISA;
}

// For memory that is written later: before anything is in it, large pages cost nothing.
GNNQ_EXPORT void gnnq_ask_for_large_pages(void* p, int64_t bytes) { ask_for_large_pages(p, bytes); }

// The whole classifier: the scores that the two layers write are what is propagated.
GNNQ_EXPORT int gnnq_classify(int isa, const gnnq_two_layer_args* layers, const gnnq_propagate_args* steps) {
  const gnnq_kernel_table* table = table_of(isa);
  if (!table) return GNNQ_NO_SUCH_ISA;
  const int status = table->two_layer(layers);
  return status == GNNQ_OK ? table->propagate(steps) : status;
}

}  // extern "C"
