// cli/events.h -- the lines of --json. One function an event; each returns one object and a newline.
//
// Names and fields are a contract with other people's programs (docs/cli.md): add, never rename.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/loop.h"
#include "core/result.h"

namespace banyan::cli {

// How many targets ended in which way.
struct Counts {
  std::size_t ok = 0, failed = 0, timeout = 0, unreachable = 0, cancelled = 0;
};

// One context of the tree.
struct ContextFacts {
  ContextId context = 0;
  std::optional<ContextId> parent;  // the root has none
  std::string name, method, architecture;
  std::int64_t pid = 0;
  std::optional<Nanos> round_trip;
  std::uint64_t resident_kib = 0;
};

// What was decided about one step of a route, and why. `key` is its name with --json.
struct PlanChoice {
  enum class Kind { kText, kNumber, kFlag, kList };
  std::string key;
  Kind kind = Kind::kText;
  std::vector<std::string> values;  // of a text none: null; of a flag "yes" or "no"
  std::string because;
  std::vector<std::string> remarks = {};  // on each value, for people; may be fewer
};

struct TargetPlan {
  using Step = std::vector<PlanChoice>;
  std::string target;
  std::vector<Step> route;  // from the root
};

class Events {
 public:
  // `ascii`: everything beyond it is escaped, so that a terminal can show it.
  explicit Events(bool ascii) : ascii_(ascii) {}

  std::string start(std::string_view target, ContextId context, const std::vector<std::string>& route,
                    std::string_view transport) const;
  // As `data` when the bytes are UTF-8, else as `base64`.
  std::string out(std::string_view target, bool is_err, std::string_view bytes) const;
  // Exactly one of code and signal.
  std::string exit(std::string_view target, std::optional<int> code, std::optional<int> signal,
                   Nanos took) const;
  std::string fail(std::string_view target, const std::vector<std::string>& route, const Error& error,
                   Nanos took) const;
  std::string summary(const Counts& counts, Nanos took, int exit_code) const;
  std::string context(const ContextFacts& facts) const;
  std::string plan(const TargetPlan& plan) const;

 private:
  bool ascii_;
};

// "SIGTERM"; "SIG64" for one without a name.
std::string signal_name(int signal);

}  // namespace banyan::cli
