#include "cli/target_names.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>

#include "cli/printable.h"
#include "cli/targets.h"
#include "core/text.h"

namespace banyan::cli {
namespace {

constexpr std::size_t kNumberDigitsMax = 9;  // so that every number and every width fits an int
constexpr std::size_t kPiecesMax = 16;  // of one name: rack, row, node; and expansion recurses once for each

// "[::1]", not "[1-20]" and not "[01:20]": only an address has two colons.
bool opens_address(std::string_view from_bracket) {
  std::string_view inside = from_bracket.substr(1, from_bracket.find(']') - 1);
  return from_bracket.find(']') != std::string_view::npos && std::ranges::count(inside, ':') >= 2;
}

bool at_host_start(std::string_view item, std::size_t at) {
  if (at == 0 || item[at - 1] == '@' || item[at - 1] == '/') return true;
  if (!item.substr(0, at).ends_with(kSshMethod)) return false;
  return at == kSshMethod.size() || item[at - kSshMethod.size() - 1] == '/';
}

// Commas separate, except inside brackets.
std::vector<std::string_view> split_list(std::string_view expression) {
  std::vector<std::string_view> items;
  std::size_t begin = 0;
  bool inside = false;
  for (std::size_t i = 0; i <= expression.size(); ++i) {
    if (i == expression.size() || (expression[i] == ',' && !inside)) {
      items.push_back(expression.substr(begin, i - begin));
      begin = i + 1;
    } else if (expression[i] == '[') {
      inside = true;
    } else if (expression[i] == ']') {
      inside = false;
    }
  }
  return items;
}

// Signs that mean something to tools of this family. Taken as part of a name they would contact the wrong
// host.
void refuse_unknown_syntax(std::string_view item) {
  if (item == "-") refuse_target(item, "reading targets from standard input is not known to this version");
  switch (item.front()) {
    case '@':
      refuse_target(item, "groups are not known to this version: name the hosts");
    case '~':
      refuse_target(item, "regular expressions are not known to this version: name the hosts");
    case '^':
      refuse_target(item, "reading targets from a file is not known to this version: name the hosts");
    case '-':
      refuse_target(item, "a name must not begin with '-'");
    default:
      break;
  }
  if (item.find('*') != std::string_view::npos || item.find('?') != std::string_view::npos) {
    refuse_target(item, "patterns are not known to this version: name the hosts");
  }
  if (item.find(":&") != std::string_view::npos || item.find(":!") != std::string_view::npos) {
    refuse_target(item,
                  "intersections and differences are not known to this version: use a comma list and -x");
  }
}

struct Range {
  std::uint32_t first = 0, last = 0;
  std::size_t width = 0;  // 0: no padding
};

std::optional<Range> parse_range(std::string_view first, std::string_view last) {
  auto number = [](std::string_view digits, std::uint32_t& value) {
    if (digits.empty() || digits.size() > kNumberDigitsMax || !std::ranges::all_of(digits, is_digit))
      return false;
    std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return true;
  };
  Range range;
  if (!number(first, range.first) || !number(last, range.last) || range.last < range.first)
    return std::nullopt;
  if (first.size() > 1 && first.front() == '0') range.width = first.size();
  return range;
}

// "1,3-5" or "01:20", without the brackets.
std::vector<Range> parse_bracket(std::string_view item, std::string_view inside) {
  std::vector<Range> ranges;
  for (std::string_view part : split_list(inside)) {
    std::size_t dash = part.find_first_of("-:");
    bool single = dash == std::string_view::npos;
    std::optional<Range> range = parse_range(part.substr(0, dash), single ? part : part.substr(dash + 1));
    if (!range) {
      refuse_target(item,
                    cat("'", printable(part), "' is not a range: write [1-20], [01:20] or [1,3-5], rising"));
    }
    ranges.push_back(*range);
  }
  return ranges;
}

// A name in pieces: fixed text, or numbers to run through.
struct Piece {
  std::string_view text;
  std::vector<Range> ranges;
};

// "web1..20": the digits on both sides of the dots. The text before them goes to `pieces`; what follows is
// left.
bool take_dotted(std::string_view item, std::string_view& text, std::vector<Piece>& pieces) {
  std::size_t dots = text.find("..");
  if (dots == std::string_view::npos) return false;
  std::size_t begin = dots, end = dots + 2;
  while (begin > 0 && is_digit(text[begin - 1])) --begin;
  while (end < text.size() && is_digit(text[end])) ++end;
  std::optional<Range> range =
      parse_range(text.substr(begin, dots - begin), text.substr(dots + 2, end - dots - 2));
  if (!range) refuse_target(item, "'..' stands between two rising numbers: web1..20");
  pieces.push_back({text.substr(0, begin), {}});
  pieces.push_back({{}, {*range}});
  text.remove_prefix(end);
  return true;
}

std::vector<Piece> cut(std::string_view item) {
  std::vector<Piece> pieces;
  auto add_text = [&](std::string_view text) {
    while (take_dotted(item, text, pieces)) {
    }
    if (!text.empty()) pieces.push_back({text, {}});
  };
  std::size_t begin = 0;
  for (std::size_t at = item.find('['); at != std::string_view::npos; at = item.find('[', at)) {
    std::size_t close = item.find(']', at);
    if (close == std::string_view::npos) refuse_target(item, "'[' without ']'");
    if (at_host_start(item, at) && opens_address(item.substr(at))) {
      at = close;  // stays text
      continue;
    }
    add_text(item.substr(begin, at - begin));
    pieces.push_back({{}, parse_bracket(item, item.substr(at + 1, close - at - 1))});
    begin = at = close + 1;
  }
  add_text(item.substr(begin));
  return pieces;
}

// The number and the size of the names must be known to be bounded before the first is made.
void check_bounds(std::string_view item, const std::vector<Piece>& pieces, std::size_t already) {
  std::size_t text = 0;
  for (const Piece& piece : pieces) text += piece.text.size();
  if (text > kTargetPathMax) refuse_target(item, cat("longer than ", kTargetPathMax, " characters"));
  if (pieces.size() > kPiecesMax) refuse_target(item, "too many ranges in one name");
  std::uint64_t count = 1;
  for (const Piece& piece : pieces) {
    if (piece.ranges.empty()) continue;
    std::uint64_t here = 0;
    for (const Range& range : piece.ranges) here += std::uint64_t(range.last) - range.first + 1;
    count *= std::min<std::uint64_t>(here, kTargetsMax + 1);
    if (count + already > kTargetsMax) refuse_target(item, cat("more than ", kTargetsMax, " targets"));
  }
  if (count + already > kTargetsMax) refuse_target(item, cat("more than ", kTargetsMax, " targets"));
}

template <class Use>
void expand(const std::vector<Piece>& pieces, std::size_t index, std::string& name, const Use& use) {
  if (index == pieces.size()) return use(name);
  const std::size_t length = name.size();
  const Piece& piece = pieces[index];
  if (piece.ranges.empty()) {
    name += piece.text;
    expand(pieces, index + 1, name, use);
  }
  for (const Range& range : piece.ranges) {
    for (std::uint32_t number = range.first; number <= range.last; ++number) {
      std::string digits = cat(number);
      if (digits.size() < range.width) name.append(range.width - digits.size(), '0');
      name += digits;
      expand(pieces, index + 1, name, use);
      name.resize(length);
    }
  }
  name.resize(length);
}

}  // namespace

void refuse_target(std::string_view name, std::string_view why) {
  throw UsageError(cat("target '", printable(name.substr(0, kTargetNameMax)), "': ", why));
}

TargetNames expand_targets(std::string_view expression) {
  TargetNames result;
  std::vector<std::string_view> items = split_list(expression);
  for (std::string_view item : items) {
    if (item.empty())
      throw UsageError(expression.empty() ? "no targets" : "an empty name in the list of targets");
    refuse_unknown_syntax(item);
    std::vector<Piece> pieces = cut(item);
    check_bounds(item, pieces, result.names.size());
    result.literal = items.size() == 1 && pieces.size() == 1 && pieces[0].ranges.empty();
    std::string name;
    expand(pieces, 0, name, [&](const std::string& made) { result.names.push_back(made); });
    result.items.push_back({item, result.names.size()});
  }
  return result;
}

}  // namespace banyan::cli
