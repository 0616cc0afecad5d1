// shm/words.h -- copies of memory that the other side may change meanwhile: word by word, each word atomic.
//
// Such a copy may be torn, and the counter beside it says so afterwards; but it is no data race. Rows begin
// at a page, so a row whose size is a multiple of eight is copied in words of eight.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace banyan::shm {

template <class Word>
inline void load_words(std::byte* to, const std::byte* from, std::size_t bytes) {
  for (std::size_t at = 0; at < bytes; at += sizeof(Word)) {
    const Word word = __atomic_load_n(reinterpret_cast<const Word*>(from + at), __ATOMIC_RELAXED);
    std::memcpy(to + at, &word, sizeof word);
  }
}

template <class Word>
inline void store_words(std::byte* to, const std::byte* from, std::size_t bytes) {
  for (std::size_t at = 0; at < bytes; at += sizeof(Word)) {
    Word word;
    std::memcpy(&word, from + at, sizeof word);
    __atomic_store_n(reinterpret_cast<Word*>(to + at), word, __ATOMIC_RELAXED);
  }
}

// Out of shared memory. REQUIRES: both stand at a multiple of `step` from a page's beginning, and step
// divides bytes.
inline void load_shared(std::byte* to, const std::byte* from, std::size_t bytes, std::size_t step) {
  if (step % 8 == 0)
    load_words<std::uint64_t>(to, from, bytes);
  else if (step % 4 == 0)
    load_words<std::uint32_t>(to, from, bytes);
  else
    load_words<std::uint8_t>(to, from, bytes);
}

// Into shared memory, alike.
inline void store_shared(std::byte* to, const std::byte* from, std::size_t bytes, std::size_t step) {
  if (step % 8 == 0)
    store_words<std::uint64_t>(to, from, bytes);
  else if (step % 4 == 0)
    store_words<std::uint32_t>(to, from, bytes);
  else
    store_words<std::uint8_t>(to, from, bytes);
}

}  // namespace banyan::shm
