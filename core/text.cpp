#include "core/text.h"

namespace banyan {

namespace {
constexpr char kDigits[] = "0123456789abcdef";
}

void TextPart::append_to(std::string& out) const {
  if (kind_ == Kind::kText) {
    out.append(text_, std::size_t(number_));
    return;
  }
  char digits[20];  // of 2^64 - 1
  char* const end = digits + sizeof digits;
  char* at = end;
  std::uint64_t left = kind_ == Kind::kNegative ? 0 - number_ : number_;
  do *--at = kDigits[left % 10];
  while ((left /= 10) > 0);
  if (kind_ == Kind::kNegative) out.push_back('-');
  out.append(at, std::size_t(end - at));
}

std::string join(std::initializer_list<TextPart> parts) {
  std::string out;
  for (const TextPart& part : parts) part.append_to(out);
  return out;
}

std::string hex64(std::uint64_t number) {
  std::string out(16, '0');
  for (int i = 15; i >= 0; --i, number >>= 4) out[std::size_t(i)] = kDigits[number & 15];
  return out;
}

std::uint64_t parse_hex(std::string_view digits) {
  std::uint64_t number = 0;
  for (const char c : digits) {
    const std::size_t digit = std::string_view(kDigits, 16).find(c);
    if (digit == std::string_view::npos) break;
    number = number << 4 | digit;
  }
  return number;
}

std::uint64_t take_number(std::string_view& text) {
  std::uint64_t number = 0;
  for (; !text.empty() && text[0] >= '0' && text[0] <= '9'; text.remove_prefix(1))
    number = number * 10 + std::uint64_t(text[0] - '0');
  if (!text.empty() && text[0] == ' ') text.remove_prefix(1);
  return number;
}

}  // namespace banyan
