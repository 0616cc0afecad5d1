// Goal: no target expression, and no list of jumps, makes anything but names on the allow-list, within
// bounds. Method: what is accepted is looked at; a name made by an expression, written out, means the same
// target again.

#include <algorithm>

#include "cli/jumps.h"
#include "cli/targets.h"
#include "core/assert.h"
#include "core/bytes.h"

using namespace banyan;
using namespace banyan::cli;

namespace {

constexpr std::size_t kLookedAt = 100;  // of each expression: a hundred thousand would look no different

bool is_safe(const std::string& text) {
  return !text.starts_with('-') && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("._-+@:%").find(c) != std::string_view::npos;
  });
}

// What ssh gives to a shell, and reads tokens in.
void check_list_of_jumps(std::string_view text) {
  std::string jumps;
  try {
    jumps = check_jumps(text);
  } catch (const UsageError& error) {
    ASSERT(*error.what() != '\0');
    return;
  }
  ASSERT(!jumps.empty() && jumps.front() != '-' && jumps.find('%') == jumps.npos);
  ASSERT(std::ranges::all_of(jumps, [](char c) {
    return is_safe(std::string(1, c)) || std::string_view("-[],").find(c) != std::string_view::npos;
  }));
  ASSERT(check_jumps(jumps) == jumps);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text(Bytes(data, size));
  check_list_of_jumps(text);
  const std::size_t cut = text.find('\0');
  TargetSet set;
  try {
    set = parse_targets(text.substr(0, cut), cut == text.npos ? "" : text.substr(cut + 1));
  } catch (const UsageError& error) {
    ASSERT(*error.what() != '\0');
    return 0;
  }
  ASSERT(!set.targets.empty() && set.targets.size() <= kTargetsMax);
  ASSERT(!set.one || set.targets.size() == 1);
  for (std::size_t i = 0; i < std::min(set.targets.size(), kLookedAt); ++i) {
    const Target& target = set.targets[i];
    ASSERT(target.name.size() <= kTargetPathMax);
    ASSERT(is_safe(target.host) && is_safe(target.user));
    ASSERT((target.method == Method::kSsh) == !target.host.empty());
    ASSERT(target.method != Method::kSudo || !target.user.empty());
    ASSERT((target.method == Method::kContainer) == !target.container.empty());
    ASSERT(is_safe(target.container));
    const TargetSet again = parse_targets(target.name);
    ASSERT(again.one && again.targets.size() == 1 && again.targets[0] == target);
  }
  return 0;
}
