// cli/targets.h -- target expressions: "local[1-3],deploy@web[01:20]:2222" becomes a list of targets.
//
// Pure text in, values out; a fuzzer feeds it. Names come from people, inventories and other programs, and
// end up in argument vectors and on terminals: what is not on the allow-list is refused here, before an
// argument vector exists. The grammar: docs/cli.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cli/usage_error.h"

namespace banyan::cli {

constexpr std::size_t kTargetsMax = 100'000;  // of one expression: beyond any fleet, below any harm
constexpr std::size_t kTargetNameMax = 320;   // a user, a DNS name (253) and a port

struct Target {
  std::string name;  // as the person would type it; unique within a set
  bool local = false;
  std::string user;        // empty: what ssh's configuration says
  std::string host;        // without brackets; empty when local
  std::uint16_t port = 0;  // 0: what ssh's configuration says
  bool operator==(const Target&) const = default;
};

struct TargetSet {
  std::vector<Target> targets;  // in the order written, each once
  // One literal name. A range or list that happens to hold a single one is not, so that scripts do not change
  // meaning as fleets grow.
  bool one = false;
  std::vector<std::string> not_excluded;  // of -x, as written: what left nothing out
};

// Throws UsageError, also when `exclude` (may be empty) leaves nothing.
TargetSet parse_targets(std::string_view expression, std::string_view exclude = {});

// The allow-list for users, also those of -l. Throws UsageError.
void check_user(std::string_view user);

}  // namespace banyan::cli
