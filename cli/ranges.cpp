#include "cli/ranges.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <string_view>
#include <utility>

#include "core/text.h"

namespace banyan::cli {
namespace {

constexpr std::size_t kDigitsMax = 9;  // a longer number is text: it counts nothing

// literals[0] fields[0] literals[1] fields[1] ... literals.back(); a field is a number or, folded, "[1-3]".
struct Pattern {
  std::vector<std::string> literals, fields;
};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

Pattern pattern_of(std::string_view name) {
  Pattern pattern{{""}, {}};
  const bool is_ipv6 = name.find('[') != name.npos || std::ranges::count(name, ':') > 1;
  std::size_t at = 0;
  // Users are taken as they are: numbers in them count nobody.
  const std::size_t host = is_ipv6 ? name.size() : name.rfind('@') + 1;
  for (; at < host; ++at) pattern.literals.back() += name[at];
  while (at < name.size()) {
    std::size_t end = at;
    while (end < name.size() && is_digit(name[end])) ++end;
    if (end == at || end - at > kDigitsMax) {
      if (end == at) ++end;
      pattern.literals.back() += name.substr(at, end - at);
    } else {
      pattern.fields.emplace_back(name.substr(at, end - at));
      pattern.literals.emplace_back();
    }
    at = end;
  }
  return pattern;
}

std::string text_of(const Pattern& pattern) {
  std::string text = pattern.literals[0];
  for (std::size_t i = 0; i < pattern.fields.size(); ++i) text += pattern.fields[i] + pattern.literals[i + 1];
  return text;
}

std::uint32_t value_of(const std::string& digits) {
  std::uint32_t value = 0;
  for (char digit : digits) value = value * 10 + std::uint32_t(digit - '0');
  return value;
}

// As a range that begins with `first` writes it.
std::string number_like(const std::string& first, std::uint32_t value) {
  std::string digits = cat(std::uint64_t(value));
  if (first.front() == '0' && digits.size() < first.size())
    digits.insert(0, first.size() - digits.size(), '0');
  return digits;
}

std::string ranges_of(std::vector<std::string> numbers) {
  std::ranges::sort(numbers, [](const std::string& a, const std::string& b) {
    return std::pair(value_of(a), a.size()) < std::pair(value_of(b), b.size());
  });
  std::string text;
  // 1, 01, 2, 02: each width counts for itself, so one takes what follows in its own way of writing.
  std::vector<bool> used(numbers.size());
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (used[i]) continue;
    std::size_t last = i;
    for (std::size_t next = i + 1; next < numbers.size(); ++next) {
      const std::uint32_t wanted = value_of(numbers[last]) + 1;
      if (value_of(numbers[next]) > wanted) break;
      if (used[next] || numbers[next] != number_like(numbers[i], wanted)) continue;
      last = next;
      used[next] = true;
    }
    text += cat(text.empty() ? "" : ",", numbers[i]);
    if (last != i) text += cat("-", numbers[last]);
  }
  return text;
}

// Patterns that differ only in field number `place` become one.
std::vector<Pattern> fold_field(std::vector<Pattern> patterns, std::size_t place) {
  std::vector<Pattern> folded;
  std::vector<std::vector<std::string>> numbers;  // of each of them
  std::map<std::string, std::size_t> known;
  for (Pattern& pattern : patterns) {
    std::string key = cat(std::uint64_t(folded.size()), "!");  // without the field it stays alone
    std::string number;
    if (place < pattern.fields.size()) {
      std::swap(number, pattern.fields[place]);  // then empty, as no field is
      key = text_of(pattern);
      for (const std::string& literal : pattern.literals) key += cat("\n", std::uint64_t(literal.size()));
    }
    const auto [found, is_new] = known.try_emplace(key, folded.size());
    if (is_new) {
      folded.push_back(std::move(pattern));
      numbers.emplace_back();
    }
    if (!number.empty()) numbers[found->second].push_back(std::move(number));
  }
  for (std::size_t i = 0; i < folded.size(); ++i) {
    if (numbers[i].empty()) continue;
    const bool alone = numbers[i].size() == 1;
    folded[i].fields[place] = alone ? numbers[i][0] : cat("[", ranges_of(std::move(numbers[i])), "]");
  }
  return folded;
}

}  // namespace

std::string fold_names(const std::vector<std::string>& names) {
  std::vector<Pattern> patterns;
  std::size_t fields = 0;
  for (const std::string& name : names) {
    patterns.push_back(pattern_of(name));
    fields = std::max(fields, patterns.back().fields.size());
  }
  while (fields > 0) patterns = fold_field(std::move(patterns), --fields);
  std::string text;
  for (const Pattern& pattern : patterns) text += cat(text.empty() ? "" : ",", text_of(pattern));
  return text;
}

}  // namespace banyan::cli
