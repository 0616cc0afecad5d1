// tests/support/heap.h -- how much of the heap is in use, as far as the C library says.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <optional>

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#include <malloc.h>
#define BANYAN_HEAP_IS_TOLD
#endif

namespace banyan::test {

// Bytes, with what malloc adds to each block. nullopt: this build's memory is not glibc's.
inline std::optional<std::uint64_t> heap_in_use() {
#ifdef BANYAN_HEAP_IS_TOLD
  const struct mallinfo2 told = ::mallinfo2();
  return std::uint64_t(told.uordblks) + told.hblkhd;
#else
  return std::nullopt;
#endif
}

}  // namespace banyan::test
