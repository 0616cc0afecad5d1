// core/text.h -- building short texts without a formatting library: fmt would cost the agent more than the
// agent.
#pragma once

#include <charconv>
#include <concepts>
#include <string>
#include <string_view>

namespace banyan {

inline void append(std::string& out, std::string_view text) {
  out.append(text);
}
inline void append(std::string& out, char c) {
  out.push_back(c);
}

template <std::integral T>
void append(std::string& out, T number) {
  char digits[24];
  auto [end, error] = std::to_chars(digits, digits + sizeof digits, number);
  out.append(digits, std::size_t(end - digits));
}

// cat("read ", 5, " bytes") == "read 5 bytes". Takes strings, characters and integers.
template <class... Parts>
std::string cat(const Parts&... parts) {
  std::string out;
  (append(out, parts), ...);
  return out;
}

// Sixteen lower-case hexadecimal digits.
inline std::string hex64(std::uint64_t number) {
  std::string out(16, '0');
  for (int i = 15; i >= 0; --i, number >>= 4) out[std::size_t(i)] = "0123456789abcdef"[number & 15];
  return out;
}

}  // namespace banyan
