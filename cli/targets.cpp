#include "cli/targets.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "cli/printable.h"
#include "core/text.h"

namespace banyan::cli {
namespace {

constexpr std::size_t kNumberDigitsMax = 9;  // so that every number and every width fits an int
constexpr std::size_t kPiecesMax = 16;  // of one name: rack, row, node; and expansion recurses once for each

[[noreturn]] void refuse(std::string_view name, std::string_view why) {
  throw UsageError(cat("target '", printable(name.substr(0, kTargetNameMax)), "': ", why));
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_plain(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' || c == '-';
}

// "[::1]", not "[1-20]" and not "[01:20]": only an address has two colons.
bool opens_address(std::string_view from_bracket) {
  std::string_view inside = from_bracket.substr(1, from_bracket.find(']') - 1);
  return from_bracket.find(']') != std::string_view::npos && std::ranges::count(inside, ':') >= 2;
}

bool at_host_start(std::string_view item, std::size_t at) {
  return at == 0 || item[at - 1] == '@' || item[at - 1] == '/';
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
  if (item == "-") refuse(item, "reading targets from standard input is not known to this version");
  switch (item.front()) {
    case '@':
      refuse(item, "groups are not known to this version: name the hosts");
    case '~':
      refuse(item, "regular expressions are not known to this version: name the hosts");
    case '^':
      refuse(item, "reading targets from a file is not known to this version: name the hosts");
    case '-':
      refuse(item, "a name must not begin with '-'");
    default:
      break;
  }
  if (item.find('*') != std::string_view::npos || item.find('?') != std::string_view::npos) {
    refuse(item, "patterns are not known to this version: name the hosts");
  }
  if (item.find(":&") != std::string_view::npos || item.find(":!") != std::string_view::npos) {
    refuse(item, "intersections and differences are not known to this version: use a comma list and -x");
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
      refuse(item, cat("'", printable(part), "' is not a range: write [1-20], [01:20] or [1,3-5], rising"));
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
  if (!range) refuse(item, "'..' stands between two rising numbers: web1..20");
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
    if (close == std::string_view::npos) refuse(item, "'[' without ']'");
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
  if (text > kTargetPathMax) refuse(item, cat("longer than ", kTargetPathMax, " characters"));
  if (pieces.size() > kPiecesMax) refuse(item, "too many ranges in one name");
  std::uint64_t count = 1;
  for (const Piece& piece : pieces) {
    if (piece.ranges.empty()) continue;
    std::uint64_t here = 0;
    for (const Range& range : piece.ranges) here += std::uint64_t(range.last) - range.first + 1;
    count *= std::min<std::uint64_t>(here, kTargetsMax + 1);
    if (count + already > kTargetsMax) refuse(item, cat("more than ", kTargetsMax, " targets"));
  }
  if (count + already > kTargetsMax) refuse(item, cat("more than ", kTargetsMax, " targets"));
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

std::uint16_t parse_port(std::string_view name, std::string_view digits) {
  std::uint16_t port = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size() || port == 0) {
    refuse(name, cat("'", printable(digits), "' is not a port: a number from 1 to 65535"));
  }
  return port;
}

// "fe80::1%eth0": what stands before the zone must be an address, as ssh reads it.
void check_address(std::string_view name, std::string_view address) {
  std::size_t percent = address.find('%');
  std::string_view zone = percent == std::string_view::npos ? "" : address.substr(percent + 1);
  in6_addr ignored;
  bool good = inet_pton(AF_INET6, std::string(address.substr(0, percent)).c_str(), &ignored) == 1;
  if (percent != std::string_view::npos) good = good && !zone.empty() && std::ranges::all_of(zone, is_plain);
  if (!good) refuse(name, cat("'", printable(address), "' is not an IPv6 address"));
}

bool is_local_name(std::string_view name) {
  constexpr std::string_view kLocal = "local";
  return name.starts_with(kLocal) && std::ranges::all_of(name.substr(kLocal.size()), is_digit);
}

// One component.
Target parse_host(const std::string& name) {
  if (name.size() > kTargetNameMax) refuse(name, cat("longer than ", kTargetNameMax, " characters"));
  Target target;
  target.name = name;
  std::string_view rest = name;
  if (std::size_t at = rest.rfind('@'); at != std::string_view::npos) {
    target.user = rest.substr(0, at);
    rest.remove_prefix(at + 1);
    check_user(target.user);
  }
  std::string_view port;
  bool has_port = false;
  if (rest.starts_with('[')) {
    std::size_t close = rest.find(']');
    if (close == std::string_view::npos) refuse(name, "'[' without ']'");
    target.host = rest.substr(1, close - 1);
    rest.remove_prefix(close + 1);
    check_address(name, target.host);
    if (!rest.empty() && rest.front() != ':') refuse(name, "after ']' only a port may follow: [::1]:22");
    has_port = !rest.empty();
    port = has_port ? rest.substr(1) : rest;
  } else if (std::ranges::count(rest, ':') >= 2) {
    target.host = rest;
    check_address(name, target.host);
  } else {
    std::size_t colon = rest.find(':');
    target.host = rest.substr(0, colon);
    has_port = colon != std::string_view::npos;
    if (has_port) port = rest.substr(colon + 1);
    if (target.host.empty()) refuse(name, "no host");
    if (target.host.front() == '-') refuse(name, "a host must not begin with '-'");
    if (!std::ranges::all_of(target.host, is_plain))
      refuse(name, "a host is made of letters, digits and . _ -");
  }
  if (has_port) target.port = parse_port(name, port);
  if (is_local_name(target.host)) {
    if (!target.user.empty() || has_port)
      refuse(name, "'local' is this machine and takes neither user nor port");
    target.local = true;
    target.host.clear();
  }
  return target;
}

// Takes paths apart. What lies beneath the same hop shares it.
class Parser {
 public:
  Target parse(const std::string& path) {
    if (path.size() > kTargetPathMax) refuse(path, cat("longer than ", kTargetPathMax, " characters"));
    if (std::size_t(std::ranges::count(path, '/')) >= kPathDepthMax)
      refuse(path, cat("more than ", kPathDepthMax, " contexts"));
    const std::size_t slash = path.rfind('/');
    if (slash == path.npos) return parse_host(path);
    const std::string last = path.substr(slash + 1), above = path.substr(0, slash);
    if (last.empty() || above.empty()) refuse(path, "an empty name beside a '/'");
    if (!is_local_name(last))
      refuse(path, cat("'", printable(last),
                       "': beneath a hop this version knows only 'local'; put jumps "
                       "to other hosts into ssh's configuration (ProxyJump)"));
    Target target;
    target.local = true;
    target.hop = hop(above);
    target.name = path;
    return target;
  }

 private:
  std::shared_ptr<const Target> hop(const std::string& path) {
    if (const auto found = hops_.find(path); found != hops_.end()) return found->second;
    auto made = std::make_shared<const Target>(parse(path));
    hops_.emplace(path, made);
    return made;
  }

  std::unordered_map<std::string, std::shared_ptr<const Target>> hops_;
};

struct Names {
  // One of the list as written, and how many names there are up to its end.
  struct Item {
    std::string_view text;
    std::size_t end = 0;
  };
  std::vector<std::string> names;
  std::vector<Item> items;
  bool literal = false;  // one name, written out
};

Names expand_list(std::string_view expression) {
  Names result;
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

// What -x says. A bare host is meant whatever the user and the port: who leaves out "web1" must not find that
// "root@web1" was contacted.
class Exclusion {
 public:
  explicit Exclusion(std::string_view expression) {
    if (expression.empty()) return;
    list_ = expand_list(expression);
    Parser parser;
    for (const std::string& name : list_.names) {
      // Taken apart, so that a slip in -x is an error, and not a host that is contacted after all.
      const Target target = parser.parse(name);
      if (target.user.empty() && target.port == 0 && !target.local) hosts_.emplace(target.host, name);
      names_.insert(name);
    }
  }

  // What lies beneath one that is left out is left out, too: it is not to be contacted.
  bool covers(const Target& target) {
    const bool by_hop = target.hop && covers(*target.hop);
    const bool by_name = names_.contains(target.name);
    const auto by_host = target.local ? hosts_.end() : hosts_.find(target.host);
    if (by_name) used_.insert(target.name);
    if (by_host != hosts_.end()) used_.insert(by_host->second);
    return by_hop || by_name || by_host != hosts_.end();
  }

  // The items, as written, that covered none so far.
  std::vector<std::string> unused() const {
    std::vector<std::string> items;
    std::size_t begin = 0;
    for (const Names::Item& item : list_.items) {
      bool used = false;
      for (; begin < item.end; ++begin) used = used || used_.contains(list_.names[begin]);
      if (!used) items.emplace_back(item.text);
    }
    return items;
  }

 private:
  Names list_;
  std::unordered_set<std::string> names_, used_;
  std::unordered_map<std::string, std::string> hosts_;  // bare ones, with the name they were made of
};

}  // namespace

void check_user(std::string_view user) {
  // '@' and '+' are in the user names of directory services. No shell and no token of ssh reads any of these.
  auto good = [](char c) { return is_plain(c) || c == '@' || c == '+'; };
  if (user.empty() || user.front() == '-' || !std::ranges::all_of(user, good)) {
    throw UsageError(cat("user '", printable(user.substr(0, kTargetNameMax)),
                         "': made of letters, digits and . _ - + @, and not beginning with '-'"));
  }
}

TargetSet parse_targets(std::string_view expression, std::string_view exclude) {
  Names names = expand_list(expression);
  Exclusion exclusion(exclude);
  std::unordered_set<std::string> seen;
  Parser parser;
  TargetSet set;
  set.one = names.literal;
  for (const std::string& name : names.names) {
    Target target = parser.parse(name);
    if (!seen.insert(name).second || exclusion.covers(target)) continue;
    set.targets.push_back(std::move(target));
  }
  set.not_excluded = exclusion.unused();
  if (set.targets.empty()) throw UsageError("no targets left: -x excludes them all");
  return set;
}

}  // namespace banyan::cli
