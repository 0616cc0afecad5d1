// core/text.h -- building short texts without a formatting library: fmt would cost the agent more than the
// agent.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace banyan {

// What cat() puts together: a string, a character or an integer. Views what it was made of.
class TextPart {
 public:
  TextPart(std::string_view text) : kind_(Kind::kText), text_(text.data()), number_(text.size()) {}  // NOLINT
  TextPart(const std::string& text) : TextPart(std::string_view(text)) {}                            // NOLINT
  TextPart(const char* text) : TextPart(std::string_view(text)) {}                                   // NOLINT
  TextPart(const char& c) : TextPart(std::string_view(&c, 1)) {}                                     // NOLINT
  template <std::integral T>
  TextPart(T number)  // NOLINT
      : kind_(number < T(0) ? Kind::kNegative : Kind::kNumber), number_(std::uint64_t(number)) {}

  void append_to(std::string& out) const;

 private:
  enum class Kind : std::uint8_t { kText, kNumber, kNegative };
  Kind kind_;
  const char* text_ = nullptr;
  std::uint64_t number_;  // its bits; of a text, how long it is
};

std::string join(std::initializer_list<TextPart> parts);

// cat("read ", 5, " bytes") == "read 5 bytes". Takes strings, characters and integers.
template <class... Parts>
[[gnu::always_inline]] inline std::string cat(const Parts&... parts) {
  return join({TextPart(parts)...});
}

// Sixteen lower-case hexadecimal digits.
std::string hex64(std::uint64_t number);
// What hex64() made, or any other hexadecimal digits: up to the first character that is none.
std::uint64_t parse_hex(std::string_view digits);

// Takes a decimal number, and one space after it, off the front. Without a digit there: 0.
std::uint64_t take_number(std::string_view& text);

}  // namespace banyan
