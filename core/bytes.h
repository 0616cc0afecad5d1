// core/bytes.h -- views of bytes, and little-endian numbers at a byte address.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace banyan {

using Bytes = std::span<const std::uint8_t>;  // a view: whoever hands it over says how long it lives
using Buffer = std::vector<std::uint8_t>;     // owned

inline Bytes as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <std::unsigned_integral T>
T load_le(const std::uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  if constexpr (std::endian::native == std::endian::big) {
    T swapped = 0;
    for (std::size_t i = 0; i < sizeof value; ++i) swapped = T(swapped << 8 | T(value >> (8 * i) & 0xff));
    return swapped;
  }
  return value;
}

template <std::unsigned_integral T>
void store_le(std::uint8_t* at, T value) {
  for (std::size_t i = 0; i < sizeof value; ++i) at[i] = std::uint8_t(value >> (8 * i));
}

}  // namespace banyan
