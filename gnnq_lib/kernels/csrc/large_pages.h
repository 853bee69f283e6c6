// Included by every source file, outside the instruction sets' namespaces.
#pragma once
#include <stdint.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

// Large pages for memory that nobody has touched yet: writing 86 MB of results otherwise takes 21,000 page faults.
static inline void ask_for_large_pages(void* p, int64_t bytes) {
#if defined(__linux__)
  const uintptr_t page = 1u << 21;
  const uintptr_t first = ((uintptr_t)p + page - 1) / page * page, last = ((uintptr_t)p + bytes) / page * page;
  if (last > first) madvise((void*)first, last - first, MADV_HUGEPAGE);
#else
  (void)p;
  (void)bytes;
#endif
}
